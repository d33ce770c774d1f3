"""Whether KVM truly works here, found by starting a guest: a device node and a flag of the CPU prove nothing.

There are hosts where /dev/kvm opens, a virtual machine can be made and its first instructions run, and yet no system
boots (seen on nested ones with the module kvm_pvm). So the guest of this trial goes the whole way through the firmware:
a boot sector whose instructions have QEMU end with a status of its own. On such a host even that came to its end once
in nine times, so it has to three times in a row. It is still no proof for every guest: the kernel of a real one does
more.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from pathlib import Path
from typing import Literal

from jetsonx.host.ask import Ask, is_silent
from jetsonx.runner import Completed
from jetsonx.toolchain.search import which_host

Trial = Literal["works", "hangs", "refused", "untried"]
"""How a guest fared: "hangs": it was made and never came to its end; "untried": there is no QEMU to try it with."""

TIMES = 3
"""How often in a row the guest has to come to its end."""
_PATIENCE_S = 2.5
"""Seconds for each run. By emulation, which is slower than KVM that works, it takes 0.24 s."""
_KVM_CREATE_VM = 0xAE01  # linux/kvm.h: _IO(KVMIO, 0x01)

# mov al, 16; out 0xf4, al; hlt; and a boot record's mark. isa-debug-exit has QEMU end with 2 * 16 + 1.
_X86_SECTOR = b"\xb0\x10\xe6\xf4\xf4".ljust(510, b"\0") + b"\x55\xaa"
_X86_STATUS = 33
ARM_OFF = bytes.fromhex("00018052 0080b072 020000d4 00000014")
"""PSCI's SYSTEM_OFF (Arm DEN 0022): movz w0, 8; movk w0, 0x8400, lsl 16; hvc 0; b ."""
_ARM_STATUS = 0


def try_kvm(ask: Ask, machine: str) -> Trial:
    """Start a guest of this host's own architecture (``machine``, as uname says it) under KVM; some 3 s at most."""
    if not _can_create():
        return "refused"
    arguments = _QEMU.get(machine)
    if arguments is None:
        return "untried"
    names, code, options, wanted = arguments
    qemu = next(filter(None, map(which_host, names)), None)
    if qemu is None:
        return "untried"
    with tempfile.TemporaryDirectory(prefix="jetsonx-") as folder:
        image = Path(folder) / "guest"
        image.write_bytes(code)
        words = ("-accel", "kvm", "-m", "32", "-display", "none", "-nodefaults", "-no-reboot")
        argv = (qemu, *words, *(each.format(image=image) for each in options))
        trials = (_judge(ask(*argv, patience_s=_PATIENCE_S), wanted) for _ in range(TIMES))
        return next((trial for trial in trials if trial != "works"), "works")


def _judge(said: Completed | None, wanted: int) -> Trial:
    if said is None:
        return "untried"
    if is_silent(said):
        return "hangs"
    if said.status == wanted:
        return "works"
    # A QEMU built without these devices says so, and nothing about KVM follows from it.
    return "refused" if "kvm" in said.tail.lower() else "untried"


_QEMU = {
    "x86_64": (
        # The last is where the packages of CentOS and RHEL put it.
        ("qemu-system-x86_64", "qemu-kvm", "/usr/libexec/qemu-kvm"),
        _X86_SECTOR,
        (
            *("-M", "pc", "-boot", "a", "-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
            *("-drive", "file={image},format=raw,if=floppy,readonly=on"),
        ),
        _X86_STATUS,
    ),
    "aarch64": (
        ("qemu-system-aarch64", "qemu-kvm", "/usr/libexec/qemu-kvm"),
        ARM_OFF,
        ("-M", "virt", "-cpu", "host", "-kernel", "{image}"),
        _ARM_STATUS,
    ),
}


def _can_create() -> bool:
    """Ask the kernel for a virtual machine."""
    with contextlib.suppress(OSError):
        node = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
        try:
            os.close(fcntl.ioctl(node, _KVM_CREATE_VM, 0))
        finally:
            os.close(node)
        return True
    return False
