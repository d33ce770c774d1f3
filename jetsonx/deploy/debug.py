"""A program on a device under gdbserver: what is asked and prepared for it, and the heart that beats meanwhile."""

from __future__ import annotations

import contextlib
import json
import shlex
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from jetsonx.deploy.ask import ask, read_script
from jetsonx.deploy.gdbserver import Tools
from jetsonx.deploy.outcome import read_fields
from jetsonx.deploy.sending import Parcel
from jetsonx.deploy.upload import upload
from jetsonx.deploy.values import RemoteContainer
from jetsonx.device.link import Link
from jetsonx.effects import Effects
from jetsonx.errors import DeviceError

_ANSWER_BYTES = 1 << 20
_BEAT_S = 5.0
_INSPECT = '{"entrypoint":{{json .Config.Entrypoint}},"command":{{json .Config.Cmd}}}'
# A hang-up is an end as well; a link that is only silent is noticed by the beats that do not come.
_HEART = """
run="$HOME/.local/state/jetsonx/runs/$1"
while read -r beat; do echo "$beat" >"$run/beat"; done
: >"$run/end" """
_END = 'run="$HOME/.local/state/jetsonx/runs/$1"; if [ -d "$run" ]; then : >"$run/end"; fi'
_RELEASE = 'tar -x -O -f - 2>/dev/null | sed -n "s/^VERSION_CODENAME=//p"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a container starts: ``words``, on the processor ``architecture`` (Docker's name), with the libraries of the
    suite ``codename``, "" when its image does not say.
    """

    words: tuple[str, ...]
    architecture: str
    codename: str


def load_program(link: Link, container: RemoteContainer, docker: tuple[str, ...]) -> Program:
    """Ask what the container starts. Raises DeviceError."""
    told = link.run((*docker, "inspect", "--type", "container", "--format", _INSPECT, container.id))
    image = link.run((*docker, "image", "inspect", "--format", "{{.Architecture}}", container.image_id))
    copy = shlex.join((*docker, "cp", "--follow-link", f"{container.id}:/etc/os-release", "-"))
    release = link.run(("sh", "-c", f"{copy} 2>/dev/null | {_RELEASE}"))
    try:
        found = json.loads(told.stdout)
        words = tuple(str(word) for word in [*(found["entrypoint"] or ()), *(found["command"] or ())])
    except (ValueError, KeyError, TypeError):
        raise DeviceError(f"{link.address.host}: cannot see what {container.name} starts", details=told.tail) from None
    if not words:
        raise DeviceError(f"{container.name} starts no program", hint="say image.entrypoint in jetsonx.toml")
    return Program(words=words, architecture=image.stdout.strip(), codename=release.stdout.strip().strip('"'))


def stage_tools(tools: Tools, link: Link, effects: Effects) -> None:
    """Have gdbserver on the device, where it stays until another version takes its place. Raises DeviceError."""
    said = _ask_tools(tools.key, link)
    if "there" in said:
        return
    with effects.store.scratch() as scratch:
        path = scratch / "gdbserver.tar.gz"
        path.write_bytes(tools.archive)
        parcel = Parcel(path=path, sha256=tools.key, size=len(tools.archive))
        upload(parcel, link, console=effects.console, has_python=bool(said.get("python")))
    if "there" not in _ask_tools(tools.key, link):
        raise DeviceError(f"{link.address.host}: gdbserver could not be unpacked there", hint="see that there is room")


def _ask_tools(key: str, link: Link) -> dict[str, str]:
    script = read_script("jetsonx.rootfs", "script.sh") + read_script("jetsonx.deploy", "tools.sh")
    text, _ = ask(link, ("sh", "-s", key), stdin=script.encode(), most_bytes=_ANSWER_BYTES)
    return {name: value.strip() for name, value in read_fields(text)}


@contextlib.contextmanager
def heart(link: Link, op: str) -> Iterator[None]:
    """Let the operation ``op`` go on for as long as the block runs, and this process, and the link."""
    ended = threading.Event()
    with link.session(("sh", "-c", _HEART, "sh", op)) as session:

        def work() -> None:
            count = 0
            with contextlib.suppress(OSError, ValueError):
                while not ended.wait(_BEAT_S if count else 0):
                    count += 1
                    session.stdin.write(b"%d\n" % count)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            session.end()


def end(link: Link, op: str) -> None:
    """Tell the operation to end, also when no heart ever beat for it. Raises DeviceError."""
    link.run(("sh", "-c", _END, "sh", op))


def attach_words(app: str, docker: tuple[str, ...]) -> tuple[str, ...]:
    """What a connection of gdb becomes on the device: gdbserver's standard input and output."""
    return (*docker, "start", "--attach", "--interactive", f"{app}.debug")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What gdb is told. ``program`` is the file with the symbols, here or, after "target:", on the device, as is
    ``sysroot``. ``gdb`` is the debugger's path.
    """

    gdb: str
    program: str
    sysroot: str
    port: int
    directory: str


def render_command(session: Session) -> str:
    """The command line that starts gdb and connects; it finds a program of the device's by itself."""
    here = () if session.program.startswith("target:") else (session.program,)
    commands = (f"set sysroot {session.sysroot}", f"target remote 127.0.0.1:{session.port}")
    return shlex.join([session.gdb, "-q", *here, *(word for command in commands for word in ("-ex", command))])


def launch_json(session: Session, *, name: str) -> dict[str, Any]:
    """A ``launch.json`` for Visual Studio Code's C++ extension (cppdbg)."""
    setup: Sequence[str] = ("-enable-pretty-printing", f"set sysroot {session.sysroot}")
    return {
        "version": "0.2.0",
        "configurations": [
            {
                "name": name,
                "type": "cppdbg",
                "request": "launch",
                "program": session.program.removeprefix("target:"),
                "cwd": session.directory,
                "MIMode": "gdb",
                "miDebuggerPath": session.gdb,
                "miDebuggerServerAddress": f"127.0.0.1:{session.port}",
                "stopAtEntry": True,
                "externalConsole": False,
                "setupCommands": [{"text": text, "ignoreFailures": text.startswith("-")} for text in setup],
            }
        ],
    }
