"""``jetsonx stop``."""

from __future__ import annotations

import click

from jetsonx.cli import deployed
from jetsonx.cli.context import Context


@click.command("stop")
@deployed.device_argument
@deployed.app_option
@click.pass_obj
def command(obj: Context, device: str, app: str) -> None:
    """Stop an app on a device. It stays there, also over a reboot; deploying it or a rollback starts it again."""
    from jetsonx.deploy.control import make_request

    with deployed.reach(obj, device) as place:
        found = place.app(app)
        deployed.carry_out(obj, place, make_request("stop", found.name, form=found.form), what="the stop")
    obj.console.out(f"stopped {found.name} on {place.title}")
