"""The dynamic section of an ELF file: libraries, run paths, symbol versions and symbols, as the loader finds them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from jetsonx.elf.facts import Import, VersionNeed
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
_WINDOW_BYTES = 1 << 10
_RELOCATION_BYTES = 24
_IRELATIVE = struct.pack("<I", 1032)  # R_AARCH64_IRELATIVE

_T = TypeVar("_T")


class DynamicReader:
    """Follows the ``tags`` of a dynamic section; ``offset_of`` tells where in the file an address is.

    Everything raises UnreadableElfError, struct.error and OSError. What it gives are fields of
    :class:`jetsonx.elf.facts.ElfFacts`.
    """

    def __init__(self, source: Source, offset_of: Callable[[int], int], tags: Mapping[int, int]) -> None:
        self._source = source
        self._offset_of = offset_of
        self._tags = tags
        self._flags, self._flags_1 = tags.get(_FLAGS, 0), tags.get(_FLAGS_1, 0)
        self._strings = self._read_strings()
        self._versions = self._read_versions()

    @property
    def is_bound_now(self) -> bool:
        """True when all functions are looked up at the start."""
        return bool(_BIND_NOW in self._tags or self._flags & _DF_BIND_NOW or self._flags_1 & _DF_1_NOW)

    @property
    def says_pie(self) -> bool:
        """True when the file calls itself a position-independent program."""
        return bool(self._flags_1 & _DF_1_PIE)

    def facts(self, needed: Sequence[int]) -> dict[str, Any]:
        """All but symbols; ``needed`` are the names' offsets among the strings."""
        tags, strings = self._tags, self._strings
        return {
            "has_dynamic": True,
            "soname": string_at(strings, tags[_SONAME]) if _SONAME in tags else None,
            "needed": tuple([string_at(strings, x) for x in needed]),
            "rpath": string_at(strings, tags[_RPATH]) if _RPATH in tags else None,
            "runpath": string_at(strings, tags[_RUNPATH]) if _RUNPATH in tags else None,
            "version_needs": tuple([need for _, need in self._versions.needs]),
            "version_definitions": tuple(self._versions.definitions.values()),
            "has_textrel": _TEXTREL in tags or bool(self._flags & _DF_TEXTREL),
            "has_relr": _RELR in tags,
            "has_static_tls": bool(self._flags & _DF_STATIC_TLS),
        }

    def symbols(self, count: int | None) -> dict[str, Any]:
        """The symbols, and the version needs with their names.

        ``count`` is how many there are by the section headers, for files whose hash tables do not tell.
        """
        symbols = self._read_symbols(count)
        has_ifunc = symbols.has_ifunc or any(
            _has_irelative(self._sized(table, size)) for table, size in ((_JMPREL, _PLTRELSZ), (_RELA, _RELASZ))
        )
        return {
            "imports": symbols.imports,
            "exports": symbols.exports,
            "has_ifunc": has_ifunc,
            "version_needs": _explained(self._versions, symbols.imports),
        }

    # ---- tables --------------------------------------------------------------------------------------------------

    def _sized(self, table: int, size: int) -> bytes:
        """A table whose size another tag gives; empty when there is none."""
        if not self._tags.get(size) or table not in self._tags:
            return b""
        return self._source.read(self._offset_of(self._tags[table]), self._tags[size])

    def _read_strings(self) -> bytes:
        if _STRTAB not in self._tags:
            return b""
        start = self._offset_of(self._tags[_STRTAB])
        return self._source.read(start, min(self._tags.get(_STRSZ, 0), self._source.size - start))

    def _read_versions(self) -> Versions:
        tags, strings = self._tags, self._strings
        needs: tuple[tuple[int, VersionNeed], ...] = ()
        definitions: dict[int, str] = {}
        if number := tags.get(_VERNEEDNUM, 0) if _VERNEED in tags else 0:
            needs = self._in_window(tags[_VERNEED], lambda table: tuple(parse_needs(table, number, strings)))
        if number := tags.get(_VERDEFNUM, 0) if _VERDEF in tags else 0:
            definitions = self._in_window(tags[_VERDEF], lambda table: dict(parse_definitions(table, number, strings)))
        return Versions(needs, definitions)

    def _in_window(self, address: int, parse: Callable[[bytes], _T]) -> _T:
        """Parse a table of unknown size: a short piece of the file first, nearly always enough, then all of it."""
        start = self._offset_of(address)
        rest = self._source.size - start
        if rest > _WINDOW_BYTES:
            with suppress(struct.error):
                return parse(self._source.read(start, _WINDOW_BYTES))
        return parse(self._source.read(start, rest))

    def _read_symbols(self, count: int | None) -> Symbols:
        if _SYMTAB not in self._tags:
            return Symbols()
        by_hash = self._count_by_hash()
        if by_hash is not None:
            count = by_hash
        elif count is None:
            count = self._count_by_relocations()
        table = self._source.read(self._offset_of(self._tags[_SYMTAB]), count * SYMBOL_BYTES)
        numbers = b""
        if _VERSYM in self._tags:
            numbers = self._source.read(self._offset_of(self._tags[_VERSYM]), 2 * count)
        return parse_symbols(table, numbers, self._strings, self._versions)

    def _count_by_hash(self) -> int | None:
        """How many symbols there are; None when the hash tables do not tell: an empty GNU one leaves it open."""
        read, tags = self._source.read, self._tags
        if _HASH in tags:
            _, chains = struct.unpack("<II", read(self._offset_of(tags[_HASH]), 8))
            return int(chains)
        if _GNU_HASH not in tags:
            return None
        start = self._offset_of(tags[_GNU_HASH])
        buckets, first, words, _ = struct.unpack("<IIII", read(start, 16))
        at = start + 16 + 8 * words
        last = max(struct.unpack(f"<{buckets}I", read(at, 4 * buckets)), default=0)
        if last < first or last == 0:
            return None
        at += 4 * buckets + 4 * (last - first)
        while True:  # the chain of the last bucket; its end has bit 0 set. Beyond the file, the read says so.
            piece = read(at, min(256, max(4, (self._source.size - at) // 4 * 4)))
            for (value,) in struct.iter_unpack("<I", piece):
                last += 1
                if value & 1:
                    return int(last)
            at += len(piece)

    def _count_by_relocations(self) -> int:
        """One more than the highest symbol that a relocation names: the others are of no use to anyone."""
        highest = 0
        for table, size in ((_JMPREL, _PLTRELSZ), (_RELA, _RELASZ)):
            for (symbol,) in struct.iter_unpack("<12xI8x", self._sized(table, size)):
                highest = max(highest, symbol)
        return highest + 1 if highest else 0


def _has_irelative(relocations: bytes) -> bool:
    at = -1
    while (at := relocations.find(_IRELATIVE, at + 1)) >= 0:
        if at % _RELOCATION_BYTES == 8:  # the low half of r_info
            return True
    return False


def _explained(versions: Versions, imports: Sequence[Import]) -> tuple[VersionNeed, ...]:
    """The version needs, each with the first few symbols that ask for it."""
    symbols: dict[tuple[str, str], list[str]] = {}
    for name, version, library, _ in imports:
        if version:
            names = symbols.setdefault((library, version), [])
            if len(names) < _NAMED_SYMBOLS:
                names.append(name)
    return tuple(
        [
            VersionNeed(library, version, is_weak, tuple(symbols.get((library, version), ())))
            for _, (library, version, is_weak, _) in versions.needs
        ]
    )
