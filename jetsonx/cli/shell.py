"""``jetsonx shell``."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import click

from jetsonx.cli import deployed
from jetsonx.cli.context import Context

# $1: the app; the rest: a command, else the user's shell.
_IN_FILES = (
    'cd "$HOME/.local/share/jetsonx/apps/$1/current/" || exit; shift; '
    'if [ "$#" = 0 ]; then exec "${SHELL:-sh}"; fi; exec "$@"'
)
_NOT_THERE = (126, 127)  # docker exec's statuses for a program that cannot be started


@click.command("shell", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@deployed.app_option
@deployed.device_argument
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[--] [COMMAND]...")
@click.pass_obj
def command(obj: Context, app: str, device: str, words: tuple[str, ...]) -> None:
    """Open a shell, or run COMMAND, in an app's container on a device, or in the directory of its files.

    Minimal images have no shell: a program of the image can still be named.
    """
    from jetsonx.errors import ConfigError, DeviceError
    from jetsonx.rootfs.ssh import ssh_command

    with deployed.reach(obj, device) as place:
        found = place.app(app)
        current = found.current
        is_files = found.form == "files"
        if current is None or not (is_files or current.state == "running"):
            raise ConfigError(f"{found.name} does not run on {place.title}", hint="jetsonx status says what it does")
        terminal = sys.stdin.isatty() and sys.stdout.isatty()
        inside = words[words[:1] == ("--",) :]
        there: tuple[str, ...] = ("sh", "-c", _IN_FILES, "sh", found.name, *inside)
        if not is_files:
            options = ("--interactive", *(("--tty",) if terminal else ()))
            there = (*place.docker, "exec", *options, current.id, *(inside or ("sh",)))
        call = ssh_command(place.address, there, os.environ, options=place.link.options())
        if terminal:
            call = replace(call, argv=(call.argv[0], "-t", *call.argv[1:]))
        status = obj.runner.replace(call)
    if status in _NOT_THERE and not words and not is_files:
        raise DeviceError(
            f"the image of {found.name} has no shell, as minimal images have none",
            hint=f"name a program of the image: jetsonx shell {device} -- PROGRAM; jetsonx logs {device} needs none",
        )
    raise click.exceptions.Exit(status)
