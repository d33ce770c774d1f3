"""Machines as libvirt's XML."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest

from jetsonx.errors import ConfigError
from jetsonx.vm.hardware import ARM64, X86_64
from jetsonx.vm.libvirt import Disk, Domain, check_uri, remote_host, render_domain

DOMAIN = Domain(
    name="isolated",
    hardware=X86_64,
    memory_mib=2048,
    cpus=2,
    disks=(Disk(path="/pool/a & <b>.qcow2", format="qcow2"), Disk(path="/pool/c.tar", format="raw", is_read_only=True)),
    port=2222,
    kernel="/pool/vmlinuz",
    initrd="/pool/initrd",
    words="console=ttyS0 apparmor=0",
)


def test_a_domain_holds_what_was_asked_for() -> None:
    root = ET.fromstring(render_domain(DOMAIN))
    assert root.get("type") == "qemu"
    assert root.findtext("os/kernel") == "/pool/vmlinuz"
    assert [each.get("file") for each in root.iter("source")] == ["/pool/a & <b>.qcow2", "/pool/c.tar"]
    assert [each.get("dev") for each in root.iter("target")] == ["vda", "vdb"]
    assert "hostfwd=tcp:127.0.0.1:2222-:22" in render_domain(DOMAIN)
    assert root.find("cpu").get("mode") == "maximum"  # type: ignore[union-attr]


def test_arm_is_emulated_as_a_core_that_is_not_slow_to_emulate() -> None:
    processor = ET.fromstring(render_domain(replace(DOMAIN, hardware=ARM64))).find("cpu")
    assert processor is not None
    assert (processor.get("mode"), processor.findtext("model")) == ("custom", "cortex-a76")


def test_kvm_passes_the_processor_on() -> None:
    root = ET.fromstring(render_domain(replace(DOMAIN, uses_kvm=True)))
    assert root.get("type") == "kvm"
    assert root.find("cpu").get("mode") == "host-passthrough"  # type: ignore[union-attr]


def test_acpi_is_only_where_firmware_brings_it() -> None:
    """libvirt 9.0 refuses ACPI on ARM without UEFI."""
    booted = replace(DOMAIN, hardware=ARM64, kernel="", initrd="", words="")
    for domain, has_acpi in ((DOMAIN, True), (replace(DOMAIN, hardware=ARM64), False), (booted, True)):
        assert (ET.fromstring(render_domain(domain)).find("features/acpi") is not None) == has_acpi


def test_coreos_boots_by_firmware_with_its_config() -> None:
    root = ET.fromstring(
        render_domain(replace(DOMAIN, hardware=ARM64, kernel="", initrd="", words="", ignition="/pool/a.ign"))
    )
    assert root.find("os").get("firmware") == "efi"  # type: ignore[union-attr]
    feature = root.find("os/firmware/feature")
    assert feature is not None
    assert (feature.get("name"), feature.get("enabled")) == ("secure-boot", "no")
    entry = root.find("sysinfo/entry")
    assert entry is not None
    assert (entry.get("name"), entry.get("file")) == ("opt/com.coreos/config", "/pool/a.ign")


def test_what_xml_cannot_hold_is_refused() -> None:
    with pytest.raises(ConfigError, match="control character"):
        render_domain(replace(DOMAIN, kernel="/a\0b"))


@pytest.mark.parametrize(
    ("uri", "host"),
    [
        ("qemu:///session", ""),
        ("qemu:///system?socket=/run/libvirt/libvirt-sock", ""),
        ("qemu+ssh://root@hypervisor/system", "root@hypervisor"),
        ("qemu+ssh://root@hypervisor:2222/system", "ssh://root@hypervisor:2222"),
    ],
)
def test_hypervisors(uri: str, host: str) -> None:
    assert remote_host(uri) == host


@pytest.mark.parametrize("uri", ["", "test:///default", "qemu://", "qemu:///session --help", "-c"])
def test_what_is_no_hypervisor_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match="names no QEMU"):
        check_uri(uri)
