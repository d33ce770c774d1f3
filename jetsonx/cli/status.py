"""``jetsonx status``."""

from __future__ import annotations

import json

import click

from jetsonx.cli import deployed, options
from jetsonx.cli.context import Context


@click.command("status")
@deployed.device_argument
@deployed.app_option
@options.as_json
@click.pass_obj
def command(obj: Context, device: str, app: str, as_json: bool) -> None:
    """Say which release of an app runs on a device, since when and how well, and what lies there of others.

    The device is only asked. Times are of the workstation that deployed it, for a device's clock may be wrong.
    """
    from jetsonx.deploy.report import render_status, status_json

    with deployed.reach(obj, device) as place:
        found = place.app(app)
    if as_json:
        document = status_json(found, place.state, name=place.name, address=str(place.address))
        obj.console.out(json.dumps(document, indent=2))
        return
    for line in render_status(found, place.state, title=place.title):
        obj.console.out(line)
