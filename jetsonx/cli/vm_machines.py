"""``jetsonx vm create`` and what follows it: virtual Jetsons."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import click

from jetsonx.cli import options
from jetsonx.cli.context import Context

if TYPE_CHECKING:
    from jetsonx.vm.machine import Machine
    from jetsonx.vm.place import Places


def _find(obj: Context, name: str) -> tuple[Machine, Places]:
    from jetsonx.vm.machine import Machine
    from jetsonx.vm.place import open_places

    places = open_places(os.environ)
    place, vm = places.load(name)
    return Machine(vm=vm, place=place, runner=obj.runner, console=obj.console), places


@click.command()
@click.argument("name")
@click.option("-t", "--target", default="orin-nano@36.4.3", show_default=True, help="What it says that it is.")
@click.option("--memory", "memory_mib", type=int, default=2048, show_default=True, metavar="MIB", help="Its memory.")
@click.option("--cpus", type=int, default=2, show_default=True, help="Its processors.")
@click.option("--disk", "disk_gib", type=int, default=16, show_default=True, metavar="GIB", help="Its disk, at most.")
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Where its sshd answers on 127.0.0.1.  [default: a free one]"
)
@options.offline
@click.pass_obj
def create(
    obj: Context, name: str, target: str, memory_mib: int, cpus: int, disk_gib: int, port: int | None, offline: bool
) -> None:
    """Make a virtual Jetson called NAME.

    The first one takes minutes: its disk is made from Debian packages. Those after it are overlays over the same image.
    """
    from jetsonx.catalog import load_catalog, resolve_target
    from jetsonx.vm.make import Wish, create_vm
    from jetsonx.vm.place import open_places
    from jetsonx.vm.tools import find_tools

    wish = Wish(
        name=name,
        target=resolve_target(load_catalog(), target),
        memory_mib=memory_mib,
        cpus=cpus,
        disk_gib=disk_gib,
        port=port or 0,
    )
    vm = create_vm(wish, find_tools(), open_places(os.environ), obj.effects(offline=offline))
    obj.console.out(f"created vm:{vm.name}: {vm.target} as {vm.cpu}, port {vm.port}")
    obj.console.say(f"start it: jetsonx vm start {vm.name}")


@click.command()
@click.argument("name")
@click.option(
    "--timeout",
    "limit_s",
    type=click.FloatRange(min=1, max=3600),
    default=300.0,
    show_default=True,
    help="Seconds to wait for it.",
)
@click.option("--docker", "needs_docker", is_flag=True, help="Wait for its Docker engine too.")
@click.option("--display", type=click.Choice(["web"]), help="Show its console in a browser, on 127.0.0.1.")
@click.pass_obj
def start(obj: Context, name: str, limit_s: float, needs_docker: bool, display: str | None) -> None:
    """Start the machine NAME, and return when it lets us in. It goes on in the background.

    With --display web, the address is said as soon as there is something to see, and again at the end. What serves it
    ends with the machine.
    """
    from jetsonx.vm.display import find_viewer, show_console
    from jetsonx.vm.hardware import KINDS
    from jetsonx.vm.machine import start as start_machine
    from jetsonx.vm.tools import find_tools

    machine, places = _find(obj, name)
    tools = find_tools(KINDS[machine.vm.arch])
    viewer = find_viewer() if display else None
    seconds = start_machine(machine, tools, places, limit_s=limit_s, needs_docker=needs_docker, viewer=viewer)
    how = f"runs, {seconds:.0f} s after its start" if seconds else "runs already"
    obj.console.out(f"{machine.name} {how}: jetsonx vm ssh {machine.vm.name}")
    if viewer is not None:
        with places.lock(machine.vm.name, obj.console):
            obj.console.out(f"its console: {show_console(viewer, machine.place, obj.runner)}")


@click.command()
@click.argument("name")
@click.option(
    "--timeout",
    "limit_s",
    type=click.FloatRange(min=0, max=3600),
    default=60.0,
    show_default=True,
    help="Seconds until its power is cut.",
)
@click.pass_obj
def stop(obj: Context, name: str, limit_s: float) -> None:
    """Shut the machine NAME down."""
    from jetsonx.vm.machine import stop as stop_machine

    machine, places = _find(obj, name)
    ran = stop_machine(machine, places, limit_s=limit_s)
    obj.console.out(f"{machine.name} {'is stopped' if ran else 'did not run'}")


@click.command("list")
@options.as_json
@click.pass_obj
def list_machines(obj: Context, as_json: bool) -> None:
    """List the machines and say which of them run."""
    from jetsonx.vm.place import open_places
    from jetsonx.vm.render import render_rows, rows_json

    places = open_places(os.environ)
    rows = [(vm, place.is_running, place.disk_bytes) for place, vm in map(places.load, places.names())]
    for line in [json.dumps(rows_json(rows), indent=2)] if as_json else render_rows(rows):
        obj.console.out(line)


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("name")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND]...")
@click.pass_obj
def ssh(obj: Context, name: str, words: tuple[str, ...]) -> None:
    """Log in to the machine NAME as its user jetson, or run a command there."""
    from jetsonx.vm.machine import log_in

    machine, places = _find(obj, name)
    raise click.exceptions.Exit(log_in(machine, words, places))


@click.command()
@click.argument("name")
@click.option("-n", "--lines", type=click.IntRange(min=1), help="Only the last ones.")
@click.pass_obj
def logs(obj: Context, name: str, lines: int | None) -> None:
    """Print what the machine NAME said on its console since it was started last."""
    from jetsonx.vm.machine import console_text

    machine, _ = _find(obj, name)
    obj.console.out(console_text(machine.place, lines))


@click.command()
@click.argument("name")
@click.argument("snapshot_name", metavar="[SNAPSHOT]", required=False)
@click.pass_obj
def snapshot(obj: Context, name: str, snapshot_name: str | None) -> None:
    """Keep the disk of the machine NAME as SNAPSHOT; without that name, list those that there are.

    It may run meanwhile. What is in its memory is not kept: a restored machine starts as after a power cut.
    """
    from jetsonx.vm.snapshot import list_snapshots, take_snapshot
    from jetsonx.vm.tools import find_tools

    machine, places = _find(obj, name)
    if snapshot_name is None:
        for each in list_snapshots(machine, find_tools()):
            obj.console.out(each)
        return
    take_snapshot(machine, snapshot_name, find_tools(), places)
    obj.console.out(f"{machine.name}: kept as {snapshot_name}")


@click.command()
@click.argument("name")
@click.argument("snapshot_name", metavar="SNAPSHOT")
@click.pass_obj
def restore(obj: Context, name: str, snapshot_name: str) -> None:
    """Put the disk of the stopped machine NAME back to SNAPSHOT. What was written since is lost."""
    from jetsonx.vm.snapshot import restore_snapshot
    from jetsonx.vm.tools import find_tools

    machine, places = _find(obj, name)
    restore_snapshot(machine, snapshot_name, find_tools(), places)
    obj.console.out(f"{machine.name}: is {snapshot_name} again")


@click.command()
@click.argument("name")
@click.argument("button", type=click.Choice(["link-down", "link-up", "power-cut", "disk-full", "disk-free"]))
@click.pass_obj
def fault(obj: Context, name: str, button: str) -> None:
    """Let something go wrong with the running machine NAME.

    Its network link goes down or up, its power is cut, its disk fills or is freed again.
    """
    from jetsonx.vm.faults import FAULTS

    machine, places = _find(obj, name)
    FAULTS[button](machine, places)
    obj.console.out(f"{machine.name}: {button}")


@click.command()
@click.argument("name")
@click.pass_obj
def remove(obj: Context, name: str) -> None:
    """Take the machine NAME away with its disk and snapshots. One that runs is ended first."""
    from jetsonx.vm.machine import remove as remove_machine

    machine, places = _find(obj, name)
    remove_machine(machine, places)
    obj.console.out(f"removed {machine.name}")
