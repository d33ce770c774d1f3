"""The dynamic section of an ELF file: libraries, run paths, symbol versions and symbols, as the loader finds them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from jetsonx.elf.facts import Import, UnreadableElfError, VersionNeed
from jetsonx.elf.source import Source, string_at
from jetsonx.elf.symbols import SYMBOL_BYTES, Symbols, parse_symbols
from jetsonx.elf.versions import Versions, parse_definitions, parse_needs

_HASH, _STRTAB, _SYMTAB, _RELA, _RELASZ, _STRSZ = 4, 5, 6, 7, 8, 10
_PLTRELSZ, _SONAME, _RPATH, _TEXTREL, _JMPREL, _BIND_NOW = 2, 14, 15, 22, 23, 24
_RUNPATH, _FLAGS, _RELR, _GNU_HASH, _VERSYM = 29, 30, 36, 0x6FFFFEF5, 0x6FFFFFF0
_FLAGS_1, _VERDEF, _VERDEFNUM, _VERNEED, _VERNEEDNUM = range(0x6FFFFFFB, 0x70000000)
_DF_TEXTREL, _DF_BIND_NOW, _DF_STATIC_TLS = 4, 8, 16
_DF_1_NOW, _DF_1_PIE = 1, 0x08000000

_NAMED_SYMBOLS = 8  # enough for a person to find the cause
_WINDOW_BYTES = 1 << 13
_RELOCATION_BYTES = 24
_IRELATIVE = struct.pack("<I", 1032)  # R_AARCH64_IRELATIVE

_T = TypeVar("_T")
OffsetOf = Callable[[int], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dynamic:
    """What the dynamic section says; see :class:`jetsonx.elf.facts.ElfFacts`."""

    soname: str | None
    needed: tuple[str, ...]
    rpath: str | None
    runpath: str | None
    version_needs: tuple[VersionNeed, ...]
    version_definitions: tuple[str, ...]
    symbols: Symbols
    is_bound_now: bool
    says_pie: bool
    has_textrel: bool
    has_relr: bool
    has_static_tls: bool
    has_irelative: bool


def parse_dynamic(
    source: Source, offset_of: OffsetOf, tags: Mapping[int, int], needed: Sequence[int], *, symbol_count: int | None
) -> Dynamic:
    """Follow the ``tags`` of a dynamic section; ``needed`` are the names' offsets among its strings.

    ``offset_of`` tells where in the file an address is. ``symbol_count`` is what the section headers say, for files
    whose hash tables do not. Raises UnreadableElfError, struct.error, OSError.
    """
    strings = _strings(source, offset_of, tags)
    versions = _versions(source, offset_of, tags, strings)
    symbols = _symbols(source, offset_of, tags, strings, versions, symbol_count)
    flags, flags_1 = tags.get(_FLAGS, 0), tags.get(_FLAGS_1, 0)
    soname, rpath, runpath = (
        string_at(strings, tags[tag]) if tag in tags else None for tag in (_SONAME, _RPATH, _RUNPATH)
    )
    return Dynamic(
        soname=soname,
        needed=tuple(string_at(strings, x) for x in needed),
        rpath=rpath,
        runpath=runpath,
        version_needs=_explained(versions, symbols.imports),
        version_definitions=tuple(versions.definitions.values()),
        symbols=symbols,
        is_bound_now=bool(_BIND_NOW in tags or flags & _DF_BIND_NOW or flags_1 & _DF_1_NOW),
        says_pie=bool(flags_1 & _DF_1_PIE),
        has_textrel=_TEXTREL in tags or bool(flags & _DF_TEXTREL),
        has_relr=_RELR in tags,
        has_static_tls=bool(flags & _DF_STATIC_TLS),
        has_irelative=any(
            _has_irelative(_sized(source, offset_of, tags, table, size))
            for table, size in ((_JMPREL, _PLTRELSZ), (_RELA, _RELASZ))
        ),
    )


def _sized(source: Source, offset_of: OffsetOf, tags: Mapping[int, int], table: int, size: int) -> bytes:
    """A table whose size another tag gives; empty when there is none."""
    if not tags.get(size) or table not in tags:
        return b""
    return source.read(offset_of(tags[table]), tags[size])


def _strings(source: Source, offset_of: OffsetOf, tags: Mapping[int, int]) -> bytes:
    if _STRTAB not in tags:
        return b""
    start = offset_of(tags[_STRTAB])
    return source.read(start, min(tags.get(_STRSZ, 0), source.size - start))


def _has_irelative(relocations: bytes) -> bool:
    at = -1
    while (at := relocations.find(_IRELATIVE, at + 1)) >= 0:
        if at % _RELOCATION_BYTES == 8:  # the low half of r_info
            return True
    return False


# ---- symbol versions -------------------------------------------------------------------------------------------------


def _versions(source: Source, offset_of: OffsetOf, tags: Mapping[int, int], strings: bytes) -> Versions:
    needs: tuple[tuple[int, VersionNeed], ...] = ()
    definitions: dict[int, str] = {}
    if number := tags.get(_VERNEEDNUM, 0) if _VERNEED in tags else 0:
        start = offset_of(tags[_VERNEED])
        needs = _in_window(source, start, lambda table: tuple(parse_needs(table, number, strings)))
    if number := tags.get(_VERDEFNUM, 0) if _VERDEF in tags else 0:
        start = offset_of(tags[_VERDEF])
        definitions = _in_window(source, start, lambda table: dict(parse_definitions(table, number, strings)))
    return Versions(needs, definitions)


def _in_window(source: Source, start: int, parse: Callable[[bytes], _T]) -> _T:
    """Parse a table of unknown size: a short piece of the file first, which nearly always is enough, then all of it."""
    rest = source.size - start
    if rest > _WINDOW_BYTES:
        try:
            return parse(source.read(start, _WINDOW_BYTES))
        except struct.error:
            pass
    return parse(source.read(start, rest))


def _explained(versions: Versions, imports: Sequence[Import]) -> tuple[VersionNeed, ...]:
    """The version needs, each with the first few symbols that ask for it."""
    symbols: dict[tuple[str, str], list[str]] = {}
    for item in imports:
        if item.version:
            names = symbols.setdefault((item.library, item.version), [])
            if len(names) < _NAMED_SYMBOLS:
                names.append(item.name)
    return tuple(
        replace(need, symbols=tuple(symbols.get((need.library, need.version), ()))) for _, need in versions.needs
    )


# ---- symbols ---------------------------------------------------------------------------------------------------------


def _symbols(
    source: Source,
    offset_of: OffsetOf,
    tags: Mapping[int, int],
    strings: bytes,
    versions: Versions,
    symbol_count: int | None,
) -> Symbols:
    if _SYMTAB not in tags:
        return Symbols()
    count = _count_by_hash(source, offset_of, tags)
    if count is None:
        count = symbol_count if symbol_count is not None else _count_by_relocations(source, offset_of, tags)
    start = offset_of(tags[_SYMTAB])
    table = source.read(start, count * SYMBOL_BYTES)
    numbers = source.read(offset_of(tags[_VERSYM]), 2 * count) if _VERSYM in tags else b""
    return parse_symbols(table, numbers, strings, versions)


def _count_by_hash(source: Source, offset_of: OffsetOf, tags: Mapping[int, int]) -> int | None:
    """How many dynamic symbols there are; None when the hash tables do not tell: an empty GNU one leaves it open."""
    if _HASH in tags:
        _, chains = struct.unpack("<II", source.read(offset_of(tags[_HASH]), 8))
        return int(chains)
    if _GNU_HASH not in tags:
        return None
    start = offset_of(tags[_GNU_HASH])
    buckets, first, words, _ = struct.unpack("<IIII", source.read(start, 16))
    at = start + 16 + 8 * words
    last = max(struct.unpack(f"<{buckets}I", source.read(at, 4 * buckets)), default=0)
    if last < first or last == 0:
        return None
    at += 4 * buckets + 4 * (last - first)
    while True:  # the chain of the last bucket; its end has bit 0 set. Beyond the file, the read says so.
        piece = source.read(at, min(256, max(4, (source.size - at) // 4 * 4)))
        for (value,) in struct.iter_unpack("<I", piece):
            last += 1
            if value & 1:
                return int(last)
        at += len(piece)


def _count_by_relocations(source: Source, offset_of: OffsetOf, tags: Mapping[int, int]) -> int:
    """One more than the highest symbol that a relocation names: the others are of no use to anyone."""
    highest = 0
    for table, size in ((_JMPREL, _PLTRELSZ), (_RELA, _RELASZ)):
        raw = _sized(source, offset_of, tags, table, size)
        if len(raw) % _RELOCATION_BYTES:
            raise UnreadableElfError("the ELF file is damaged: its relocations are no whole number of entries")
        for (symbol,) in struct.iter_unpack("<12xI8x", raw):
            highest = max(highest, symbol)
    return highest + 1 if highest else 0
