"""The dynamic symbols of an ELF file: what it imports and what it exports, with versions.

A library has tens of thousands, a file system hundreds of thousands: the loop is written for speed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from itertools import repeat
from sys import intern
from typing import NamedTuple

from jetsonx.elf.facts import Import, UnreadableElfError
from jetsonx.elf.source import clean, plain_text
from jetsonx.elf.versions import VERSION_BITS, Versions

SYMBOL_BYTES = 24
_SYMBOL = struct.Struct("<IBBH16x")
_WEAK = 2
_VISIBLE = frozenset(x for x in range(256) if x >> 4 in (1, _WEAK, 10))  # STB_GLOBAL, STB_WEAK, STB_GNU_UNIQUE
_IFUNC = 10  # STT_GNU_IFUNC
_HIDDEN = 0x8000
_NAME_MAX = 4096
_NO_VERSION = ("", "")
_STEP = 4096  # symbols between looks at how much room their names take
_ROOM_BYTES = 16 << 20  # names share their ends in the table, but no honest file gains much by that


class Symbols(NamedTuple):
    """See the fields of :class:`jetsonx.elf.facts.ElfFacts`."""

    imports: tuple[Import, ...] = ()
    exports: frozenset[str] = frozenset()
    has_ifunc: bool = False


def parse_symbols(table: bytes, numbers: bytes, strings: bytes, versions: Versions) -> Symbols:
    """The symbols in ``table``; ``numbers`` are their version indexes, empty when the file has no versions.

    Raises UnreadableElfError.
    """
    found = _Found(strings, versions)
    for start in range(0, len(table) // SYMBOL_BYTES, _STEP):
        piece = table[start * SYMBOL_BYTES : (start + _STEP) * SYMBOL_BYTES]
        indexes = (
            struct.unpack(f"<{len(piece) // SYMBOL_BYTES}H", numbers[2 * start : 2 * (start + _STEP)])
            if numbers
            else repeat(1)
        )
        found.add(piece, indexes)
    return Symbols(tuple(found.imports), frozenset(found.exports), found.has_ifunc)


class _Found:
    def __init__(self, strings: bytes, versions: Versions) -> None:
        self.imports: list[Import] = []
        self.exports: set[str] = set()
        self.has_ifunc = False
        # Hundreds of files ask for the same names, versions and libraries: each is kept once.
        self._needs = {index: (intern(need.version), intern(need.library)) for index, need in versions.needs}
        # A program that keeps a copy of a library's variable defines it in the version that it needs of the library.
        names = {index: need.version for index, need in versions.needs} | dict(versions.definitions)
        self._suffixes = {index: f"@{name}" for index, name in names.items()}
        self._raw = strings
        self._text = plain_text(strings)
        self._room = _ROOM_BYTES + 8 * len(strings)

    def add(self, table: bytes, indexes: Iterable[int]) -> None:
        text, size = self._text or "", len(self._raw)
        find, add, export, new = text.find, self.imports.append, self.exports.add, tuple.__new__
        spent = 0
        for (at, info, other, section), index in zip(_SYMBOL.iter_unpack(table), indexes, strict=False):
            if at == 0 or info not in _VISIBLE:
                continue
            if at >= size:
                raise UnreadableElfError(f"the ELF file is damaged: a name at 0x{at:x} is outside of its table")
            number = index & VERSION_BITS
            name = text[at : find("\0", at)] if text else self._slow(at)
            spent += len(name)
            if section == 0:
                version, library = self._needs.get(number, _NO_VERSION)
                add(new(Import, (intern(name), version, library, info >> 4 == _WEAK)))
                continue
            if info & 15 == _IFUNC:
                self.has_ifunc = True
            if other & 3 in (1, 2) or number == 0:  # internal, hidden; local by its version
                continue
            if number > 1 and number in self._suffixes:
                suffix = self._suffixes[number]
                spent += len(name) + len(suffix)
                export(name + suffix)
                if index & _HIDDEN:
                    continue
            export(name)
        self._room -= spent
        if self._room < 0:
            raise UnreadableElfError("the ELF file is damaged: its symbols' names take more room than its strings")

    def _slow(self, at: int) -> str:
        return clean(self._raw[at : at + _NAME_MAX].partition(b"\0")[0])
