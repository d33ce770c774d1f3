"""``jetsonx doctor``."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click

from jetsonx.cli.context import Context

if TYPE_CHECKING:
    from jetsonx.host.doctor import Diagnosis, Topic


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
@click.option("--fix", is_flag=True, help="Run the safe mends, asking before each: packages, a service, QEMU.")
@click.option("--for", "topic", type=click.Choice(["vm"]), help="Look at what virtual machines need, instead.")
@click.option("--bridge", is_flag=True, help="With --for vm: guests are to be on this host's own network.")
@click.option("--yes", is_flag=True, help="With --fix: do not ask.")
@click.pass_obj
def command(context: Context, as_json: bool, fix: bool, topic: str | None, bridge: bool, yes: bool) -> None:
    """Say what this host has and lacks, what it is for, and what mends it.

    Every line is ok, warn (usable, with a caveat), fail (there but of no use, or essential) or absent (only missed by
    those who want what it is for). Nothing is downloaded and nothing is changed without --fix. At the end stands what
    this host can do: build without Docker, build in Docker in three ways, run and deploy.

    With --for vm: QEMU, firmware, KVM, libvirt and the rest that virtual machines want. Whether KVM works is found out
    by starting a guest of four instructions; a device node proves nothing.

    Exit status 3 when not even a build without Docker can work here, or with --for vm no virtual Jetson; else 0.
    """
    from jetsonx.host.doctor import BUILDING, diagnosis_json, render_diagnosis
    from jetsonx.host.doctor_vm import VIRTUAL_MACHINES

    if yes and not fix:
        raise click.UsageError("--yes answers the questions of --fix; give both")
    if as_json and fix:
        raise click.UsageError("--json and --fix exclude each other: mends print what they please")
    if bridge and topic != "vm":
        raise click.UsageError("--bridge is about virtual machines; give --for vm too")
    about = VIRTUAL_MACHINES if topic == "vm" else BUILDING
    diagnosis = _diagnose(context, about, bridge)
    if fix and _mend(context, diagnosis, yes):
        diagnosis = _diagnose(context, about, bridge)
    lines = [json.dumps(diagnosis_json(diagnosis), indent=2)] if as_json else render_diagnosis(diagnosis)
    for line in lines:
        context.console.out(line)
    if not diagnosis.can(about.essential):
        from jetsonx.errors import HostError

        raise click.exceptions.Exit(HostError.exit_code)


def _diagnose(context: Context, topic: Topic, bridge: bool) -> Diagnosis:
    from jetsonx.host.doctor import BUILDING, diagnose
    from jetsonx.host.probe import probe_host

    return diagnose(probe_host(context.runner, os.environ, for_vm=topic is not BUILDING, wants_bridge=bridge), topic)


def _mend(context: Context, diagnosis: Diagnosis, yes: bool) -> bool:
    """Run the mends that are agreed to; True when one was run. A mend that fails is said, and the others go on."""
    from jetsonx.runner import Command

    ran = False
    for mend in diagnosis.mends:
        if not yes and not click.confirm(f"run: {mend.text}?", err=True):
            continue
        ran = True
        for call in mend.calls:
            context.console.say(f"+ {Command(argv=call)}")
            status = context.runner.replace(Command(argv=call))
            if status != 0:
                context.console.warn(f"it ended with status {status}: {Command(argv=call)}")
                break
    if not diagnosis.mends:
        context.console.say("there is nothing that jetsonx could mend by itself")
    return ran
