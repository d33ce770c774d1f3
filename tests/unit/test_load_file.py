"""The facts of one file, whatever it is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jetsonx.elf.load import BRIEF, Options, load_file, parse_elf, parse_file
from tests.elf.synthetic import (
    X86_64,
    ElfSpec,
    cubin_entry,
    cuda_program,
    join_fatbins,
    make_cubin,
    make_elf,
    make_entry,
    make_fatbin,
    ptx_entry,
)

HOST_PATHS = b"x\0/build/me/src/a.cpp\0/builder/b\0 /opt/sdk/lib:/usr\0"


def test_what_is_no_regular_file_is_told_and_nothing_waits(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "cut").write_bytes(make_elf()[:100])
    reasons = {name: load_file(tmp_path / name, name).reason for name in ("pipe", "folder", "gone", "cut")}
    assert reasons.pop("cut").startswith("the ELF file is cut off")
    assert reasons == {
        "pipe": "it is not a regular file",
        "folder": "it is not a regular file",
        "gone": "it is not there",
    }


def test_scripts_say_what_starts_them() -> None:
    facts = parse_file(b"#!/usr/bin/env python3\r\nprint()\n", "a", Options())
    assert facts is not None
    assert (facts.kind, facts.interpreter_line) == ("script", "#!/usr/bin/env python3")
    assert parse_file(b"hello", "a", Options()) is None


def test_where_the_loader_looks_is_read_as_text() -> None:
    facts = parse_file(b"include x\n/opt/\x1blib\n", "etc/ld.so.conf.d/a.conf", Options())
    assert facts is not None
    assert facts.text == "include x\n/opt/\\x1blib"
    assert parse_file(b"/opt/lib\n", "opt/ld.so.conf", Options()) is None


@pytest.mark.parametrize(
    ("prefixes", "found"),
    [
        ((), ()),
        (("/build",), ("/build/me/src/a.cpp",)),
        (("/build/", "/opt/sdk"), ("/build/me/src/a.cpp", "/opt/sdk/lib")),
        (("/home/me",), ()),
    ],
)
def test_paths_of_the_build_machine_are_found_where_asked(
    tmp_path: Path, prefixes: tuple[str, ...], found: tuple[str, ...]
) -> None:
    (tmp_path / "a").write_bytes(make_elf(ElfSpec(sections={".rodata": HOST_PATHS})))
    assert load_file(tmp_path / "a", "a", Options(host_prefixes=prefixes)).host_strings == found


def test_brief_facts_are_some_of_the_facts() -> None:
    data = make_elf(ElfSpec(needed=("libc.so.6",), soname="x", version_needs={"libc.so.6": ("GLIBC_2.17",)}))
    brief, full = parse_elf(data, options=BRIEF), parse_elf(data)
    assert (brief.needed, brief.soname, brief.loads) == (full.needed, full.soname, full.loads)
    assert brief.version_needs == full.version_needs
    assert (brief.sections, brief.imports) == ((), ())


def test_another_machines_name_is_pyelftools() -> None:
    assert parse_elf(make_elf(ElfSpec(machine=X86_64))).machine == "x86-64"
    assert parse_elf(make_elf(ElfSpec(machine=8))).machine == "MIPS"


def test_device_code_outside_of_its_sections_is_found_when_asked() -> None:
    hidden = make_fatbin(cubin_entry(90))
    data = cuda_program(
        make_fatbin(cubin_entry(87)), sections={".nv_fatbin": make_fatbin(ptx_entry(87)), ".data": hidden}
    )
    for deep in (False, True):
        facts = parse_file(data, "a", Options(deep=deep))
        assert facts is not None
        found = {(fatbin.entries[0].name, fatbin.is_outside) for fatbin in facts.fatbins}
        assert found == {("compute_87", False)} | ({("sm_90", True)} if deep else set())


def test_what_only_looks_like_device_code_is_passed_over_by_a_search() -> None:
    damaged = make_fatbin(cubin_entry(90))[:40]
    facts = parse_file(make_elf(ElfSpec(sections={".data": damaged * 3})), "a", Options(deep=True))
    assert facts is not None
    assert (facts.kind, facts.fatbins) == ("elf", ())


def cubin(version: int) -> bytes:
    """One of ABI version 7, whose header says which toolkit made it."""
    data = bytearray(make_cubin(87, abi_version=7))
    data[20:24] = version.to_bytes(4, "little")
    return bytes(data)


@pytest.mark.parametrize(("version", "toolkit"), [(126, (12, 6)), (118, (11, 8)), (1, None), (1 << 31, None)])
def test_the_toolkit_of_machine_code(version: int, toolkit: tuple[int, int] | None) -> None:
    entry = make_entry(2, 87, cubin(version), isa=(1, 7))
    facts = parse_file(cuda_program(join_fatbins(make_fatbin(entry))), "a", Options())
    assert facts is not None
    (fatbin,) = facts.fatbins
    assert (fatbin.toolkit, fatbin.entries[0].toolkit) == (toolkit, toolkit)


def test_the_toolkit_of_newer_machine_code_is_in_a_note() -> None:
    note = b"\x0c\0\0\0\x06\0\0\0\1\0\0\0NVIDIA Corp\0" + b"\2\0\x57\0" + (130).to_bytes(2, "little")
    spec = ElfSpec(machine=190, type=2, abi_version=8, interpreter=None, exec_stack=None)
    spec.sections = {".note.nv.cuinfo": note, ".text.k": b"\1" * 16}
    facts = parse_file(make_elf(spec), "a.cubin", Options())
    assert facts is not None
    assert facts.fatbins[0].toolkit == (13, 0)
