"""Stand-ins for the driver's libraries, to link against: a tiny AArch64 shared object written byte by byte.

``libcuda.so.1`` and ``libnvidia-ml.so.1`` belong to the driver on the device. NVIDIA's toolkit packages carry stubs for
the linker, its wheels do not. All a linker reads of a stub is its names, so the headers give them; every function
answers an error code, as NVIDIA's stubs do. Same headers, same bytes.

Layout follows the System V gABI (ELF64) and the AArch64 ELF supplement.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence

_MACHINE_AARCH64 = 183
_PAGE = 0x10000  # AArch64 kernels may use 64 kB pages
_RET = 0xD65F03C0
_HEADER, _PROGRAM, _SECTION, _SYMBOL = 64, 56, 64, 24
_TEXT = b"stub library: the driver is on the device only\0"
_TEXT_INDEX = 4  # of .text among the sections


def declared_functions(header: str, prefix: str) -> dict[str, bool]:
    """The functions a C header of NVIDIA's declares, by name; True for those that return text (``const char *``).

    ``prefix`` is ``"cu"`` or ``"nvml"``. Names that the header renames (``#define cuMemAlloc cuMemAlloc_v2``) count
    under both spellings, and those with a per-thread default stream under all three (cuda.h, CUDA_API_PER_THREAD…).
    """
    header = re.sub(r"/\*.*?\*/", " ", header, flags=re.DOTALL)
    name = rf"({prefix}[A-Z]\w*)"
    found: dict[str, bool] = {}
    for match in re.finditer(
        rf"^\s*(const\s+[\w\s]*char\s*\*[\w\s]*?|(?:\w+\s+){{2,3}}){name}\s*\(", header, re.MULTILINE
    ):
        if not match[1].lstrip().startswith(("return ", "typedef ", "else ")):
            found[match[2]] = "char" in match[1]
    for match in re.finditer(
        rf"^\s*#\s*define\s+{prefix}[A-Z]\w*\s+(?:__CUDA_API_(PTDS|PTSZ)\()?{name}\)?\s*$", header, re.MULTILINE
    ):
        found.setdefault(match[2], False)
        if match[1]:
            found.setdefault(f"{match[2]}_{match[1].lower()}", False)
    return found


def write_stub(soname: str, functions: Mapping[str, bool], answer: int) -> bytes:
    """A shared object named ``soname`` that defines ``functions``; each returns ``answer`` (0 to 65535) or, where the
    value is True, a text that says what this is.
    """
    names = sorted(functions)
    strings, offsets = _string_table([soname, *names])
    sizes = {"hash": 4 * (2 + _buckets(len(names)) + len(names) + 1), "dynsym": _SYMBOL * (len(names) + 1)}
    at_hash = _HEADER + 4 * _PROGRAM
    at_dynsym = _align(at_hash + sizes["hash"], 8)
    at_dynstr = at_dynsym + sizes["dynsym"]
    at_text = _align(at_dynstr + len(strings), 16)
    code = _code(answer)
    at_dynamic = _align(at_text + len(code), 16)
    dynamic_address = at_dynamic + _PAGE  # a page of its own in memory, as it is written to when loaded

    dynamic = struct.pack(
        "<14Q",
        *(14, offsets[soname]),  # DT_SONAME
        *(4, at_hash),  # DT_HASH
        *(5, at_dynstr),  # DT_STRTAB
        *(6, at_dynsym),  # DT_SYMTAB
        *(10, len(strings)),  # DT_STRSZ
        *(11, _SYMBOL),  # DT_SYMENT
        *(0, 0),
    )
    symbols = bytes(_SYMBOL) + b"".join(
        # global function in .text
        struct.pack("<IBBHQQ", offsets[name], 0x12, 0, _TEXT_INDEX, at_text + (8 if functions[name] else 0), 8)
        for name in names
    )
    section_names, name_at = _string_table([".hash", ".dynsym", ".dynstr", ".text", ".dynamic", ".shstrtab"])
    at_names = at_dynamic + len(dynamic)
    at_sections = _align(at_names + len(section_names), 8)

    def section(name: str, kind: int, flags: int, address: int, offset: int, size: int, *rest: int) -> bytes:
        return struct.pack("<IIQQQQIIQQ", name_at[name], kind, flags, address, offset, size, *rest)

    sections = bytes(_SECTION) + b"".join(
        [  # the last four: link, info, alignment, entry size
            section(".hash", 5, 2, at_hash, at_hash, sizes["hash"], 2, 0, 8, 4),
            section(".dynsym", 11, 2, at_dynsym, at_dynsym, sizes["dynsym"], 3, 1, 8, _SYMBOL),
            section(".dynstr", 3, 2, at_dynstr, at_dynstr, len(strings), 0, 0, 1, 0),
            section(".text", 1, 6, at_text, at_text, len(code), 0, 0, 16, 0),
            section(".dynamic", 6, 3, dynamic_address, at_dynamic, len(dynamic), 3, 0, 8, 16),
            section(".shstrtab", 3, 0, 0, at_names, len(section_names), 0, 0, 1, 0),
        ]
    )
    programs = b"".join(
        [  # type, flags, offset, two addresses, size in file and memory, alignment
            _program(1, 5, 0, 0, at_text + len(code), _PAGE),
            _program(1, 6, at_dynamic, dynamic_address, len(dynamic), _PAGE),
            _program(2, 6, at_dynamic, dynamic_address, len(dynamic), 8),
            _program(0x6474E551, 6, 0, 0, 0, 16),  # PT_GNU_STACK: the stack is not executable
        ]
    )
    out = bytearray(at_sections)
    for offset, part in (
        (0, _header(at_sections) + programs),
        (at_hash, _hash_table(names)),
        (at_dynsym, symbols),
        (at_dynstr, strings),
        (at_text, code),
        (at_dynamic, dynamic),
        (at_names, section_names),
    ):
        out[offset : offset + len(part)] = part
    return bytes(out) + sections


def _code(answer: int) -> bytes:
    mov = 0x52800000 | answer << 5  # mov w0, #answer
    adr = 0x10000040  # adr x0, <8 bytes on>: the text behind the two functions
    return struct.pack("<4I", mov, _RET, adr, _RET) + _TEXT


def _header(at_sections: int) -> bytes:
    ident = b"\x7fELF" + bytes([2, 1, 1, 0]) + bytes(8)  # 64 bits, little endian, version 1, System V
    return ident + struct.pack(
        "<HHIQQQIHHHHHH", 3, _MACHINE_AARCH64, 1, 0, _HEADER, at_sections, 0, _HEADER, _PROGRAM, 4, _SECTION, 7, 6
    )


def _program(kind: int, flags: int, offset: int, address: int, size: int, align: int) -> bytes:
    return struct.pack("<IIQQQQQQ", kind, flags, offset, address, address, size, size, align)


def _string_table(names: Sequence[str]) -> tuple[bytes, dict[str, int]]:
    table, offsets = bytearray(b"\0"), {}
    for name in names:
        offsets[name] = len(table)
        table += name.encode() + b"\0"
    return bytes(table), offsets


def _buckets(count: int) -> int:
    return max(1, count // 2)


def _hash_table(names: Sequence[str]) -> bytes:
    buckets, chains = [0] * _buckets(len(names)), [0] * (len(names) + 1)
    for index, name in enumerate(names, start=1):
        bucket = _sysv_hash(name) % len(buckets)
        chains[index], buckets[bucket] = buckets[bucket], index
    return struct.pack(f"<{2 + len(buckets) + len(chains)}I", len(buckets), len(chains), *buckets, *chains)


def _sysv_hash(name: str) -> int:
    value = 0
    for byte in name.encode():
        value = (value << 4) + byte
        high = value & 0xF0000000
        value = (value ^ high >> 24) & ~high & 0xFFFFFFFF
    return value


def _align(offset: int, to: int) -> int:
    return (offset + to - 1) // to * to
