"""Looks at what virtual machines need. A guest of a few instructions is started under KVM; nothing else is."""

from __future__ import annotations

import os
import re
from pathlib import Path

from jetsonx.host.ask import Ask, find_version
from jetsonx.host.facts import Program, VmHost
from jetsonx.host.judge_vm import NESTED_MODULES
from jetsonx.host.kvm import try_kvm
from jetsonx.toolchain.search import which_host

_PROGRAMS = ("qemu-system-aarch64", "qemu-system-x86_64", "qemu-img", "virsh", "brctl")
# CentOS and RHEL have theirs outside of everybody's PATH.
_ELSEWHERE = {"qemu-system-x86_64": "/usr/libexec/qemu-kvm"}
# Where the firmware is: Debian and Ubuntu first, then Fedora and CentOS.
_FIRMWARE = {
    "x86_64": (
        "usr/share/OVMF/OVMF_CODE_4M.fd",
        "usr/share/OVMF/OVMF_CODE.fd",
        "usr/share/edk2/ovmf/OVMF_CODE.fd",
    ),
    "aarch64": ("usr/share/AAVMF/AAVMF_CODE.fd", "usr/share/edk2/aarch64/QEMU_EFI-pflash.raw"),
}
_REBUILDS = {"centos", "rhel", "rocky", "almalinux", "ol"}


def probe_vm(ask: Ask, machine: str, *, wants_bridge: bool = False, root: Path = Path("/")) -> VmHost:
    """Everything `doctor --for vm` judges beyond the rest. ``machine``: this host's, as uname says it, to try KVM
    with; "" leaves the trial out.
    """
    paths = {name: which_host(name) or _ELSEWHERE.get(name, "") for name in _PROGRAMS}
    found = {
        name: Program(path=path, version=find_version(ask(path, "--version")))
        for name, path in paths.items()
        if path and os.access(path, os.X_OK)
    }
    modules = root / "sys/module"
    return VmHost(
        family=parse_family(_text(root / "etc/os-release") or _text(root / "usr/lib/os-release")),
        trial=try_kvm(ask, machine) if machine else "untried",
        modules=frozenset(path.name for path in modules.glob("kvm*")),
        nested=_nested(modules),
        has_tun=(root / "dev/net/tun").exists(),
        programs=found,
        firmware={machine: path for machine in _FIRMWARE if (path := find_firmware(machine, root))},
        free_memory_bytes=_available(root),
        wants_bridge=wants_bridge,
    )


def find_firmware(machine: str, root: Path = Path("/")) -> str:
    """The file with UEFI firmware for guests of that kind (as uname says it); "" when there is none."""
    return next((str(root / path) for path in _FIRMWARE[machine] if (root / path).is_file()), "")


def busy_ports(root: Path = Path("/")) -> frozenset[int]:
    """The TCP ports that something listens at, at whatever address."""
    text = _text(root / "proc/net/tcp") + _text(root / "proc/net/tcp6")
    # proc(5): local address, remote address and state, in which 0A is LISTEN
    return frozenset(int(port, 16) for port in re.findall(r"^ *\d+: \w+:(\w{4}) \w+:\w{4} 0A ", text, re.MULTILINE))


def parse_family(text: str) -> str:
    """Whose package names hold on the host with this os-release(5): a derivative counts as what it is made of."""
    values: dict[str, str] = dict(re.findall(r'^(ID|ID_LIKE)="?([^"\n]*)"?$', text, re.MULTILINE))
    names = [values.get("ID", ""), *values.get("ID_LIKE", "").split()]
    for name in names:
        if name in ("debian", "ubuntu", "fedora"):
            return name
        if name in _REBUILDS:
            return "centos"
    return ""


def _nested(modules: Path) -> bool | None:
    for name in NESTED_MODULES:
        if said := _text(modules / name / "parameters/nested").strip():
            return said in ("1", "Y")
    return None


def _available(root: Path) -> int | None:
    match = re.search(r"^MemAvailable:\s*(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
