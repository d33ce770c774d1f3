"""Docker engines behind a virtual machine's wall: a machine with Docker and sshd, and a Docker context to it.

A build that breaks out of its container is root in the guest, and no further: the host's Docker socket is never used.
The machine is started by QEMU as this user, or by libvirt. Docker reaches it by ssh, which reads nothing but the
account's own configuration: a line in there includes what belongs to each engine.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from jetsonx.effects import Effects
from jetsonx.errors import ConfigError, DeviceError, HostError, undone
from jetsonx.runner import Command, Runner
from jetsonx.toolchain.search import which_host
from jetsonx.vm.disk import Base
from jetsonx.vm.hardware import KINDS
from jetsonx.vm.libvirt import Disk, Domain, remote_host, render_domain
from jetsonx.vm.libvirt_run import Virsh, domain_name
from jetsonx.vm.machine import Machine, is_let_in, remove, start
from jetsonx.vm.make import Wish, create_vm, render_sharing
from jetsonx.vm.place import PREFIX, Place, Places
from jetsonx.vm.tools import Tools, find_tools
from jetsonx.vm.values import Vm

_CONFIG = "engine_ssh"
_RECORD = "libvirt.json"
_DESCRIPTION = "jetsonx engine in a virtual machine"
_STEP_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine: its machine, where that is kept, and the hypervisor when libvirt runs it."""

    vm: Vm
    place: Place
    places: Places
    virsh: Virsh | None

    @property
    def is_running(self) -> bool:
        """True when its machine runs."""
        return self.virsh.is_running(self.vm.name) if self.virsh else self.place.is_running


def ssh_host(name: str) -> str:
    """The engine's name for ssh and Docker."""
    return f"jetsonx-engine-{name}"


def include_line(places: Places) -> str:
    """What the account's ssh configuration has to hold for Docker to find the engines."""
    return f'Include "{places.root}/*/{_CONFIG}" "{_of_libvirt(places).root}/*/{_CONFIG}"'


def is_included(config: Path, places: Places) -> bool:
    """True when the line is in there, at its place before any host's."""
    try:
        return include_line(places) in config.read_text().splitlines()
    except FileNotFoundError:
        return False


def include(config: Path, places: Places) -> None:
    """Put the line first: after a Host line it would count for that host alone. By one rename."""
    target = config.resolve()  # people keep theirs in a repository, behind a link
    text = target.read_text() if target.exists() else ""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.jetsonx")
    part.write_text(f"{include_line(places)}\n{text}")
    part.chmod(target.stat().st_mode & 0o777 if target.exists() else 0o600)
    part.replace(target)


def _of_libvirt(places: Places) -> Places:
    """Machines that libvirt runs are kept apart: `vm start` has no QEMU of its own for them."""
    return Places(places.root / ".libvirt")


def load_engines(places: Places, effects: Effects) -> tuple[Engine, ...]:
    """All engines, sorted by name."""
    found = []
    for kept in (places, _of_libvirt(places)):
        for name in kept.names():
            place, vm = kept.load(name)
            if (place.path / _CONFIG).exists():
                found.append(Engine(vm=vm, place=place, places=kept, virsh=_load_virsh(place, effects)))
    return tuple(sorted(found, key=lambda engine: engine.vm.name))


def load_engine(name: str, places: Places, effects: Effects) -> Engine:
    """The engine of that name. Raises ConfigError when there is none."""
    engines = load_engines(places, effects)
    for engine in engines:
        if engine.vm.name == name:
            return engine
    known = ", ".join(engine.vm.name for engine in engines) or "none"
    raise ConfigError(f"there is no engine {name!r}; known: {known}", hint=f"jetsonx vm engine create {name}")


def _load_virsh(place: Place, effects: Effects) -> Virsh | None:
    try:
        record = json.loads((place.path / _RECORD).read_text())
    except FileNotFoundError:
        return None
    return Virsh(uri=record["uri"], pool=record["pool"], runner=effects.runner, console=effects.console)


def create_engine(wish: Wish, places: Places, effects: Effects, *, virsh: Virsh | None, limit_s: float) -> Engine:
    """Make the machine, start it, wait for its Docker, and make the context; nothing is left when that fails.

    Raises ConfigError for a name that is taken, HostError for what this host or libvirt lacks, DeviceError when the
    guest does not come up.
    """
    docker = _docker()
    _check_context(docker, wish.name, effects.runner)
    if wish.name in {engine.vm.name for engine in load_engines(places, effects)}:
        raise ConfigError(f"there is an engine {wish.name} already", hint=f"jetsonx vm engine remove {wish.name}")
    if virsh is not None:
        virsh.check(wish.name)
    kept = places if virsh is None else _of_libvirt(places)
    tools = find_tools(wish.hardware)
    vm = create_vm(wish, tools, kept, effects)
    engine = Engine(vm=vm, place=kept.place(vm.name), places=kept, virsh=virsh)
    with undone(lambda: _take_away(engine, docker, effects)):
        if virsh is not None:
            record = json.dumps({"uri": virsh.uri, "pool": virsh.pool})
            (engine.place.path / _RECORD).write_text(record + "\n")
            _proxy(engine.place.ssh_config, remote_host(virsh.uri))
        text = engine.place.ssh_config.read_text()
        (engine.place.path / _CONFIG).write_text(
            text.replace(f"Host {PREFIX}{vm.name}\n", f"Host {ssh_host(vm.name)}\n") + render_sharing(engine.place.path)
        )
        if virsh is not None:
            _hand_over(engine, virsh, tools, effects)
        start_engine(engine, effects, limit_s=limit_s)
        words = (
            "context",
            "create",
            f"--description={_DESCRIPTION}",
            f"--docker=host=ssh://{ssh_host(vm.name)}",
            vm.name,
        )
        _do(Command(argv=(docker, *words)), effects.runner, "make the Docker context")
    return engine


def start_engine(engine: Engine, effects: Effects, *, limit_s: float) -> None:
    """Start its machine and wait until Docker answers in it. Raises as :func:`create_engine` does."""
    machine = Machine(vm=engine.vm, place=engine.place, runner=effects.runner, console=effects.console)
    if engine.virsh is None:
        tools = find_tools(KINDS[engine.vm.arch])
        start(machine, tools, engine.places, limit_s=limit_s, needs_docker=True)
        return
    engine.virsh.start(engine.vm.name)
    effects.console.say(f"waiting for the Docker engine in {domain_name(engine.vm.name)}")
    until = time.monotonic() + limit_s
    while not is_let_in(machine, "docker", "version", "--format", "{{.Server.Version}}"):
        if not engine.virsh.is_running(engine.vm.name):
            raise DeviceError(
                f"{domain_name(engine.vm.name)} ended while it started", hint=f"virsh -c '{engine.virsh.uri}' start it"
            )
        if time.monotonic() > until:
            raise DeviceError(
                f"{domain_name(engine.vm.name)} does not answer in {limit_s:g} s",
                hint=f"look at its console: virsh -c '{engine.virsh.uri}' console {domain_name(engine.vm.name)}",
            )
        time.sleep(_STEP_S)


def _proxy(config: Path, host: str) -> None:
    """Lead ssh through the hypervisor, on whose loopback the guest answers."""
    if host:
        config.write_text(f"{config.read_text()}  ProxyJump {host}\n")


def _hand_over(engine: Engine, virsh: Virsh, tools: Tools, effects: Effects) -> None:
    """Copy the machine's files to the hypervisor and make a domain of them."""
    vm, place, base = engine.vm, engine.place, Base(path=Path(engine.vm.base))
    whole = place.path / "whole" / place.disk.name
    whole.parent.mkdir()
    effects.console.say("making one file of the disk, for libvirt")
    words = (tools.qemu_img, "convert", "-f", "qcow2", "-O", "qcow2", str(place.disk), str(whole))
    _do(Command(argv=words), effects.runner, "make one file of the disk")
    disks = (
        Disk(path=virsh.upload(vm.name, whole, "qcow2"), format="qcow2"),
        Disk(path=virsh.upload(vm.name, place.config, "raw"), format="raw", is_read_only=True),
    )
    hardware = KINDS[vm.arch]
    domain = Domain(
        name=domain_name(vm.name),
        hardware=hardware,
        memory_mib=vm.memory_mib,
        cpus=vm.cpus,
        disks=disks,
        port=vm.port,
        kernel=virsh.upload(vm.name, base.kernel, "raw"),
        initrd=virsh.upload(vm.name, base.initrd, "raw"),
        words=f"console={hardware.console} apparmor=0",
    )
    shutil.rmtree(whole.parent)
    place.disk.unlink()
    xml = place.path / "domain.xml"
    xml.write_text(render_domain(domain))
    virsh.define_and_start(vm.name, xml)


def remove_engine(engine: Engine, effects: Effects) -> None:
    """Take away the context, the machine and all that belongs to it. Raises HostError when something stays."""
    _take_away(engine, _docker(), effects)


def _take_away(engine: Engine, docker: str, effects: Effects) -> None:
    if _describes(docker, engine.vm.name, effects.runner) == _DESCRIPTION:
        words = (docker, "context", "rm", "--force", engine.vm.name)
        _do(Command(argv=words), effects.runner, "remove the Docker context")
    if engine.virsh is not None:
        engine.virsh.remove(engine.vm.name)
    machine = Machine(vm=engine.vm, place=engine.place, runner=effects.runner, console=effects.console)
    remove(machine, engine.places)


def _docker() -> str:
    docker = which_host("docker")
    if docker is None:
        raise HostError("there is no docker command here to use the engine with", hint="jetsonx doctor --for vm")
    return docker


def _check_context(docker: str, name: str, runner: Runner) -> None:
    if name == "default" or _describes(docker, name, runner) is not None:
        raise ConfigError(f"there is a Docker context {name} already", hint="take another name: docker context ls")


def _describes(docker: str, name: str, runner: Runner) -> str | None:
    """The description of a Docker context, None when there is none of that name."""
    done = runner.run(Command(argv=(docker, "context", "inspect", name)))
    if not done.ok:
        return None
    try:  # a --format cannot name it: to Docker's templates it is of no type
        return str(json.loads(done.stdout)[0]["Metadata"].get("Description", ""))
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""


def _do(command: Command, runner: Runner, what: str) -> None:
    done = runner.run(command)
    if not done.ok:
        raise HostError(f"could not {what}", details=done.tail, hint=f"it was: {command}")
