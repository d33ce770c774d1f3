"""Calls of QEMU as values; nothing here runs them. Options as QEMU 7.2's own documentation has them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jetsonx.runner import Command
from jetsonx.vm.hardware import KINDS, Hardware
from jetsonx.vm.ignition import FIRMWARE_KEY
from jetsonx.vm.values import Vm
from jetsonx.vm.wire import LOOPBACK

# TCG emulates each of the guest's processors in a thread of its own. What it translated would take up to a gigabyte.
TCG = "tcg,thread=multi,tb-size=256"
KVM = "kvm"


# QEMU draws the serial console itself ("vc") and still writes it to the file. The pipe tells of QEMU's end.
_SCREEN = (
    *("-vnc", "unix:vnc"),
    *("-chardev", "vc,id=screen,cols=100,rows=37,logfile=console.log", "-serial", "chardev:screen"),
    *("-chardev", "pipe,id=life,path=life"),
)


def install_command(qemu: str, hardware: Hardware, *, kernel: Path, initrd: Path, disk: Path, tar: Path) -> Command:
    """Unpack and configure a system on ``disk``. What the guest says is standard output; it switches itself off."""
    kind = ("-accel", TCG, "-M", hardware.machine, "-cpu", hardware.quick_cpu)
    machine = (*kind, "-smp", "2", "-m", "1024", "-no-reboot", "-nodefaults")
    # A half-made image is thrown away, so nothing has to reach the disk before the end.
    disks = (*_drive(disk, "format=raw,cache=unsafe"), *_drive(tar, "format=raw,readonly=on"))
    quiet = ("-display", "none", "-serial", "stdio", "-net", "none")
    words = ("-append", f"console={hardware.console} quiet panic=-1 jetsonx=install")
    return Command(argv=(qemu, *machine, "-kernel", str(kernel), "-initrd", str(initrd), *words, *disks, *quiet))


def trial_command(qemu: str, hardware: Hardware, kernel: Path) -> Command:
    """Start a kernel under KVM with no disk: it says its name, and ends for want of one."""
    machine = ("-accel", KVM, "-M", hardware.machine, "-cpu", "host", "-m", "256", "-nodefaults", "-no-reboot")
    words = (
        "-kernel",
        str(kernel),
        "-append",
        f"console={hardware.console} panic=-1",
        "-display",
        "none",
        "-serial",
        "stdio",
    )
    return Command(argv=(qemu, *machine, *words))


def _drive(path: Path, options: str) -> tuple[str, str]:
    # A comma ends a value in QEMU's lists; twice it stands for itself.
    return "-drive", f"file={str(path).replace(',', ',,')},if=virtio,{options}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a machine is started from. ``folder`` is its own directory, where QEMU's socket and the console's file are.

    ``kernel`` and ``initrd`` are of machines that jetsonx made; Fedora CoreOS boots by ``firmware`` (UEFI's file), or
    by QEMU's own when that is "".

    ``acceleration`` is QEMU's word for who runs the guest's instructions: "tcg,thread=multi" or "kvm". ``has_screen``:
    its console is drawn and can be seen by VNC, at a socket of that directory.
    """

    vm: Vm
    folder: Path
    kernel: Path | None = None
    initrd: Path | None = None
    firmware: str = ""
    acceleration: str = TCG
    has_screen: bool = False


def start_command(qemu: str, start: Start) -> Command:
    """Start the machine in the background: it goes on when jetsonx ends, and ends by its control socket."""
    vm, hardware = start.vm, KINDS[start.vm.arch]
    # In its directory and with short names: the path of a socket may have no more than 107 bytes.
    machine = ("-name", f"jetsonx-{vm.name}", "-M", hardware.machine, "-accel", start.acceleration, "-nodefaults")
    cpu = "host" if start.acceleration == KVM else vm.cpu
    size = ("-cpu", cpu, "-smp", str(vm.cpus), "-m", str(vm.memory_mib))
    disk = _drive(Path("disk.qcow2"), "id=disk,format=qcow2,discard=unmap")
    boot = _boot_by_firmware(start) if vm.system == "coreos" else _boot_kernel(start, hardware)
    link = f"user,id=net,hostfwd=tcp:{LOOPBACK}:{vm.port}-:22"
    devices = ("-netdev", link, "-device", "virtio-net-pci,netdev=net,id=nic,romfile=", "-device", "virtio-rng-pci")
    console = ("-display", "none", *(_SCREEN if start.has_screen else ("-serial", "file:console.log")))
    control = ("-qmp", "unix:qmp,server=on,wait=off", "-daemonize")
    return Command(argv=(qemu, *machine, *size, *disk, *boot, *devices, *console, *control), cwd=start.folder)


def _boot_kernel(start: Start, hardware: Hardware) -> tuple[str, ...]:
    words = ("-append", hardware.kernel_words)
    config = _drive(Path("config.tar"), "id=config,format=raw,readonly=on")
    return "-kernel", str(start.kernel), "-initrd", str(start.initrd), *words, *config


def _boot_by_firmware(start: Start) -> tuple[str, ...]:
    # As docs.fedoraproject.org/en-US/fedora-coreos/provisioning-qemu has it.
    config = ("-fw_cfg", f"name={FIRMWARE_KEY},file=config.ign")
    return ("-bios", start.firmware, *config) if start.firmware else config
