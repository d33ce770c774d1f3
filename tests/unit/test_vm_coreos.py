"""Fedora CoreOS' images told by their content, and what QEMU and a machine's record have for it."""

from __future__ import annotations

import os
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from jetsonx.console import Console
from jetsonx.effects import Effects
from jetsonx.errors import ConfigError, HostError
from jetsonx.runner import Runner
from jetsonx.store.store import Store
from jetsonx.vm import coreos, make
from jetsonx.vm.acceleration import choose_acceleration
from jetsonx.vm.coreos import coreos_firmware, find_hardware, partition_names
from jetsonx.vm.disk import Base
from jetsonx.vm.hardware import ARM64, X86_64, Hardware
from jetsonx.vm.make import render_ssh_config
from jetsonx.vm.place import Places
from jetsonx.vm.qemu import KVM, TCG, Start, start_command
from jetsonx.vm.tools import Tools
from jetsonx.vm.values import parse_vm, render_vm
from tests.unit.test_vm import VM

COREOS = replace(VM, system="coreos")


def disk(*names: str, size: int = 128, count: int = 128) -> bytes:
    """The beginning of a disk with these partitions."""
    header = b"EFI PART".ljust(72, b"\0") + struct.pack("<QII", 2, count, size)
    entries = b"".join(b"\1" * 56 + name.encode("utf-16-le").ljust(72, b"\0") for name in names)
    return bytes(512) + header.ljust(512, b"\0") + entries.ljust(128 * 128, b"\0")


@pytest.mark.parametrize(
    ("names", "hardware"),
    [
        (("BIOS-BOOT", "EFI-SYSTEM", "boot", "root"), X86_64),
        (("boot", "EFI-SYSTEM", "BIOS-BOOT", "root"), X86_64),
        (("reserved", "EFI-SYSTEM", "boot", "root"), ARM64),
        (("PowerPC-PReP-boot", "reserved", "boot", "root"), None),
        (("EFI-SYSTEM", "BIOS-BOOT", "USR-A", "ROOT"), None),  # Flatcar's
        ((), None),
    ],
)
def test_partitions_tell_for_what_it_is(names: tuple[str, ...], hardware: Hardware | None) -> None:
    assert partition_names(disk(*names)) == names
    assert find_hardware(disk(*names)) is hardware


@pytest.mark.parametrize(
    "head",
    [
        b"",
        bytes(4096),
        disk("boot")[:600],
        disk("boot")[:1024],
        disk("boot", size=0),
        disk("boot", count=1 << 31),
        b"QFI\xfb" + bytes(4096),
    ],
)
def test_a_damaged_or_hostile_table_names_nothing(head: bytes) -> None:
    assert partition_names(head) == ()
    assert find_hardware(head) is None


def test_qemu_gets_the_configuration_and_no_kernel() -> None:
    words = " ".join(start_command("qemu", Start(vm=replace(COREOS, arch="x86-64"), folder=Path("/v"))).argv)
    assert "-fw_cfg name=opt/com.coreos/config,file=config.ign" in words
    for absent in ("-kernel", "-initrd", "-append", "-bios", "config.tar"):
        assert absent not in words
    words = " ".join(start_command("qemu", Start(vm=COREOS, folder=Path("/v"), firmware="/uefi.fd")).argv)
    assert "-bios /uefi.fd -fw_cfg" in words


def test_its_record_and_its_user() -> None:
    assert parse_vm(render_vm(COREOS), where="vm.json") == COREOS
    assert "  User core\n" in render_ssh_config(COREOS, Path("/v"))
    assert "  User jetson\n" in render_ssh_config(VM, Path("/v"))
    with pytest.raises(ConfigError):
        parse_vm(render_vm(COREOS).replace('"coreos"', '"haiku"'), where="vm.json")


def test_arm64_takes_firmware(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coreos, "find_firmware", lambda _: "")
    assert coreos_firmware(X86_64) == ""
    with pytest.raises(HostError, match="no such firmware") as error:
        coreos_firmware(ARM64)
    assert "qemu-efi-aarch64" in str(error.value.hint)
    monkeypatch.setattr(coreos, "find_firmware", lambda _: "/uefi.fd")
    assert coreos_firmware(ARM64) == "/uefi.fd"


def test_a_disk_smaller_than_the_image_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk.raw").touch()
    os.truncate(tmp_path / "disk.raw", (16 << 30) + 1)
    monkeypatch.setattr(make, "fetch_coreos", lambda *_: Base(path=tmp_path))
    wish = make.Wish(
        name="a", target=None, memory_mib=2048, cpus=2, disk_gib=16, hardware=X86_64, coreos=Path("/c.qcow2.xz")
    )
    tools = Tools(qemu="", qemu_img="", mke2fs="", ssh="", ssh_keygen="")
    console = Console(-1)
    effects = Effects(store=Store(tmp_path / "cache", console), runner=Runner(), console=console)
    with pytest.raises(ConfigError, match=r"--disk 16: /c\.qcow2\.xz is a disk of"):
        make.create_vm(wish, tools, Places(tmp_path / "vms"), effects)
    assert not (tmp_path / "vms").exists()


@pytest.mark.parametrize(("trial", "chosen"), [("works", KVM), ("hangs", TCG), ("refused", TCG), ("untried", TCG)])
def test_without_a_kernel_kvm_is_tried_as_doctor_tries_it(
    trial: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jetsonx.vm.acceleration.platform.machine", lambda: "x86_64")
    monkeypatch.setattr("jetsonx.vm.acceleration.os.access", lambda *_: True)
    monkeypatch.setattr("jetsonx.vm.acceleration.try_kvm", lambda *_: trial)
    found, why = choose_acceleration("qemu", X86_64, None, Runner())
    assert found == chosen
    assert (trial in why) == (chosen == TCG)
