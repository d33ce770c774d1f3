"""Whether KVM works on a hypervisor behind libvirt, found by starting a guest there.

libvirt knows KVM where /dev/kvm opens, which proves nothing (:mod:`jetsonx.host.kvm`). So a guest of a few instructions
switches itself off under it, three times in a row, as `doctor` does on this host.
"""

from __future__ import annotations

import time
from pathlib import Path

from jetsonx.errors import HostError
from jetsonx.host.kvm import ARM_OFF, TIMES
from jetsonx.vm.acceleration import SLOWER
from jetsonx.vm.hardware import ARM64, Hardware
from jetsonx.vm.libvirt import Disk, Domain, render_domain
from jetsonx.vm.libvirt_run import Virsh, trial_name

_PATIENCE_S, _STEP_S = 5.0, 0.2
# mov dx, 0x604; mov ax, 0x2000; out dx, ax; hlt; and a boot record's mark: ACPI's soft off, at the port where the
# firmware of QEMU's machine q35 puts it.
_X86_SECTOR = b"\xba\x04\x06\xb8\x00\x20\xef\xf4".ljust(510, b"\0") + b"\x55\xaa"
# libvirt wants a guest to live until it was seen to start: first a second by the timer (cntfrq_el0, cntvct_el0).
_ARM_CODE = bytes.fromhex("01e03bd5 42e03bd5 2100028b 42e03bd5 5f0001eb c3ffff54") + ARM_OFF
_DISK_BYTES = 1 << 20  # of less, that machine's firmware boots nothing


def choose_kvm(asked: str, name: str, hardware: Hardware, virsh: Virsh, folder: Path) -> tuple[bool, str]:
    """Whether the engine ``name`` is to run under KVM, and why not ("" when it does, or nobody wanted it).

    ``asked``: "auto", "on" or "off"; on a hypervisor without KVM, "on" raises HostError. ``folder`` is for the trial's
    files.
    """
    if asked == "off":
        return False, ""
    words = ("--virttype", "kvm", "--arch", hardware.uname, "--machine", hardware.machine)
    known = virsh.call("domcapabilities", *words)
    if not known.ok:
        if asked == "on":
            raise HostError(
                f"libvirt at {virsh.uri} has no KVM for {hardware.name} machines",
                details=known.tail,
                hint="leave --kvm out: it is emulated then",
            )
        return False, f"emulated, as libvirt has no KVM for {hardware.name} machines there: {SLOWER}"
    if asked == "on" or ends_by_itself(name, hardware, virsh, folder, uses_kvm=True):
        return True, ""
    return False, f"emulated, as a guest of a few instructions does not come to its end under KVM there: {SLOWER}"


def ends_by_itself(name: str, hardware: Hardware, virsh: Virsh, folder: Path, *, uses_kvm: bool) -> bool:
    """True when the guest switches itself off each time. Nothing of it is left there."""
    file = folder / "trial"
    file.write_bytes(_ARM_CODE if hardware is ARM64 else _X86_SECTOR.ljust(_DISK_BYTES, b"\0"))
    place = virsh.upload(name, file, "raw")
    domain = Domain(
        name=trial_name(name),
        hardware=hardware,
        memory_mib=64,
        cpus=1,
        disks=() if hardware is ARM64 else (Disk(path=place, format="raw", is_read_only=True),),
        port=0,
        kernel=place if hardware is ARM64 else "",
        uses_kvm=uses_kvm,
    )
    xml = folder / "trial.xml"
    xml.write_text(render_domain(domain))
    try:
        return all(_run_once(name, xml, virsh) for _ in range(TIMES))
    finally:
        virsh.end_trial(name)
        file.unlink()
        xml.unlink()


def _run_once(name: str, xml: Path, virsh: Virsh) -> bool:
    if not virsh.call("create", str(xml)).ok:
        return False
    until = time.monotonic() + _PATIENCE_S
    while virsh.call("domstate", trial_name(name)).ok:  # a domain that was only created is gone when it ends
        if time.monotonic() > until:
            return False
        time.sleep(_STEP_S)
    return True
