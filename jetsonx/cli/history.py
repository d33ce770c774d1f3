"""``jetsonx history``."""

from __future__ import annotations

import json
import os

import click

from jetsonx.cli import deployed, options
from jetsonx.cli.context import Context


@click.command("history")
@deployed.device_argument
@deployed.app_option
@options.as_json
@click.pass_obj
def command(obj: Context, device: str, app: str, as_json: bool) -> None:
    """List the deployments and rollbacks of an app of a device, as the device and this host remember them.

    Each is one line on both. What only one of them knows is said: another host's deployments, those whose end this host
    did not learn, or a device that was set up anew.
    """
    from jetsonx.deploy.history import history_file, merge_histories, read_history
    from jetsonx.deploy.report import render_history

    with deployed.reach(obj, device) as place:
        found = place.app(app)
    here = read_history(history_file(place.address, found.name, os.environ))
    merged = merge_histories(found.history, here)
    if as_json:
        operations = [{**entry, "known": where} for entry, where in merged]
        obj.console.out(json.dumps({"schema": 1, "app": found.name, "operations": operations}, indent=2))
        return
    for line in render_history(merged):
        obj.console.out(line)
