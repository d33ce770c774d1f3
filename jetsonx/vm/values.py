"""A virtual machine as a value, as its directory records it: pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from jetsonx.errors import ConfigError
from jetsonx.vm.hardware import ARM64, KINDS

SCHEMA = 1
System = Literal["debian", "coreos"]
"""What a machine runs: what jetsonx made of Debian's packages, or Fedora CoreOS, which boots by itself."""
_USERS: Mapping[System, str] = {"debian": "jetson", "coreos": "core"}
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_LEAST_MIB, _MOST_MIB = 512, 1 << 20
_MOST_CPUS = 64
_LEAST_GIB, _MOST_GIB = 16, 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Vm:
    """A virtual Jetson, or a machine that walls in a Docker engine.

    ``target`` is "module@release", "" when it is no Jetson; ``cpu`` QEMU's name of the processor. ``memory_mib`` and
    ``disk_gib`` are what the guest sees. ``port`` is where its sshd answers on 127.0.0.1. ``base`` is the directory of
    its base image. ``created_s``: seconds since 1970. ``arch``: a name of :data:`jetsonx.vm.hardware.KINDS`.
    ``system``: what it runs.
    """

    name: str
    target: str
    cpu: str
    cpus: int
    memory_mib: int
    disk_gib: int
    port: int
    base: str
    created_s: float
    arch: str = ARM64.name
    system: System = "debian"

    @property
    def user(self) -> str:
        """Who is let in, and may use Docker and sudo there."""
        return _USERS[self.system]


def check_name(name: str) -> None:
    """Raise ConfigError unless a machine can be called that; the name is also its host name."""
    if not _NAME.fullmatch(name) or name.endswith("-"):
        raise ConfigError(
            f"{name!r} cannot be the name of a virtual machine",
            hint="up to 40 of a-z, 0-9 and dash, with a letter or digit first and last: jetsonx vm create dev",
        )


def check_size(*, memory_mib: int, cpus: int, disk_gib: int) -> None:
    """Raise ConfigError for a machine that could not start, with what is expected."""
    limits = (
        ("--memory", memory_mib, _LEAST_MIB, _MOST_MIB, "MiB"),
        ("--cpus", cpus, 1, _MOST_CPUS, "processors"),
        ("--disk", disk_gib, _LEAST_GIB, _MOST_GIB, "GiB"),
    )
    for option, value, least, most, unit in limits:
        if not least <= value <= most:
            raise ConfigError(f"{option} {value}: expected {least} to {most} {unit}")


def render_vm(vm: Vm) -> str:
    """The record's text."""
    return json.dumps({"schema": SCHEMA, **asdict(vm)}, indent=2) + "\n"


def parse_vm(text: str, *, where: str) -> Vm:
    """The machine in a record's text. Raises ConfigError for anything that :func:`render_vm` does not write."""
    try:
        data = json.loads(text)
        vm = _from_json(data)
        check_name(vm.name)
        check_size(memory_mib=vm.memory_mib, cpus=vm.cpus, disk_gib=vm.disk_gib)
    except (ConfigError, KeyError, TypeError, ValueError, RecursionError):
        raise ConfigError(
            f"{where}: is no record of a virtual machine of schema {SCHEMA}",
            hint="move its directory away; without a record nobody knows what it was",
        ) from None
    return vm


def _from_json(data: Mapping[str, Any]) -> Vm:
    if data["schema"] != SCHEMA or data.get("arch", ARM64.name) not in KINDS or not 0 < int(data["port"]) < 1 << 16:
        raise ValueError
    system: System = data.get("system", "debian")
    if system not in _USERS:
        raise ValueError
    return Vm(
        name=str(data["name"]),
        target=str(data["target"]),
        cpu=str(data["cpu"]),
        cpus=int(data["cpus"]),
        memory_mib=int(data["memory_mib"]),
        disk_gib=int(data["disk_gib"]),
        port=int(data["port"]),
        base=str(data["base"]),
        created_s=float(data["created_s"]),
        arch=str(data.get("arch", ARM64.name)),
        system=system,
    )
