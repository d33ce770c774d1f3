"""``jetsonx binfmt``: let this kernel start AArch64 programs."""

from __future__ import annotations

import json
import os

import click

from jetsonx.cli import options
from jetsonx.cli.context import Context


@click.group("binfmt")
def command() -> None:
    """Say whether this kernel starts AArch64 programs by QEMU, and make it do so: for arm64 containers and images."""


@command.command()
@options.as_json
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Say which interpreter serves AArch64, and what is known against it; start a tiny program to prove it.

    Exit status 1 when that program does not start.
    """
    from jetsonx.host.binfmt_install import root_line
    from jetsonx.host.binfmt_status import probe_status, render_status, status_json

    obj: Context = ctx.obj
    found = probe_status(obj.runner, os.environ)
    lines = [json.dumps(status_json(found), indent=2)] if as_json else render_status(found)
    for line in lines:
        obj.console.out(line)
    if not found.serves_containers and not found.is_desktop:
        obj.console.say(f"hint: {root_line('install')}")
    if not found.works:
        ctx.exit(1)


@command.command()
@click.pass_obj
def install(obj: Context) -> None:
    """Register this host's QEMU, else tonistiigi/binfmt's by docker; nothing when that works already. Takes root.

    It is told what is done before it is, and it lasts until the next boot.
    """
    from jetsonx.host.binfmt_install import find_interpreter, plan_install
    from jetsonx.host.binfmt_install import install as carry_out
    from jetsonx.host.binfmt_status import probe_status

    plan = plan_install(probe_status(obj.runner, os.environ), find_interpreter())
    if plan.nothing:
        obj.console.out(f"nothing to do: {plan.nothing}")
        return
    for step in plan.steps:
        obj.console.say(f"+ {step}")
    name = carry_out(plan, obj.runner)
    obj.console.out(f"{name} serves AArch64, and an AArch64 program was started; until the next boot")


@command.command()
@click.pass_obj
def remove(obj: Context) -> None:
    """Take back what `install` did, and nothing else. Takes root."""
    from jetsonx.host.binfmt_install import remove as take_back

    for line in take_back(obj.runner) or ("nothing to remove: jetsonx has registered nothing here",):
        obj.console.out(line)
