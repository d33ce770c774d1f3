"""Facts of ELF files, whole, odd and damaged."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jetsonx.elf.facts import ElfFacts, UnreadableElfError, VersionNeed
from jetsonx.elf.load import PLAIN, is_elf, parse_elf, read_elf
from tests.elf.synthetic import (
    CUDA,
    EXEC,
    REL,
    X86_64,
    ElfSpec,
    cuda_program,
    make_cubin,
    make_elf,
    make_fatbin,
    ptx_entry,
)

FULL = make_elf(
    ElfSpec(
        needed=("libc.so.6", "libstdc++.so.6"),
        soname="libdemo.so.1",
        rpath="/opt/a",
        runpath="$ORIGIN:/opt/b",
        version_needs={"libc.so.6": ("GLIBC_2.17", "~GLIBC_2.34"), "libstdc++.so.6": ("GLIBCXX_3.4",)},
        version_definitions=("DEMO_1", "DEMO_2"),
        symbols={"pow": "GLIBC_2.34", "puts": "GLIBC_2.17", "exp": "GLIBC_2.34"},
        sections={".nv_fatbin": make_fatbin(ptx_entry(87))},
        with_symtab=True,
    )
)


def test_all_facts_of_a_shared_library() -> None:
    facts = parse_elf(FULL)

    assert (facts.machine, facts.bits, facts.endianness, facts.type) == ("AArch64", 64, "little", "shared")
    assert facts.interpreter == "/lib/ld-linux-aarch64.so.1"
    assert facts.needed == ("libc.so.6", "libstdc++.so.6")
    assert (facts.soname, facts.rpath, facts.runpath) == ("libdemo.so.1", "/opt/a", "$ORIGIN:/opt/b")
    assert facts.version_needs == (
        VersionNeed(library="libc.so.6", version="GLIBC_2.17", symbols=("puts",)),
        VersionNeed(library="libc.so.6", version="GLIBC_2.34", is_weak=True, symbols=("pow", "exp")),
        VersionNeed(library="libstdc++.so.6", version="GLIBCXX_3.4"),
    )
    assert facts.version_definitions == ("DEMO_1", "DEMO_2")
    assert facts.has_dynamic
    assert facts.has_exec_stack is False
    assert not facts.is_stripped
    assert ".nv_fatbin" in {section.name for section in facts.sections}


def test_no_more_than_a_few_symbols_are_named() -> None:
    spec = ElfSpec(version_needs={"libm.so.6": ("GLIBC_2.38",)}, symbols={f"f{i}": "GLIBC_2.38" for i in range(50)})
    (need,) = parse_elf(make_elf(spec)).version_needs
    assert need.symbols == tuple(f"f{i}" for i in range(8))


def test_without_section_headers_the_dynamic_facts_stay() -> None:
    stripped = bytearray(FULL)
    stripped[0x28:0x30] = bytes(8)  # e_shoff
    stripped[0x3C:0x40] = bytes(4)  # e_shnum, e_shstrndx
    facts = parse_elf(bytes(stripped))
    assert facts.needed == ("libc.so.6", "libstdc++.so.6")
    assert len(facts.version_needs) == 3
    assert facts.sections == ()


def test_section_count_beyond_16_bits_is_in_the_first_header() -> None:
    """A file with 65,280 sections or more says 0 in its header; sections must not vanish then."""
    data = bytearray(FULL)
    table, count, names = *struct.unpack_from("<Q", data, 0x28), *struct.unpack_from("<HH", data, 0x3C)
    struct.pack_into("<HH", data, 0x3C, 0, 0xFFFF)
    struct.pack_into("<Q", data, table + 0x20, count)
    struct.pack_into("<I", data, table + 0x28, names)
    assert parse_elf(bytes(data)).sections == parse_elf(FULL).sections


def test_static_program_has_no_dynamic_facts() -> None:
    facts = parse_elf(make_elf(ElfSpec(type=EXEC, interpreter=None)))
    assert (facts.type, facts.interpreter, facts.needed, facts.has_dynamic) == ("executable", None, (), False)


@pytest.mark.parametrize(("exec_stack", "expected"), [(True, True), (False, False), (None, None)])
def test_executable_stack(exec_stack: bool | None, expected: bool | None) -> None:
    assert parse_elf(make_elf(ElfSpec(exec_stack=exec_stack))).has_exec_stack is expected


@pytest.mark.parametrize(
    ("machine", "name"), [(X86_64, "x86-64"), (40, "ARM (32-bit)"), (CUDA, "CUDA"), (8, "MIPS"), (0x1234, "4660")]
)
def test_machine_names(machine: int, name: str) -> None:
    assert parse_elf(make_elf(ElfSpec(machine=machine, type=REL))).machine == name


def test_32_bit_and_big_endian_headers() -> None:
    ident = b"\x7fELF" + bytes([1, 2, 1]) + bytes(9)
    facts = parse_elf(ident + struct.pack(">HHIIIIIHHHHHH", 2, 183, 1, 0, 0, 0, 0, 52, 0, 0, 0, 0, 0))
    assert (facts.machine, facts.bits, facts.endianness) == ("AArch64", 32, "big")


def test_names_that_are_not_utf8_do_not_raise() -> None:
    data = FULL.replace(b"libdemo.so.1", b"lib\xff\xfeemo.so.1"[:12])
    assert parse_elf(data).soname == "lib\\xff\\xfeemo.so."


def test_agrees_with_pyelftools_own_walk_on_a_real_program() -> None:
    from elftools.elf.elffile import ELFFile
    from elftools.elf.gnuversions import GNUVerNeedSection

    path = Path(sys.executable).resolve()
    facts = read_elf(path, options=PLAIN)
    with path.open("rb") as stream:
        elf = ELFFile(stream)
        section = elf.get_section_by_name(".gnu.version_r")
        assert isinstance(section, GNUVerNeedSection)
        needs = [(library.name, aux.name) for library, auxes in section.iter_versions() for aux in auxes]
        dynamic = elf.get_section_by_name(".dynamic")
        needed = [tag.needed for tag in dynamic.iter_tags("DT_NEEDED")]  # type: ignore[union-attr]
        names = {
            section.name for section in elf.iter_sections() if section["sh_type"] not in {"SHT_NULL", "SHT_NOBITS"}
        }
    assert [(need.library, need.version) for need in facts.version_needs] == needs
    assert list(facts.needed) == needed
    assert {section.name for section in facts.sections} == names


@pytest.mark.parametrize("content", [b"", b"\x7fEL", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF" + bytes(60)])
def test_what_is_no_elf_file_is_unreadable(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(UnreadableElfError):
        read_elf(path)


def test_is_elf(tmp_path: Path) -> None:
    (tmp_path / "elf").write_bytes(FULL)
    (tmp_path / "script").write_text("#!/bin/sh\n")
    (tmp_path / "empty").touch()
    names = ("elf", "script", "empty", "missing", ".")
    assert [is_elf(tmp_path / name) for name in names] == [True, False, False, False, False]


def test_every_truncation_is_told_or_harmless() -> None:
    """A cut-off file never passes for the whole one, since section headers are at its end."""
    for length in range(len(FULL)):
        with pytest.raises(UnreadableElfError):
            parse_elf(FULL[:length])


@pytest.mark.parametrize(
    ("offset", "code", "value"),
    [
        (0x20, "<Q", 2**63),  # program headers far outside
        (0x28, "<Q", 2**64 - 64),  # section headers: the sum overflows 64 bits
        (0x36, "<H", 0),  # size of a program header
        (0x38, "<H", 0xFFFF),  # number of program headers
        (0x3A, "<H", 1),  # size of a section header
        (0x3E, "<H", 0x1234),  # which section holds the names
    ],
)
def test_hostile_header_fields(offset: int, code: str, value: int) -> None:
    data = bytearray(FULL)
    struct.pack_into(code, data, offset, value)
    with pytest.raises(UnreadableElfError):
        parse_elf(bytes(data))


def test_a_version_table_that_points_at_itself_ends() -> None:
    """vn_cnt 65535 with entries that overlap: bounded, whatever the counts say."""
    data = bytearray(FULL)
    at = data.index(struct.pack("<HH", 1, 2), 0x400)  # vn_version 1, vn_cnt 2
    struct.pack_into("<H", data, at + 2, 0xFFFF)
    struct.pack_into("<I", data, at + 16 + 12, 1)  # vna_next
    facts = _facts_or_none(bytes(data))
    assert facts is None or len(facts.version_needs) < 10_000


def _facts_or_none(data: bytes) -> ElfFacts | None:
    try:
        return parse_elf(data)
    except UnreadableElfError:
        return None


@given(st.binary(max_size=600))
@example(b"")
@example(bytes(300))
@settings(deadline=2000)
def test_random_bytes_behind_the_magic(tail: bytes) -> None:
    _facts_or_none(b"\x7fELF" + tail)
    _facts_or_none(FULL[:16] + tail)


@given(st.lists(st.tuples(st.integers(0, len(FULL) - 1), st.integers(1, 255)), min_size=1, max_size=6), st.data())
@settings(deadline=2000, max_examples=400)
def test_damaged_bytes_never_raise_anything_else(damage: list[tuple[int, int]], data: st.DataObject) -> None:
    changed = bytearray(FULL)
    for offset, mask in damage:
        changed[offset] ^= mask
    length = data.draw(st.integers(0, len(FULL)))
    _facts_or_none(bytes(changed))
    _facts_or_none(bytes(changed[:length]))


@given(st.lists(st.tuples(st.integers(0, 0x6FF), st.integers(1, 255)), min_size=1, max_size=4))
@settings(deadline=2000, max_examples=100)
def test_damaged_cubins_and_programs(damage: list[tuple[int, int]]) -> None:
    for whole in (make_cubin(87), cuda_program(make_fatbin(ptx_entry(87)))):
        changed = bytearray(whole)
        for offset, mask in damage:
            changed[offset % len(whole)] ^= mask
        _facts_or_none(bytes(changed))
