"""What the commands for deployed apps share: which device, which app, and one way to carry an operation out."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jetsonx.cli.context import Context

if TYPE_CHECKING:
    from jetsonx.deploy.outcome import Outcome
    from jetsonx.deploy.request import Request
    from jetsonx.deploy.state import AppState, DeviceState
    from jetsonx.deploy.values import RemoteContainer
    from jetsonx.device.link import Link
    from jetsonx.rootfs.ssh import Address

device_argument = click.argument("device", metavar="NAME|USER@HOST")
app_option = click.option(
    "--app", default="", metavar="NAME", help="Which app.  [default: that of ./jetsonx.toml, or the only one there]"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A device that was reached, by the user's name for it ("" for none), and what it has."""

    name: str
    address: Address
    link: Link
    state: DeviceState

    @property
    def title(self) -> str:
        """The device for a person."""
        return f"{self.name} ({self.address})" if self.name else str(self.address)

    def app(self, wanted: str) -> AppState:
        """The app that is meant. Raises ConfigError when that is none."""
        from jetsonx.deploy.report import choose_app

        return choose_app(self.state, wanted, "" if wanted else _project_name())

    def container(self, found: AppState, *, device: str, limit: str) -> RemoteContainer:
        """The app's current container. Raises ConfigError when there is none; ``limit`` says why files will not do."""
        from jetsonx.errors import ConfigError

        if found.form == "files":
            raise ConfigError(f"{found.name} is deployed as files, and {limit}", hint="jetsonx deploy")
        if found.current is None:
            raise ConfigError(f"no release of {found.name} is on {self.title}", hint=f"jetsonx deploy {device}")
        return found.current

    @property
    def docker(self) -> tuple[str, ...]:
        """The words that start docker there."""
        return ("sudo", "-n", "docker") if self.state.by == "sudo" else ("docker",)


@contextlib.contextmanager
def reach(obj: Context, device: str) -> Iterator[Place]:
    """Ask the device for its state. Raises ConfigError for a name or address that is none, DeviceError."""
    from jetsonx.deploy.ask import probe_state
    from jetsonx.device.link import open_link
    from jetsonx.device.registry import open_registry

    name, address = open_registry(os.environ).find(device)
    with open_link(address, runner=obj.runner, environ=os.environ) as link:
        yield Place(name=name, address=address, link=link, state=probe_state(link))


def carry_out(
    obj: Context,
    place: Place,
    request: Request,
    *,
    what: str,
    check: Callable[..., None] | None = None,
    on_step: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Do it there, keep it in this host's history and raise DeviceError unless it was done.

    ``check`` says so in place of :func:`~jetsonx.deploy.report.check_outcome`; ``on_step`` is told where it is.
    """
    from jetsonx.deploy import control
    from jetsonx.deploy.history import append_history, history_file
    from jetsonx.deploy.report import check_outcome

    outcome = control.carry_out(
        place.link,
        request,
        on_step=on_step,
        on_trouble=lambda error: obj.console.say(f"{error.message}; trying again, it goes on there by itself"),
    )
    if outcome.history:
        append_history(history_file(place.address, request.app, os.environ), outcome.history)
    if outcome.recovered:
        obj.console.warn(f"an operation that had been interrupted was recovered first: {outcome.recovered}")
    (check or check_outcome)(outcome, what=what)
    return outcome


def _project_name() -> str:
    from jetsonx.errors import ConfigError
    from jetsonx.project.model import FILE_NAME
    from jetsonx.project.parse import load_project

    try:
        return load_project(Path()).name if Path(FILE_NAME).exists() else ""
    except ConfigError:
        return ""  # a file that is just being edited keeps nobody from looking at a device
