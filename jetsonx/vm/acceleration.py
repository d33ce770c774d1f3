"""Who runs the guest's instructions: KVM where it works, which is found out by trying, else QEMU's emulation."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from jetsonx.host.ask import Ask
from jetsonx.host.kvm import try_kvm
from jetsonx.runner import Command, Runner
from jetsonx.vm.hardware import Hardware
from jetsonx.vm.qemu import KVM, TCG, trial_command

_DEVICE = "/dev/kvm"
_LIMIT_S = 10
_ALIVE = "Linux version"
SLOWER = "several times slower than on this host itself: docs/vm.md has figures"


def choose_acceleration(qemu: str, hardware: Hardware, kernel: Path | None, runner: Runner) -> tuple[str, str]:
    """QEMU's word for it, and why it is not KVM ("" when it is).

    The device node proves nothing: a host that is a virtual machine itself may have it and start no guest. So a kernel
    is started, which says its name and then ends for want of a disk. Without one, the guest of a few instructions that
    `doctor` tries.
    """
    machine = platform.machine()
    if machine != hardware.uname:
        return TCG, f"emulated, as this host's processor is {machine}: {SLOWER}"
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        return TCG, f"emulated, as this user has no {_DEVICE} to read and write: {SLOWER}"
    if kernel is None:
        trial = try_kvm(Ask(runner), machine)
        return (KVM, "") if trial == "works" else (TCG, f"emulated, as KVM starts no guest here ({trial}): {SLOWER}")
    command = trial_command(qemu, hardware, kernel)
    tried = runner.run(Command(argv=("timeout", "--kill-after=1", str(_LIMIT_S), *command.argv)))
    if _ALIVE in tried.stdout:
        return KVM, ""
    said = tried.tail.strip().splitlines()
    return TCG, f"emulated, as KVM starts no guest here ({said[-1] if said else 'it says nothing'}): {SLOWER}"
