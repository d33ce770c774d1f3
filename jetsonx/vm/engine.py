"""Docker engines behind a virtual machine's wall: a machine with Docker and sshd, and a Docker context to it.

A build that breaks out of its container is root in the guest, and no further: the host's Docker socket is never used.
The machine is started by QEMU as this user, or by libvirt. Docker reaches it by ssh (:mod:`jetsonx.vm.engine_ssh`).
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from jetsonx.effects import Effects
from jetsonx.errors import ConfigError, DeviceError, HostError, undone
from jetsonx.runner import Command, Runner
from jetsonx.toolchain.search import which_host
from jetsonx.vm.coreos import coreos_firmware
from jetsonx.vm.engine_libvirt import Kvm, hand_over
from jetsonx.vm.engine_ssh import CONFIG, of_libvirt, ssh_host, write_settings
from jetsonx.vm.hardware import KINDS
from jetsonx.vm.libvirt import remote_host
from jetsonx.vm.libvirt_run import Virsh, domain_name
from jetsonx.vm.machine import Machine, check_memory, is_let_in, remove, start
from jetsonx.vm.make import Wish, create_vm
from jetsonx.vm.place import Place, Places
from jetsonx.vm.tools import find_tools
from jetsonx.vm.values import Vm

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


def load_engines(places: Places, effects: Effects) -> tuple[Engine, ...]:
    """All engines, sorted by name."""
    found = []
    for kept in (places, of_libvirt(places)):
        for name in kept.names():
            place, vm = kept.load(name)
            if (place.path / CONFIG).exists():
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


def create_engine(
    wish: Wish, places: Places, effects: Effects, *, virsh: Virsh | None, limit_s: float, kvm: Kvm = "auto"
) -> Engine:
    """Make the machine, start it, wait for its Docker, and make the context; nothing is left when that fails.

    ``kvm`` is for libvirt: whether KVM is tried there, insisted on, or left alone.

    Raises ConfigError for a name that is taken, HostError for what this host or libvirt lacks, DeviceError when the
    guest does not come up.
    """
    docker = _docker()
    _check_context(docker, wish.name, effects.runner)
    if wish.name in {engine.vm.name for engine in load_engines(places, effects)}:
        raise ConfigError(f"there is an engine {wish.name} already", hint=f"jetsonx vm engine remove {wish.name}")
    if virsh is not None:
        virsh.check(wish.name)
    kept = places if virsh is None else of_libvirt(places)
    tools = find_tools(wish.hardware)
    if virsh is None:
        check_memory(wish.name, wish.memory_mib)
        if wish.coreos is not None:
            coreos_firmware(wish.hardware)
    vm = create_vm(wish, tools, kept, effects)
    engine = Engine(vm=vm, place=kept.place(vm.name), places=kept, virsh=virsh)
    with undone(lambda: _take_away(engine, docker, effects)):
        if virsh is not None:
            record = json.dumps({"uri": virsh.uri, "pool": virsh.pool})
            (engine.place.path / _RECORD).write_text(record + "\n")
        write_settings(engine.place, remote_host(virsh.uri) if virsh else "")
        if virsh is not None:
            hand_over(vm, engine.place, virsh, tools, effects, kvm=kvm)
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
