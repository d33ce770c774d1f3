"""Small ELF files, archives and fat binaries made byte by byte, for tests that need one of exactly this shape.

No compiler is needed, and each field that a rule looks at can be made wrong. The layouts follow the ELF specification
(gABI, with the GNU symbol version tables) and, for fat binaries, what nvcc writes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

AARCH64, X86_64, CUDA = 183, 62, 190
REL, EXEC, DYN = 1, 2, 3
_BASE = 0x10000  # where the one segment is loaded


@dataclass(kw_only=True)
class ElfSpec:
    """A little-endian 64-bit ELF file to be. ``version_needs``: library -> versions, "~" before a weak one.

    ``symbols``: name -> the version of ``version_needs`` that it wants. ``sections``: name -> bytes.
    """

    machine: int = AARCH64
    type: int = DYN
    flags: int = 0
    abi_version: int = 0
    interpreter: str | None = "/lib/ld-linux-aarch64.so.1"
    needed: Sequence[str] = ()
    soname: str | None = None
    rpath: str | None = None
    runpath: str | None = None
    version_needs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    version_definitions: Sequence[str] = ()
    symbols: Mapping[str, str] = field(default_factory=dict)
    exec_stack: bool | None = False
    sections: Mapping[str, bytes] = field(default_factory=dict)
    with_symtab: bool = False


class _Strings:
    def __init__(self) -> None:
        self.data = b"\0"

    def add(self, text: str) -> int:
        at = len(self.data)
        self.data += text.encode() + b"\0"
        return at


def make_elf(spec: ElfSpec | None = None) -> bytes:
    """The bytes of the file."""
    spec = spec or ElfSpec()
    strings, dynamic, parts = _Strings(), list[tuple[int, int]](), bytearray(0x400)  # headers go into the first 1 kB
    dynamic += [(1, strings.add(name)) for name in spec.needed]
    for tag, text in ((14, spec.soname), (15, spec.rpath), (29, spec.runpath)):
        if text is not None:
            dynamic.append((tag, strings.add(text)))

    def append(data: bytes) -> int:
        parts.extend(bytes(-len(parts) % 16))
        at = len(parts)
        parts.extend(data)
        return at

    indexes = {v.lstrip("~"): i for i, v in enumerate((v for vs in spec.version_needs.values() for v in vs), start=2)}
    headers: list[tuple[str, int, int, int, int]] = []  # name, type, offset, size, entry size
    if spec.version_needs:
        dynamic += [
            (0x6FFFFFFE, _BASE + append(_verneed(spec, strings, indexes))),
            (0x6FFFFFFF, len(spec.version_needs)),
        ]
    if spec.version_definitions:
        at = append(_verdef(spec.version_definitions, strings))
        dynamic += [(0x6FFFFFFC, _BASE + at), (0x6FFFFFFD, len(spec.version_definitions))]
    if spec.symbols:
        table = bytes(24) + b"".join(struct.pack("<IBBHQQ", strings.add(x), 0x12, 0, 0, 0, 0) for x in spec.symbols)
        at = append(table)
        headers.append((".dynsym", 11, at, len(table), 24))
        versions = struct.pack(f"<{len(spec.symbols) + 1}H", 0, *(indexes[v] for v in spec.symbols.values()))
        dynamic += [(6, _BASE + at), (0x6FFFFFF0, _BASE + append(versions))]
    dynamic += [(5, _BASE + append(strings.data)), (10, len(strings.data)), (0, 0)]
    table = b"".join(struct.pack("<QQ", *entry) for entry in dynamic)
    has_dynamic = spec.type != REL and len(dynamic) > 3
    segments = [(2, 6, append(table), len(table))] if has_dynamic else []
    if spec.interpreter is not None and spec.type != REL:
        segments.append((3, 4, append(spec.interpreter.encode() + b"\0"), len(spec.interpreter) + 1))
    if spec.exec_stack is not None and spec.type != REL:
        segments.append((0x6474E551, 7 if spec.exec_stack else 6, 0, 0))
    headers += [(name, 1, append(data), len(data), 0) for name, data in spec.sections.items()]
    headers += [(".symtab", 2, append(bytes(24)), 24, 24)] if spec.with_symtab else []
    names = _Strings()
    named = [(names.add(name), *rest) for name, *rest in headers]
    shstrtab = names.add(".shstrtab")
    named.append((shstrtab, 3, append(names.data), len(names.data), 0))
    table = bytes(64) + b"".join(
        struct.pack("<IIQQQQIIQQ", n, t, 0, 0, at, size, 0, 0, 1, e) for n, t, at, size, e in named
    )
    section_table = append(table)
    segments.insert(0, (1, 5, 0, len(parts)))
    segments = segments if spec.type != REL else []
    ident = struct.pack("<4sBBBBB7x", b"\x7fELF", 2, 1, 1, 0, spec.abi_version)
    fields = (spec.type, spec.machine, 1, 0, 64 if segments else 0, section_table, spec.flags, 64, 56, len(segments))
    header = ident + struct.pack("<HHIQQQIHHHHHH", *fields, 64, len(named) + 1, len(named))
    header += b"".join(
        struct.pack("<IIQQQQQQ", t, f, at, _BASE + at, 0, n, n, _BASE if t == 1 else 16) for t, f, at, n in segments
    )
    parts[: len(header)] = header
    return bytes(parts)


def _verneed(spec: ElfSpec, strings: _Strings, indexes: Mapping[str, int]) -> bytes:
    out = b""
    for i, (library, versions) in enumerate(spec.version_needs.items()):
        size = 16 + 16 * len(versions)
        is_last = i == len(spec.version_needs) - 1
        out += struct.pack("<HHIII", 1, len(versions), strings.add(library), 16, 0 if is_last else size)
        for j, version in enumerate(versions):
            name = version.lstrip("~")
            flags, following = 2 if version.startswith("~") else 0, 0 if j == len(versions) - 1 else 16
            out += struct.pack("<IHHII", 0, flags, indexes[name], strings.add(name), following)
    return out


def _verdef(versions: Sequence[str], strings: _Strings) -> bytes:
    out = b""
    for i, version in enumerate(versions):
        following = 0 if i == len(versions) - 1 else 28
        out += struct.pack("<HHHHIII", 1, 0, i + 2, 1, 0, 20, following) + struct.pack("<II", strings.add(version), 0)
    return out


def make_cubin(sm: int, *, kernels: Sequence[str] = ("k",), abi_version: int = 8) -> bytes:
    """Machine code for a GPU, as ptxas writes it: one ``.text.<kernel>`` section each."""
    flags = sm << 8 if abi_version >= 8 else sm
    sections = {".nv.info": b"\1" * 8} | {f".text.{kernel}": b"\2" * 16 for kernel in kernels}
    spec = ElfSpec(machine=CUDA, type=EXEC, flags=flags, abi_version=abi_version, interpreter=None, exec_stack=None)
    spec.sections = sections
    return make_elf(spec)


def make_entry(
    kind: int,
    sm: int,
    payload: bytes,
    *,
    flags: int = 0x11,
    isa: tuple[int, int] = (9, 2),
    unpacked_bytes: int = 0,
    extension: bytes = b"",
) -> bytes:
    """One entry of a fat binary. ``kind``: 1 PTX, 2 cubin, 8 LTO; ``unpacked_bytes`` > 0 when ``payload`` is packed."""
    padded = payload + bytes(-len(payload) % 8)
    packed = len(payload) if unpacked_bytes else 0
    where = 64 if extension else 0
    head = struct.pack("<HHIQII", kind, 0x0101, 64 + len(extension), len(padded), packed, where)
    head += struct.pack("<HHIIIQQQ", isa[1], isa[0], sm, 0, 0, flags, 0, unpacked_bytes)
    return head + extension + padded


def cubin_entry(sm: int, *, variant: str = "", kernels: Sequence[str] = ("k",)) -> bytes:
    """An uncompressed cubin for ``sm``."""
    return make_entry(2, sm, make_cubin(sm, kernels=kernels), flags=0x11 | _variant(variant), isa=(1, 8))


def ptx_entry(sm: int, *, variant: str = "", text: bytes = b".visible .entry k() {}") -> bytes:
    """Uncompressed PTX for ``sm``."""
    return make_entry(1, sm, text, flags=0x11 | _variant(variant))


def _variant(letter: str) -> int:
    return {"": 0, "a": 0x100000, "f": 0x200000}[letter]


def make_fatbin(*entries: bytes) -> bytes:
    """A fat binary of these entries."""
    body = b"".join(entries)
    return struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body)) + body


def join_fatbins(*fatbins: bytes) -> bytes:
    """What the linker makes of several: each at a multiple of 256, zeros between."""
    out = b""
    for fatbin in fatbins:
        out += bytes(-len(out) % 256) + fatbin
    return out


def cuda_program(*fatbins: bytes, section: str = ".nv_fatbin", **changes: object) -> bytes:
    """A program with device code; ``changes`` are fields of :class:`ElfSpec`."""
    spec = ElfSpec(needed=("libc.so.6",), version_needs={"libc.so.6": ("GLIBC_2.17",)})
    spec.sections = {section: join_fatbins(*fatbins)}
    for name, value in changes.items():
        setattr(spec, name, value)
    return make_elf(spec)


def make_archive(members: Mapping[str, bytes], *, magic: bytes = b"!<arch>\n") -> bytes:
    """A static library as GNU ar writes it, with a table for names longer than 15 characters."""
    names = "".join(f"{name}/\n" for name in members if len(name) > 15).encode()
    out = magic + (_member("//", names) if names else b"")
    for name, data in members.items():
        field_text = f"{name}/" if len(name) <= 15 else f"/{names.index(name.encode())}"
        out += _member(field_text, data)
    return out


def _member(name: str, data: bytes) -> bytes:
    header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'644':<8}{len(data):<10}`\n".encode()
    return header + data + b"\n" * (len(data) % 2)
