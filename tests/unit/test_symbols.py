"""What a file imports and exports, as the loader would see it."""

from __future__ import annotations

import struct

import pytest

from jetsonx.elf.facts import Import, UnreadableElfError, VersionNeed
from jetsonx.elf.symbols import parse_symbols
from jetsonx.elf.versions import Versions

WEAK, LOCAL, UNIQUE = 2, 0, 10  # the binding is GLOBAL, 1, if nothing is said
IFUNC = 10  # the kind FUNC, 2
HIDDEN_VERSION = 0x8000


class Table:
    """A dynamic symbol table to be."""

    def __init__(self) -> None:
        self.strings = b"\0"
        self.symbols = bytes(24)
        self.numbers = b"\0\0"

    def add(
        self,
        name: str,
        *,
        version: int = 1,
        section: int = 7,
        binding: int = 1,
        kind: int = 2,
        other: int = 0,
    ) -> Table:
        self.symbols += struct.pack("<IBBHQQ", len(self.strings), binding << 4 | kind, other, section, 0, 0)
        self.strings += name.encode() + b"\0"
        self.numbers += struct.pack("<H", version)
        return self


NEED = VersionNeed(library="libc.so.6", version="GLIBC_2.34")
VERSIONS = Versions(((5, NEED),), {2: "V_1", 3: "V_2"})


def parse(table: Table) -> tuple[tuple[Import, ...], frozenset[str], bool]:
    return parse_symbols(table.symbols, table.numbers, table.strings, VERSIONS)


def test_an_undefined_symbol_is_an_import_with_its_version() -> None:
    table = Table().add("dlsym", version=5, section=0).add("gone", section=0, binding=WEAK)
    imports, exports, _ = parse(table)
    assert imports == (Import("dlsym", "GLIBC_2.34", "libc.so.6"), Import("gone", is_weak=True))
    assert exports == frozenset()


def test_the_default_version_answers_to_both_names_and_a_hidden_one_only_to_its_own() -> None:
    table = Table().add("f", version=3).add("f", version=2 | HIDDEN_VERSION).add("plain")
    assert parse(table)[1] == {"f", "f@V_2", "f@V_1", "plain"}


def test_a_copied_variable_is_there_in_the_version_of_its_library() -> None:
    assert parse(Table().add("stdout", version=5))[1] == {"stdout", "stdout@GLIBC_2.34"}


@pytest.mark.parametrize("changes", [{"binding": LOCAL}, {"other": 2}, {"other": 1}, {"version": 0}])
def test_what_no_other_file_can_use_is_no_export(changes: dict[str, int]) -> None:
    assert parse(Table().add("f", **changes))[1] == frozenset()


def test_protected_and_unique_symbols_are_exports() -> None:
    assert parse(Table().add("f", other=3).add("g", binding=UNIQUE))[1] == {"f", "g"}


def test_functions_chosen_at_the_start_are_noticed() -> None:
    assert parse(Table().add("memcpy", kind=IFUNC))[2]
    assert not parse(Table().add("memcpy"))[2]


def test_names_that_trouble_a_terminal_are_escaped() -> None:
    table = Table().add("\x1b[31mred").add("übel")
    assert parse(table)[1] == {"\\x1b[31mred", "übel"}


def test_a_name_outside_of_the_strings_is_damage() -> None:
    table = Table().add("f")
    table.strings = b"\0"
    with pytest.raises(UnreadableElfError, match="outside"):
        parse(table)


def test_names_that_overlap_do_not_fill_the_memory() -> None:
    """8,000 names, each one byte behind the one before: a table of 8 kB must not give hundreds of megabytes."""
    table = Table()
    table.strings = b"\0" + b"x" * 8000 + b"\0"
    table.symbols = bytes(24) + b"".join(struct.pack("<IBBHQQ", i, 0x12, 0, 7, 0, 0) for i in range(1, 8000)) * 10
    table.numbers = struct.pack("<H", 1) * (len(table.symbols) // 24)
    with pytest.raises(UnreadableElfError, match="room"):
        parse(table)
