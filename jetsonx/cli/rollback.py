"""``jetsonx rollback``."""

from __future__ import annotations

import click

from jetsonx.cli import deployed
from jetsonx.cli.context import Context


@click.command("rollback")
@deployed.device_argument
@deployed.app_option
@click.pass_obj
def command(obj: Context, device: str, app: str) -> None:
    """Go back to the release before, which still lies on the device: no image is sent.

    Its health is judged as when it was deployed; if it does not work, the current release goes on. A second rollback
    goes forward again.
    """
    from jetsonx.deploy.control import make_request
    from jetsonx.deploy.report import render_outcome
    from jetsonx.deploy.state import REFERENCE_LABEL, RELEASE_LABEL
    from jetsonx.errors import DeviceError

    with deployed.reach(obj, device) as place:
        found = place.app(app)
        previous = found.previous
        if previous is None and found.unfinished is None:
            raise DeviceError(f"{found.name} has no earlier release on {place.title}", hint="jetsonx history shows all")
        labels = previous.labels if previous else {}
        about = {
            "release": labels.get(RELEASE_LABEL, ""),
            "image": previous.image_id if previous else "",
            "reference": labels.get(REFERENCE_LABEL, ""),
        }
        request = make_request(
            "rollback", found.name, form=found.form, expected=previous.id if previous else "", about=about
        )
        outcome = deployed.carry_out(obj, place, request, what="the rollback")
    obj.console.out(f"{found.name} on {place.title}: back to {about['release']}, {render_outcome(outcome)}")
