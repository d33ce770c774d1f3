"""A machine that is to build, asked over the user's own ssh in one connection, and judged.

ssh is called as Docker calls it, with ~/.ssh/config and none of jetsonx's own settings: what works here works there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from jetsonx.catalog.versions import parse_version
from jetsonx.engine.node_plan import PLATFORMS
from jetsonx.errors import DeviceError
from jetsonx.rootfs.identity import parse_l4t
from jetsonx.rootfs.script import ask_machine, parse_answer, parse_count
from jetsonx.rootfs.ssh import Address
from jetsonx.runner import Runner

_OLDEST = (
    "18.09"  # the first whose client has `system dial-stdio`, through which ssh:// works; the client says so itself
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a machine says of itself; "" and None for what it does not say.

    ``docker`` is the path of its client, ``endpoint`` where that looks for the engine, ``server`` the version of the
    engine when it answered and ``trouble`` the client's complaint when not. ``socket`` is a line of `ls -l`.
    """

    machine: str = ""
    user: str = ""
    groups: tuple[str, ...] = ()
    cores: int | None = None
    memory_bytes: int | None = None
    l4t: str | None = None
    docker: str = ""
    endpoint: str = ""
    socket: str = ""
    server: str = ""
    trouble: str = ""
    root: str = ""
    free_bytes: int | None = None


def probe_machine(address: Address, runner: Runner) -> Machine:
    """Ask the machine at ``address``. Raises DeviceError when ssh cannot log in there without asking anything."""
    return parse_machine(ask_machine(address, Path(__file__).with_suffix(".sh"), runner=runner, environ={}))


def parse_machine(text: str) -> Machine:
    """Read what node_machine.sh printed."""
    said = parse_answer(text)
    return Machine(
        machine=said.get("machine", ""),
        user=said.get("user", ""),
        groups=tuple(said.get("groups", "").split()),
        cores=parse_count(said.get("cores", "")),
        memory_bytes=parse_count(said.get("memory_kib", ""), 1024),
        l4t=parse_l4t(said.get("l4t", "")),
        docker=said.get("docker", ""),
        endpoint=said.get("endpoint", ""),
        socket=said.get("socket", ""),
        server=said.get("server", ""),
        trouble=said.get("trouble", ""),
        root=said.get("root", ""),
        free_bytes=parse_count(said.get("free_kib", ""), 1024),
    )


def check_machine(address: Address, machine: Machine, platform: str, *, emulated: bool) -> None:
    """Raise DeviceError, with what to do about it, unless the machine can build for ``platform``.

    ``emulated``: the user knows that another processor's programs run there under QEMU.
    """
    name = address.host
    if not machine.machine:
        raise DeviceError(f"{name} answers ssh, but runs no POSIX shell", hint="Linux is needed there")
    if machine.machine not in PLATFORMS[platform] and not emulated:
        raise DeviceError(
            f"{name} is no machine for {platform}: its processor is {machine.machine}",
            hint="if it starts such programs with QEMU (jetsonx binfmt install there), say so with --emulated; "
            "cross-compiling here is faster than that",
        )
    if not machine.docker:
        raise DeviceError(
            f"there is no docker command on {name}, or not on the PATH that ssh gives",
            hint=f"install it there (Debian, Ubuntu: ssh -t {name} sudo apt-get install docker.io)",
        )
    if not machine.server:
        raise _no_engine(name, machine)
    if re.match("[0-9]", machine.server) and parse_version(machine.server) < parse_version(_OLDEST):
        raise DeviceError(
            f"Docker {machine.server} on {name} is too old to be used over ssh", hint=f"{_OLDEST} or newer is needed"
        )


def _no_engine(name: str, machine: Machine) -> DeviceError:
    if "permission denied" not in machine.trouble.lower():
        return DeviceError(
            f"the Docker engine on {name} does not answer at {machine.endpoint or 'its socket'}",
            details=machine.trouble,
            hint=f"start it there: ssh -t {name} sudo systemctl enable --now docker",
        )
    fields = machine.socket.split()
    group = fields[3] if len(fields) > 3 and fields[0].startswith("s") else "docker"
    is_member = group in machine.groups
    groups = " ".join(machine.groups)
    checks = (
        f"1. group: {machine.user} is {'' if is_member else 'not '}in {group}; its groups there: {groups}",
        f"2. daemon: {machine.socket or 'no socket is there'}",
        f"3. context: the docker command there looks at {machine.endpoint or 'an unknown place'}",
    )
    mend = f"ssh -t {name} sudo usermod -aG {group} {machine.user}; it gives that user root's rights there"
    return DeviceError(
        f"{machine.user or 'the user'} may not use the Docker engine on {name}: three things to check",
        details="\n".join((machine.trouble, *checks)),
        hint=f"compare socket and context there: ssh {name} docker info" if is_member else mend,
    )
