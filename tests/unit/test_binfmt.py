"""binfmt_misc as text: entries read, the registration line written, on a made-up /proc."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from jetsonx.host.binfmt import (
    MOUNT,
    NAME,
    Binfmt,
    parse_entry,
    probe_binfmt,
    registration,
    remove,
    serves_aarch64,
    tiny_program,
)

QEMU = """\
enabled
interpreter /usr/bin/qemu-aarch64-static
flags: POCF
offset 0
magic 7f454c460201010000000000000000000200b700
mask ffffffffffffff00fffffffffffffffffeffffff
"""
ARM = QEMU.replace("b700", "2800").replace("0201010", "0101010").replace("aarch64", "arm")
JAR = "enabled\ninterpreter /usr/bin/jexec\nflags: \nextension .jar\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / MOUNT
    folder.mkdir(parents=True)
    for name in ("register", "status"):
        (folder / name).write_text("enabled\n")
    return tmp_path


def test_an_entry_is_known_by_what_it_takes_not_by_its_name(root: Path) -> None:
    (root / MOUNT / "arm").write_text(ARM)
    (root / MOUNT / "jar").write_text(JAR)
    assert probe_binfmt(root) == Binfmt(mounted=True)
    (root / MOUNT / "whatever").write_text(QEMU)
    assert probe_binfmt(root) == Binfmt(
        mounted=True, name="whatever", interpreter="/usr/bin/qemu-aarch64-static", flags="POCF", enabled=True
    )


def test_an_enabled_entry_goes_before_a_disabled_one(root: Path) -> None:
    (root / MOUNT / "a").write_text(QEMU.replace("enabled", "disabled"))
    assert probe_binfmt(root).enabled is False
    (root / MOUNT / "b").write_text(QEMU)
    assert probe_binfmt(root).name == "b"


def test_no_binfmt_misc(tmp_path: Path) -> None:
    assert probe_binfmt(tmp_path) == Binfmt(mounted=False)


@pytest.mark.parametrize(
    "text",
    ["", "enabled\n", QEMU.replace("magic 7f", "magic zz"), QEMU.replace("offset 0", "offset x"), JAR, ARM],
    ids=["empty", "no magic", "no hexadecimal", "no offset", "extension", "32 bits"],
)
def test_what_does_not_serve_aarch64(text: str) -> None:
    assert not serves_aarch64(parse_entry(text))


def test_the_registration_line_byte_for_byte() -> None:
    assert registration("/usr/bin/qemu-aarch64-static") == (
        rb":jetsonx-aarch64:M::\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
        rb":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
        rb":/usr/bin/qemu-aarch64-static:POCF"
    )


def test_the_tiny_program_is_one_for_aarch64() -> None:
    elf = ELFFile(io.BytesIO(tiny_program()))
    assert (elf["e_machine"], elf["e_type"], elf.num_segments()) == ("EM_AARCH64", "ET_EXEC", 1)
    assert elf["e_entry"] == elf.get_segment(0)["p_vaddr"] + 64 + 56


def test_removing_what_is_not_there(root: Path) -> None:
    assert remove(root=root) is False
    assert not (root / MOUNT / NAME).exists()
