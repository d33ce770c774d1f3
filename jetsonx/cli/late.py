"""Groups of commands that are imported when they are used: start-up time counts."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import click


class Late(NamedTuple):
    """A command: what the help of its group says of it, its module in this package, and its name there."""

    help: str
    module: str
    name: str = "command"


class LateGroup(click.Group):
    """Knows its commands, ``late`` by name, without importing them."""

    def __init__(self, *args: Any, late: Mapping[str, Late], **options: Any) -> None:
        super().__init__(*args, **options)
        self.late = late

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Their names, in the order of the help."""
        return list(self.late)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """One of them, imported; None where there is none of that name."""
        if cmd_name not in self.late:
            return None
        _, module, name = self.late[cmd_name]
        command = getattr(importlib.import_module(f"jetsonx.cli.{module}"), name)
        if not isinstance(command, click.Command):  # pragma: no cover - a mistake of ours, caught by the tests
            raise TypeError(cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with a guess at what was meant."""
        if args and args[0] not in self.late and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], self.late, n=1)
            ctx.fail(f"no such command '{args[0]}'" + (f"; did you mean '{near[0]}'?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Their lines of the help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, late.help) for name, late in self.late.items()])
