"""``jetsonx device``: the machines that built images go to."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import click

from jetsonx.cli import deployed, options
from jetsonx.cli.context import Context

if TYPE_CHECKING:
    from jetsonx.device.hostkey import HostKey
    from jetsonx.device.judge import Assessment
    from jetsonx.device.probe import Answer
    from jetsonx.rootfs.ssh import Address

_FINDINGS = 1
_limit = click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0.1, max=600),
    default=20.0,
    show_default=True,
    help="Seconds to wait for an answer.",
)


@click.group("device")
def command() -> None:
    """Jetsons by name: add, list, probe, tidy up and remove them.

    A device is any machine that ssh reaches with the user's own configuration: alias, key, agent, jump host. Nothing is
    installed there and nothing is changed.
    """


@command.command()
@click.argument("name")
@click.argument("address", metavar="USER@HOST")
@click.option(
    "--accept-host-key",
    "accepted",
    multiple=True,
    metavar="FINGERPRINT",
    help="Trust this key (SHA256:…) if ssh does not know it yet; for scripts. Again for a jump host's.",
)
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Name a group it is in, for jetsonx deploy TAG.")
@click.option("--no-probe", is_flag=True, help="Keep the address without asking the device.")
@_limit
@click.pass_obj
def add(
    obj: Context,
    name: str,
    address: str,
    accepted: tuple[str, ...],
    tags: tuple[str, ...],
    no_probe: bool,
    timeout_s: float,
) -> None:
    """Give the device at USER@HOST a name, after asking what it is.

    \b
    jetsonx device add orin jetson@192.168.55.1
    jetsonx device add orin ssh://jetson@orin.local:2222
    jetsonx device add orin orin-behind-a-jump-host     # a Host of ~/.ssh/config

    ssh has to log in with a key. A host key that it does not know is shown, and trusted only after a yes on the
    terminal or --accept-host-key; ssh itself writes it into known_hosts. One that changed is always refused. The same
    name with the same address is asked and kept anew, with the tags that are given then.
    """
    from jetsonx.device.registry import Named, check_free, check_name, open_registry

    registry = open_registry(os.environ)
    place = registry.address(address)
    for word in (name, *tags):
        check_name(word)
    check_free(registry.load(), name, str(place))
    if no_probe:
        registry.add(Named(name=name, address=str(place), tags=tags))
        obj.console.out(f"added {name}: {place}, not asked yet")
        return
    answer = _reach(obj, place, accepted, timeout_s, may_ask=True)
    registry.add(Named(name=name, address=str(place), said=answer.said, asked_s=answer.asked_s, tags=tags))
    _report_added(obj, name, place, answer)


def _report_added(obj: Context, name: str, place: Address, answer: Answer) -> None:
    from jetsonx.device.judge import name_problems

    assessment = _assess(answer)
    target = assessment.identity.target
    obj.console.out(f"added {name}: {place}, {target.name if target else answer.device.system or 'no known target'}")
    for line in name_problems(assessment):
        obj.console.warn(line)
    if assessment.tasks:
        obj.console.say(f"what to type there: jetsonx device probe {name}")


def _assess(answer: Answer) -> Assessment:
    from jetsonx.catalog import load_catalog
    from jetsonx.device.judge import assess

    return assess(answer.device, load_catalog())


def _reach(obj: Context, address: Address, accepted: tuple[str, ...], timeout_s: float, *, may_ask: bool) -> Answer:
    """Probe the device; a key that is not known is shown and, when that is agreed to, learnt first."""
    from jetsonx.device.hostkey import trust
    from jetsonx.device.probe import probe_device
    from jetsonx.rootfs.ssh import HostKeyError

    def confirm(key: HostKey) -> bool:
        if key.fingerprint in accepted:
            return True
        if not may_ask or accepted or not sys.stdin.isatty():
            return False
        obj.console.err(f"the key of {key.host} is not known: {key.kind} {key.fingerprint}")
        return click.confirm("is it the device's own, and to be trusted from now on?", err=True)

    try:
        return probe_device(address, runner=obj.runner, environ=os.environ, limit_s=timeout_s)
    except HostKeyError as refused:
        trust(address, refused, confirm=confirm, runner=obj.runner, environ=os.environ)
    return probe_device(address, runner=obj.runner, environ=os.environ, limit_s=timeout_s)


@command.command()
@click.argument("device", metavar="NAME|USER@HOST|vm:NAME")
@options.as_json
@_limit
@click.pass_obj
def probe(obj: Context, device: str, as_json: bool, timeout_s: float) -> None:
    """Say what a device is, what fits there, what is missing, and what to type on it.

    Module, L4T release, CUDA and its limits, Docker with its image store, nvidia runtime or CDI, groups, disk, memory
    and python3: one login, which only reads. A named device's answer is kept for `jetsonx device list`.

    Exit status 1 when images cannot run there yet, 6 when the device does not answer.
    """
    from jetsonx.device.registry import open_registry
    from jetsonx.device.render import assessment_json, render_assessment

    registry = open_registry(os.environ)
    name, address = registry.find(device)
    answer = _reach(obj, address, (), timeout_s, may_ask=False)
    if name:
        registry.remember(name, answer.said, answer.asked_s)
    assessment = _assess(answer)
    if as_json:
        document = {"schema": 1, "name": name or None, "address": str(address), **assessment_json(assessment)}
        obj.console.out(json.dumps(document, indent=2))
    else:
        for line in render_assessment(assessment, title=f"{name} ({address})" if name else str(address)):
            obj.console.out(line)
    if not assessment.is_ready:
        raise click.exceptions.Exit(_FINDINGS)


@command.command("list")
@click.option("--probe", "is_asked", is_flag=True, help="Ask all of them now, at once.")
@options.as_json
@_limit
@click.pass_obj
def list_devices(obj: Context, is_asked: bool, as_json: bool, timeout_s: float) -> None:
    """List the named devices with what each said when last asked.

    A device that does not answer `--probe` in time is said so, with what is known of it.
    """
    from jetsonx.device.fleet import ask_rows, known_rows
    from jetsonx.device.registry import open_registry
    from jetsonx.device.render import render_rows, rows_json

    registry = open_registry(os.environ)
    if is_asked:
        rows = ask_rows(registry, runner=obj.runner, environ=os.environ, limit_s=timeout_s)
    else:
        rows = known_rows(registry)
    lines = [json.dumps(rows_json(rows), indent=2)] if as_json else render_rows(rows)
    for line in lines:
        obj.console.out(line)


@command.command()
@click.argument("name")
@click.pass_obj
def remove(obj: Context, name: str) -> None:
    """Forget the device NAME. Nothing is done on the device itself, and its key stays known to ssh."""
    from jetsonx.device.registry import open_registry

    gone = open_registry(os.environ).remove(name)
    obj.console.out(f"removed {gone.name}: {gone.address}")


@command.command()
@deployed.device_argument
@deployed.app_option
@click.option("--dry-run", "is_dry_run", is_flag=True, help="Only say what would be removed.")
@click.pass_obj
def prune(obj: Context, device: str, app: str, is_dry_run: bool) -> None:
    """Remove what deployments left on a device: releases beyond those that are kept, containers of ours that were for a
    moment only, bundles that were sent in part.

    What is ours is told by its label; nothing else is touched. A switch that ends well does the same for old releases.
    """
    from jetsonx.deploy.control import make_request

    with deployed.reach(obj, device) as place:
        found = place.app(app)
        request = make_request("prune", found.name, form=found.form, is_dry_run=is_dry_run)
        outcome = deployed.carry_out(obj, place, request, what="the tidying up")
    for item in outcome.items:
        obj.console.out(f"{'would remove' if is_dry_run else 'removed'} {item}")
    if not outcome.items:
        obj.console.out("there is nothing to remove")
