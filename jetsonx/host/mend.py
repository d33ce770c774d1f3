"""What a check finds and what mends it: the exact command on this distribution, words where there is none."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Literal

from jetsonx.host.facts import HostFacts

Status = Literal["ok", "warn", "fail", "absent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mend:
    """``text``: what to type or do. ``calls``: the same as program calls, when jetsonx may make them after asking.

    Only what installs packages of the distribution, starts a service, registers QEMU, loads KVM's module or lets the
    user use it may be made; who has root's rights (as Docker's group has), and what is restarted, stays the user's
    business.
    """

    text: str
    calls: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One judgement. ``found``: what there is; ``notes``: further lines, such as things to check.

    ``status``: "ok"; "warn", usable with a caveat; "fail", there but of no use, or essential and missing; "absent",
    not there, which is only a fault for those who want what it is for.
    """

    status: Status
    found: str
    mend: Mend | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """What a package is for, and its names on Debian and Ubuntu, the one to prefer first.

    ``default``: the one to name while apt has no package lists; "" for the first. ``otherwise``: what to do when apt
    has lists but none of the names.
    """

    role: str
    names: tuple[str, ...]
    default: str = ""
    otherwise: str = ""


# Docker's own packages come first: apt knows them only where the user added Docker's source, and they cannot be mixed
# with the distribution's.
PACKAGES = {
    "docker": Package(role="the Docker engine", names=("docker-ce", "docker.io"), default="docker.io"),
    "buildx": Package(
        role="Docker's buildx plugin",
        names=("docker-buildx-plugin", "docker-buildx"),
        default="docker-buildx",
        otherwise="add Docker's own package source (docs.docker.com/engine/install) and install docker-buildx-plugin: "
        "this release of the distribution has none",
    ),
    "qemu": Package(role="QEMU's user emulation", names=("qemu-user-static", "qemu-user")),
    "ssh": Package(role="the OpenSSH client", names=("openssh-client",)),
    "compiler": Package(role="a GCC for AArch64", names=("g++-aarch64-linux-gnu",)),
    "lld": Package(role="LLVM's linker lld", names=("lld",)),
    "cmake": Package(role="CMake", names=("cmake",)),
    "ninja": Package(role="Ninja", names=("ninja-build",)),
    "make": Package(role="GNU make", names=("make",)),
    "ccache": Package(role="ccache", names=("ccache",)),
    "venv": Package(role="Python's venv module", names=("python3-venv",)),
    "nvidia": Package(
        role="the NVIDIA container toolkit",
        names=("nvidia-container-toolkit",),
        otherwise="add NVIDIA's package source for it and install nvidia-container-toolkit",
    ),
}
ALL_NAMES = tuple(name for package in PACKAGES.values() for name in package.names)
"""What a probe has to ask apt about."""


def resolve_package(key: str, facts: HostFacts) -> Mend:
    """How one of :data:`PACKAGES` is installed on this host."""
    package = PACKAGES[key]
    if not facts.apt.is_there or facts.distribution not in ("debian", "ubuntu"):
        return Mend(text=f"install the package of your distribution that holds {package.role}")
    known = next((name for name in package.names if name in facts.packages), None)
    if known is not None:
        return as_root(facts, ("apt-get", "install", "-y", known))
    if facts.packages and package.otherwise:
        return Mend(text=package.otherwise)
    name = package.default or package.names[0]
    return as_root(facts, ("apt-get", "update"), ("apt-get", "install", "-y", name))


def as_root(facts: HostFacts, *calls: tuple[str, ...]) -> Mend:
    """A mend that takes root's rights and is safe to make; without sudo it can only be told."""
    user = facts.user
    if not user.is_root and not user.has_sudo:
        return Mend(text="as root: " + shell(calls))
    prefix = () if user.is_root else ("sudo",)
    calls = tuple((*prefix, *call) for call in calls)
    return Mend(text=shell(calls), calls=calls)


def told(facts: HostFacts, *calls: str, note: str = "") -> Mend:
    """Commands of root's that jetsonx does not run itself; ``note``: what to do afterwards."""
    user = facts.user
    prefix = "sudo " if user.has_sudo and not user.is_root else ""
    alone = "" if user.is_root or user.has_sudo else "as root: "
    return Mend(text=alone + " && ".join(prefix + call for call in calls) + note)


def shell(calls: tuple[tuple[str, ...], ...]) -> str:
    """Program calls as one line for a shell."""
    return " && ".join(shlex.join(call) for call in calls)
