"""``jetsonx vm``: virtual machines."""

from __future__ import annotations

import importlib

import click

# Subcommand -> module of this package and the command's name in it, imported when used: start-up time counts.
_COMMANDS = {
    "create": ("vm_machines", "create"),
    "start": ("vm_machines", "start"),
    "stop": ("vm_machines", "stop"),
    "list": ("vm_machines", "list_machines"),
    "ssh": ("vm_machines", "ssh"),
    "logs": ("vm_machines", "logs"),
    "snapshot": ("vm_machines", "snapshot"),
    "restore": ("vm_machines", "restore"),
    "fault": ("vm_machines", "fault"),
    "remove": ("vm_machines", "remove"),
    "compose": ("vm_compose", "command"),
    "engine": ("vm_engine", "command"),
}
_HELP = {
    "create": "Make a virtual Jetson.",
    "start": "Start it, and return when it lets us in.",
    "stop": "Shut it down.",
    "list": "List the virtual Jetsons and say which of them run.",
    "ssh": "Log in, or run a command there.",
    "logs": "Print what it said on its console.",
    "snapshot": "Keep its disk as it is now.",
    "restore": "Put its disk back to a snapshot.",
    "fault": "Let something go wrong with it: link, power, disk.",
    "remove": "Take it away.",
    "compose": "Write a compose file, docker run or Kubernetes manifest for QEMU in a container.",
    "engine": "Docker engines behind a virtual machine's wall: create, list, start and remove them.",
}


class _Commands(click.Group):
    """Knows the commands by name without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        command = getattr(importlib.import_module(f"jetsonx.cli.{module}"), name)
        assert isinstance(command, click.Command)  # noqa: S101 - a mistake of ours, caught by the tests
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, _HELP[name]) for name in _COMMANDS])


@click.group("vm", cls=_Commands)
def command() -> None:
    """Virtual Jetsons: real arm64 machines under QEMU, with sshd and Docker, and without a GPU.

    A started one is a device by name, vm:NAME, wherever a device is named. No root, no KVM and no emulator registered
    in the kernel are needed.
    """
