"""A machine as libvirt's domain XML: pure. Elements as libvirt 9.0 documents them (libvirt.org/formatdomain.html).

The network is QEMU's own user networking with the guest's sshd on a loopback port of the hypervisor: it needs neither
root nor a bridge, and works for qemu:///session as for qemu:///system. libvirt knows no port forward for it without
passt, so that interface is handed to QEMU as it stands, which libvirt marks as the administrator's own responsibility.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from xml.etree import ElementTree as ET

from jetsonx.errors import ConfigError
from jetsonx.vm.hardware import Hardware
from jetsonx.vm.ignition import FIRMWARE_KEY

QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"
TITLE = "jetsonx engine"
"""What a domain of ours bears as its title: others are left alone."""
_URI = re.compile(r"qemu(\+[a-z0-9]+)?://([A-Za-z0-9_.@:\[\]-]*)/(session|system)(\?\S*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A disk by its path on the hypervisor."""

    path: str
    format: Literal["raw", "qcow2"]
    is_read_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """What libvirt is to start. ``port``: of the hypervisor's loopback, where the guest's sshd answers; 0: no network.

    ``kernel``, ``initrd`` and ``ignition`` are paths on the hypervisor, "" for none; without a kernel the first disk
    boots by its firmware. ``disks`` are /dev/vda, /dev/vdb and so on. ``uses_kvm`` is for a hypervisor where it works.
    """

    name: str
    hardware: Hardware
    memory_mib: int
    cpus: int
    disks: Sequence[Disk]
    port: int
    kernel: str = ""
    initrd: str = ""
    words: str = ""
    ignition: str = ""
    uses_kvm: bool = False


def check_uri(uri: str) -> str:
    """A hypervisor as virsh takes it: qemu:///session, qemu+ssh://root@host/system. Raises ConfigError."""
    if not _URI.fullmatch(uri):
        raise ConfigError(
            f"--connect {uri!r} names no QEMU behind libvirt",
            hint="qemu:///session, qemu:///system or qemu+ssh://root@HOST/system",
        )
    return uri


def remote_host(uri: str) -> str:
    """Where the hypervisor is, as ssh takes it (``root@host``, ``ssh://root@host:2222``); "" for this host."""
    found = _URI.fullmatch(check_uri(uri))
    host = found[2] if found else ""
    return f"ssh://{host}" if ":" in host else host


def render_domain(domain: Domain) -> str:
    """The XML. Raises ConfigError for what XML cannot hold."""
    ET.register_namespace("qemu", QEMU_NAMESPACE)
    root = ET.Element("domain", type="kvm" if domain.uses_kvm else "qemu")
    _leaf(root, "name", domain.name)
    _leaf(root, "title", TITLE)
    _leaf(root, "memory", str(domain.memory_mib), unit="MiB")
    _leaf(root, "vcpu", str(domain.cpus))
    if domain.ignition:
        sysinfo = ET.SubElement(root, "sysinfo", type="fwcfg")
        ET.SubElement(sysinfo, "entry", name=FIRMWARE_KEY, file=_text(domain.ignition))
    system = ET.SubElement(root, "os")
    is_arm = domain.hardware.uname == "aarch64"
    if is_arm and not domain.kernel:
        system.set("firmware", "efi")  # its only kind of firmware; libvirt picks the files
        # Not those with keys enrolled: who signed a system for arm64 is not always among them.
        ET.SubElement(ET.SubElement(system, "firmware"), "feature", enabled="no", name="secure-boot")
    _leaf(system, "type", "hvm", arch=domain.hardware.uname, machine=domain.hardware.machine)
    for name, path in (("kernel", domain.kernel), ("initrd", domain.initrd), ("cmdline", domain.words)):
        if path:
            _leaf(system, name, path)
    if not is_arm or not domain.kernel:  # on ARM it is firmware that brings ACPI, and libvirt refuses it without
        ET.SubElement(ET.SubElement(root, "features"), "acpi")
    _processor(root, domain)
    _leaf(root, "on_reboot", "restart")
    _leaf(root, "on_crash", "destroy")
    _devices(ET.SubElement(root, "devices"), domain)
    if domain.port:
        _network(root, domain.port)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _processor(root: ET.Element, domain: Domain) -> None:
    """The host's under KVM, else what the same machine has that QEMU starts here; its "max" is libvirt's "maximum"."""
    if domain.uses_kvm or domain.hardware.cpu == "max":
        ET.SubElement(root, "cpu", mode="host-passthrough" if domain.uses_kvm else "maximum")
    else:
        _leaf(ET.SubElement(root, "cpu", mode="custom", match="exact"), "model", domain.hardware.cpu, fallback="forbid")


def _network(root: ET.Element, port: int) -> None:
    command = ET.SubElement(root, f"{{{QEMU_NAMESPACE}}}commandline")
    forward = f"user,id=jetsonx,hostfwd=tcp:127.0.0.1:{port}-:22"
    # Slots of the root bus that libvirt leaves free: it plans its own devices without knowing of this one.
    for value in ("-netdev", forward, "-device", "virtio-net-pci,netdev=jetsonx,bus=pcie.0,addr=0x1e,romfile="):
        ET.SubElement(command, f"{{{QEMU_NAMESPACE}}}arg", value=value)


def _devices(devices: ET.Element, domain: Domain) -> None:
    for number, disk in enumerate(domain.disks):
        element = ET.SubElement(devices, "disk", type="file", device="disk")
        ET.SubElement(element, "driver", name="qemu", type=disk.format, discard="unmap")
        ET.SubElement(element, "source", file=_text(disk.path))
        ET.SubElement(element, "target", dev=f"vd{chr(ord('a') + number)}", bus="virtio")
        if disk.is_read_only:
            ET.SubElement(element, "readonly")
    ET.SubElement(devices, "serial", type="pty")
    rng = ET.SubElement(devices, "rng", model="virtio")
    _leaf(rng, "backend", "/dev/urandom", model="random")
    ET.SubElement(devices, "memballoon", model="none")


def _leaf(parent: ET.Element, name: str, text: str, **attributes: str) -> None:
    ET.SubElement(parent, name, attributes).text = _text(text)


def _text(text: str) -> str:
    if not text.isprintable():
        raise ConfigError(f"{text!r} holds a control character, which libvirt's XML cannot", hint="rename it")
    return text
