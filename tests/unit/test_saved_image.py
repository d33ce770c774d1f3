"""What `docker save` writes, of both generations, as the layout that jetsonx packs."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetsonx.errors import BuildError, ConfigError, DownloadError
from jetsonx.image.oci import plan_of, read_image
from jetsonx.image.saved import write_saved

Members = list[tuple[str, bytes | str]]
"""Files of a tar by name; a str is what a symbolic link holds."""


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def layer(name: str, size: int = 3000) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = size
        tar.addfile(info, io.BytesIO(bytes(size)))
    return stream.getvalue()


LAYERS = (layer("a"), layer("b", 3_000_000))
CONFIG = json.dumps(
    {"architecture": "arm64", "os": "linux", "rootfs": {"diff_ids": [f"sha256:{sha256(x)}" for x in LAYERS]}}
).encode()


def saved(members: Members) -> Iterator[bytes]:
    """The stream, in pieces of an odd size."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    data = stream.getvalue()
    yield from (data[at : at + 70_001] for at in range(0, len(data), 70_001))


def manifest(config: str, layers: list[str]) -> bytes:
    return json.dumps([{"Config": config, "RepoTags": ["app:1"], "Layers": layers}]).encode()


OLD: Members = [
    ("1/VERSION", b"1.0"),
    ("1/json", b"{}"),
    ("1/layer.tar", LAYERS[0]),
    ("2/layer.tar", LAYERS[1]),
    ("c.json", CONFIG),
    ("manifest.json", manifest("c.json", ["1/layer.tar", "2/layer.tar"])),
    ("repositories", b'{"app": {}}'),
]
BLOBS = [f"blobs/sha256/{sha256(x)}" for x in (*LAYERS, CONFIG)]
NEW: Members = [
    (BLOBS[2], CONFIG),
    (BLOBS[0], LAYERS[0]),
    (BLOBS[1], LAYERS[1]),
    ("index.json", b'{"manifests": []}'),
    ("manifest.json", manifest(BLOBS[2], BLOBS[:2])),
    ("oci-layout", b'{"imageLayoutVersion": "1.0.0"}'),
]


PACKED: Members = [
    (name, gzip.compress(content) if content in LAYERS and isinstance(content, bytes) else content)
    for name, content in NEW
]


@pytest.mark.parametrize("members", [OLD, NEW, PACKED], ids=["20.10", "26.1", "containerd"])
def test_the_image_keeps_its_id(members: Members, tmp_path: Path) -> None:
    image = write_saved(saved(members), tmp_path / "image", reference="app:1", key="k")
    assert image.id == f"sha256:{sha256(CONFIG)}"
    assert image.path == tmp_path / "image"
    assert plan_of(tmp_path / "image") == "k"
    assert read_image(tmp_path / "image", "k") == image
    index = json.loads((tmp_path / "image/index.json").read_bytes())
    assert index["manifests"][0]["platform"] == {"architecture": "arm64", "os": "linux"}
    for blob, content in zip(image.layers, LAYERS, strict=True):
        packed = (tmp_path / "image/blobs/sha256" / blob.digest.removeprefix("sha256:")).read_bytes()
        assert gzip.decompress(packed) == content
    assert len(list((tmp_path / "image/blobs/sha256").iterdir())) == 4


def test_an_empty_layer_is_one_too(tmp_path: Path) -> None:
    """What WORKDIR leaves with containerd's image store: 32 bytes, shorter than any tar file."""
    empty = bytes(1024)
    config = json.dumps({"architecture": "arm64", "os": "linux", "rootfs": {"diff_ids": [f"sha256:{sha256(empty)}"]}})
    members: Members = [
        ("blobs/sha256/e", gzip.compress(empty)),
        ("c.json", config.encode()),
        ("manifest.json", manifest("c.json", ["blobs/sha256/e"])),
    ]
    assert len(gzip.compress(empty)) < 512
    assert len(write_saved(saved(members), tmp_path / "image", reference="app:1", key="k").layers) == 1


def test_a_layer_that_is_there_twice_is_a_link(tmp_path: Path) -> None:
    config = json.dumps(
        {"architecture": "arm64", "os": "linux", "rootfs": {"diff_ids": [f"sha256:{sha256(LAYERS[0])}"] * 2}}
    )
    members: Members = [
        ("1/layer.tar", LAYERS[0]),
        ("2/layer.tar", "../1/layer.tar"),
        ("c.json", config.encode()),
        ("manifest.json", manifest("c.json", ["1/layer.tar", "2/layer.tar"])),
    ]
    image = write_saved(saved(members), tmp_path / "image", reference="app:1", key="k")
    assert len(image.layers) == 2
    assert image.layers[0] == image.layers[1]


@pytest.mark.parametrize("missing", ["c.json", "2/layer.tar", "manifest.json"])
def test_an_image_that_is_not_whole_leaves_the_old_one(missing: str, tmp_path: Path) -> None:
    before = write_saved(saved(OLD), tmp_path / "image", reference="app:1", key="k")
    members = [member for member in OLD if member[0] != missing]
    with pytest.raises(BuildError, match="no whole image"):
        write_saved(saved(members), tmp_path / "image", reference="app:1", key="other")
    assert read_image(tmp_path / "image", "k") == before
    assert [path.name for path in tmp_path.iterdir()] == ["image"]


def test_layers_that_are_not_those_of_the_configuration_are_refused(tmp_path: Path) -> None:
    members: Members = [
        ("2/layer.tar", LAYERS[0]) if name == "2/layer.tar" else (name, content) for name, content in OLD
    ]
    with pytest.raises(BuildError, match="damaged: its layers are not those it names"):
        write_saved(saved(members), tmp_path / "image", reference="app:1", key="k")


def test_a_cut_stream_is_refused(tmp_path: Path) -> None:
    data = b"".join(saved(OLD))[:4_000]
    with pytest.raises(DownloadError):
        write_saved([data], tmp_path / "image", reference="app:1", key="k")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    (tmp_path / "image/mine").touch()
    with pytest.raises(ConfigError, match="is no image"):
        write_saved(saved(OLD), tmp_path / "image", reference="app:1", key="k")
