"""Snapshots of a virtual machine's disk, inside its qcow2 file: what was on the disk, not what was in memory."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from jetsonx.errors import ConfigError, HostError
from jetsonx.runner import Command
from jetsonx.vm.machine import Machine
from jetsonx.vm.place import Places
from jetsonx.vm.tools import Tools
from jetsonx.vm.wire import ask_qemu

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


def take_snapshot(machine: Machine, name: str, tools: Tools, places: Places) -> None:
    """Keep the disk as it is now under ``name``. Of a machine that runs, what it has not written yet is written first.

    Raises ConfigError for a name that is none, or taken.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} cannot be the name of a snapshot",
            hint="up to 63 letters, digits, dots, dashes and underscores, a letter or digit first",
        )
    with places.lock(machine.vm.name, machine.console):
        if name in list_snapshots(machine, tools):
            raise ConfigError(f"{machine.name} has a snapshot {name} already", hint="take another name")
        if not machine.place.is_running:
            _do(machine, tools, "snapshot", "-c", name, str(machine.place.disk))
            return
        if not machine.ssh("sync", limit_s=60).ok:
            machine.console.warn(f"{machine.name} does not answer: the snapshot holds what it had written by itself")
        arguments = {"device": "disk", "name": name}
        ask_qemu(machine.place.control, "blockdev-snapshot-internal-sync", arguments)


def restore_snapshot(machine: Machine, name: str, tools: Tools, places: Places) -> None:
    """Put the disk back to what it was. Raises ConfigError when the machine runs, or has no such snapshot."""
    with places.lock(machine.vm.name, machine.console):
        known = list_snapshots(machine, tools)
        if name not in known:
            raise ConfigError(
                f"{machine.name} has no snapshot {name!r}; it has: {', '.join(known) or 'none'}",
                hint=f"jetsonx vm snapshot {machine.vm.name} {name} takes one",
            )
        if machine.place.is_running:
            raise ConfigError(
                f"{machine.name} runs, and its disk cannot be changed under it",
                hint=f"jetsonx vm stop {machine.vm.name}, then restore and start it again",
            )
        _do(machine, tools, "snapshot", "-a", name, str(machine.place.disk))


def list_snapshots(machine: Machine, tools: Tools) -> tuple[str, ...]:
    """The names of its snapshots, the oldest first."""
    text = _do(machine, tools, "info", "--force-share", "--output=json", str(machine.place.disk))
    found: Mapping[str, Any] = json.loads(text)
    return tuple(str(each["name"]) for each in found.get("snapshots", ()))


def _do(machine: Machine, tools: Tools, *words: str) -> str:
    done = machine.runner.run(Command(argv=(tools.qemu_img, *words)))
    if not done.ok:
        raise HostError(f"qemu-img fails on the disk of {machine.name}", details=done.tail)
    return done.stdout
