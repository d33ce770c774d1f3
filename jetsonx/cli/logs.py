"""``jetsonx logs``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from jetsonx.cli import deployed
from jetsonx.cli.context import Context

if TYPE_CHECKING:
    from jetsonx.deploy.values import RemoteContainer

_FAILED = 'exec tail -n "$2" "$HOME/.local/state/jetsonx/apps/$1/failed"'


@click.command("logs")
@deployed.device_argument
@deployed.app_option
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes.")
@click.option("--tail", type=click.IntRange(0, 1_000_000), default=100, show_default=True, help="How many lines.")
@click.option("--previous", is_flag=True, help="Of the release before, as far as it still lies there.")
@click.option("--failed", is_flag=True, help="What was kept of the last release that failed.")
@click.pass_obj
def command(obj: Context, device: str, app: str, follow: bool, tail: int, previous: bool, failed: bool) -> None:
    """Print what an app on a device says, the last lines of it."""
    from jetsonx.errors import ConfigError
    from jetsonx.rootfs.ssh import ssh_command

    if failed and (follow or previous):
        raise ConfigError("--failed is what was kept of a release that is gone", hint="leave -f and --previous away")
    with deployed.reach(obj, device) as place:
        found = place.app(app)
        container = found.previous if previous else found.current
        words: tuple[str, ...]
        if failed:
            if not found.failed:
                raise ConfigError(f"no release of {found.name} failed on {place.title}")
            words = ("sh", "-c", _FAILED, "sh", found.name, str(tail))
        elif container is None:
            raise ConfigError(f"{found.name} has no such release on {place.title}", hint="jetsonx status says what is")
        elif found.form == "files":
            words = _journal(found.name, container, tail, follow=follow)
        else:
            words = (*place.docker, "logs", "--tail", str(tail), *(("--follow",) if follow else ()), container.id)
        call = ssh_command(place.address, words, os.environ, options=place.link.options())
        status = obj.runner.replace(call)
    raise click.exceptions.Exit(status)


def _journal(app: str, release: RemoteContainer, tail: int, *, follow: bool) -> tuple[str, ...]:
    """What prints the journal of the app's unit, which has the lines of all releases."""
    from jetsonx.errors import ConfigError

    if release.state == "placed":
        raise ConfigError(
            f"{app} has no unit: jetsonx does not start it, and has no log of it",
            hint="look where that which starts it writes to; jetsonx logs --failed has what a failed health check said",
        )
    options = ("-n", str(tail), "-o", "cat", *(("-f",) if follow else ()))
    return ("journalctl", "--user", "-u", f"jetsonx-{app}.service", *options)
