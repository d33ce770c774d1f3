"""``jetsonx vm engine``: Docker engines behind a virtual machine's wall."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jetsonx.cli import options
from jetsonx.cli.context import Context

if TYPE_CHECKING:
    from jetsonx.vm.engine_libvirt import Kvm

_LIMIT = click.option(
    "--timeout",
    "limit_s",
    type=click.FloatRange(min=1, max=3600),
    default=600.0,
    show_default=True,
    help="Seconds to wait for its Docker.",
)


@click.group("engine")
def command() -> None:
    """Docker engines in virtual machines: a build that breaks out of its container gets no further than the machine.

    `jetsonx build --engine docker --context NAME` builds in one, and so does every docker command.
    """


@command.command()
@click.argument("name")
@click.option(
    "--arch", type=click.Choice(["x86-64", "arm64"]), default="x86-64", show_default=True, help="Its processor."
)
@click.option(
    "--coreos",
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, readable=True),
    help="Run Fedora CoreOS: its downloaded image for QEMU, as .qcow2.xz or unpacked.",
)
@click.option("--memory", "memory_mib", type=int, default=2048, show_default=True, metavar="MIB", help="Its memory.")
@click.option("--cpus", type=int, default=2, show_default=True, help="Its processors.")
@click.option("--disk", "disk_gib", type=int, default=16, show_default=True, metavar="GIB", help="Its disk, at most.")
@click.option(
    "--port", type=click.IntRange(1, 65535), help="Where its sshd answers on 127.0.0.1.  [default: a free one]"
)
@click.option(
    "--connect", "uri", metavar="URI", help="Let libvirt run it: qemu:///session, qemu+ssh://root@HOST/system."
)
@click.option(
    "--kvm",
    type=click.Choice(["auto", "on", "off"]),
    default="auto",
    show_default=True,
    help="With --connect: auto tries it there. Without, it is tried here at each start.",
)
@click.option("--pool", default="default", show_default=True, help="libvirt's storage pool for its disks.")
@click.option("--yes", is_flag=True, help="Do not ask before a line is put into ~/.ssh/config.")
@_LIMIT
@options.offline
@click.pass_obj
def create(
    obj: Context,
    name: str,
    arch: str,
    memory_mib: int,
    cpus: int,
    disk_gib: int,
    port: int | None,
    coreos: Path | None,
    uri: str | None,
    kvm: Kvm,
    pool: str,
    yes: bool,
    limit_s: float,
    offline: bool,
) -> None:
    """Make a machine that holds Docker and sshd, start it, and make the Docker context NAME that leads there.

    \b
    jetsonx vm engine create isolated
    jetsonx vm engine create arm --arch arm64
    jetsonx vm engine create fedora --coreos fedora-coreos-qemu.x86_64.qcow2.xz
    jetsonx vm engine create far --connect qemu+ssh://root@hypervisor/system

    The first one of a kind takes minutes, for its disk is made from Debian packages; with --coreos, of the image from
    fedoraproject.org/coreos/download, which jetsonx does not fetch. QEMU runs it as you, without root;
    with --connect, libvirt does. Docker finds it by ssh: a line in ~/.ssh/config includes the engines' own settings.
    """
    from jetsonx.errors import ConfigError
    from jetsonx.vm.engine import create_engine
    from jetsonx.vm.engine_ssh import include, include_line, is_included
    from jetsonx.vm.hardware import KINDS
    from jetsonx.vm.libvirt import check_uri
    from jetsonx.vm.libvirt_run import Virsh
    from jetsonx.vm.make import Wish
    from jetsonx.vm.place import open_places

    if uri is None and kvm != "auto":
        raise ConfigError(
            f"--kvm {kvm} is for --connect", hint="without it, KVM is tried at each start, and used if it works"
        )
    places, effects = open_places(os.environ), obj.effects(offline=offline)
    virsh = Virsh(uri=check_uri(uri), pool=pool, runner=obj.runner, console=obj.console) if uri is not None else None
    config = _ssh_config()
    if not is_included(config, places):
        obj.console.say(f"Docker needs this line at the beginning of {config}:\n  {include_line(places)}")
        if not yes:
            click.confirm("put it there?", err=True, abort=True)
    wish = Wish(
        name=name,
        target=None,
        memory_mib=memory_mib,
        cpus=cpus,
        disk_gib=disk_gib,
        port=port or 0,
        hardware=KINDS[arch],
        coreos=coreos,
    )
    create_engine(wish, places, effects, virsh=virsh, limit_s=limit_s, kvm=kvm)
    if not is_included(config, places):
        include(config, places)
    obj.console.out(name)
    obj.console.say(f"use it: jetsonx build --engine docker --context {name}, or docker --context {name} info")


@command.command("list")
@click.pass_obj
def list_engines(obj: Context) -> None:
    """List the engines: name, processor, where it runs, and whether it does."""
    from jetsonx.vm.engine import load_engines
    from jetsonx.vm.place import open_places

    for engine in load_engines(open_places(os.environ), obj.effects()):
        where = engine.virsh.uri if engine.virsh else "qemu"
        obj.console.out(f"{engine.vm.name}  {engine.vm.arch}  {where}  {'runs' if engine.is_running else 'stopped'}")


@command.command()
@click.argument("name")
@_LIMIT
@click.pass_obj
def start(obj: Context, name: str, limit_s: float) -> None:
    """Start the engine NAME again, after this host was off, and wait for its Docker."""
    from jetsonx.vm.engine import load_engine, start_engine
    from jetsonx.vm.place import open_places

    effects = obj.effects()
    start_engine(load_engine(name, open_places(os.environ), effects), effects, limit_s=limit_s)
    obj.console.out(f"{name} runs")


@command.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask before the line goes from ~/.ssh/config, with the last engine.")
@click.pass_obj
def remove(obj: Context, name: str, yes: bool) -> None:
    """Take the engine NAME away: its Docker context, its machine, and all images in it.

    With the last one goes the line in ~/.ssh/config that `create` put there, if it still stands where it was put.
    """
    from jetsonx.vm.engine import load_engine, load_engines, remove_engine
    from jetsonx.vm.engine_ssh import exclude, include_line, is_as_put
    from jetsonx.vm.place import open_places

    places, effects, config = open_places(os.environ), obj.effects(), _ssh_config()
    engine = load_engine(name, places, effects)
    takes_line = len(load_engines(places, effects)) == 1 and is_as_put(config, places)
    if takes_line:
        obj.console.say(f"without engines nobody needs this line of {config}:\n  {include_line(places)}")
        takes_line = yes or click.confirm("take it away?", err=True)
    remove_engine(engine, effects)
    if takes_line:
        exclude(config, places)
    obj.console.out(f"removed {name}")


def _ssh_config() -> Path:
    return Path("~/.ssh/config").expanduser()


@command.command()
@click.argument("hostname")
@click.option("--user", default="core", show_default=True, help="Who may log in and use Docker.")
@click.option(
    "--key", "keys", multiple=True, required=True, type=click.Path(path_type=Path), help="A public key's file."
)
@click.pass_obj
def ignition(obj: Context, hostname: str, user: str, keys: tuple[Path, ...]) -> None:
    """Print the first-boot configuration of a Fedora CoreOS called HOSTNAME: a user, keys, Docker and no password."""
    from jetsonx.errors import ConfigError
    from jetsonx.vm.ignition import FirstBoot, render_ignition

    try:
        texts = tuple(path.read_text().strip() for path in keys)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the key cannot be read: {error}", hint="name a public key: ~/.ssh/id_ed25519.pub") from None
    obj.console.out(render_ignition(FirstBoot(hostname=hostname, user=user, keys=texts)).rstrip("\n"))
