"""GPU machine code (a cubin): an ELF file of its own, of which two things matter. Nothing in it is believed.

Source: cubins of CUDA 11.8 to 13.x. Up to CUDA 12.x and below SM 100 (ABI version 7) the ELF header's ``e_version`` is
the toolkit, 126 for 12.6; from CUDA 13.0 on (ABI version 8) the note ``.note.nv.cuinfo`` names it. The cubins of CUDA
12.8 and 12.9 for SM 100 and higher name none.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from jetsonx.elf.facts import ELF_MAGIC
from jetsonx.elf.source import Buffer

_SECTION_BYTES = 64
_NOTE = b".note.nv.cuinfo\0"
_TOOLKITS = range(50, 1000)  # 50 is CUDA 5.0; anything else is no version of it


def has_kernels(code: bytes) -> bool:
    """True when a section named ``.text.<function>`` is there, and in doubt."""
    try:
        if code[:4] != ELF_MAGIC:
            return True
        return any(code.startswith(b".text.", name) for name, _ in _sections(code, 0))
    except (struct.error, OverflowError):  # outside of the cubin, by little or by far
        return True


def cubin_toolkit(data: Buffer, start: int = 0) -> tuple[int, int] | None:
    """The CUDA release that made the cubin at ``start`` of ``data``, (13, 0); None where it does not say."""
    try:
        if data[start : start + 4] != ELF_MAGIC:
            return None
        if data[start + 8] < 8:
            return _release(*struct.unpack_from("<I", data, start + 20))
        for name, header in _sections(data, start):
            if data[name : name + len(_NOTE)] == _NOTE:
                (note,) = struct.unpack_from("<Q", data, header + 0x18)
                (owner_bytes,) = struct.unpack_from("<I", data, start + note)
                _, _, toolkit = struct.unpack_from("<HHH", data, start + note + 12 + owner_bytes + -owner_bytes % 4)
                return _release(toolkit)
    except (struct.error, OverflowError, IndexError):
        pass
    return None


def _release(number: int) -> tuple[int, int] | None:
    return divmod(number, 10) if number in _TOOLKITS else None


def _sections(data: Buffer, start: int) -> Iterator[tuple[int, int]]:
    """Where the name of each section lies, and where its header. Raises struct.error, OverflowError."""
    (table,) = struct.unpack_from("<Q", data, start + 0x28)
    _, count, names_index = struct.unpack_from("<HHH", data, start + 0x3A)
    table += start
    (names,) = struct.unpack_from("<Q", data, table + names_index * _SECTION_BYTES + 0x18)
    for header in range(table, table + count * _SECTION_BYTES, _SECTION_BYTES):
        (name,) = struct.unpack_from("<I", data, header)
        yield start + names + name, header
