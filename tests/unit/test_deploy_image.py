"""Images on this host, as layouts and as archives, whole and damaged."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from jetsonx.deploy.image import load_image
from jetsonx.errors import ConfigError
from jetsonx.image.layer import Compression
from tests.unit.deploy_images import image_in, tar_of

TARS = [tar_of({"a": b"1" * 3000}), tar_of({"b": b"2" * 3000})]


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_a_layout(tmp_path: Path, compression: Compression) -> None:
    image = image_in(tmp_path / "image", TARS, compression=compression, labels={"key": "value"})
    assert [layer.compression for layer in image.layers] == [compression] * 2
    assert [b"".join(layer.blocks()) for layer in image.layers] == TARS
    assert image.labels == {"key": "value"}
    assert image.reference == "docker.io/library/app:1"
    assert image.id == json.loads((tmp_path / "image/manifest.json").read_bytes())[0]["Config"].replace(
        "blobs/sha256/", "sha256:"
    )


def test_what_docker_saved(tmp_path: Path) -> None:
    image = image_in(tmp_path / "image", TARS)
    archive = tmp_path / "image.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(tmp_path / "image", arcname="")
    found = load_image(archive)
    assert (found.id, found.diff_ids, found.reference) == (image.id, image.diff_ids, "app:1")
    assert [b"".join(layer.blocks()) for layer in found.layers] == TARS


def spoil(folder: Path, what: str) -> None:
    blobs = folder / "blobs/sha256"
    config = json.loads((folder / "manifest.json").read_bytes())[0]["Config"]
    if what == "index":
        (folder / "index.json").write_text("{")
    elif what == "foreign":
        (folder / "index.json").write_text('{"manifests": [{"digest": "../../x"}]}')
    elif what == "config":
        (folder / config).write_text("{}")
    elif what == "layer":
        biggest = max(blobs.iterdir(), key=lambda path: path.stat().st_size)
        biggest.write_bytes(b"short")
    elif what == "gone":
        (folder / config).unlink()
    else:
        (folder / "oci-layout").unlink()


@pytest.mark.parametrize("what", ["index", "foreign", "config", "layer", "gone", "no layout"])
def test_what_is_wrong_is_said_with_the_way_out(tmp_path: Path, what: str) -> None:
    image_in(tmp_path / "image", TARS)
    spoil(tmp_path / "image", what)
    with pytest.raises(ConfigError) as caught:
        load_image(tmp_path / "image")
    assert caught.value.hint
    assert str(tmp_path / "image") in caught.value.message


def test_no_archive(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(b"\x01" * 5000)
    with pytest.raises(ConfigError, match="damaged"):
        load_image(path)
