"""The dynamic symbols of an ELF file: what it imports and what it exports, with versions.

A library has tens of thousands, a file system hundreds of thousands: the loop is written for speed.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from jetsonx.elf.facts import Import, UnreadableElfError
from jetsonx.elf.source import clean
from jetsonx.elf.versions import VERSION_BITS, Versions

SYMBOL_BYTES = 24
_SYMBOL = struct.Struct("<IBBH16x")
_GLOBAL, _WEAK, _UNIQUE = 1, 2, 10
_IFUNC = 10  # STT_GNU_IFUNC
_HIDDEN = 0x8000
_NAME_MAX = 4096
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
    indexes = [x for (x,) in struct.iter_unpack("<H", numbers)] if numbers else [1] * (len(table) // SYMBOL_BYTES)
    needs = {index: (need.version, need.library) for index, need in versions.needs}
    definitions = {index: f"@{name}" for index, name in versions.definitions.items()}
    names = _Names(strings)
    imports: list[Import] = []
    exports: set[str] = set()
    has_ifunc = False
    for (at, info, other, section), index in zip(_SYMBOL.iter_unpack(table), indexes, strict=True):
        binding = info >> 4
        if at == 0 or binding not in (_GLOBAL, _WEAK, _UNIQUE):
            continue
        if section == 0:
            version, library = needs.get(index & VERSION_BITS, ("", ""))
            imports.append(Import(names.at(at), version, library, binding == _WEAK))
            continue
        has_ifunc = has_ifunc or info & 15 == _IFUNC
        number = index & VERSION_BITS
        if other & 3 in (1, 2) or number == 0:  # internal, hidden; local by its version
            continue
        name = names.at(at)
        if number > 1 and (suffix := definitions.get(number)) is not None:
            exports.add(name + suffix)
            names.spend(len(name) + len(suffix))
            if index & _HIDDEN:
                continue
        exports.add(name)
    return Symbols(tuple(imports), frozenset(exports), has_ifunc)


class _Names:
    """The names in a string table. Decoded at once when it is plain text, as nearly always."""

    def __init__(self, strings: bytes) -> None:
        self._raw = strings
        self._left = _ROOM_BYTES + 8 * len(strings)
        is_plain = strings.isascii() and strings.translate(None, delete=b"\0").decode().isprintable()
        self._text = strings.decode() if is_plain else None

    def at(self, offset: int) -> str:
        text = self._text
        if text is None:
            return self._slow(offset)
        end = text.find("\0", offset)
        if end < 0 or end - offset > _NAME_MAX:
            return self._slow(offset)
        self._left -= end - offset
        if self._left < 0:
            raise _too_many()
        return text[offset:end]

    def _slow(self, offset: int) -> str:
        if offset >= len(self._raw):
            raise UnreadableElfError(f"the ELF file is damaged: a name at 0x{offset:x} is outside of its table")
        name = clean(self._raw[offset : offset + _NAME_MAX].partition(b"\0")[0])
        self.spend(len(name))
        return name

    def spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise _too_many()


def _too_many() -> UnreadableElfError:
    return UnreadableElfError("the ELF file is damaged: its symbols' names take more room than all of its strings")
