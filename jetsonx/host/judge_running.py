"""Judges what starts AArch64 programs here, alone and in containers, and virtual machines: pure."""

from __future__ import annotations

import re

from jetsonx.host.facts import HostFacts
from jetsonx.host.judge_machine import KERNEL_MIN, kernel_version
from jetsonx.host.mend import Finding, Mend, as_root, resolve_package, told
from jetsonx.toolchain.resolve import QEMU_NAMES

# QEMU version -> what it is reported for; nothing of it could be tried with NVIDIA's own images.
_BAD_QEMU = {
    "10.1.3": "ldconfig of Ubuntu 22.04, the base of L4T r36, is reported to crash under it (tonistiigi/binfmt#298)",
}
# Ubuntu's kernels 6.8.0-N with a higher N are reported to crash QEMU's user emulation.
_LAST_GOOD_UBUNTU_6_8 = 49
# The image multiarch/qemu-user-static registers its QEMU under this name, though the host has no such file.
_OLD_REGISTRAR = "/usr/bin/qemu-aarch64-static"


def judge_qemu(facts: HostFacts) -> Finding:
    """QEMU's user emulation, which `jetsonx run` starts built programs with."""
    program = next((facts.programs[name] for name in QEMU_NAMES if name in facts.programs), None)
    if program is None:
        return Finding(status="absent", found=f"no {' or '.join(QEMU_NAMES)}", mend=resolve_package("qemu", facts))
    return _with_doubts(facts, f"{program.version or 'unknown version'} ({program.path})", program.version)


def judge_binfmt(facts: HostFacts) -> Finding:
    """The kernel's handing over of AArch64 programs to QEMU, as containers need it (flag F)."""
    binfmt, docker = facts.binfmt, facts.docker
    if docker is not None and docker.is_desktop:
        return Finding(status="ok", found="Docker Desktop brings its own QEMU")
    if docker is not None and docker.answer == "yes" and not docker.is_local:
        found = f"the engine at {docker.endpoint} is another machine; whether it emulates is not seen from here"
        return Finding(status="warn", found=found)
    if kernel_version(facts) < KERNEL_MIN:
        return Finding(status="fail", found="this kernel has no flag F; emulated containers need Linux 4.8")
    install = as_root(facts, (*facts.jetsonx, "binfmt", "install"))
    if binfmt.name is None or binfmt.interpreter is None:
        found = "nothing is registered for aarch64" if binfmt.mounted else "binfmt_misc is not mounted"
        return Finding(status="absent", found=found, mend=install)
    found = f"{binfmt.name}: {binfmt.interpreter}, flags {binfmt.flags or 'none'}"
    if not binfmt.enabled:
        return Finding(status="fail", found=f"{found}, switched off", mend=install)
    if "F" not in binfmt.flags:
        return Finding(status="fail", found=f"{found}: without F it is not found inside containers", mend=install)
    if facts.interpreter is not None:
        return _with_doubts(
            facts, f"{found}, QEMU {facts.interpreter.version or 'of unknown version'}", facts.interpreter.version
        )
    if binfmt.interpreter == _OLD_REGISTRAR:
        found += ": not a file of this host, so likely of multiarch/qemu-user-static, which ends with QEMU 7.2"
        return Finding(status="warn", found=found, mend=install)
    return Finding(status="ok", found=f"{found}, registered by a container, version unknown")


def doubts_about_qemu(version: str, *, kernel: str, distribution: str) -> list[str]:
    """What is reported against a version of QEMU's user emulation, and against emulating on this kernel."""
    doubts = [_BAD_QEMU[version]] if version in _BAD_QEMU else []
    ubuntu = re.match(r"6\.8\.0-(\d+)-", kernel)
    if distribution == "ubuntu" and ubuntu and int(ubuntu[1]) > _LAST_GOOD_UBUNTU_6_8:
        doubts.append(f"emulated programs are reported to crash on kernels after 6.8.0-{_LAST_GOOD_UBUNTU_6_8}")
    return doubts


def _with_doubts(facts: HostFacts, found: str, version: str) -> Finding:
    doubts = doubts_about_qemu(version, kernel=facts.kernel, distribution=facts.distribution)
    if not doubts:
        return Finding(status="ok", found=found)
    mend = Mend(
        text="cross-compile (strategy cross), or register another QEMU: "
        "docker run --privileged --rm tonistiigi/binfmt --install arm64"
    )
    return Finding(status="warn", found=found, mend=mend, notes=tuple(doubts))


def judge_kvm(facts: HostFacts) -> Finding:
    """What `kvm-ok` looks at: the CPU's flag, the device node, the permission. The node alone proves nothing."""
    kvm = facts.kvm
    if not kvm.cpu_flag:
        if kvm.has_node:
            found = "/dev/kvm is there, but the CPU shows neither vmx nor svm: the node alone proves nothing"
            return Finding(status="warn", found=found, mend=_allow_virtualization(facts))
        found = "neither vmx nor svm among the CPU's flags, no /dev/kvm"
        return Finding(status="absent", found=found, mend=_allow_virtualization(facts))
    if not kvm.has_node:
        module = "kvm_intel" if kvm.cpu_flag == "vmx" else "kvm_amd"
        note = ", and switch virtualization on in the firmware if that is refused"
        found = f"the CPU has {kvm.cpu_flag}, but there is no /dev/kvm"
        return Finding(status="absent", found=found, mend=told(facts, f"modprobe {module}", note=note))
    if kvm.is_accessible:
        return Finding(status="ok", found=f"{kvm.cpu_flag}, /dev/kvm, permission")
    found = f"no permission on /dev/kvm, which belongs to the group {kvm.group or 'of nobody'}"
    if kvm.group in facts.user.member_of:
        return Finding(status="warn", found=found, mend=Mend(text=f"newgrp {kvm.group}, or log in again"))
    if kvm.group in ("", "root"):
        mend = told(facts, "chgrp kvm /dev/kvm", "chmod g+rw /dev/kvm")
    else:
        mend = told(facts, f"usermod -aG {kvm.group} {facts.user.name}", note=" and log in again")
    return Finding(status="warn", found=found, mend=mend)


def _allow_virtualization(facts: HostFacts) -> Mend:
    if facts.is_wsl:
        return Mend(text="in Windows: nestedVirtualization=true under [wsl2] in .wslconfig")
    return Mend(text="switch virtualization on in the firmware, or nested virtualization where this is a guest")
