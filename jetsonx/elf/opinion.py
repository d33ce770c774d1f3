"""A second opinion on ELF files that are not for a Jetson: pyelftools says what they are.

It knows every machine by name, in both classes and byte orders; only the header is asked, since nothing else of such a
file matters here, and since a damaged table of thousands of entries takes it seconds.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any

from jetsonx.elf.facts import ElfFacts, UnreadableElfError

_HEADER_BYTES = {1: 52, 2: 64}  # by EI_CLASS
_MACHINES = {"EM_AARCH64": "AArch64", "EM_X86_64": "x86-64", "EM_386": "x86", "EM_ARM": "ARM (32-bit)"}
_MACHINES |= {"EM_CUDA": "CUDA", "EM_RISCV": "RISC-V", "EM_PPC64": "PowerPC64"}
_TYPES = {"ET_REL": "relocatable", "ET_EXEC": "executable", "ET_DYN": "shared", "ET_CORE": "core"}


def describe(header: bytes) -> ElfFacts:
    """What the first 64 bytes of an ELF file say of its machine, class and kind. Raises UnreadableElfError."""
    from elftools.common.utils import struct_parse  # imported late: 25 ms that most files do not need
    from elftools.elf.structs import ELFStructs

    if len(header) < 16 or header[4] not in _HEADER_BYTES or header[5] not in (1, 2):
        raise UnreadableElfError("the ELF file is damaged: its first bytes name no class or byte order that there is")
    bits, is_little = 32 * header[4], header[5] == 1
    if len(header) < _HEADER_BYTES[header[4]]:
        raise UnreadableElfError("the ELF file is cut off in its header")
    structs: Any = ELFStructs(little_endian=is_little, elfclass=bits)
    structs.create_basic_structs()
    found: Any = struct_parse(structs.Elf_Ehdr, BytesIO(header), 0)
    return ElfFacts(
        machine=_MACHINES.get(found.e_machine, str(found.e_machine).removeprefix("EM_")),
        bits=bits,
        endianness="little" if is_little else "big",
        type=_TYPES.get(found.e_type, str(found.e_type)),
        flags=found.e_flags,
        abi_version=header[8],
        os_abi=header[7],
    )
