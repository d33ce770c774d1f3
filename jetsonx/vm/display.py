"""The console of a virtual machine in a browser: noVNC's pages, which websockify serves and leads to QEMU's screen.

QEMU itself draws the guest's serial console on that screen: Debian's cloud kernels have no graphics driver that could
(their configuration says "CONFIG_DRM is not set").

A port of loopback is open to every user of this host, and to every page in the user's browser. So the way to the screen
has a secret name: a link to QEMU's socket, which websockify finds by the ``token`` in the address and nobody can list.
The plugin for that came with websockify 0.10.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from jetsonx.errors import DeviceError, HostError
from jetsonx.runner import Command, Runner
from jetsonx.toolchain.search import which_host
from jetsonx.vm.place import PREFIX, Place
from jetsonx.vm.wire import LOOPBACK, SOCKET_PATH_BYTES, free_port, is_port_taken, is_served

_PAGES = Path("/usr/share/novnc")
_LIMIT_S = 60.0
_STEP_S = 0.1
_SECRET_BYTES = 8  # more would make the socket's path too long for machines with long names
# QEMU holds the pipe "life" open for writing. Who reads it learns of QEMU's end, however it comes, and of nothing else.
_SCRIPT = 'exec >"$0" 2>&1 </dev/null 9<life; { "$@" 9<&- & cat <&9; kill $!; } &'


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """What shows a console in a browser: the program, and the directory of noVNC's pages."""

    websockify: str
    pages: Path


def find_viewer(pages: Path = _PAGES) -> Viewer:
    """Look them up. Raises HostError that names the packages when one is missing."""
    websockify = which_host("websockify")
    missing = ["websockify"] if websockify is None else []
    missing += [] if (pages / "vnc.html").exists() else [f"noVNC (in {pages})"]
    if websockify is None or missing:
        raise HostError(
            f"to show a console in a browser takes {' and '.join(missing)}, not on this host",
            hint="sudo apt-get install novnc websockify (Debian, Ubuntu) or "
            "sudo dnf install novnc python3-websockify (Fedora)",
        )
    return Viewer(websockify=websockify, pages=pages)


def prepare_screen(place: Place) -> None:
    """Make the pipe that QEMU opens, and forget the viewer of an earlier run.

    Raises HostError when the machine's directory is too deep for a socket's path.
    """
    longest = len(os.fsencode(place.doors)) + 1 + 2 * _SECRET_BYTES
    if longest > SOCKET_PATH_BYTES:
        raise HostError(
            f"the path of {place.path} is {longest - SOCKET_PATH_BYTES} bytes too long for a socket in it",
            hint="keep machines in a shorter path: JETSONX_VMS, or a shorter name",
        )
    place.viewer.unlink(missing_ok=True)
    place.life.unlink(missing_ok=True)
    os.mkfifo(place.life, 0o600)


def show_console(viewer: Viewer, place: Place, runner: Runner) -> str:
    """The address of the machine's console for a browser of this host; starts what serves it unless that runs.

    It ends with the machine. Raises DeviceError for a machine that runs without a screen, HostError when websockify
    does not come up.
    """
    if not is_served(place.screen):
        raise DeviceError(
            f"{PREFIX}{place.name} runs without a screen, and cannot be given one while it does",
            hint=f"jetsonx vm stop {place.name}, and then: jetsonx vm start {place.name} --display web",
        )
    if shown := _shown(place):
        return shown
    port, secret = free_port(), secrets.token_hex(_SECRET_BYTES)
    shutil.rmtree(place.doors, ignore_errors=True)
    place.doors.mkdir(mode=0o700)
    (place.doors / secret).symlink_to(Path("..", place.screen.name))
    _serve(viewer, place, port, runner)
    address = f"http://{LOOPBACK}:{port}/vnc.html?autoconnect=true&resize=scale&path=websockify%3Ftoken%3D{secret}"
    part = place.viewer.with_suffix(".part")
    part.write_text(address, encoding="ascii")
    part.replace(place.viewer)
    return address


def _shown(place: Place) -> str:
    """Where it is shown already, "" when it is not."""
    try:
        address = place.viewer.read_text(encoding="ascii")
    except FileNotFoundError:
        return ""
    return address if is_port_taken(urlsplit(address).port or 0) else ""


def _serve(viewer: Viewer, place: Place, port: int, runner: Runner) -> None:
    """Leave websockify behind, with a shell that ends it when QEMU is gone. Its own words go to a file."""
    log = place.path / "viewer.log"
    lead = ("--token-plugin", "UnixDomainSocketDirectory", "--token-source", place.doors.name)
    words = (viewer.websockify, "--web", str(viewer.pages), *lead, f"{LOOPBACK}:{port}")
    # Were QEMU gone by now, opening the pipe would wait forever for somebody who writes: so we do until it is open.
    life = os.open(place.life, os.O_RDWR | os.O_CLOEXEC)
    try:
        done = runner.run(Command(argv=("sh", "-c", _SCRIPT, log.name, *words), cwd=place.path))
    finally:
        os.close(life)
    until = time.monotonic() + _LIMIT_S
    while not is_port_taken(port):
        if not done.ok or time.monotonic() > until:
            said = log.read_text(errors="replace").splitlines()[-15:] if log.exists() else []
            raise HostError(
                f"websockify does not serve the console of {PREFIX}{place.name}", details="\n".join(said) or done.tail
            )
        time.sleep(_STEP_S)
