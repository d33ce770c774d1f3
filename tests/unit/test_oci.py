"""The image directory: both formats over the same blobs, and its replacement in one step."""

from __future__ import annotations

import ctypes
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from jetsonx.errors import ConfigError, HostError
from jetsonx.image import layer
from jetsonx.image.blobs import Stored, store
from jetsonx.image.oci import Config, Image, full_name, read_image, replaced_directory, write_blobs

CONFIG = Config(
    entrypoint=("/opt/demo/demo",),
    command=("--fast",),
    env={"PATH": "/opt/demo", "A": "b=c"},
    working_dir="/opt/demo",
    user="nobody",
    labels={"jetsonx.target": "orin-nano@39.2.0"},
    ports=("8080/tcp",),
    created_s=1_700_000_000,
)


def stored(tmp_path: Path, *names: str) -> list[tuple[str, Stored]]:
    tmp_path.mkdir(exist_ok=True)
    return [(f"made {name}", store(tmp_path, [layer.file(name, name)], mtime_s=0)) for name in names]


def write(tmp_path: Path, name: str = "image", *, key: str = "k", config: Config = CONFIG) -> Image:
    layout = tmp_path / name
    layout.mkdir()
    layers = stored(tmp_path / "layers", "base", "app")
    return write_blobs(layout, config, layers, reference="demo:0.1.0", key=key)


def load(path: Path) -> Any:
    return json.loads(path.read_bytes())


def blob(layout: Path, digest: str) -> Path:
    return layout / "blobs/sha256" / digest.removeprefix("sha256:")


def test_oci_layout(tmp_path: Path) -> None:
    image = write(tmp_path)
    assert load(image.path / "oci-layout") == {"imageLayoutVersion": "1.0.0"}
    [described] = load(image.path / "index.json")["manifests"]
    assert described["digest"] == image.digest
    assert described["platform"] == {"architecture": "arm64", "os": "linux", "variant": "v8"}
    assert described["annotations"] == {
        "io.containerd.image.name": "docker.io/library/demo:0.1.0",
        "org.opencontainers.image.ref.name": "0.1.0",
    }
    manifest = load(blob(image.path, image.digest))
    assert manifest["config"]["digest"] == image.id
    assert [each["digest"] for each in manifest["layers"]] == [each.digest for each in image.layers]
    for each in (described, manifest["config"], *manifest["layers"]):
        data = blob(image.path, each["digest"]).read_bytes()
        assert (len(data), f"sha256:{hashlib.sha256(data).hexdigest()}") == (each["size"], each["digest"])
    assert image.size_bytes == sum(path.stat().st_size for path in (image.path / "blobs/sha256").iterdir())


def test_config(tmp_path: Path) -> None:
    image = write(tmp_path)
    config = load(blob(image.path, image.id))
    assert (config["architecture"], config["os"], config["variant"]) == ("arm64", "linux", "v8")
    assert config["created"] == "2023-11-14T22:13:20Z"
    assert config["rootfs"]["diff_ids"] == [each.diff_id for each in image.layers]
    assert [each["created_by"] for each in config["history"]] == ["made base", "made app"]
    assert config["config"] == {
        "Cmd": ["--fast"],
        "Entrypoint": ["/opt/demo/demo"],
        "Env": ["PATH=/opt/demo", "A=b=c"],
        "ExposedPorts": {"8080/tcp": {}},
        "Labels": {"jetsonx.target": "orin-nano@39.2.0"},
        "User": "nobody",
        "WorkingDir": "/opt/demo",
    }


def test_docker_load_reads_the_same_blobs(tmp_path: Path) -> None:
    image = write(tmp_path)
    [described] = load(image.path / "manifest.json")
    assert described["RepoTags"] == ["demo:0.1.0"]
    assert image.path / described["Config"] == blob(image.path, image.id)
    assert [image.path / each for each in described["Layers"]] == [blob(image.path, x.digest) for x in image.layers]


def test_digest_is_of_the_content_alone(tmp_path: Path) -> None:
    one, two = write(tmp_path, "one"), write(tmp_path, "two", key="another")
    assert (one.digest, one.id) == (two.digest, two.id)
    assert write(tmp_path, "three", config=Config()).digest != one.digest


@pytest.mark.parametrize(
    ("reference", "full"),
    [
        ("saxpy:1", "docker.io/library/saxpy:1"),
        ("team/saxpy:1", "docker.io/team/saxpy:1"),
        ("registry.example/saxpy:1", "registry.example/saxpy:1"),
        ("localhost/saxpy:1", "localhost/saxpy:1"),
        ("host:5000/saxpy:1", "host:5000/saxpy:1"),
    ],
)
def test_full_name(reference: str, full: str) -> None:
    assert full_name(reference) == full


def test_an_image_is_read_back(tmp_path: Path) -> None:
    image = write(tmp_path)
    assert read_image(image.path, "k") == image
    assert read_image(image.path, "other") is None
    assert read_image(tmp_path / "nowhere", "k") is None


@pytest.mark.parametrize("what", ["index.json", "manifest.json", "config", "layer"])
def test_a_damaged_image_is_not_taken_for_whole(tmp_path: Path, what: str) -> None:
    image = write(tmp_path)
    places = {"config": blob(image.path, image.id), "layer": blob(image.path, image.layers[0].digest)}
    place = places.get(what, image.path / what)
    if what == "manifest.json":
        place.unlink()
    else:
        place.write_bytes(place.read_bytes()[:-2])
    assert read_image(image.path, "k") is None


def tree(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


@pytest.mark.parametrize("can_exchange", [True, False])
def test_replaced_whole(tmp_path: Path, can_exchange: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not can_exchange:
        monkeypatch.setattr(ctypes, "CDLL", lambda *args, **kwargs: object())
    out = tmp_path / "deep" / "image"
    for content in ("one", "two"):
        with replaced_directory(out) as new:
            (new / "oci-layout").write_text(content)
            (new / content).write_text("")
        assert tree(out) == {"oci-layout": content, content: ""}
    assert [path.name for path in out.parent.iterdir()] == ["image"]


def test_an_interruption_leaves_the_old_one(tmp_path: Path) -> None:
    out = tmp_path / "image"
    with replaced_directory(out) as new:
        (new / "oci-layout").write_text("old")

    def interrupted() -> None:
        with replaced_directory(out) as new:
            (new / "oci-layout").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert tree(out) == {"oci-layout": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["image"]


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    (tmp_path / ".image.part").mkdir()
    (tmp_path / ".image.part/half").write_text("")
    with replaced_directory(tmp_path / "image") as new:
        assert list(new.iterdir()) == []


def test_something_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    for out in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(ConfigError, match="is no image"), replaced_directory(out):
            pytest.fail("must not get here")
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_full_disk_is_the_hosts_error(tmp_path: Path) -> None:
    with (
        pytest.raises(HostError, match=r"cannot write the image to .*No space left"),
        replaced_directory(tmp_path / "image"),
    ):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_layers_are_copied_where_they_cannot_be_linked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    image = write(tmp_path)
    assert read_image(image.path, "k") == image
