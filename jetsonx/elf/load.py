"""Everything known about one file, before anything is judged."""

from __future__ import annotations

import hashlib
import mmap
import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from jetsonx.elf.archive import ARCHIVE_MAGICS, iter_members
from jetsonx.elf.cubin import cubin_toolkit
from jetsonx.elf.facts import ELF_MAGIC, ElfFacts, Entry, Fatbin, FileFacts, Section, UnreadableElfError
from jetsonx.elf.fatbin import DEVICE_SECTIONS, EXECUTABLE_SECTION, FATBIN_MAGIC, read_fatbins
from jetsonx.elf.opinion import describe
from jetsonx.elf.reader import AARCH64, CUDA, parse_elf64
from jetsonx.elf.source import Buffer, BufferSource, FileSource, Source, clean

MAGIC_BYTES = 8
_LINE_MAX = 256  # of a "#!" line, as Linux reads it
_CONFIG_MAX = 1 << 16
_PATH_MAX = 4096
_PATH = re.compile(rb"[^\0-\x20\x7f\"':;]*")
_HASH_STEP = 1 << 20
_OURS = (AARCH64, CUDA)
_CLASS_64_LITTLE = b"\2\1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to read of a file beyond its headers.

    ``deep`` looks for device code outside of its sections too; ``instructions`` counts those that not every processor
    has; ``hardening`` has lief read how files are hardened; ``hash`` takes the sha256 of every file, so that each has
    facts. ``host_prefixes`` are directories whose names are looked for in the content. ``is_brief`` leaves out
    sections, symbols, notes and device code.
    """

    deep: bool = False
    instructions: bool = True
    hardening: bool = False
    hash: bool = False
    is_brief: bool = False
    host_prefixes: tuple[str, ...] = ()


PLAIN = Options(instructions=False)
"""Everything that is asked of what a build left."""
BRIEF = Options(instructions=False, is_brief=True)
"""What the loader asks first: machine, libraries, symbol versions."""


def is_elf(path: Path) -> bool:
    """True when ``path`` is a regular file that begins as an ELF file does. Raises OSError."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(4) == ELF_MAGIC


def read_elf(path: str | Path, *, options: Options = BRIEF) -> ElfFacts:
    """Read the facts of the ELF file at ``path``. Raises UnreadableElfError (also for an empty file), OSError."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(file).st_size
        if size == 0:
            raise UnreadableElfError("the file is empty")
        return _parse_elf(FileSource(file, size), options)
    finally:
        os.close(file)


def parse_elf(data: Buffer, *, options: Options = PLAIN) -> ElfFacts:
    """Facts of the ELF file whose bytes are ``data``. Raises UnreadableElfError."""
    return _parse_elf(BufferSource(data), options)


def _parse_elf(source: Source, options: Options) -> ElfFacts:
    """Our own reader for the 64-bit little-endian ones; pyelftools' word on every file that is not for a Jetson."""
    header = source.read(0, min(64, source.size))
    if header[:4] != ELF_MAGIC:
        raise UnreadableElfError("it does not begin as an ELF file does")
    if header[4:6] != _CLASS_64_LITTLE:
        return describe(header)
    facts = parse_elf64(source, is_brief=options.is_brief, with_instructions=options.instructions)
    if int.from_bytes(header[18:20], "little") in _OURS:
        return facts
    return replace(facts, machine=describe(header).machine)


def load_file(path: Path, name: str, options: Options = PLAIN) -> FileFacts:
    """Read the facts of the file at ``path``, called ``name`` in reports. Never raises."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a named pipe must not stop us
    except FileNotFoundError:
        return _unreadable(name, "it is not there")
    except OSError as error:
        return _unreadable(name, error.strerror or str(error))
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode):
            return _unreadable(name, "it is not a regular file")
        facts = read_open_file(file, found.st_size, name, options)
        return facts or FileFacts(path=name, kind="other")
    finally:
        os.close(file)


def read_open_file(file: int, size: int, name: str, options: Options) -> FileFacts | None:
    """The facts of an open regular file; None when nothing of interest is in it and no hash asked for. Never raises."""
    try:
        magic = os.pread(file, MAGIC_BYTES, 0)
        if options.hash or options.host_prefixes:
            with _mapped(file) as data:
                return parse_file(data, name, options)
        if not is_interesting(magic, name):
            return None
        if is_loader_config(name):
            return _config(os.pread(file, _CONFIG_MAX, 0), name)
        if magic.startswith(b"#!"):
            return _script(os.pread(file, _LINE_MAX, 0), name)
        if magic.startswith(ELF_MAGIC) and not options.deep and not options.hardening:
            elf = _parse_elf(FileSource(file, size), options)
            if not _has_device_code(elf):  # as nearly always: nothing more to read
                return FileFacts(path=name, kind="elf", elf=elf)
            with _mapped(file) as data:
                return _with_device_code(elf, data, name, options)
        with _mapped(file) as data:
            return parse_file(data, name, options)
    except UnreadableElfError as error:
        return _unreadable(name, str(error))
    except (OSError, ValueError) as error:  # ValueError: it became empty meanwhile
        return _unreadable(name, getattr(error, "strerror", None) or str(error))


def is_interesting(magic: bytes, name: str) -> bool:
    """True when a file that begins so, or is called so, has facts.

    They are ELF files, static libraries, fat binaries, scripts, and what tells the loader where libraries lie.
    """
    is_code = magic[:4] == ELF_MAGIC or magic[:8] == FATBIN_MAGIC or magic[:8] in ARCHIVE_MAGICS
    return is_code or magic[:2] == b"#!" or is_loader_config(name)


def is_loader_config(name: str) -> bool:
    """True for ``etc/ld.so.conf`` and what it includes in every distribution."""
    return name.startswith("etc/ld.so.conf") and (name == "etc/ld.so.conf" or name.endswith(".conf"))


def parse_file(data: Buffer, name: str, options: Options) -> FileFacts | None:
    """The facts of a file whose bytes are ``data``; None as in :func:`read_open_file`. Never raises."""
    facts = _parse_any(data, name, options)
    if not options.hash:
        return facts
    return replace(facts or FileFacts(path=name, kind="other"), sha256=_sha256(data))


def _parse_any(data: Buffer, name: str, options: Options) -> FileFacts | None:
    magic = data[:MAGIC_BYTES]
    if not is_interesting(magic, name):
        return None
    if is_loader_config(name):
        return _config(data[:_CONFIG_MAX], name)
    try:
        facts = _script(data[:_LINE_MAX], name) if magic.startswith(b"#!") else _parse(data, magic, name, options)
    except UnreadableElfError as error:
        return _unreadable(name, str(error))
    return replace(facts, host_strings=_host_strings(data, options.host_prefixes)) if options.host_prefixes else facts


def _parse(data: Buffer, magic: bytes, name: str, options: Options) -> FileFacts:
    if magic == FATBIN_MAGIC:
        whole = Section(EXECUTABLE_SECTION, 0, len(data))
        return FileFacts(path=name, kind="fatbin", fatbins=read_fatbins(data, [whole]))
    if not magic.startswith(ELF_MAGIC):
        return _parse_archive(data, name, options)
    return _with_device_code(_parse_elf(BufferSource(data), options), data, name, options)


def _with_device_code(elf: ElfFacts, data: Buffer, name: str, options: Options) -> FileFacts:
    if options.hardening and elf.machine == "AArch64" and elf.has_dynamic:
        from jetsonx.elf.hardening import with_hardening

        elf = with_hardening(elf, data)
    if elf.machine == "CUDA":
        fatbins: tuple[Fatbin, ...] = (_bare_cubin(elf, data),)
    else:
        fatbins = read_fatbins(data, elf.sections, deep=options.deep)
    return FileFacts(path=name, kind="elf", elf=elf, fatbins=fatbins)


def _has_device_code(elf: ElfFacts) -> bool:
    return elf.machine == "CUDA" or any(x.name in DEVICE_SECTIONS for x in elf.sections)


def _parse_archive(data: Buffer, name: str, options: Options) -> FileFacts:
    """Members are read whole only where there is device code: of the others nobody asks more than the machine."""
    members: list[tuple[str, ElfFacts]] = []
    fatbins: list[Fatbin] = []
    reading = BRIEF if data.find(FATBIN_MAGIC) < 0 else PLAIN
    for member in iter_members(data):
        if data[member.offset : member.offset + 4] != ELF_MAGIC:
            continue
        content = data[member.offset : member.offset + member.size_bytes]
        try:
            elf = parse_elf(content, options=reading)
            fatbins += read_fatbins(content, elf.sections, deep=options.deep)
        except UnreadableElfError as error:
            raise UnreadableElfError(f"member {member.name}: {error}") from error
        members.append((member.name, elf))
    return FileFacts(path=name, kind="archive", members=tuple(members), fatbins=tuple(fatbins))


def _bare_cubin(elf: ElfFacts, data: Buffer) -> Fatbin:
    """A ``.cubin`` file, as loaded by the driver API. Where its ELF flags hold the SM depends on the ABI version."""
    sm = elf.flags >> 8 & 0xFF if elf.abi_version >= 8 else elf.flags & 0xFF
    entry = Entry(kind="cubin", sm=sm, size_bytes=len(data), toolkit=cubin_toolkit(data))
    return Fatbin(offset=0, entries=(entry,), has_kernels=any(x.name.startswith(".text.") for x in elf.sections))


def _script(head: bytes, name: str) -> FileFacts:
    return FileFacts(path=name, kind="script", interpreter_line=clean(head.partition(b"\n")[0].rstrip()))


def _config(head: bytes, name: str) -> FileFacts:
    return FileFacts(path=name, kind="other", text="\n".join(map(clean, head.splitlines())))


def _host_strings(data: Buffer, prefixes: Iterable[str]) -> tuple[str, ...]:
    """The paths that begin with one of the directories: the first of each, up to where a path surely ends."""
    found = []
    for prefix in prefixes:
        at = data.find(prefix.rstrip("/").encode() + b"/")
        if at >= 0:
            found.append(clean(_PATH.match(data[at : at + _PATH_MAX])[0]))  # type: ignore[index]  # it may be empty
    return tuple(found)


def _unreadable(name: str, reason: str) -> FileFacts:
    return FileFacts(path=name, kind="unreadable", reason=reason)


def _sha256(data: Buffer) -> str:
    digest = hashlib.sha256()
    for at in range(0, len(data), _HASH_STEP):
        digest.update(data[at : at + _HASH_STEP])
    return digest.hexdigest()


def file_sha256(file: int) -> str:
    """The sha256 of an open file's content, in hex. Raises OSError."""
    digest, at = hashlib.sha256(), 0
    while piece := os.pread(file, _HASH_STEP, at):
        digest.update(piece)
        at += len(piece)
    return digest.hexdigest()


@contextmanager
def _mapped(file: int) -> Iterator[mmap.mmap]:
    data = mmap.mmap(file, 0, access=mmap.ACCESS_READ)
    try:
        yield data
    finally:
        data.close()
