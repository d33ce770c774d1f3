"""Debian packages, whole and hostile, made in memory."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from jetsonx.errors import DownloadError
from jetsonx.packages.deb import iter_deb, read_control
from jetsonx.packages.unpack import link_like_scripts, unpack_deb
from jetsonx.store.tree import Objects, TreeWriter, close_entries

Member = tuple[tarfile.TarInfo, bytes]


def file(name: str, data: bytes = b"", mode: int = 0o644) -> Member:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    return info, data


def special(name: str, kind: bytes, target: str = "") -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def tar(*members: Member) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def ar(*members: tuple[str, bytes]) -> bytes:
    out = b"!<arch>\n"
    for name, data in members:
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    return out


def deb(*members: Member) -> bytes:
    control = tar(file("./control", b"Package: demo\n"))
    return ar(("debian-binary", b"2.0\n"), ("control.tar", control), ("data.tar.xz", lzma.compress(tar(*members))))


@pytest.fixture
def writer(tmp_path: Path) -> TreeWriter:
    (tmp_path / "scratch").mkdir()
    return TreeWriter(Objects(tmp_path / "objects", tmp_path / "scratch"))


def unpack(data: bytes, writer: TreeWriter) -> None:
    unpack_deb(data, writer, lambda path: True, name="demo.deb", owner="demo")


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [("", bytes), (".gz", gzip.compress), (".xz", lzma.compress), (".zst", zstandard.ZstdCompressor().compress)],
)
def test_every_compression(suffix: str, compress: Callable[[bytes], bytes]) -> None:
    data = ar(("debian-binary", b"2.0\n"), (f"data.tar{suffix}", compress(tar(file("./usr/a", b"text")))))
    members = [(info.name, content.read() if content else None) for info, content in iter_deb(io.BytesIO(data))]
    assert members == [("./usr/a", b"text")]


def test_control_file() -> None:
    assert read_control(io.BytesIO(deb())) == "Package: demo\n"


def test_a_path_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "a.deb").write_bytes(deb(file("./x", b"1")))
    assert [info.name for info, _ in iter_deb(tmp_path / "a.deb")] == ["./x"]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "ar archive"),
        (b"!<arch>\n", "truncated"),
        (ar(("debian-binary", b"2.0\n")), "no data.tar"),
        (ar(("data.tar.lz4", b"x")), "compressed in a way"),
        (ar(("data.tar.xz", b"not xz at all")), "not a usable"),
        (ar(("data.tar.gz", b"not gzip at all")), "not a usable"),
        (ar(("data.tar.zst", b"not zstd at all")), "not a usable"),
        (ar(("data.tar", b"x" * 1024)), "not a usable"),
        (ar(("data.tar", b"x" * 64)).replace(b"64        `", b"99999999  `"), "beyond the end"),
        (ar(("data.tar", b"x" * 64)).replace(b"64        `", b"-1        `"), "beyond the end"),
    ],
)
def test_not_a_package(data: bytes, says: str) -> None:
    with pytest.raises(DownloadError, match=says):
        list(iter_deb(io.BytesIO(data), name="bad.deb"))


def test_cut_anywhere_is_an_error_or_nothing_more() -> None:
    whole = deb(file("./usr/lib/a", bytes(range(256)) * 64))
    for length in range(0, len(whole) - 1, 7):
        with pytest.raises(DownloadError):
            [content and content.read() for _, content in iter_deb(io.BytesIO(whole[:length]))]


def test_files_links_and_modes(writer: TreeWriter) -> None:
    unpack(
        deb(
            special("./", tarfile.DIRTYPE),
            special("./lib/", tarfile.DIRTYPE),
            file("./lib/aarch64-linux-gnu/libm.so.6", b"elf"),
            special("./usr/lib/aarch64-linux-gnu/libm.so", tarfile.SYMTYPE, "/lib/aarch64-linux-gnu/libm.so.6"),
            file("./usr/bin/tool", b"#!", 0o4755),
            special("./usr/bin/same", tarfile.LNKTYPE, "./usr/bin/tool"),
            special("./dev/null", tarfile.CHRTYPE),
            special("./run/pipe", tarfile.FIFOTYPE),
        ),
        writer,
    )
    link_like_scripts(writer)
    entries = writer.entries
    assert entries["usr/lib/aarch64-linux-gnu/libm.so"].content == "libm.so.6"
    assert entries["usr/bin/tool"].mode == 0o555
    assert entries["usr/bin/same"] == entries["usr/bin/tool"]
    assert (entries["lib"].content, entries["bin"].content) == ("usr/lib", "usr/bin")
    assert not {"dev/null", "run/pipe", "sbin"} & set(entries)
    assert all(entry.owner in ("demo", "") for entry in entries.values())


def test_blas_gets_the_link_its_scripts_would_make(writer: TreeWriter) -> None:
    unpack(deb(file("./usr/lib/aarch64-linux-gnu/blas/libblas.so.3", b"elf")), writer)
    link_like_scripts(writer)
    assert writer.entries["usr/lib/aarch64-linux-gnu/libblas.so.3"].content == "blas/libblas.so.3"


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "usr/../../evil", "usr/a\nb", "usr/a\tb"])
def test_names_that_lead_outside_are_refused(name: str, writer: TreeWriter) -> None:
    with pytest.raises(DownloadError, match="refused"):
        unpack(deb(file(name, b"x")), writer)


def test_a_hard_link_to_the_outside_is_refused(writer: TreeWriter) -> None:
    with pytest.raises(DownloadError, match="refused"):
        unpack(deb(special("./a", tarfile.LNKTYPE, "../../etc/shadow")), writer)
    with pytest.raises(DownloadError, match="does not hold"):
        unpack(deb(special("./a", tarfile.LNKTYPE, "etc/shadow")), writer)


def test_writing_through_a_link_is_refused(writer: TreeWriter) -> None:
    unpack(deb(special("./a", tarfile.SYMTYPE, "/etc"), file("./a/passwd", b"x")), writer)
    with pytest.raises(DownloadError, match=r"it writes a/passwd, but a is a symbolic link"):
        close_entries(writer.entries)


def test_only_what_the_filter_keeps(writer: TreeWriter) -> None:
    data = deb(file("./usr/include/a.h", b"1"), file("./usr/share/doc/a", b"2"), special("./var/", tarfile.DIRTYPE))
    unpack_deb(data, writer, lambda path: path.startswith("usr/include"), name="a", owner="a")
    assert list(writer.entries) == ["usr/include/a.h"]
