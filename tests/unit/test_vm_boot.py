"""Disk images are told by their content, whatever their names."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jetsonx.errors import ConfigError
from jetsonx.vm.boot import HEAD_BYTES, Content, identify, read_content
from jetsonx.vm.boot_convert import _choose


def at(offset: int, mark: bytes) -> bytes:
    return (b"\0" * offset + mark).ljust(HEAD_BYTES, b"\0")


MARKS = {
    "qcow2": at(0, b"QFI\xfb\0\0\0\x03"),
    "vhdx": at(0, b"vhdxfile"),
    "vdi": at(64, b"\x7f\x10\xda\xbe"),
    "iso": at(0x8001, b"CD001"),
    "raw": at(510, b"\x55\xaa"),
}


@pytest.mark.parametrize("name", MARKS)
def test_formats_are_told_by_their_marks(name: str) -> None:
    assert identify(MARKS[name]) == Content(format=name)  # type: ignore[arg-type]


def test_more_marks() -> None:
    assert identify(at(0, b"KDMV")) == Content(format="vmdk")
    assert identify(at(0, b"conectix")) == Content(format="vhd")
    assert identify(at(0, b""), b"conectix".ljust(512, b"\0")) == Content(format="vhd")
    assert identify(at(512, b"EFI PART")) == Content(format="raw")
    assert identify(at(0x438, b"\x53\xef")) == Content(format="raw")
    assert identify(at(0, b"\x28\xb5\x2f\xfd")) == Content(format=None, packing="zst")


def test_an_iso_that_starts_from_a_stick_too_is_an_iso() -> None:
    head = bytearray(MARKS["iso"])
    head[510:512] = b"\x55\xaa"
    assert identify(bytes(head)) == Content(format="iso")


@given(st.binary(max_size=600), st.binary(max_size=512))
def test_any_bytes_are_told_or_not(head: bytes, tail: bytes) -> None:
    identify(head, tail)
    identify(b"QFI\xfb" + head, tail)


def test_what_is_no_image_is_refused_with_what_would_be(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    path.write_text("<html>not found</html>")
    with pytest.raises(ConfigError, match="is no disk image: its content is none of iso, raw"):
        read_content(path)
    path.write_text("")
    with pytest.raises(ConfigError, match="is no disk image"):
        read_content(path)
    with pytest.raises(ConfigError, match="is a directory"):
        read_content(tmp_path)
    with pytest.raises(ConfigError, match="No such file"):
        read_content(tmp_path / "nothing")


def test_an_overlay_is_refused_with_the_file_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "overlay"
    name = b"/etc/shadow"
    path.write_bytes(b"QFI\xfb" + struct.pack(">IQI", 3, 200, len(name)) + b"\0" * 180 + name)
    with pytest.raises(ConfigError, match="needs /etc/shadow") as error:
        read_content(path)
    assert "qemu-img convert" in str(error.value.hint)


def test_a_vmdk_description_may_name_only_files_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "disk.vmdk"
    path.write_text('# Disk DescriptorFile\nRW 63 FLAT "/etc/shadow" 0\n')
    with pytest.raises(ConfigError, match="the disk is in /etc/shadow, which is not beside it"):
        read_content(path)
    path.write_text('# Disk DescriptorFile\nRW 63 FLAT "flat.vmdk" 0\n')
    with pytest.raises(ConfigError, match=r"flat\.vmdk"):
        read_content(path)
    (tmp_path / "flat.vmdk").write_text("")
    assert read_content(path).format == "vmdk"


def test_the_disk_in_an_archive_is_the_one_named_so_or_the_only_file() -> None:
    assert _choose(Path("a.zip"), ["readme.txt", "d/", "d/Disk.VMDK"]) == "d/Disk.VMDK"
    assert _choose(Path("a.zip"), ["blob"]) == "blob"
    with pytest.raises(ConfigError, match="holds 2 files"):
        _choose(Path("a.zip"), ["a.img", "b.img"])
    with pytest.raises(ConfigError, match="is empty"):
        _choose(Path("a.zip"), ["d/"])
