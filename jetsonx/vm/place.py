"""Where virtual machines are kept: a directory for each, with its disk, its record and what ssh needs for it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jetsonx.console import Console
from jetsonx.errors import ConfigError, DeviceError
from jetsonx.rootfs.ssh import Address
from jetsonx.vm.values import Vm, check_name, parse_vm, render_vm
from jetsonx.vm.wire import is_served

PREFIX = "vm:"
"""Before a machine's name, where a device is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The directory of one machine."""

    path: Path

    @property
    def name(self) -> str:
        """The machine's name."""
        return self.path.name

    @property
    def record(self) -> Path:
        """What the machine is."""
        return self.path / "vm.json"

    @property
    def disk(self) -> Path:
        """Its disk, an overlay over the base image."""
        return self.path / "disk.qcow2"

    @property
    def config(self) -> Path:
        """The tar that the guest unpacks at its first start."""
        return self.path / "config.tar"

    @property
    def ignition(self) -> Path:
        """Or the configuration that Fedora CoreOS takes at its first start."""
        return self.path / "config.ign"

    @property
    def key(self) -> Path:
        """The private key that logs in."""
        return self.path / "key"

    @property
    def ssh_config(self) -> Path:
        """A configuration for ssh that knows this machine alone."""
        return self.path / "ssh_config"

    @property
    def console(self) -> Path:
        """What the guest said since it was started last."""
        return self.path / "console.log"

    @property
    def control(self) -> Path:
        """QEMU's control socket; somebody listens while the machine runs."""
        return self.path / "qmp"

    @property
    def docker(self) -> Path:
        """A socket of this host that leads to the guest's Docker engine while the machine runs."""
        return self.path / "docker.sock"

    @property
    def screen(self) -> Path:
        """The socket where QEMU shows the console by VNC, of a machine that was started with a screen."""
        return self.path / "vnc"

    @property
    def doors(self) -> Path:
        """A directory with a link to that socket, under a secret name."""
        return self.path / "doors"

    @property
    def life(self) -> Path:
        """A pipe that QEMU keeps open for as long as it runs."""
        return self.path / "life"

    @property
    def viewer(self) -> Path:
        """The address at which a browser sees the console."""
        return self.path / "viewer.url"

    @property
    def is_running(self) -> bool:
        """True when its QEMU runs, whoever started it."""
        return is_served(self.control)

    @property
    def disk_bytes(self) -> int:
        """What its own disk takes on this host; the base image comes on top, once for all."""
        return self.disk.stat().st_blocks * 512

    @property
    def address(self) -> Address:
        """Where ssh finds it."""
        return Address(host=f"{PREFIX}{self.name}", config=self.ssh_config)


@dataclass(frozen=True, slots=True)
class Places:
    """All machines of a user, below ``root``."""

    root: Path

    def place(self, name: str) -> Place:
        """Where a machine of that name is, or would be. Raises ConfigError for what is no name."""
        check_name(name)
        return Place(path=self.root / name)

    def names(self) -> tuple[str, ...]:
        """All machines, sorted."""
        return tuple(sorted(path.parent.name for path in self.root.glob("*/vm.json")))

    def load(self, name: str) -> tuple[Place, Vm]:
        """A machine and what it is. Raises ConfigError when there is none of that name."""
        place = self.place(name.removeprefix(PREFIX))
        try:
            text = place.record.read_text(encoding="utf-8")
        except FileNotFoundError:
            known = ", ".join(self.names()) or "none"
            raise ConfigError(
                f"there is no virtual machine {place.name!r}; known: {known}", hint=f"jetsonx vm create {place.name}"
            ) from None
        return place, parse_vm(text, where=str(place.record))

    def check_running(self, name: str) -> None:
        """Raise DeviceError when the machine does not run, ConfigError when there is none of that name."""
        place, _ = self.load(name)
        if not place.is_running:
            raise DeviceError(f"{PREFIX}{place.name} does not run", hint=f"jetsonx vm start {place.name}")

    def ports(self) -> set[int]:
        """The ports that machines have, running or not."""
        return {self.load(name)[1].port for name in self.names()}

    @contextlib.contextmanager
    def lock(self, name: str, console: Console) -> Iterator[None]:
        """One at a time changes the machine of that name; says so when it has to wait."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self.root / f".{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                console.say(f"waiting for another jetsonx that works on {PREFIX}{name}")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def open_places(environ: Mapping[str, str]) -> Places:
    """The user's own: ``JETSONX_VMS``, else below ``XDG_STATE_HOME`` (``~/.local/state``)."""
    if chosen := environ.get("JETSONX_VMS"):
        return Places(Path(chosen).expanduser().absolute())
    state = environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Places(Path(state).expanduser() / "jetsonx" / "vm")


def write_record(place: Place, vm: Vm) -> None:
    """Keep what a machine is, by one rename."""
    beside = place.record.with_suffix(".part")
    beside.write_text(render_vm(vm), encoding="utf-8")
    beside.replace(place.record)


def discard(place: Place) -> None:
    """Take a machine's directory away: out of sight by one rename, then file by file."""
    gone = place.path.with_name(f".{place.name}.gone")
    shutil.rmtree(gone, ignore_errors=True)
    place.path.rename(gone)
    shutil.rmtree(gone)
