"""``jetsonx vm compose``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jetsonx.cli.context import Context

if TYPE_CHECKING:
    from jetsonx.vm.compose import Machine, Mount
    from jetsonx.vm.compose_render import Kind

_CHOICE = click.Choice


@click.command("compose")
@click.argument("name", default="qemu")
@click.option(
    "--boot", required=True, metavar="NAME|URL|FILE", help="A system such as alpine, an image's URL, or a file."
)
@click.option("--arch", type=_CHOICE(["x86-64", "arm64"]), default="x86-64", show_default=True, help="The guest's.")
@click.option("--format", "kind", type=_CHOICE(["compose", "run", "kubernetes"]), default="compose", show_default=True)
@click.option("--cpus", default="2", show_default=True, metavar="N", help="Processors; also half and max.")
@click.option("--memory", default="2G", show_default=True, metavar="SIZE", help="Memory; also half and max.")
@click.option("--disk", default="64G", show_default=True, metavar="SIZE", help="The disk; it grows as it is filled.")
@click.option(
    "--storage", metavar="DIR|VOLUME", help="Where disks are kept: a directory, or a volume.  [default: NAME]"
)
@click.option("--port", default="8006", show_default=True, metavar="[ADDRESS:]PORT", help="The web viewer, here.")
@click.option("--publish", multiple=True, metavar="[ADDRESS:]PORT:GUESTPORT", help="A port of the guest; repeatable.")
@click.option(
    "--kvm", type=_CHOICE(["auto", "on", "off"]), default="auto", show_default=True, help="auto tries it on this host."
)
@click.option(
    "--io", type=_CHOICE(["native", "threads", "io_uring"]), default="native", show_default=True, help="Disk access."
)
@click.option(
    "--restart",
    type=_CHOICE(["no", "always", "unless-stopped", "on-failure"]),
    default="unless-stopped",
    show_default=True,
)
@click.option("--image", metavar="REFERENCE", help="Another image than qemux/qemu or qemux/qemu-arm, of the same kind.")
@click.option("--convert", is_flag=True, help="Unpack and convert FILE, with qemu-img, when it cannot boot as it is.")
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Write here, not to the screen.")
@click.pass_obj
def command(
    obj: Context,
    /,
    name: str,
    boot: str,
    arch: Machine,
    kind: Kind,
    kvm: str,
    image: str | None,
    convert: bool,
    output: Path | None,
    **options: Any,
) -> None:
    """Write what starts a virtual machine in a container: a compose file, one docker run, or a Kubernetes manifest.

    \b
    jetsonx vm compose --boot alpine -o compose.yaml && docker compose up -d
    jetsonx vm compose lab --boot disk.vmdk --convert --arch arm64 --memory 8G --publish 2222:22
    jetsonx vm compose --boot https://example.org/disk.qcow2.xz --format run

    A file is told by its content, whatever its name. iso, raw and qcow2 boot as they are; vmdk, vhd, vhdx, vdi and
    files compressed by gz, xz, zst, bz2, zip or 7z do after --convert, which writes the new image beside the output.
    Ports are on loopback unless an address stands before them: the viewer at http://127.0.0.1:8006 asks nobody for a
    password. Nothing is started. What this host lacks for it is said on standard error.
    """
    from jetsonx.host.probe import probe_host
    from jetsonx.host.probe_vm import busy_ports
    from jetsonx.vm.compose import load_facts, plan_service
    from jetsonx.vm.compose_host import decide_kvm, judge_host
    from jetsonx.vm.compose_render import render

    facts = probe_host(obj.runner, os.environ, for_vm=True, tries_kvm=kvm == "auto")
    has_kvm, why = decide_kvm(kvm, arch, facts)
    where = output.absolute().parent if output is not None else Path.cwd()
    mount = None if "://" in boot or not os.path.lexists(boot) else _mount(obj, Path(boot), where, convert)
    service = plan_service(
        name=name,
        machine=arch,
        image=image or load_facts()["guest"][arch]["image"],
        boot="" if mount else boot,
        mount=mount,
        has_kvm=has_kvm,
        folder=str(Path.cwd()),
        **options,
    )
    text = render(service, kind)
    for line in (*filter(None, [why]), *judge_host(service, facts, busy_ports())):
        obj.console.warn(line)
    if output is None:
        obj.console.out(text.rstrip("\n"))
    else:
        part = output.with_name(f".{output.name}.part")
        part.write_text(text)
        part.replace(output)


def _mount(obj: Context, path: Path, where: Path, convert: bool) -> Mount:
    """The boot file as it is mounted. Raises ConfigError for one that has to be converted first, without --convert."""
    from jetsonx.errors import ConfigError
    from jetsonx.vm.boot import read_content
    from jetsonx.vm.boot_convert import convert_image, is_ready
    from jetsonx.vm.compose import Mount, mount_target

    content = read_content(path)
    found = content.format
    if not is_ready(content):
        if not convert:
            what = f"compressed ({content.packing})" if content.packing else f"a {content.format} image"
            raise ConfigError(
                f"{path} is {what}: a file boots as it is when it is iso, raw or qcow2",
                hint="--convert makes such a file of it, beside the output",
            )
        path, found = convert_image(path, where, obj.runner, obj.console)
        obj.console.say(f"it boots from {path}")
    assert found is not None  # noqa: S101 - only packed content has none; tells mypy
    return Mount(source=str(path.absolute()), target=mount_target(found))
