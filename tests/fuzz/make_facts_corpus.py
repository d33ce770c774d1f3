"""Writes the inputs that fuzzing of facts starts from: ``python -m tests.fuzz.make_facts_corpus``."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
from dataclasses import replace

from tests.elf.synthetic import (
    X86_64,
    ElfSpec,
    cubin_entry,
    cuda_program,
    make_archive,
    make_cubin,
    make_elf,
    make_entry,
    make_fatbin,
    ptx_entry,
)
from tests.fuzz.fuzz_facts import CORPUS
from tests.images.archive import config, layout, saved, saved_as_layout, tar

FULL = ElfSpec(
    needed=("libc.so.6",),
    soname="libdemo.so.1",
    runpath="$ORIGIN",
    version_needs={"libc.so.6": ("GLIBC_2.17", "~GLIBC_2.34")},
    version_definitions=("DEMO_1",),
    symbols={"pow": "GLIBC_2.34"},
)


def inputs() -> dict[str, bytes]:
    """Corpus files by name."""
    elf = make_elf(FULL)
    layer = tar({"usr/lib/libx.so": make_elf(ElfSpec(symbols={}, interpreter=None)), "a": "usr/lib/libx.so"})
    layer = layer[: len(layer.rstrip(b"\0")) + 1536]
    files = layout((layer,), (layer,))
    fatbin = make_fatbin(cubin_entry(87), ptx_entry(110, variant="f"), make_entry(8, 90, b"x" * 16))
    return {
        "full.elf": elf,
        "no-sections.elf": elf[:0x28] + bytes(8) + elf[0x30:0x3C] + bytes(4) + elf[0x40:],
        "x86.elf": make_elf(replace(FULL, machine=X86_64)),
        "arm.elf": b"\x7fELF\1\1\1" + bytes(9) + struct.pack("<HHIIIIIHHHHHH", 2, 40, 1, 0, 0, 0, 0, 52, 0, 0, 0, 0, 0),
        "big.elf": b"\x7fELF\2\2\1"
        + bytes(9)
        + struct.pack(">HHIQQQIHHHHHH", 2, 183, 1, 0, 0, 0, 0, 64, 0, 0, 0, 0, 0),
        "cubin": make_cubin(87),
        "cuda.elf": cuda_program(make_fatbin(ptx_entry(87))),
        "fatbin": fatbin,
        "lz4.fatbin": make_fatbin(make_entry(1, 87, b"\x15x\1\0\x50abcde", flags=0x2011, unpacked_bytes=15)),
        "lib.a": make_archive({"a.o": make_elf(ElfSpec(type=1)), "a-rather-long-name.o": b"x"}),
        "script": b"#!/usr/bin/env python3\n",
        "wheel": _wheel({"x/_c.so": make_elf(ElfSpec(soname="x")), "x.py": b""}),
        "deb": _deb(tar({"./usr/lib/x.so": b"\x7fELF"})[:2048]),
        "saved.tar": tar(saved((layer,))).rstrip(b"\0") + bytes(1024),
        "saved-25.tar": tar(saved_as_layout((layer,))).rstrip(b"\0") + bytes(1024),
        "saved.tar.gz": gzip.compress(tar(saved((layer,))), mtime=0),
        "index.json": files["index.json"],
        "manifest.json": next(x for x in files.values() if b'"layers"' in x and b'"schemaVersion"' in x),
        "config.json": config((layer,)),
        "nested.json": b"[" * 2000,
        "odd.json": json.dumps({"schemaVersion": 2, "config": {"config": {"Env": [7, "A"], "Labels": []}}}).encode(),
    }


def _wheel(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _deb(data: bytes) -> bytes:
    out = b"!<arch>\n"
    for name, content in (("debian-binary", b"2.0\n"), ("data.tar", data)):
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode() + content
    return out


if __name__ == "__main__":
    for name, data in inputs().items():
        (CORPUS / name).write_bytes(data)
