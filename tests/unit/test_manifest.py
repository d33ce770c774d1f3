"""What a registry says an image is made of is checked before it is believed."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from jetsonx.console import Console
from jetsonx.errors import ConfigError, DownloadError
from jetsonx.registry import Registry, parse_reference
from jetsonx.registry.client import near_tags
from jetsonx.registry.credentials import Credentials
from jetsonx.registry.manifest import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    ImageManifest,
    choose,
    parse_document,
    parse_index,
    parse_manifest,
)
from jetsonx.runner import Runner
from tests.unit.http_script import Says, Script

REFERENCE = parse_reference("nvcr.io/nvidia/l4t-jetpack:r36.4.0")
DIGEST = "sha256:" + "0" * 64
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"


def blob(media_type: str, digest: object = DIGEST, size: object = 5) -> dict[str, object]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def manifest(*layers: dict[str, object], **changes: object) -> dict[str, object]:
    config = blob("application/vnd.oci.image.config.v1+json")
    return {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": list(layers), **changes}


def index(*platforms: str | None, kind: str = OCI_MANIFEST) -> dict[str, Any]:
    entries = []
    for number, platform in enumerate(platforms):
        entry = blob(kind, f"sha256:{number:064}")
        if platform is not None:
            parts = dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))
            entry["platform"] = parts
        entries.append(entry)
    return {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}


def parse(document: dict[str, object], media_type: str = "") -> ImageManifest:
    raw = json.dumps(document).encode()
    _, found = parse_document(raw, media_type, what="x")
    return parse_manifest(found, reference=REFERENCE, digest=DIGEST, raw=raw)


# ---- manifests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [OCI_LAYER, f"{OCI_LAYER}+gzip", f"{OCI_LAYER}+zstd", DOCKER_LAYER, f"{DOCKER_LAYER}.gzip", f"{DOCKER_LAYER}.zstd"],
)
def test_layers_that_can_be_unpacked(kind: str) -> None:
    image = parse(manifest(blob(kind)))
    assert [(layer.media_type, layer.sha256, layer.size_bytes) for layer in image.layers] == [(kind, "0" * 64, 5)]


@pytest.mark.parametrize(
    "kind",
    [
        f"{OCI_LAYER}+gzip+encrypted",
        f"{OCI_LAYER}+bzip2",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/octet-stream",
        f"x{OCI_LAYER}",
        "",
    ],
)
def test_layers_that_cannot(kind: str) -> None:
    with pytest.raises(DownloadError, match="cannot unpack"):
        parse(manifest(blob(kind)))


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST, f"{OCI_MANIFEST}; charset=utf-8", ""])
def test_the_media_type_may_be_in_the_header_or_nowhere(media_type: str) -> None:
    document = manifest(blob(OCI_LAYER))
    del document["mediaType"]
    assert parse(document, media_type).layers


def test_schema_1_is_refused_by_name() -> None:
    raw = b'{"schemaVersion": 1, "fsLayers": []}'
    with pytest.raises(DownloadError, match="schema 1"):
        parse_document(raw, "application/vnd.docker.distribution.manifest.v1+prettyjws", what="x")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "no JSON"),
        (b"<html>", "no JSON"),
        (b"\xff\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no JSON object"),
        (b"{}", "no image"),
        (b'{"schemaVersion": 2}', "no image"),
        (b'{"schemaVersion": 3, "layers": [], "config": {}}', "no image"),
        (b'{"schemaVersion": 2, "mediaType": ["x"], "layers": []}', "no image"),
    ],
)
def test_what_is_no_manifest(raw: bytes, words: str) -> None:
    with pytest.raises(DownloadError, match=words):
        parse_document(raw, "", what="x")


@pytest.mark.parametrize("kind", [OCI_MANIFEST, OCI_INDEX])
def test_a_document_that_is_two_things_is_neither(kind: str) -> None:
    # CVE-2021-41190: clients of the same digest must not see different images
    document = {**manifest(blob(OCI_LAYER)), **index("linux/arm64"), "mediaType": kind}
    with pytest.raises(DownloadError, match="something else"):
        parse_document(json.dumps(document).encode(), "", what="x")


@pytest.mark.parametrize("kind", [OCI_INDEX, DOCKER_INDEX])
def test_a_manifest_that_calls_itself_an_index(kind: str) -> None:
    with pytest.raises(DownloadError, match="something else"):
        parse_document(json.dumps(manifest(mediaType=kind)).encode(), "", what="x")


@pytest.mark.parametrize(
    "changes",
    [
        {"config": None},
        {"config": []},
        {"config": blob("application/vnd.cncf.helm.config.v1+json")},
        {"layers": {}},
        {"layers": ["x"]},
        {"layers": [blob(OCI_LAYER)] * 1001},
        {"layers": [blob(OCI_LAYER, "sha512:" + "0" * 128)]},
        {"layers": [blob(OCI_LAYER, "sha256:../../../etc/passwd")]},
        {"layers": [blob(OCI_LAYER, DIGEST.upper())]},
        {"layers": [blob(OCI_LAYER, 5)]},
        {"layers": [blob(OCI_LAYER, size=-1)]},
        {"layers": [blob(OCI_LAYER, size=True)]},
        {"layers": [blob(OCI_LAYER, size=1.5)]},
        {"layers": [blob(OCI_LAYER, size=1 << 60)]},
        {"layers": [{"digest": DIGEST, "size": 1}]},
    ],
)
def test_a_wrong_manifest_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(DownloadError, match=r"l4t-jetpack|something else"):
        parse(manifest(**changes))


# ---- platforms -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("platforms", "expected"),
    [
        (["linux/amd64", "linux/arm64"], 1),
        (["linux/arm64/v8", "linux/arm64"], 1),
        (["linux/arm/v7", "linux/arm64/v8"], 1),
        ([None], 0),
        (["unknown/unknown", "linux/arm64"], 1),
    ],
)
def test_the_right_platform_is_chosen(platforms: list[str | None], expected: int) -> None:
    chosen = choose(parse_index(index(*platforms), what="x"), "linux/arm64", what="x")
    assert chosen.digest == f"sha256:{expected:064}"


@pytest.mark.parametrize(
    ("platforms", "there"),
    [
        (["linux/amd64", "linux/arm/v7"], "linux/amd64, linux/arm/v7"),
        (["linux/arm64be"], "linux/arm64be"),
        (["unknown/unknown"], "no image at all"),
        ([None, None], "one it does not name"),
        ([], "no image at all"),
    ],
)
def test_without_it_those_there_are_named(platforms: list[str | None], there: str) -> None:
    with pytest.raises(ConfigError, match=f"is not for linux/arm64: it has {there}$"):
        choose(parse_index(index(*platforms), what="x"), "linux/arm64", what="x")


def test_schema_1_in_an_index_is_passed_over() -> None:
    old = index("linux/arm64", kind="application/vnd.docker.distribution.manifest.v1+json")
    assert parse_index(old, what="x") == ()


def test_an_index_entry_with_nonsense_for_a_platform() -> None:
    document = index("linux/arm64")
    document["manifests"][0]["platform"] = "arm64"
    with pytest.raises(DownloadError, match="platform"):
        parse_index(document, what="x")


# ---- the client, on what a server should never say -------------------------------------------------------------------


def registry(*answers: Says) -> Registry:
    return Registry(Script(*answers).http(console=Console(-1)), Credentials(Runner(), ()))


def image_answers(config: bytes) -> tuple[Says, Says]:
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    document = manifest(config=blob("application/vnd.oci.image.config.v1+json", digest, len(config)))
    return Says(body=json.dumps(document).encode()), Says(body=config)


def test_the_configuration_decides_about_a_single_image() -> None:
    assert registry(*image_answers(b'{"architecture": "arm64", "os": "linux"}')).manifest(REFERENCE).layers == ()
    with pytest.raises(ConfigError, match="it has linux/amd64"):
        registry(*image_answers(b'{"architecture": "amd64", "os": "linux"}')).manifest(REFERENCE)


@pytest.mark.parametrize("config", [b"", b"[]", b"{", b"\xff"])
def test_a_damaged_configuration(config: bytes) -> None:
    with pytest.raises(DownloadError, match="its configuration is no JSON"):
        registry(*image_answers(config)).manifest(REFERENCE)


def test_a_manifest_that_is_too_large() -> None:
    with pytest.raises(DownloadError, match="sane"):
        registry(Says(body=b" " * (4 << 20) + b"{}")).manifest(REFERENCE)


def test_a_manifest_of_another_digest() -> None:
    answer, _ = image_answers(b"{}")
    with pytest.raises(DownloadError, match="its manifest: expected sha256:000"):
        registry(Says(body=answer.body, headers={"Docker-Content-Digest": DIGEST})).manifest(REFERENCE)


def nested(depth: int) -> tuple[Says, ...]:
    """An image in an index in an index…, outermost first, and its configuration."""
    answer, config = image_answers(b'{"architecture": "arm64"}')
    answers = [config, answer]
    for kind in (OCI_MANIFEST, *[OCI_INDEX] * depth)[:depth]:
        digest = f"sha256:{hashlib.sha256(answers[-1].body).hexdigest()}"
        entry = {**blob(kind, digest), "platform": {"os": "linux", "architecture": "arm64"}}
        document = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
        answers.append(Says(body=json.dumps(document).encode()))
    return tuple(reversed(answers))


def test_an_index_may_be_in_an_index() -> None:
    for depth in range(3):
        assert registry(*nested(depth)).manifest(REFERENCE).reference == REFERENCE


def test_indexes_without_end() -> None:
    with pytest.raises(DownloadError, match="index of indexes"):
        registry(*nested(9)).manifest(REFERENCE)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"tags": 5}', b"{}"])
def test_damaged_tags(body: bytes) -> None:
    with pytest.raises(DownloadError, match="no list of tags"):
        registry(Says(body=body)).tags(REFERENCE)


def test_a_repository_without_tags() -> None:
    assert registry(Says(body=b'{"name": "x", "tags": null}')).tags(REFERENCE) == ()


def test_near_tags() -> None:
    tags = ("r32.7.1", "r35.4.1", "r36.2.0", "r36.3.0", "r36.4.0")
    assert near_tags("r36.4.3", tags)[0] == "r36.4.0"
    assert near_tags("latest", tags) == tags
    assert near_tags("latest", ()) == ()
