"""The GNU symbol version tables: which versions a file needs of which library, and which it defines.

Both are chains of chains, linked by relative offsets. Source: "ELF Symbol Versioning" by Ulrich Drepper, LSB core.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from functools import partial
from typing import NamedTuple

from jetsonx.elf.facts import UnreadableElfError, VersionNeed
from jetsonx.elf.source import string_at

_NEED, _NEED_AUX = struct.Struct("<HHIII"), struct.Struct("<IHHII")
_DEFINITION, _DEFINITION_AUX = struct.Struct("<HHHHIII"), struct.Struct("<II")
_ENTRIES_MAX = 10_000
_need = partial(tuple.__new__, VersionNeed)  # as calling it, in a third of the time
_WEAK = 2  # VER_FLG_WEAK
VERSION_BITS = 0x7FFF
"""The index of a version in the table of symbol versions; the bit above hides a version that is not the default."""


class Versions(NamedTuple):
    """``needs``: (index, need) in the order of the file; ``definitions``: names by index."""

    needs: tuple[tuple[int, VersionNeed], ...] = ()
    definitions: Mapping[int, str] = {}


def parse_needs(table: bytes, count: int, strings: bytes) -> list[tuple[int, VersionNeed]]:
    """The versions needed, each with its index. Raises UnreadableElfError; struct.error where ``table`` ends."""
    found: list[tuple[int, VersionNeed]] = []
    left, at = _ENTRIES_MAX, 0
    for _ in range(min(count, _ENTRIES_MAX)):
        _, number, file, aux, following = _NEED.unpack_from(table, at)
        library = string_at(strings, file)
        here = at + aux
        for _ in range(number):
            _, flags, index, name, next_aux = _NEED_AUX.unpack_from(table, here)
            need = _need((library, string_at(strings, name), bool(flags & _WEAK), ()))
            found.append((index & VERSION_BITS, need))
            left -= 1
            if left <= 0:
                raise _endless()
            if next_aux == 0:
                break
            here += next_aux
        if following == 0:
            break
        at += following
    return found


def parse_definitions(table: bytes, count: int, strings: bytes) -> Iterator[tuple[int, str]]:
    """The versions defined: index and name. Raises UnreadableElfError; struct.error where ``table`` ends."""
    if count > _ENTRIES_MAX:
        raise _endless()
    at = 0
    for _ in range(count):
        _, _, index, number, _, aux, following = _DEFINITION.unpack_from(table, at)
        if number:  # the first name is the version itself, later ones are its parents
            name, _ = _DEFINITION_AUX.unpack_from(table, at + aux)
            yield index & VERSION_BITS, string_at(strings, name)
        if following == 0:
            break
        at += following


def _endless() -> UnreadableElfError:
    return UnreadableElfError("the ELF file is damaged: its version table does not end")
