"""The programs of this host that virtual machines need, and the packages that bring them."""

from __future__ import annotations

from dataclasses import dataclass

from jetsonx.errors import HostError
from jetsonx.toolchain.search import which_host
from jetsonx.vm.hardware import ARM64, Hardware

_PACKAGES = {
    "qemu-img": ("qemu-utils", "qemu-img"),
    "mke2fs": ("e2fsprogs", "e2fsprogs"),
    "ssh": ("openssh-client", "openssh-clients"),
    "ssh-keygen": ("openssh-client", "openssh-clients"),
}
"""Program -> the package that has it: on Debian and Ubuntu, on Fedora and CentOS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """Where the programs are."""

    qemu: str
    qemu_img: str
    mke2fs: str
    ssh: str
    ssh_keygen: str


def find_tools(hardware: Hardware = ARM64) -> Tools:
    """Look them up. Raises HostError that names each package that is missing."""
    packages = {hardware.program: hardware.packages, **_PACKAGES}
    found = {name: which_host(name) or _in_sbin(name) for name in packages}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        debian = " ".join(dict.fromkeys(packages[name][0] for name in missing))
        fedora = " ".join(dict.fromkeys(packages[name][1] for name in missing))
        raise HostError(
            f"a virtual machine needs {', '.join(missing)}, which is not on this host",
            hint=f"sudo apt-get install {debian} (Debian, Ubuntu) or sudo dnf install {fedora} (Fedora, CentOS)",
        )
    qemu, img, mke2fs, ssh, keygen = (path or "" for path in found.values())
    return Tools(qemu=qemu, qemu_img=img, mke2fs=mke2fs, ssh=ssh, ssh_keygen=keygen)


def _in_sbin(name: str) -> str | None:
    """mke2fs lies where only root's PATH may lead."""
    import shutil

    return shutil.which(name, path="/usr/sbin:/sbin")
