"""Root file systems in tar files."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import zstandard

from jetsonx.console import Console
from jetsonx.effects import Effects
from jetsonx.errors import ConfigError
from jetsonx.rootfs import tarball
from jetsonx.rootfs.tarball import find_root, read_identity
from jetsonx.runner import Runner
from jetsonx.store.store import Store


@pytest.mark.parametrize(
    ("names", "root"),
    [
        (["./", "./usr/", "./usr/lib"], ""),
        (["bin", "usr/lib"], ""),
        (["etc/passwd"], ""),
        (["rootfs/", "rootfs/bin", "rootfs/usr"], "rootfs/"),
        (["./rootfs/lib/"], "rootfs/"),
        (["jammy-arm64/", "jammy-arm64/boot/", "jammy-arm64/etc/"], "jammy-arm64/"),
        (
            ["Linux_for_Tegra/", "Linux_for_Tegra/bootloader/x", "Linux_for_Tegra/rootfs/boot/"],
            "Linux_for_Tegra/rootfs/",
        ),
        (
            ["Linux_for_Tegra/tools/lib/x", "Linux_for_Tegra/rootfs/", "Linux_for_Tegra/rootfs/usr/"],
            "Linux_for_Tegra/rootfs/",
        ),
        (["project/", "project/lib/", "project/bin/x"], None),
        (["a", "./b/c"], None),
        ([], None),
    ],
)
def test_where_the_root_lies(names: Sequence[str], root: str | None) -> None:
    assert find_root(names) == root


def test_no_more_is_read_than_decides() -> None:
    def names() -> Iterator[str]:
        yield "usr/"
        raise AssertionError("read on")

    assert find_root(names()) == ""


def tar(*names: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 4
            archive.addfile(info, io.BytesIO(b"data"))
    return out.getvalue()


@pytest.fixture
def effects(tmp_path: Path) -> Effects:
    console = Console(-1)
    return Effects(store=Store(tmp_path / "cache", console), runner=Runner(), console=console)


@pytest.mark.parametrize(
    "compress", [bytes, gzip.compress, bz2.compress, lzma.compress, zstandard.ZstdCompressor().compress]
)
def test_every_compression(tmp_path: Path, effects: Effects, compress: Callable[[bytes], bytes]) -> None:
    data = compress(tar("rootfs/etc/passwd"))
    (tmp_path / "a.tar").write_bytes(data)
    assert read_identity(tmp_path / "a.tar", effects) == (hashlib.sha256(data).hexdigest(), "rootfs/")


def test_a_file_is_read_once_and_again_when_it_changed(
    tmp_path: Path, effects: Effects, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.tar"
    file.write_bytes(tar("etc/passwd"))
    first = read_identity(file, effects)
    with monkeypatch.context() as patch:
        patch.setattr(tarball, "decompressed", lambda *_, **__: pytest.fail("read again"))
        assert read_identity(file, effects) == first
    file.write_bytes(tar("rootfs/etc/passwd", "rootfs/usr/x"))
    assert read_identity(file, effects)[1] == "rootfs/"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "holds no root file system"),
        (tar("project/lib/x"), "holds no root file system"),
        (b"no tar file at all" * 100, "damaged"),
        (gzip.compress(tar("a"))[:-20], "damaged"),
        (bz2.compress(tar("a"))[:-20], "damaged"),
    ],
    ids=["empty", "another tar", "text", "gzip cut off", "bzip2 cut off"],
)
def test_what_is_no_root_file_system(tmp_path: Path, effects: Effects, data: bytes, says: str) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(ConfigError, match=says) as error:
        read_identity(tmp_path / "a.tar", effects)
    assert str(tmp_path / "a.tar") in str(error.value)
    assert "expected" in (error.value.hint or "")


def test_a_directory_and_a_missing_file(tmp_path: Path, effects: Effects) -> None:
    with pytest.raises(ConfigError, match="is a directory"):
        read_identity(tmp_path, effects)
    with pytest.raises(ConfigError, match="No such file"):
        read_identity(tmp_path / "a.tar", effects)
