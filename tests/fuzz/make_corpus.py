"""Writes the inputs that fuzzing starts from: ``python -m tests.fuzz.make_corpus``."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile

import zstandard

from tests.fuzz.fuzz_layer import CORPUS
from tests.unit.hostile import header, sealed

END = bytes(1024)


def plain(form: int, *, links: bool) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        files = (
            ("usr/lib", tarfile.DIRTYPE, "", b""),
            ("usr/lib/é" + "n" * 110, tarfile.REGTYPE, "", b"long name"),
        )
        others = (
            ("usr/a", tarfile.REGTYPE, "", b"text"),
            ("usr/l", tarfile.SYMTYPE, "/lib/" + "t" * 110, b""),
            ("usr/h", tarfile.LNKTYPE, "usr/a", b""),
        )
        for name, kind, target, content in others if links else files:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, target, len(content)
            archive.addfile(info, io.BytesIO(content))
    data = out.getvalue()
    return data[: len(data.rstrip(b"\0")) // 512 * 512 + 512] + bytes(512)


def pax(kind: str, *records: str) -> bytes:
    data = b""
    for text in records:
        size = next(n for n in range(len(text.encode()) + 2, len(text) + 9) if len(f"{n} {text}\n".encode()) == n)
        data += f"{size} {text}\n".encode()
    return header("x", kind=kind, size=len(data)) + data + bytes(-len(data) % 512)


def old_sparse() -> bytes:
    raw = bytearray(header("usr/s", kind="S", size=7))
    raw[386:434] = b"".join(f"{value:011o}\0".encode() for value in (1000, 4, 5000, 3))
    raw[483:495] = f"{6000:011o}\0".encode()
    return sealed(bytes(raw)) + b"abcdefg".ljust(512, b"\0")


def base_256() -> bytes:
    raw = bytearray(header("usr/big"))
    raw[124:136] = b"\x80" + (1 << 60).to_bytes(11, "big")
    return sealed(bytes(raw))


def link(name: str, target: str) -> bytes:
    return header(name, kind="2", target=target)


def inputs() -> dict[str, bytes]:
    """Each input by its file's name."""
    small = header("usr/a", size=4) + b"text".ljust(512, b"\0") + END
    return {
        "empty": b"",
        "gnu.tar": plain(tarfile.GNU_FORMAT, links=False),
        "gnu-links.tar": plain(tarfile.GNU_FORMAT, links=True),
        "pax.tar": plain(tarfile.PAX_FORMAT, links=False),
        "pax-links.tar": plain(tarfile.PAX_FORMAT, links=True),
        "ustar.tar": header("usr/") + small[:1024],
        "small.gz": gzip.compress(small, mtime=0),
        "members.gz": gzip.compress(small[:600], mtime=0) + gzip.compress(small[600:], mtime=0),
        "small.xz": lzma.compress(small),
        "small.bz2": bz2.compress(small),
        "small.zst": zstandard.ZstdCompressor(write_checksum=True).compress(small),
        "frames.zst": b"\x50\x2a\x4d\x18\x02\0\0\0ab" + zstandard.ZstdCompressor().compress(small) * 2,
        "bomb.gz": gzip.compress(header("usr/a", size=2 << 20) + bytes(2 << 20), mtime=0),
        "bomb.zst": zstandard.ZstdCompressor(level=19).compress(bytes(8 << 20)),
        "old-sparse.tar": old_sparse() + END,
        "sparse-0.0.tar": pax(
            "x", "GNU.sparse.size=9", "GNU.sparse.offset=2", "GNU.sparse.numbytes=3", "GNU.sparse.numblocks=1"
        )
        + header("usr/s", size=3)
        + b"abc".ljust(512, b"\0"),
        "sparse-0.1.tar": pax("x", "GNU.sparse.size=9", "GNU.sparse.map=2,3", "GNU.sparse.name=usr/s")
        + header("usr/x", size=3)
        + b"abc".ljust(512, b"\0"),
        "sparse-1.0.tar": pax("x", "GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.realsize=9")
        + header("usr/s", size=515)
        + b"1\n2\n3\n".ljust(512, b"\0")
        + b"abc".ljust(512, b"\0"),
        "global.tar": pax("g", "linkpath=usr/a") + pax("x", "path=usr/p", "size=4") + small[:1024],
        "huge-size.tar": base_256() + END,
        "huge-header.tar": header("x", kind="L", size=1 << 33) + END,
        "outside.tar": header("../../evil") + END,
        "absolute.tar": header("/etc/passwd") + END,
        "through-link.tar": link("usr/a", "/etc") + header("usr/a/passwd") + END,
        "through-file.tar": header("usr/a") + header("usr/a/b") + END,
        "loop.tar": link("usr/a", "b") + link("usr/b", "a") + header("usr/a/c") + END,
        "climb.tar": link("usr/a", "../../../..") + header("usr/a/b") + END,
        "hard-outside.tar": header("usr/a", kind="1", target="../etc/shadow") + END,
        "hard-missing.tar": header("usr/a", kind="1", target="etc/shadow") + END,
        "hard-itself.tar": header("usr/a") + header("usr/a", kind="1", target="usr/a") + END,
        "whiteouts.tar": header("usr/.wh.a")
        + header("usr/a/b")
        + header("usr/a/.wh..wh..opq")
        + header("usr/.wh.")
        + END,
        "unmerged.tar": header("lib/a")
        + header("usr/lib/a")
        + link("lib/b", "../lib/a")
        + link("usr/lib/b", "/lib/b")
        + END,
        "lib-file.tar": header("lib") + header("usr") + END,
        "usr-file.tar": header("lib/a") + header("usr") + END,
        "devices.tar": header("usr/null", kind="3") + header("usr/pipe", kind="6", mode=0o7777) + END,
        "control.tar": header("usr/a\nb") + END,
        "latin-1.tar": header(b"usr/caf\xe9") + END,
        "case.tar": header("usr/Makefile") + header("usr/makefile") + END,
        "cut.tar": small[:700],
        "cut-content.tar": header("usr/a", size=4) + b"tex",
        # Found by fuzzing: the second record has no space behind its length, and was read for ever.
        "endless-records.tar": pax("x", "comment=a", "comment=without-a-space").replace(b"27 comment", b"27comment-"),
    }


if __name__ == "__main__":
    for name, data in inputs().items():
        (CORPUS / name).write_bytes(data)
