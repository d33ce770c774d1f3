"""The two kinds of machine that QEMU shows: arm64 for virtual Jetsons and engines, x86-64 for engines alone. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """``name`` as people write it, ``debian_arch`` as Debian does, ``uname`` as the kernel does.

    ``program`` is QEMU's and ``packages`` hold it (Debian and Ubuntu; Fedora and CentOS). ``machine``, ``cpu`` and
    ``quick_cpu`` are QEMU's words; the latter is what is emulated fastest. ``console``: the kernel's serial port.
    ``kernel``: Debian's package.
    """

    name: str
    debian_arch: str
    uname: str
    program: str
    packages: tuple[str, str]
    machine: str
    cpu: str
    quick_cpu: str
    console: str
    kernel: str

    @property
    def kernel_words(self) -> str:
        """The command line of the kernel of a machine that jetsonx made.

        Docker there needs no AppArmor profile, which Debian's kernel would ask for and the machine does not have.
        """
        return f"console={self.console} apparmor=0"


ARM64 = Hardware(
    name="arm64",
    debian_arch="arm64",
    uname="aarch64",
    program="qemu-system-aarch64",
    packages=("qemu-system-arm", "qemu-system-aarch64"),
    machine="virt",
    cpu="cortex-a76",  # "max" signs pointers, slow to emulate (QEMU: arm/cpu-features)
    quick_cpu="cortex-a57",  # the oldest core has the fewest features to emulate
    console="ttyAMA0",
    kernel="linux-image-cloud-arm64",
)
X86_64 = Hardware(
    name="x86-64",
    debian_arch="amd64",
    uname="x86_64",
    program="qemu-system-x86_64",
    packages=("qemu-system-x86", "qemu-system-x86"),
    machine="q35",
    cpu="max",
    quick_cpu="qemu64",
    console="ttyS0",
    kernel="linux-image-cloud-amd64",
)
KINDS = {each.name: each for each in (ARM64, X86_64)}
