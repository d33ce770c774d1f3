"""Starts and ends virtual machines. QEMU runs in the background and is known by its control socket, not by a number:
who ends jetsonx ends no machine, and a machine that ended is not mistaken for another process.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from jetsonx.console import Console, amount
from jetsonx.errors import DeviceError, HostError
from jetsonx.rootfs.ssh import ssh_command
from jetsonx.runner import Command, Completed, Runner
from jetsonx.vm.acceleration import choose_acceleration
from jetsonx.vm.coreos import coreos_firmware
from jetsonx.vm.disk import Base
from jetsonx.vm.display import Viewer, prepare_screen, show_console
from jetsonx.vm.hardware import KINDS
from jetsonx.vm.place import PREFIX, Place, Places, discard
from jetsonx.vm.qemu import Start, start_command
from jetsonx.vm.tools import Tools
from jetsonx.vm.values import Vm
from jetsonx.vm.wire import LOOPBACK, SOCKET_PATH_BYTES, Doorbell, end_qemu, is_port_taken

_STEP_S = 0.25
_LAST_LINES = 15
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_OVERHEAD_MIB = 200  # QEMU's own, with its translated code
_END_S = 10.0
_ROOM_BYTES = 1 << 30
# What the guest says on its way -> what a person is told.
_MILESTONES = (
    ("jetsonx: first start", "its first start"),
    ("systemd[1]: ", "the kernel is up, the system starts"),
    ("Ignition", "Ignition applies its first-boot configuration"),
    ("OpenBSD Secure Shell", "sshd starts"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A virtual machine of this user, and the effects that it is handled with."""

    vm: Vm
    place: Place
    runner: Runner
    console: Console

    @property
    def name(self) -> str:
        """As devices are named: ``vm:dev``."""
        return f"{PREFIX}{self.vm.name}"

    def ssh(self, *words: str, limit_s: float = 30.0) -> Completed:
        """Run words in the guest, for no longer than that."""
        command = ssh_command(self.place.address, words, {})
        return self.runner.run(replace(command, argv=("timeout", "--kill-after=1", str(limit_s), *command.argv)))


def start(
    machine: Machine,
    tools: Tools,
    places: Places,
    *,
    limit_s: float,
    needs_docker: bool = False,
    viewer: Viewer | None = None,
) -> float:
    """Start the machine and wait until it lets us in; the seconds that took, 0 for one that runs already.

    ``needs_docker``: and until its Docker engine answers. ``viewer`` shows its console from the first line on. A
    machine that does not answer in ``limit_s`` seconds, or is given up by Ctrl-C, is switched off again.

    Raises HostError for what this host lacks, DeviceError with the console's last lines when the guest does not
    come up.
    """
    with places.lock(machine.vm.name, machine.console):
        if machine.place.is_running:
            return 0.0
        _check(machine)
        started = time.monotonic()
        _launch(machine, tools, has_screen=viewer is not None)
        try:
            if viewer is not None:
                address = show_console(viewer, machine.place, machine.runner)
                machine.console.say(f"{machine.name}: watch it at {address}")
            _wait(machine, until=started + limit_s, needs_docker=needs_docker)
        except BaseException:
            _end(machine.place)
            raise
        return time.monotonic() - started


def _check(machine: Machine) -> None:
    vm, base = machine.vm, Base(path=Path(machine.vm.base))
    if not base.disk.exists():
        raise HostError(
            f"the image that {machine.name} is made over is not there any more: {base.path}",
            hint=f"jetsonx vm remove {vm.name}, and create it anew",
        )
    _check_room(machine)
    if is_port_taken(vm.port):
        raise HostError(
            f"port {vm.port} of {LOOPBACK}, where {machine.name} should answer, is taken by another program",
            hint=f"ss -ltnp 'sport = :{vm.port}' names that program; end it, or create the machine with another --port",
        )
    check_memory(machine.name, vm.memory_mib)


def check_memory(name: str, wanted_mib: int) -> None:
    """Raise HostError when this host has less memory free than a machine of that size takes."""
    free = _free_memory_mib()
    if free is not None and free < wanted_mib + _OVERHEAD_MIB:
        raise HostError(
            f"{name} has {amount(wanted_mib << 20)} of memory, and {amount(free << 20)} are free here",
            hint="end something, or create it with less: --memory 1024",
        )


def _check_room(machine: Machine) -> None:
    # QEMU halts a guest whose disk cannot grow, and nobody would see why.
    found = os.statvfs(machine.place.path)
    free = found.f_bavail * found.f_frsize
    if free < _ROOM_BYTES:
        raise HostError(
            f"{amount(free)} are free in {machine.place.path}, where the disk of {machine.name} grows",
            hint=f"free some: {amount(_ROOM_BYTES)} are the least; jetsonx vm remove takes away what nobody needs",
        )


def _free_memory_mib() -> int | None:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) >> 10
    return None


def _launch(machine: Machine, tools: Tools, *, has_screen: bool) -> None:
    base, place = Base(path=Path(machine.vm.base)), machine.place
    for left in (place.control, place.screen, place.console):  # by a QEMU that was killed
        left.unlink(missing_ok=True)
    if has_screen:
        prepare_screen(place)
    hardware, has_kernel = KINDS[machine.vm.arch], machine.vm.system != "coreos"
    acceleration, why = choose_acceleration(tools.qemu, hardware, base.kernel if has_kernel else None, machine.runner)
    if why:
        machine.console.say(f"{machine.name}: {why}")
    request = Start(
        vm=machine.vm,
        folder=place.path,
        kernel=base.kernel if has_kernel else None,
        initrd=base.initrd if has_kernel else None,
        firmware="" if has_kernel else coreos_firmware(hardware),
        acceleration=acceleration,
        has_screen=has_screen,
    )
    done = machine.runner.run(start_command(tools.qemu, request))
    if not done.ok:
        raise HostError(f"QEMU does not start {machine.name}", details=done.tail)


def _wait(machine: Machine, *, until: float, needs_docker: bool) -> None:
    """Until the guest lets us in. Raises DeviceError when it ended, or the time is up."""
    told = _Progress(machine)
    with contextlib.closing(Doorbell(machine.vm.port)) as bell:
        _poll(machine, until, told, lambda: bell.is_answered(limit_s=1.0), what="its sshd")
    _poll(machine, until, told, lambda: _share_engine(machine).ok, what="a login")
    if needs_docker:
        told.say("waiting for its Docker engine")
        docker = ("docker", "version", "--format", "{{.Server.Version}}")
        _poll(machine, until, told, lambda: machine.ssh(*docker, limit_s=20).ok, what="its Docker engine")


def _share_engine(machine: Machine) -> Completed:
    """Log in, and leave that session behind as the way from this host's socket to the guest's Docker engine.

    It ends with the machine. A link that is down for a while is waited out. Where the socket's path is longer than
    sockets may have, or is none that ssh takes, there is the login and no socket.
    """
    place = machine.place
    if len(os.fsencode(place.docker)) > SOCKET_PATH_BYTES or ":" in str(place.docker):
        return machine.ssh("true", limit_s=60)
    options = ("StreamLocalBindUnlink=yes", "StreamLocalBindMask=0177", "ConnectTimeout=60", "BatchMode=yes")
    given = [word for option in options for word in ("-o", option)]
    forward = ("-f", "-N", "-L", f"{place.docker}:/run/docker.sock", place.address.host)
    # What ssh leaves in the background must not hold our pipes open.
    words = ("sh", "-c", 'exec "$@" >/dev/null 2>"$0"', str(place.path / "forward.log"))
    return machine.runner.run(Command(argv=(*words, "ssh", "-F", str(place.ssh_config), *given, *forward)))


def _poll(machine: Machine, until: float, told: _Progress, is_there: Callable[[], bool], *, what: str) -> None:
    while not is_there():
        told.look()
        if not machine.place.is_running:
            raise DeviceError(
                f"{machine.name} ended while it started",
                details=console_text(machine.place, _LAST_LINES),
                hint=f"jetsonx vm logs {machine.vm.name} has all that it said",
            )
        if time.monotonic() > until:
            raise DeviceError(
                f"{machine.name} does not answer: no sign of {what} in time; it is switched off again",
                details=console_text(machine.place, _LAST_LINES),
                hint=f"give it longer with --timeout; jetsonx vm logs {machine.vm.name} has all that it said",
            )
        time.sleep(_STEP_S)


def is_let_in(machine: Machine, *words: str) -> bool:
    """True when the guest lets us in and ``words`` succeed there."""
    try:
        return machine.ssh(*words, limit_s=20).ok
    except HostError:
        return False


class _Progress:
    """Tells of the guest's milestones, each once, from what it writes on its console."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._left = list(_MILESTONES)
        self._started = time.monotonic()

    def look(self) -> None:
        said = _console(self._machine.place)
        for mark, words in [each for each in self._left if each[0] in said]:
            self._left.remove((mark, words))
            self.say(words)

    def say(self, words: str) -> None:
        console, seconds = self._machine.console, time.monotonic() - self._started
        console.say(f"{self._machine.name}: {words} ({seconds:.0f} s)")


def _console(place: Place) -> str:
    try:
        return place.console.read_bytes().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""


def console_text(place: Place, count: int | None = None) -> str:
    """What the guest said, or its last lines, without what a terminal should not get."""
    lines = _ESCAPE.sub("", _console(place)).replace("\r", "").split("\n")
    while lines and not lines[-1]:
        lines.pop()
    shown = lines[-count:] if count else lines
    return "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in shown)


def stop(machine: Machine, places: Places, *, limit_s: float) -> bool:
    """Let the guest shut down, and cut the power when it has not after ``limit_s`` seconds; True when it ran."""
    with places.lock(machine.vm.name, machine.console):
        if not machine.place.is_running:
            return False
        machine.ssh("sudo", "systemctl", "--no-block", "poweroff", limit_s=min(limit_s, 20.0))
        if not _ended(machine.place, limit_s):
            machine.console.warn(f"{machine.name} does not shut down in {limit_s:g} s: its power is cut")
            _end(machine.place)
        return True


def cut_power(machine: Machine, places: Places) -> None:
    """End the machine at once, as a power cut does. Raises DeviceError when it does not run."""
    with places.lock(machine.vm.name, machine.console):
        places.check_running(machine.vm.name)
        _end(machine.place)


def remove(machine: Machine, places: Places) -> None:
    """End the machine, if it runs, and take all of it away."""
    with places.lock(machine.vm.name, machine.console):
        if machine.place.is_running:
            _end(machine.place)
        discard(machine.place)


def _end(place: Place) -> None:
    end_qemu(place.control)
    if not _ended(place, _END_S):
        raise HostError(f"QEMU does not end: somebody still listens at {place.control}", hint="kill it by hand")


def _ended(place: Place, limit_s: float) -> bool:
    until = time.monotonic() + limit_s
    while place.is_running:
        if time.monotonic() > until:
            return False
        time.sleep(_STEP_S)
    return True


def log_in(machine: Machine, words: tuple[str, ...], places: Places) -> int:
    """ssh into the machine with the user's own terminal; its exit status. Raises DeviceError when it does not run."""
    places.check_running(machine.vm.name)
    address = machine.place.address
    remote = ("--", address.host, *words)
    return machine.runner.replace(Command(argv=("ssh", "-F", str(machine.place.ssh_config), *remote)))
