"""Judges what virtual machines need of this host: pure. What `kvm-ok` looks at is judged too, and then a trial."""

from __future__ import annotations

from collections.abc import Callable

from jetsonx.console import amount
from jetsonx.host.facts import HostFacts, VmHost
from jetsonx.host.judge_running import judge_kvm
from jetsonx.host.mend import Finding, Mend, as_root, told
from jetsonx.host.vm_packages import resolve_vm_package

_GUEST_BYTES = 2_500_000_000
"""What a guest of 2 GB takes at most, with QEMU's own memory."""
_DISK_LEAST_BYTES, _DISK_GOOD_BYTES = 3_000_000_000, 20_000_000_000
LIBVIRT_GROUP = "libvirt"
NESTED_MODULES = ("kvm_intel", "kvm_amd")


def judge_program(name: str, package: str) -> Callable[[HostFacts], Finding]:
    """A check for a program and the package that brings it."""

    def judge(facts: HostFacts) -> Finding:
        program = _vm(facts).programs.get(name)
        if program is None:
            return Finding(status="absent", found=f"no {name}", mend=resolve_vm_package(package, facts))
        return Finding(status="ok", found=f"{program.version or 'unknown version'} ({program.path})")

    return judge


def judge_firmware(machine: str, package: str) -> Callable[[HostFacts], Finding]:
    """A check for UEFI firmware. Machines made by jetsonx start their kernel directly and need none."""

    def judge(facts: HostFacts) -> Finding:
        path = _vm(facts).firmware.get(machine)
        if path is None:
            return Finding(status="absent", found="no UEFI firmware", mend=resolve_vm_package(package, facts))
        return Finding(status="ok", found=path)

    return judge


def judge_module(facts: HostFacts) -> Finding:
    """The kernel's KVM module for this processor."""
    loaded = sorted(_vm(facts).modules)
    kind = {"vmx": "kvm_intel", "svm": "kvm_amd"}.get(facts.kvm.cpu_flag, "")
    if kind and kind not in loaded and not facts.kvm.has_node:
        return Finding(status="absent", found=f"{kind} is not loaded", mend=as_root(facts, ("modprobe", kind)))
    if loaded:
        return Finding(status="ok", found=", ".join(loaded))
    if facts.kvm.has_node:
        return Finding(status="ok", found="built into the kernel")
    return Finding(status="absent", found="none, and the CPU shows neither vmx nor svm")


def judge_access(facts: HostFacts) -> Finding:
    """The CPU's flag, the device node and the user's permission on it, as `kvm-ok` looks; joining the group is done."""
    finding = judge_kvm(facts)
    group = facts.kvm.group
    may_join = facts.kvm.has_node and not facts.kvm.is_accessible and group not in ("", "root")
    if not may_join or group in facts.user.member_of:
        return finding
    join = as_root(facts, ("usermod", "-aG", group, facts.user.name))
    mend = Mend(text=f"{join.text} and log in again", calls=join.calls)
    return Finding(status=finding.status, found=finding.found, mend=mend)


def judge_trial(facts: HostFacts) -> Finding:
    """Whether a guest really comes up under KVM. Without, guests run by emulation: everywhere, and slowly."""
    trial = _vm(facts).trial
    if trial == "works":
        return Finding(
            status="ok", found="a guest of a few instructions came to its end under KVM, three times in a row"
        )
    if trial == "hangs":
        found = "/dev/kvm makes machines, but a guest of a few instructions does not come to its end in it"
        mend = Mend(text="see that whoever runs this machine allows nested virtualization")
        return Finding(status="warn", found=found, mend=mend)
    if trial == "untried":
        found = "not tried: it takes QEMU for this host's own processor"
        return Finding(status="warn", found=found)
    return Finding(status="absent", found="no guest starts under KVM: guests run by emulation, slowly")


def judge_nested(facts: HostFacts) -> Finding:
    """Whether a guest may have guests of its own."""
    nested, modules = _vm(facts).nested, _vm(facts).modules
    if nested:
        return Finding(status="ok", found="guests may have guests")
    if nested is None:
        return Finding(status="absent", found="unknown: neither kvm_intel nor kvm_amd is loaded")
    module = next(name for name in NESTED_MODULES if name in modules)
    mend = told(
        facts,
        f"sh -c 'echo options {module} nested=1 >/etc/modprobe.d/jetsonx-nested.conf'",
        note=", and restart this machine",
    )
    return Finding(status="absent", found=f"{module} has it switched off", mend=mend)


def judge_tun(facts: HostFacts) -> Finding:
    """/dev/net/tun, which the container of qemux/qemu makes its guest's network with."""
    if _vm(facts).has_tun:
        return Finding(status="ok", found="/dev/net/tun")
    return Finding(status="absent", found="no /dev/net/tun", mend=as_root(facts, ("modprobe", "tun")))


def judge_room(facts: HostFacts) -> Finding:
    """Room for disks in the cache directory."""
    free = facts.cache.free_bytes
    if free is None:
        return Finding(status="warn", found=f"unknown for {facts.cache.path}")
    found = f"{amount(free)} free for {facts.cache.path}"
    if free >= _DISK_GOOD_BYTES:
        return Finding(status="ok", found=found)
    move = Mend(text="set JETSONX_CACHE to a directory of yours on a disk with room")
    return Finding(status="warn" if free >= _DISK_LEAST_BYTES else "fail", found=found, mend=move)


def judge_memory(facts: HostFacts) -> Finding:
    """Memory that is free now."""
    free = _vm(facts).free_memory_bytes
    if free is None:
        return Finding(status="warn", found="unknown: /proc/meminfo cannot be read")
    if free >= _GUEST_BYTES:
        return Finding(status="ok", found=f"{amount(free)} free")
    found = f"{amount(free)} free: not enough for a guest of 2 GB"
    return Finding(status="warn", found=found, mend=Mend(text="give guests less, --memory 1G, or end other programs"))


def judge_libvirt(facts: HostFacts) -> Finding:
    """virsh, and for qemu:///system the group that may use it."""
    program = _vm(facts).programs.get("virsh")
    if program is None:
        return Finding(status="absent", found="no virsh", mend=resolve_vm_package("libvirt", facts))
    found = f"virsh {program.version or 'of unknown version'}"
    if facts.user.is_root or LIBVIRT_GROUP in facts.user.groups:
        return Finding(status="ok", found=found)
    join = told(facts, f"usermod -aG {LIBVIRT_GROUP} {facts.user.name}", note=" and log in again")
    note = "members of that group have root's rights on this machine through libvirt; qemu:///session needs none"
    return Finding(status="warn", found=f"{found}; qemu:///system is not open to you", mend=join, notes=(note,))


def judge_bridge(facts: HostFacts) -> Finding:
    """brctl, where guests are to be on this host's own network. jetsonx itself bridges nothing."""
    if not _vm(facts).wants_bridge:
        return Finding(status="ok", found="not asked for (--bridge)")
    return judge_program("brctl", "bridge")(facts)


def _vm(facts: HostFacts) -> VmHost:
    if facts.vm is None:  # a mistake of ours: these checks are for facts that hold it
        raise TypeError("the host was not asked about virtual machines")
    return facts.vm
