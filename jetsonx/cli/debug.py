"""``jetsonx debug``."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jetsonx.cli import deployed
from jetsonx.cli.context import Context

if TYPE_CHECKING:
    from jetsonx.deploy.debug import Program, Session
    from jetsonx.deploy.request import Request
    from jetsonx.deploy.values import RemoteContainer

_RUNTIME_LABEL, _SYSROOT_LABEL, _L4T_LABEL = "jetsonx.runtime", "jetsonx.sysroot", "jetsonx.l4t"
_GDBS = {"amd64": ("gdb", "gdb-multiarch"), "arm64": ("gdb-multiarch", "aarch64-linux-gnu-gdb")}
_PORT = 2159
_path = click.Path(path_type=Path)
_SYMBOLS = (
    "set strip = false under [build] in jetsonx.toml, and let the compiler write debug information (CMake: "
    'args = ["-DCMAKE_BUILD_TYPE=RelWithDebInfo"]; else -g); then jetsonx build and jetsonx sync'
)


@click.command("debug")
@deployed.device_argument
@deployed.app_option
@click.option("-C", "--directory", default=".", type=_path, help="The project.  [default: .]")
@click.option("-o", "--output", type=_path, help="What was built.  [default: DIR/out]")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=_PORT, show_default=True,
    help="Of this machine's loopback; when it is taken, a free one.",
)  # fmt: skip
@click.pass_obj
def command(obj: Context, device: str, app: str, directory: Path, output: Path | None, port: int) -> None:
    """Start an app's program on a device under gdbserver, in place of its release, until Ctrl-C.

    gdb connects to a port of this machine; each connection starts the program anew and stops it before its first
    instruction. The command line for gdb is printed, and a launch.json for Visual Studio Code is written. At the end,
    also when the link breaks, the release runs again.
    """
    debug_app(obj, device, app, directory=directory, output=output, port=port)


def debug_app(
    obj: Context, device: str, app: str, *, directory: Path, output: Path | None = None, port: int = _PORT
) -> None:
    """Hold a debugger for the app of a device until Ctrl-C. Raises ConfigError, DeviceError, DownloadError."""
    from jetsonx.build.output import claim_output
    from jetsonx.deploy import debug
    from jetsonx.deploy.control import make_request
    from jetsonx.deploy.gdbserver import PLACE, load_tools
    from jetsonx.deploy.request import Debugger

    with deployed.reach(obj, device) as place:
        found = place.app(app)
        current = place.container(found, device=device, limit="the debugger works in containers")
        program = debug.load_program(place.link, current, place.docker)
        effects = obj.effects()
        codenames = tuple(filter(None, (current.labels.get(_RUNTIME_LABEL, ""), program.codename)))
        tools = load_tools(codenames, program.architecture, effects)
        obj.console.say(f"gdbserver {tools.version} of {tools.suite} for {program.architecture}")
        debug.stage_tools(tools, place.link, effects)
        debugger = Debugger(tools=tools.key, loader=f"{PLACE}/{tools.loader}", words=tools.words(program.words))
        request = make_request("debug", found.name, expected=current.id, debugger=debugger)
        out = output or directory / "out"
        claim_output(out)
        _hold(obj, place, request, _session(obj, program, current, out, directory, port), out)
    if current.state == "running":
        obj.console.out(f"release {current.labels.get('dev.jetsonx.release', '')} of {found.name} runs again")


def _hold(obj: Context, place: deployed.Place, request: Request, session: Session, out: Path) -> None:
    from jetsonx.deploy import debug
    from jetsonx.rootfs.ssh import ssh_command

    is_begun = False
    with contextlib.ExitStack() as stack:

        def begin(step: str) -> None:
            nonlocal is_begun
            if step != "ready" or is_begun:  # it is told again over a new link, when all is over
                return
            is_begun = True
            stack.enter_context(debug.heart(place.link, request.op))
            words = debug.attach_words(request.app, place.docker)
            attach = ssh_command(place.address, words, os.environ, options=place.link.options())
            port = stack.enter_context(obj.runner.forward(attach, session.port))
            _tell(obj, replace(session, port=port), request.app, out)

        try:
            deployed.carry_out(obj, place, request, what="debugging", on_step=begin)
            obj.console.warn("it was ended on the device: by somebody there, or since the link was silent")
        except KeyboardInterrupt:
            stack.close()
            debug.end(place.link, request.op)
            obj.console.say("ending: the release is started again")
            deployed.carry_out(obj, place, request, what="debugging")


def _session(
    obj: Context, program: Program, current: RemoteContainer, out: Path, directory: Path, port: int
) -> Session:
    """What gdb is told: of symbols and libraries what is here, else it reads them from the device."""
    from jetsonx.deploy.debug import Session

    names = _GDBS.get(program.architecture, ("gdb-multiarch",))
    gdb = next(filter(None, map(shutil.which, names)), None)
    if gdb is None:
        obj.console.warn(f"{names[0]} is not on this machine: install it (Debian, Ubuntu: apt install {names[0]})")
    return Session(
        gdb=gdb or names[0],
        program=_symbols(obj, program.words[0], current, out),
        sysroot=_sysroot(obj, current),
        port=port,
        directory=str(directory.resolve()),
    )


def _symbols(obj: Context, program: str, current: RemoteContainer, out: Path) -> str:
    """The output that is the program, else the program on the device."""
    from jetsonx.elf.load import PLAIN, is_elf, read_elf

    release = out / f"r{current.labels.get(_L4T_LABEL, '')}"
    files = (release if (release / "files").is_dir() else out) / "files"
    parts = program.split("/", 3)
    here = files / parts[3] if parts[:2] == ["", "opt"] and len(parts) == 4 else None
    if here is None or not is_elf(here):
        obj.console.warn(f"{program} is none of the outputs in {files}: gdb reads it from the device")
        return f"target:{program}"
    if not any(section.name.endswith("debug_info") for section in read_elf(here, options=PLAIN).sections):
        obj.console.warn(f"{here} has no debug information: {_SYMBOLS}")
    return str(here.resolve())


def _sysroot(obj: Context, current: RemoteContainer) -> str:
    """The build's, unless the image has another C library: then what is on the device."""
    from jetsonx.errors import JetsonxError
    from jetsonx.sysroot.lookup import find_sysroot

    digest = current.labels.get(_SYSROOT_LABEL, "")
    if digest and _RUNTIME_LABEL not in current.labels:
        with contextlib.suppress(JetsonxError):
            tree = find_sysroot(obj.store, digest)
            if not tree.damaged:
                return str(tree.path)
    return "target:"


def _tell(obj: Context, session: Session, app: str, out: Path) -> None:
    from jetsonx.build.result import write_json
    from jetsonx.deploy.debug import launch_json, render_command

    place = out / "debug"
    place.mkdir(exist_ok=True)
    write_json(place / "launch.json", launch_json(session, name=f"jetsonx: {app}"))
    obj.console.out(render_command(session))
    obj.console.say(f"for Visual Studio Code: {place / 'launch.json'}, as .vscode/launch.json; Ctrl-C here ends it")
