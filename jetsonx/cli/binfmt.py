"""``jetsonx binfmt``: let this kernel start AArch64 programs."""

from __future__ import annotations

import json
from dataclasses import asdict

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
    """Say which interpreter serves AArch64, and start a tiny program to prove it. Exits with 1 when none does."""
    from jetsonx.host.binfmt import probe_binfmt, prove

    obj: Context = ctx.obj
    found = probe_binfmt()
    with obj.store.scratch() as scratch:
        works = prove(scratch, obj.runner)
    if as_json:
        obj.console.out(json.dumps({"schema": 1, **asdict(found), "works": works}, indent=2))
    else:
        if not found.mounted:
            obj.console.out("binfmt_misc is not mounted (mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc)")
        elif found.name is None:
            obj.console.out("no interpreter is registered for AArch64")
        else:
            state = "" if found.enabled else ", disabled"
            obj.console.out(f"{found.name}: {found.interpreter}, flags {found.flags or 'none'}{state}")
            if "F" not in found.flags:
                obj.console.out("without the flag F it does not serve containers, which do not hold the interpreter")
        obj.console.out("an AArch64 program starts" if works else "an AArch64 program does not start")
        if not works:
            obj.console.say("hint: sudo jetsonx binfmt install")
    if not works:
        ctx.exit(1)


@command.command()
@click.pass_obj
def install(obj: Context) -> None:
    """Register this host's qemu-aarch64-static, else tonistiigi/binfmt's; nothing when it works already. Takes root."""
    from jetsonx.host.binfmt import install as register

    with obj.store.scratch() as scratch:
        obj.console.out(register(scratch, obj.runner))


@command.command()
@click.pass_obj
def remove(obj: Context) -> None:
    """Take away what `install` registered, and nothing else. Takes root."""
    from jetsonx.host.binfmt import NAME
    from jetsonx.host.binfmt import remove as withdraw

    obj.console.out(f"{NAME} is removed" if withdraw() else f"{NAME} is not registered: nothing to remove")
