"""A layer's bytes: what tar reads back, that they depend on nothing else, and what is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from jetsonx.errors import BuildError
from jetsonx.image import layer
from jetsonx.image.layer import Blob, Entry, write_layer

ENTRIES = (
    layer.file("usr/lib/libx.so.1", b"\x7fELF" * 300, 0o755),
    layer.file("etc/name", "näme\n"),
    layer.symlink("usr/lib/libx.so", "libx.so.1"),
    layer.hardlink("a/second", "usr/lib/libx.so.1"),
    layer.directory("tmp", 0o1777),
)


def pack(*entries: Entry, mtime_s: int = 0) -> tuple[bytes, Blob]:
    stream = io.BytesIO()
    blob = write_layer(entries, stream, mtime_s=mtime_s)
    return stream.getvalue(), blob


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {info.name: info for info in archive}


def test_tar_reads_back_what_was_meant() -> None:
    data, _ = pack(*ENTRIES, mtime_s=1_700_000_000)
    read = members(data)
    assert list(read) == [
        *("a", "etc", "etc/name", "tmp", "usr", "usr/lib", "usr/lib/libx.so", "usr/lib/libx.so.1"),
        "a/second",  # after the file it is another name of, wherever it sorts
    ]
    assert {(info.uid, info.gid, info.uname, info.mtime) for info in read.values()} == {(0, 0, "", 1_700_000_000)}
    assert [oct(read[path].mode) for path in ("usr/lib/libx.so.1", "etc/name", "tmp")] == ["0o755", "0o644", "0o1777"]
    assert read["usr/lib/libx.so"].linkname == "libx.so.1"
    assert read["a/second"].islnk()
    assert read["a/second"].linkname == "usr/lib/libx.so.1"
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        content = archive.extractfile("a/second")
        assert content is not None
        assert content.read() == b"\x7fELF" * 300


def test_digests_are_of_the_bytes_written() -> None:
    data, blob = pack(*ENTRIES)
    assert blob.size_bytes == len(data)
    assert blob.digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
    assert blob.diff_id == f"sha256:{hashlib.sha256(gzip.decompress(data)).hexdigest()}"


def test_bytes_depend_on_the_entries_alone(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "deep" / "two"
    two.parent.mkdir()
    one.write_bytes(b"same")
    two.write_bytes(b"same")
    two.chmod(0o600)
    assert pack(*ENTRIES) == pack(*reversed(ENTRIES))
    assert pack(layer.file("x", one)) == pack(layer.file("x", two)) == pack(layer.file("x", b"same"))
    assert pack(layer.file("x", one))[1].diff_id != pack(layer.file("x", one), mtime_s=1)[1].diff_id
    assert pack(*ENTRIES)[0][:10] == b"\x1f\x8b\x08\x00" + bytes(5) + b"\x03"  # no name, no time


def test_long_files_whatever_the_number_of_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "long").write_bytes(b"".join(hashlib.sha256(bytes([n % 251])).digest() for n in range(150_000)))
    entries = (layer.file("a", b"x" * 3_000_001), layer.file("long", tmp_path / "long"))
    packed = []
    for processors in ({0}, {0, 1, 2}):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, found=processors: found)
        packed.append(pack(*entries))
    assert packed[0] == packed[1]
    data, blob = packed[0]
    assert blob.diff_id == f"sha256:{hashlib.sha256(gzip.decompress(data)).hexdigest()}"
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        content = archive.extractfile("long")
        assert content is not None
        assert content.read() == (tmp_path / "long").read_bytes()


def test_names_that_a_classic_header_cannot_hold() -> None:
    path = "/".join(["ein-langer-name"] * 20) + "/ümläut"
    assert path in members(pack(layer.file(path, b""))[0])


@pytest.mark.parametrize("path", ["", "/etc", "a//b", "a/./b", "../a", "a/..", "a/", "a\0b"])
def test_paths_that_are_not_normal_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="not a normal relative path"):
        pack(layer.file(path, b""))


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ((layer.file("a", b"1"), layer.file("a", b"2")), "two different entries"),
        ((layer.symlink("lib", "usr/lib"), layer.file("lib/x", b"")), "lies below 'lib', which is a symlink"),
        ((layer.hardlink("a", "b"),), "no file of this layer"),
        ((layer.directory("b"), layer.hardlink("a", "b")), "no file of this layer"),
    ],
)
def test_contradictions_are_refused(entries: tuple[Entry, ...], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        pack(*entries)


def test_a_source_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"cannot pack .*gone into the image: No such file"):
        pack(layer.file("x", tmp_path / "gone"))


@pytest.mark.parametrize("then", [b"", b"longer than before"], ids=["shrinks", "grows"])
def test_a_source_that_changes_meanwhile(tmp_path: Path, then: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"before")
    open_path = Path.open

    def change_and_open(self: Path, mode: str) -> object:  # called after its size was taken
        with open_path(self, "wb") as stream:
            stream.write(then)
        return open_path(self, mode)

    monkeypatch.setattr(Path, "open", change_and_open)
    with pytest.raises(BuildError, match="changed while it was being packed"):
        pack(layer.file("b", source))


def test_a_full_disk_is_not_blamed_on_the_source(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"x" * 10)

    class Full(io.BytesIO):
        def write(self, data: object, /) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_layer([layer.file("x", tmp_path / "source")], Full())
