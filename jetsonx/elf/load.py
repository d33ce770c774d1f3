"""Everything known about one built file, before anything is judged."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path

from jetsonx.elf.archive import ARCHIVE_MAGICS, iter_members
from jetsonx.elf.facts import (
    ELF_MAGIC,
    ElfFacts,
    Entry,
    Fatbin,
    FileFacts,
    Section,
    UnreadableElfError,
    VersionNeed,
)
from jetsonx.elf.fatbin import FATBIN_MAGIC, read_fatbins
from jetsonx.elf.opinion import no_need, parse_elf


def is_elf(path: Path) -> bool:
    """True when ``path`` is a regular file that begins as an ELF file does. Raises OSError."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(4) == ELF_MAGIC


def read_elf(path: Path, *, explain: Callable[[VersionNeed], bool] = no_need) -> ElfFacts:
    """Read the facts of the ELF file at ``path``.

    A version need for which ``explain`` says True comes with the names of the symbols that need it: that takes a walk
    over the symbol table, so ask only for those worth telling about.

    Raises UnreadableElfError (also for an empty file), OSError.
    """
    with path.open("rb") as stream:
        try:
            data = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise UnreadableElfError("the file is empty") from None
        with data:
            return parse_elf(data, explain=explain)


def load_file(path: Path, name: str, explain: Callable[[VersionNeed], bool]) -> FileFacts:
    """Read the facts of the file at ``path``, called ``name`` in reports. Never raises.

    ``explain`` chooses the version needs whose symbols are named, as in :func:`read_elf`.
    """
    try:
        if not path.is_file():
            reason = "it is not a regular file" if path.exists() else "it is not there"
            return FileFacts(path=name, kind="unreadable", reason=reason)
        with path.open("rb") as stream:
            magic = stream.read(8)
            if not (magic[:4] == ELF_MAGIC or magic == FATBIN_MAGIC or magic in ARCHIVE_MAGICS):
                return FileFacts(path=name, kind="other")
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _parse_file(data, name, explain)
    except UnreadableElfError as error:
        return FileFacts(path=name, kind="unreadable", reason=str(error))
    except OSError as error:
        return FileFacts(path=name, kind="unreadable", reason=error.strerror or str(error))


def _parse_file(data: mmap.mmap, name: str, explain: Callable[[VersionNeed], bool]) -> FileFacts:
    if data[:8] == FATBIN_MAGIC:
        whole = Section(name=".nv_fatbin", offset=0, size_bytes=len(data))
        return FileFacts(path=name, kind="fatbin", fatbins=read_fatbins(data, [whole]))
    if data[:4] != ELF_MAGIC:
        return _parse_archive(data, name)
    elf = parse_elf(data, explain=explain)
    fatbins = (_bare_cubin(elf, len(data)),) if elf.machine == "CUDA" else read_fatbins(data, elf.sections)
    return FileFacts(path=name, kind="elf", elf=elf, fatbins=fatbins)


def _parse_archive(data: mmap.mmap, name: str) -> FileFacts:
    members: list[tuple[str, ElfFacts]] = []
    fatbins: list[Fatbin] = []
    for member in iter_members(data):
        content = data[member.offset : member.offset + member.size_bytes]
        if not content.startswith(ELF_MAGIC):
            continue
        try:
            elf = parse_elf(content)
            fatbins += read_fatbins(content, elf.sections)
        except UnreadableElfError as error:
            raise UnreadableElfError(f"member {member.name}: {error}") from error
        members.append((member.name, elf))
    return FileFacts(path=name, kind="archive", members=tuple(members), fatbins=tuple(fatbins))


def _bare_cubin(elf: ElfFacts, size_bytes: int) -> Fatbin:
    """A ``.cubin`` file, as loaded by the driver API. Where its ELF flags hold the SM depends on the ABI version."""
    sm = elf.flags >> 8 & 0xFF if elf.abi_version >= 8 else elf.flags & 0xFF
    entry = Entry(kind="cubin", sm=sm, size_bytes=size_bytes)
    return Fatbin(offset=0, entries=(entry,), has_kernels=any(x.name.startswith(".text.") for x in elf.sections))
