"""``jetsonx vm``: virtual machines."""

from __future__ import annotations

import importlib

import click

# Subcommand -> module of this package, imported when it is used: start-up time counts.
_COMMANDS = {"compose": "vm_compose"}
_HELP = {"compose": "Write a compose file, docker run or Kubernetes manifest for QEMU in a container."}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command = importlib.import_module(f"jetsonx.cli.{_COMMANDS[cmd_name]}").command
        assert isinstance(command, click.Command)  # noqa: S101 - a mistake of ours, caught by the tests
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, _HELP[name]) for name in _COMMANDS])


@click.group("vm", cls=_Commands)
def command() -> None:
    """Virtual machines: in a container, and as a wall around a Docker engine."""
