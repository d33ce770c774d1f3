"""The facts of one file, as values. Reading is elsewhere, judging is for others.

Every string comes from a file that nobody vouches for: control characters and bytes that are no UTF-8 are escaped, and
none is longer than 4096 characters.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

ELF_MAGIC = b"\x7fELF"


class UnreadableElfError(Exception):
    """The file is damaged, cut off or not what its first bytes say. A finding, never a traceback."""


class VersionNeed(NamedTuple):
    """A symbol version that ``library`` has to define. ``symbols``: the first few that need it."""

    library: str
    version: str
    is_weak: bool = False
    symbols: tuple[str, ...] = ()


class Section(NamedTuple):
    """Where the bytes of a section lie in the file."""

    name: str
    offset: int
    size_bytes: int


class Load(NamedTuple):
    """A PT_LOAD segment. ``flags`` are the bits of p_flags: 1 execute, 2 write, 4 read."""

    offset: int
    address: int
    align: int
    flags: int


class Import(NamedTuple):
    """An undefined dynamic symbol; ``version`` and ``library`` are "" when it asks for no version."""

    name: str
    version: str = ""
    library: str = ""
    is_weak: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DlopenNote:
    """Libraries that the file opens while it runs, any one of ``sonames`` will do.

    Source: "ELF Dlopen Metadata for ELF files" of the UAPI group, note type 0x407c0c0a of owner FDO. ``priority`` is
    "required", "recommended" or "suggested".
    """

    sonames: tuple[str, ...]
    priority: str = "recommended"
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instructions:
    """How many AArch64 instruction words of each extension the executable sections hold.

    ``lse_guarded`` are atomics behind a test whether the processor has them, as GCC's outline atomics do it; ``lse``
    are the others. ``sve`` has SVE2 in it, ``fp16`` leaves out conversions, which ARMv8.0 has.
    """

    lse: int = 0
    lse_guarded: int = 0
    sve: int = 0
    dotprod: int = 0
    i8mm: int = 0
    fp16: int = 0
    lrcpc: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ElfFacts:
    """What one ELF file is and what it asks of the system it runs on.

    ``type`` is "executable" (fixed address), "shared" (libraries and position-independent programs), "relocatable"
    or "core". ``machine`` is a readable name, "AArch64" for every Jetson. ``rpath`` and ``runpath`` are as written,
    colons included. ``has_exec_stack`` is None when the file does not say. ``relro`` is "none", "partial" or "full".
    ``is_pie`` holds for programs only. ``tls_bytes`` is what PT_TLS takes in memory. ``has_bti`` and ``has_pac`` say
    that all code was built so. ``exports`` has "name" for a symbol without a version and for the default version, and
    "name@VERSION" for every one that has a version. ``instructions`` is None when they were not counted.
    """

    machine: str
    bits: int
    endianness: str
    type: str
    flags: int = 0
    abi_version: int = 0
    os_abi: int = 0
    interpreter: str | None = None
    soname: str | None = None
    needed: tuple[str, ...] = ()
    rpath: str | None = None
    runpath: str | None = None
    version_needs: tuple[VersionNeed, ...] = ()
    version_definitions: tuple[str, ...] = ()
    has_dynamic: bool = False
    has_exec_stack: bool | None = None
    relro: str = "none"
    is_pie: bool = False
    has_textrel: bool = False
    has_relr: bool = False
    loads: tuple[Load, ...] = ()
    tls_bytes: int = 0
    has_static_tls: bool = False
    has_bti: bool = False
    has_pac: bool = False
    dlopen_notes: tuple[DlopenNote, ...] = ()
    is_stripped: bool = True
    sections: tuple[Section, ...] = ()
    imports: tuple[Import, ...] = ()
    exports: frozenset[str] = frozenset()
    has_ifunc: bool = False
    instructions: Instructions | None = None


class Entry(NamedTuple):
    """Code for one GPU architecture.

    ``kind`` is "cubin" (machine code), "ptx", "ltoir" (for the device link) or "other". ``sm`` is the plain number, 87;
    ``variant`` is "a" (that architecture only), "f" (its family) or "". ``isa`` is the PTX version, for PTX.
    ``size_bytes`` is what the entry takes in the file, from ``offset`` on; ``compression`` is "lz4", "zstd" or "".
    ``toolkit`` is the CUDA release that made a cubin, (13, 0), where that could be read without unpacking every entry.
    """

    kind: str
    sm: int
    size_bytes: int
    variant: str = ""
    isa: tuple[int, int] | None = None
    compression: str = ""
    is_debug: bool = False
    toolkit: tuple[int, int] | None = None
    offset: int = 0

    @property
    def name(self) -> str:
        """The architecture as nvcc spells it: ``sm_87``, ``compute_110f``, ``lto_87``."""
        prefix = {"ptx": "compute", "ltoir": "lto"}.get(self.kind, "sm")
        return f"{prefix}_{self.sm}{self.variant}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fatbin:
    """The device code of one translation unit or of the device link, at ``offset`` of the file.

    ``has_kernels`` is False for the empty shell that the device link leaves in programs without relocatable code, and
    for units that launch nothing: for which GPUs these are does not matter. ``is_outside``: found by a search of the
    whole file, in no section for device code; libraries that load modules by themselves keep some there.
    """

    offset: int
    entries: tuple[Entry, ...]
    has_kernels: bool
    is_relocatable: bool = False
    is_outside: bool = False

    @property
    def toolkit(self) -> tuple[int, int] | None:
        """The newest CUDA release that made machine code in it, where that could be read."""
        return max((x.toolkit for x in self.entries if x.toolkit), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """One file: ``kind`` is "elf", "archive" (static library), "fatbin", "script", "other" or "unreadable".

    ``path`` is what reports call it. ``reason`` says why it is unreadable. ``members`` are the ELF files inside an
    archive, by name, without instructions, and without sections where the archive has no device code; ``elf`` is set
    for "elf" only. ``fatbins`` are those of the file and of all members.
    ``interpreter_line`` is the first line of a script, "#!" included. ``text`` is the content of a file that tells the
    loader where libraries lie (ld.so.conf and what it includes). ``host_strings`` are the paths of the build machine
    found in the content, where prefixes were given to look for. ``sha256``, in hex, is of the content, where it was
    asked for.
    """

    path: str
    kind: str
    reason: str = ""
    elf: ElfFacts | None = None
    members: tuple[tuple[str, ElfFacts], ...] = ()
    fatbins: tuple[Fatbin, ...] = ()
    interpreter_line: str = ""
    text: str = ""
    host_strings: tuple[str, ...] = ()
    sha256: str = ""

    @property
    def device_code(self) -> tuple[Fatbin, ...]:
        """The fat binaries whose kernels will run: in a linked file, relocatable ones do not."""
        is_linked = self.elf is not None and self.elf.type != "relocatable"
        return tuple(x for x in self.fatbins if x.has_kernels and not (is_linked and x.is_relocatable))
