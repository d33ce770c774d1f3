"""The registry client against a real registry, and against what networks do in between."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import random
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import requests
import zstandard

from jetsonx.console import Console
from jetsonx.errors import ConfigError, DownloadError
from jetsonx.net.http import DeniedError, Http, UnreachableError
from jetsonx.net.mirrors import Mirrors
from jetsonx.registry import Registry, load_credentials, parse_reference
from jetsonx.registry.manifest import DOCKER_MANIFEST, ImageManifest
from jetsonx.runner import Runner
from tests.integration.conftest import Need
from tests.integration.proxy import Fault, FaultProxy, serve_proxy
from tests.integration.registry import PASSWORD, USER, Layout, RunningRegistry, TokenServer, serve_registry

NAME = "nvidia/l4t-jetpack"
REFERENCE = parse_reference(f"nvcr.io/{NAME}:r36.4.0")
PLAIN = random.Random(1).randbytes(3_000_000)
PACKED, SMALL = gzip.compress(b"a" * 5000, mtime=0), zstandard.compress(b"b" * 5000)
LAYERS = ((PLAIN, ""), (PACKED, "+gzip"), (SMALL, "+zstd"))
DIFF_IDS = [f"sha256:{hashlib.sha256(data).hexdigest()}" for data in (PLAIN, b"a" * 5000, b"b" * 5000)]


@pytest.fixture(scope="module", autouse=True)
def _tools(need: Need) -> None:
    for program in ("docker-registry", "skopeo", "htpasswd", "openssl"):
        need(program)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """OCI layouts: one arm64 image, one of several platforms, one for amd64 alone, one with gzip layers only."""

    def layout(name: str, make: Callable[[Layout], dict[str, object]]) -> Path:
        place = Layout(path=tmp_path_factory.mktemp(name))
        return place.finish(make(place))

    def several(place: Layout) -> dict[str, object]:
        return place.index(
            {
                "linux/amd64": place.image([(PACKED, "+gzip")], architecture="amd64"),
                "linux/arm64": place.image(LAYERS, diff_ids=DIFF_IDS),
            }
        )

    return {
        "single": layout("single", lambda place: place.image(LAYERS, diff_ids=DIFF_IDS)),
        "several": layout("several", several),
        "amd64": layout("amd64", lambda place: place.image([(PACKED, "+gzip")], architecture="amd64")),
        "gzip": layout("gzip", lambda place: place.image([(PACKED, "+gzip")], diff_ids=DIFF_IDS[1:2])),
    }


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, images: Mapping[str, Path]) -> Iterator[RunningRegistry]:
    with serve_registry(tmp_path_factory.mktemp("registry")) as running:
        running.push(images["single"], f"{NAME}:r36.4.0")
        running.push(images["single"], f"{NAME}:r36.3.0")
        running.push(images["several"], "several:1")
        running.push(images["amd64"], "amd64:1")
        running.push(images["gzip"], "docker:1", docker=True)
        yield running


@pytest.fixture
def proxy(registry: RunningRegistry) -> Iterator[FaultProxy]:
    with serve_proxy(registry.url) as running:
        yield running


@pytest.fixture(autouse=True)
def _quiet_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    for name in ("DOCKER_CONFIG", "REGISTRY_AUTH_FILE", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)


def client(url: str | None = None, waits: list[float] | None = None) -> Registry:
    """A client for which nvcr.io is at ``url``; waits are noted and not waited."""
    mirrors = Mirrors(table=(("nvcr.io", url),) if url else ())
    noted = waits if waits is not None else []
    http = Http(mirrors, Console(-1), sleep=noted.append)
    return Registry(http, load_credentials(os.environ, Runner()))


def fetch(registry: Registry, image: ImageManifest, folder: Path) -> list[bytes]:
    folder.mkdir(exist_ok=True)
    found = []
    for number, blob in enumerate(image.layers):
        part = folder / str(number)
        registry.download(image.reference, blob, part, lambda amount: None)
        found.append(part.read_bytes())
    return found


def log_in(host: str, **entry: str) -> None:
    config = Path(os.environ["HOME"]) / ".docker" / "config.json"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(json.dumps({"auths": {host: entry}}))


AUTH = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


# ---- reading images --------------------------------------------------------------------------------------------------


def test_an_image_with_plain_gzip_and_zstd_layers(registry: RunningRegistry, tmp_path: Path) -> None:
    nvcr = client(registry.url)
    image = nvcr.manifest(REFERENCE)
    assert image.digest == f"sha256:{hashlib.sha256(image.raw).hexdigest()}"
    assert nvcr.config(image)["rootfs"]["diff_ids"] == DIFF_IDS
    assert fetch(nvcr, image, tmp_path / "parts") == [data for data, _ in LAYERS]
    assert nvcr.manifest(replace(REFERENCE, digest=image.digest)).raw == image.raw
    assert sorted(nvcr.tags(REFERENCE)) == ["r36.3.0", "r36.4.0"]


def test_the_platform_is_chosen_from_an_index(registry: RunningRegistry) -> None:
    nvcr = client(registry.url)
    arm64 = nvcr.manifest(parse_reference("nvcr.io/several:1"))
    amd64 = nvcr.manifest(parse_reference("nvcr.io/several:1"), "linux/amd64")
    assert [len(arm64.layers), len(amd64.layers)] == [3, 1]
    assert arm64.digest == nvcr.manifest(REFERENCE).digest


def test_dockers_schema_2(registry: RunningRegistry, tmp_path: Path) -> None:
    nvcr = client(registry.url)
    image = nvcr.manifest(parse_reference("nvcr.io/docker:1"))
    assert json.loads(image.raw)["mediaType"] == DOCKER_MANIFEST
    assert [gzip.decompress(data) for data in fetch(nvcr, image, tmp_path / "parts")] == [b"a" * 5000]


def test_a_registry_on_this_machine_may_speak_plain_http(registry: RunningRegistry) -> None:
    assert client().manifest(parse_reference(f"{registry.host}/{NAME}:r36.4.0")).layers


@pytest.mark.parametrize(("name", "there"), [("amd64:1", "linux/amd64"), ("several:1", "linux/amd64, linux/arm64")])
def test_another_platform_is_refused_by_name(registry: RunningRegistry, name: str, there: str) -> None:
    wanted = "linux/arm64" if name == "amd64:1" else "linux/riscv64"
    with pytest.raises(ConfigError, match=f"is not for {wanted}: it has {there}"):
        client(registry.url).manifest(parse_reference(f"nvcr.io/{name}"), wanted)


def test_an_unknown_tag_names_near_ones(registry: RunningRegistry) -> None:
    with pytest.raises(ConfigError, match=r"nvcr\.io/nvidia/l4t-jetpack has no r36\.4\.9") as caught:
        client(registry.url).manifest(replace(REFERENCE, tag="r36.4.9"))
    assert (caught.value.hint or "").startswith("it has r36.4.0")


def test_an_unknown_repository(registry: RunningRegistry) -> None:
    with pytest.raises(ConfigError, match=r"nvcr\.io has no repository nvidia/none"):
        client(registry.url).manifest(parse_reference("nvcr.io/nvidia/none:1"))


def test_tags_over_several_pages(registry: RunningRegistry, proxy: FaultProxy) -> None:
    # an old registry gives no pages: the proxy plays a new one
    link = {"Link": '</v2/x?last=a>; rel="next"'}
    proxy.faults.append(Fault(path="tags/list?n", status=200, body=b'{"tags": ["a"]}', headers=link))
    proxy.faults.append(Fault(path="tags/list?last=a", status=200, body=b'{"tags": ["b"]}'))
    assert client(proxy.url).tags(REFERENCE) == ("a", "b")


def test_nobody_there() -> None:
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1:1 cannot be reached: Connection refused"):
        client("http://127.0.0.1:1").manifest(REFERENCE)


# ---- logins ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def locked(tmp_path: Path, images: Mapping[str, Path], request: pytest.FixtureRequest) -> Iterator[RunningRegistry]:
    """A registry with TLS and passwords."""
    with serve_registry(tmp_path / "locked", tls=True, passwords=True) as running:
        running.push(images["gzip"], f"{NAME}:r36.4.0")
        yield running


def test_passwords_over_tls(locked: RunningRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = parse_reference(f"{locked.host}/{NAME}:r36.4.0")
    with pytest.raises(DownloadError, match="not trusted") as untrusted:
        client().manifest(reference)
    assert f"certs.d/{locked.host}/ca.crt" in (untrusted.value.hint or "")

    assert locked.ca is not None
    certificates = Path(os.environ["HOME"]) / ".docker" / "certs.d" / locked.host
    certificates.mkdir(parents=True)
    (certificates / "ca.crt").write_bytes(locked.ca.read_bytes())
    with pytest.raises(DeniedError, match=f"{locked.host} does not give .*no login") as denied:
        client().manifest(reference)
    assert f"docker login {locked.host}" in (denied.value.hint or "")

    log_in(locked.host, auth=base64.b64encode(b"someone:wrong").decode())
    with pytest.raises(DeniedError, match=r"the login of someone in .*config\.json"):
        client().manifest(reference)

    log_in(f"https://{locked.host}/v2/", auth=AUTH)
    registry = client()
    image = registry.manifest(reference)
    assert fetch(registry, image, tmp_path / "parts") == [PACKED]

    (certificates / "ca.crt").unlink()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(locked.ca))
    assert client().manifest(reference) == image


def test_a_damaged_certificate_is_named(locked: RunningRegistry) -> None:
    certificates = Path(os.environ["HOME"]) / ".docker" / "certs.d" / locked.host
    certificates.mkdir(parents=True)
    (certificates / "ca.crt").write_text("nonsense")
    with pytest.raises(ConfigError, match=r"ca\.crt: not a usable certificate"):
        client().manifest(parse_reference(f"{locked.host}/{NAME}:r36.4.0"))


def test_a_login_is_not_given_to_a_mirror(locked: RunningRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(locked.ca))
    log_in("nvcr.io", auth=AUTH)
    with pytest.raises(DeniedError, match=f"no login for {locked.host}"):
        client(locked.url).manifest(REFERENCE)


def test_a_credential_helper(locked: RunningRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(locked.ca))
    reference = parse_reference(f"{locked.host}/{NAME}:r36.4.0")
    config = Path(os.environ["HOME"]) / ".docker" / "config.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"credsStore": "test"}))
    with pytest.raises(DeniedError, match="docker-credential-test: cannot run"):
        client().manifest(reference)
    helper = tmp_path / "bin" / "docker-credential-test"
    helper.parent.mkdir()
    answer = json.dumps({"ServerURL": "x", "Username": USER, "Secret": PASSWORD})
    helper.write_text(f"#!/bin/sh\nread -r host\n[ \"$1 $host\" = 'get {locked.host}' ] && echo '{answer}'\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{helper.parent}:{os.environ['PATH']}")
    assert client().manifest(reference).layers


def tokens(tmp_path: Path, stack: ExitStack, images: Mapping[str, Path], **options: bool) -> tuple[TokenServer, str]:
    server = stack.enter_context(TokenServer(tmp_path / "tokens", **options))
    running = stack.enter_context(serve_registry(tmp_path / "guarded", tokens=server))
    # skopeo asks for a token to push with; the anonymous kind may do that here as well
    running.push(images["gzip"], f"{NAME}:r36.4.0")
    server.asked.clear()
    return server, running.host


def test_tokens_without_a_login(tmp_path: Path, images: Mapping[str, Path]) -> None:
    with ExitStack() as stack:
        server, host = tokens(tmp_path, stack, images)
        registry = client()
        image = registry.manifest(parse_reference(f"{host}/{NAME}:r36.4.0"))
        assert fetch(registry, image, tmp_path / "parts") == [PACKED]
        assert server.asked == ["anonymous"]  # one token for manifest, configuration and layers


def test_tokens_with_a_login(tmp_path: Path, images: Mapping[str, Path]) -> None:
    with ExitStack() as stack:
        server, host = tokens(tmp_path, stack, images, anonymous=False)
        reference = parse_reference(f"{host}/{NAME}:r36.4.0")
        with pytest.raises(DeniedError, match=f"{host} does not give"):
            client().manifest(reference)
        log_in(host, auth=AUTH)
        assert client().manifest(reference).layers
        log_in(host, identitytoken=server.IDENTITY)
        assert client().manifest(reference).layers
        assert server.asked == ["anonymous", f"Basic {AUTH}", "refresh_token"]


def test_a_login_that_is_out_of_date_does_no_harm_to_public_images(tmp_path: Path, images: Mapping[str, Path]) -> None:
    with ExitStack() as stack:
        server, host = tokens(tmp_path, stack, images)
        log_in(host, auth=base64.b64encode(b"someone:old").decode())
        assert client().manifest(parse_reference(f"{host}/{NAME}:r36.4.0")).layers
        assert [who.partition(" ")[0] for who in server.asked] == ["Basic", "anonymous"]


def test_a_token_that_ends_is_renewed_once_for_all_threads(tmp_path: Path, images: Mapping[str, Path]) -> None:
    with ExitStack() as stack:
        server, host = tokens(tmp_path, stack, images)
        proxy = stack.enter_context(serve_proxy(f"http://{host}"))
        registry = client(proxy.url)
        image = registry.manifest(REFERENCE)
        server.asked.clear()
        challenge = f'Bearer realm="{server.url}",service="test-registry",scope="repository:{NAME}:pull"'
        proxy.faults.append(Fault(path="/blobs/", status=401, headers={"WWW-Authenticate": challenge}, times=4))
        with ThreadPoolExecutor(4) as pool:
            parts = [tmp_path / str(number) for number in range(4)]
            list(pool.map(lambda part: registry.download(REFERENCE, image.layers[0], part, lambda amount: None), parts))
        assert [part.read_bytes() for part in parts] == [PACKED] * 4
        assert 1 <= len(server.asked) <= 4


# ---- faults ----------------------------------------------------------------------------------------------------------


def blob_ranges(proxy: FaultProxy, image: ImageManifest) -> list[str | None]:
    return [request.headers.get("Range") for request in proxy.requests if image.layers[0].digest in request.path]


def test_dropped_connections_resume_by_range(proxy: FaultProxy, tmp_path: Path) -> None:
    nvcr = client(proxy.url)
    image = nvcr.manifest(REFERENCE)
    proxy.faults.append(Fault(path=image.layers[0].digest, drop_after=1 << 20, times=2))
    assert fetch(nvcr, image, tmp_path / "parts")[0] == PLAIN
    assert blob_ranges(proxy, image) == [None, f"bytes={1 << 20}-", f"bytes={2 << 20}-"]


def test_a_registry_that_ignores_ranges(proxy: FaultProxy, tmp_path: Path) -> None:
    nvcr = client(proxy.url)
    image = nvcr.manifest(REFERENCE)
    proxy.faults.append(Fault(path=image.layers[0].digest, drop_after=1 << 20, times=1))
    proxy.faults.append(Fault(path=image.layers[0].digest, ignore_range=True))
    assert fetch(nvcr, image, tmp_path / "parts")[0] == PLAIN


def test_a_truncated_blob_is_completed(proxy: FaultProxy, tmp_path: Path) -> None:
    nvcr = client(proxy.url)
    image = nvcr.manifest(REFERENCE)
    proxy.faults.append(Fault(path=image.layers[0].digest, truncate_to=1000, times=1))
    assert fetch(nvcr, image, tmp_path / "parts")[0] == PLAIN


def test_a_blob_that_stays_truncated(proxy: FaultProxy, tmp_path: Path) -> None:
    nvcr = client(proxy.url)
    image = nvcr.manifest(REFERENCE)
    proxy.faults.append(Fault(path=image.layers[0].digest, truncate_to=1000, ignore_range=True))
    with pytest.raises(DownloadError, match="ended after 1000 of 3000000 bytes"):
        fetch(nvcr, image, tmp_path / "parts")
    assert (tmp_path / "parts" / "0").stat().st_size == 1000


def test_corrupt_bytes_never_pass(proxy: FaultProxy, tmp_path: Path) -> None:
    nvcr = client(proxy.url)
    image = nvcr.manifest(REFERENCE)
    proxy.faults.append(Fault(path=image.layers[0].digest, corrupt_at=2_000_000))
    with pytest.raises(DownloadError, match=f"expected sha256 {image.layers[0].sha256}"):
        fetch(nvcr, image, tmp_path / "parts")
    assert not (tmp_path / "parts" / "0").exists()


@pytest.mark.parametrize("path", ["/manifests/", "/blobs/"])
def test_corrupt_documents_never_pass(proxy: FaultProxy, path: str) -> None:
    proxy.faults.append(Fault(path=path, corrupt_at=50))
    with pytest.raises(DownloadError, match="expected sha256:"):
        client(proxy.url).manifest(REFERENCE)


def test_too_many_requests_and_a_server_that_is_down(proxy: FaultProxy) -> None:
    waits: list[float] = []
    proxy.faults.append(Fault(path="/manifests/", status=429, headers={"Retry-After": "3"}, times=1))
    proxy.faults.append(Fault(path="/manifests/", status=503, times=1))
    assert client(proxy.url, waits).manifest(REFERENCE).layers
    assert waits[0] == 3.0
    assert len(waits) == 2


def test_authorization_stays_behind_at_a_redirect(tmp_path: Path, images: Mapping[str, Path]) -> None:
    with ExitStack() as stack:
        _, host = tokens(tmp_path, stack, images)
        plain = stack.enter_context(serve_registry(tmp_path / "plain"))
        plain.push(images["gzip"], f"{NAME}:r36.4.0")
        storage = stack.enter_context(serve_proxy(plain.url, "localhost"))
        front = stack.enter_context(serve_proxy(f"http://{host}"))
        front.faults.append(Fault(path="/blobs/", redirect_to=storage.url))
        nvcr = client(front.url)
        image = nvcr.manifest(REFERENCE)
        assert fetch(nvcr, image, tmp_path / "parts") == [PACKED]
        assert any(request.headers.get("Authorization") for request in front.requests)
        assert storage.requests
        assert not any(request.headers.get("Authorization") for request in storage.requests)


def test_a_later_process_goes_on(proxy: FaultProxy, registry: RunningRegistry, tmp_path: Path) -> None:
    image = client(registry.url).manifest(REFERENCE)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "0").write_bytes(PLAIN[:1_234_567])
    assert fetch(client(proxy.url), image, tmp_path / "parts")[0] == PLAIN
    assert blob_ranges(proxy, image) == ["bytes=1234567-"]


def test_a_missing_blob(registry: RunningRegistry, tmp_path: Path) -> None:
    nvcr = client(registry.url)
    image = nvcr.manifest(REFERENCE)
    gone = replace(image, layers=(replace(image.layers[0], digest="sha256:" + "0" * 64),))
    with pytest.raises(DownloadError, match=r"is not there \(404\)"):
        fetch(nvcr, gone, tmp_path / "parts")


def test_docker_itself_agrees_about_the_digest(registry: RunningRegistry) -> None:
    answer = requests.head(
        f"{registry.url}/v2/{NAME}/manifests/r36.4.0",
        headers={"Accept": "application/vnd.oci.image.manifest.v1+json"},
        timeout=10,
    )
    assert client(registry.url).manifest(REFERENCE).digest == answer.headers["Docker-Content-Digest"]
