"""``jetsonx deploy``."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jetsonx.cli import options
from jetsonx.cli.context import Context

if TYPE_CHECKING:
    from jetsonx.deploy.command import Result
    from jetsonx.deploy.transfer import Method

_FINDINGS, _FAILED = 1, 6
_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)([kMG]?)(B|bit)?(?:/s)?")
_FACTORS = {"": 1, "k": 1_000, "M": 1_000_000, "G": 1_000_000_000}
_path = click.Path(path_type=Path)


def _rate(ctx: click.Context, param: click.Parameter, text: str | None) -> float | None:  # noqa: ARG001 - click's
    """Bytes a second."""
    if text is None:
        return None
    found = _RATE.fullmatch(text)
    rate = float(found[1]) * _FACTORS[found[2]] / (8 if found[3] == "bit" else 1) if found else 0.0
    if rate < 1:
        raise click.BadParameter(f"{text} is no rate; expected bytes a second as 500k or 2M, or bits as 20Mbit")
    return rate


@click.command("deploy")
@click.argument("devices", nargs=-1, metavar="[NAME|TAG|USER@HOST|all]...")
@click.option("-C", "--directory", default=".", type=_path, help="The project.  [default: .]")
@click.option("-o", "--output", type=_path, metavar="DIR", help="Where it was built to.  [default: the project's out]")
@click.option("--image", type=_path, metavar="DIR|FILE", help="Deploy this OCI layout, or what docker save wrote.")
@click.option("--app", default="", metavar="NAME", help="The container's name.  [default: the project's]")
@click.option(
    "--method",
    type=click.Choice(["auto", "recipe", "thin", "full"]),
    default="auto",
    show_default=True,
    help="recipe: only what differs from the release there; thin: layers that are not there; full: all; auto: the "
    "cheapest.",
)
@click.option(
    "--bwlimit",
    callback=_rate,
    metavar="RATE",
    help="Upload no faster, to each device: 500k or 2M (bytes a second), or 20Mbit.",
)
@click.option("--no-retry", is_flag=True, help="Give up when the link breaks.")
@click.option("--blue-green", is_flag=True, help="Start the new release before the old one is stopped.")
@click.option("--jobs", type=click.IntRange(1, 64), default=8, show_default=True, help="Devices served at once.")
@click.option("--canary", type=click.IntRange(0), default=1, show_default=True, help="Devices to switch first.")
@click.option("--wave", default="100%", show_default=True, metavar="N|N%", help="How many to switch at once then.")
@click.option("--max-failures", type=click.IntRange(1), default=1, show_default=True, help="Stop after so many.")
@click.option("--debug", is_flag=True, help="Then hold its program for gdb, as jetsonx debug does. One device.")
@click.option("--dry-run", is_flag=True, help="Say what would be sent and done, and change nothing on the device.")
@options.as_json
@click.pass_obj
def command(
    obj: Context,
    devices: tuple[str, ...],
    directory: Path,
    output: Path | None,
    image: Path | None,
    app: str,
    method: Method,
    bwlimit: float | None,
    no_retry: bool,
    blue_green: bool,
    jobs: int,
    canary: int,
    wave: str,
    max_failures: int,
    debug: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Bring the built image to devices, start it there, and go back by itself if it is not well.

    \b
    jetsonx deploy jetson@192.168.55.1
    jetsonx deploy orin --dry-run
    jetsonx deploy field --canary 1 --wave 25% --max-failures 2

    Without a device it is those of [deploy] in jetsonx.toml, which also says how the container is started and judged.
    Only what the device lacks is sent, and a link that breaks costs nothing that has arrived. Nothing is installed
    there. Several devices are all made ready before the first one is switched.

    Exit status: 0 deployed, or there already; 1 the checks forbid it, and nothing was changed; 6 a device is off or
    the deployment failed; 7 the release is not well and the old one runs again, on the only device.
    """
    if debug and (dry_run or as_json or len(devices) > 1):
        raise click.UsageError("--debug is for one device, without --dry-run and --json")
    from jetsonx.deploy.command import deploy
    from jetsonx.deploy.fleet import Rollout
    from jetsonx.deploy.order import Order
    from jetsonx.deploy.summary import render_results, results_json

    order = Order(
        devices=devices,
        directory=directory,
        output=output,
        image=image,
        app=app,
        method=method,
        bytes_per_s=bwlimit,
        retries=not no_retry,
        is_blue_green=blue_green,
        is_dry_run=dry_run,
        rollout=Rollout(canary=canary, wave=wave, max_failures=max_failures),
        jobs=jobs,
    )
    results = deploy(order, obj.effects(), os.environ)
    if as_json:
        obj.console.out(json.dumps(results_json(results, is_dry_run=dry_run), indent=2))
    elif len(results) > 1 or results[0].error is None:
        for line in render_results(results, everything=obj.console.verbosity > 0):
            obj.console.out(line)
    _end(results)
    if debug:
        _debug(obj, results, directory, output)


def _debug(obj: Context, results: tuple[Result, ...], directory: Path, output: Path | None) -> None:
    from jetsonx.cli.debug import debug_app
    from jetsonx.errors import ConfigError

    if len(results) > 1:
        raise ConfigError("all are deployed; a debugger is for one device", hint="jetsonx debug NAME")
    only = results[0]
    app = only.plan.release.app if only.plan else ""
    debug_app(obj, only.name or only.address, app, directory=directory, output=output)


def _end(results: tuple[Result, ...]) -> None:
    if len(results) == 1 and results[0].error is not None:
        raise results[0].error
    if any(result.status == "refused" for result in results) and all(
        result.ok or result.status == "refused" for result in results
    ):
        raise click.exceptions.Exit(_FINDINGS)
    if not all(result.ok for result in results):
        raise click.exceptions.Exit(_FAILED)
