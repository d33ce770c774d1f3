"""Engines behind a wall: what belongs to them on this host."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from jetsonx.cli import cli
from jetsonx.console import Console
from jetsonx.effects import Effects
from jetsonx.errors import ConfigError, DeviceError, HostError
from jetsonx.runner import Command, Completed, Runner
from jetsonx.store.store import Store
from jetsonx.vm import engine as engines
from jetsonx.vm import libvirt_kvm
from jetsonx.vm.engine import create_engine, load_engine, load_engines, remove_engine
from jetsonx.vm.engine_ssh import exclude, include, include_line, is_as_put, is_included
from jetsonx.vm.hardware import X86_64
from jetsonx.vm.libvirt_kvm import choose_kvm
from jetsonx.vm.libvirt_run import Virsh
from jetsonx.vm.machine import Machine
from jetsonx.vm.make import Wish, render_sharing
from jetsonx.vm.place import Places, write_record
from jetsonx.vm.values import Vm

WISH = Wish(name="isolated", target=None, memory_mib=2048, cpus=2, disk_gib=16, hardware=X86_64)


class Answers(Runner):
    """A runner that starts nothing: each call answers by its first words that are known, and is remembered.

    Where qemu-img would convert a disk, there is a file.
    """

    def __init__(self, said: Mapping[str, tuple[int, str]]) -> None:
        super().__init__()
        self.said = said
        self.calls: list[str] = []

    def run(self, command: Command, **_: object) -> Completed:
        words = " ".join(command.argv)
        self.calls.append(words)
        if command.argv[1:2] == ("convert",):
            Path(command.argv[-1]).write_text("whole")
        status, text = next((answer for mark, answer in self.said.items() if mark in words), (0, ""))
        return Completed(command=command, status=status, stdout=text, tail=text)


def effects(tmp_path: Path, said: Mapping[str, tuple[int, str]]) -> tuple[Effects, Answers]:
    runner, console = Answers(said), Console(-1)
    return Effects(store=Store(tmp_path / "cache", console), runner=runner, console=console), runner


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """With every program there is, and machines that are made without QEMU."""

    def make(wish: Wish, tools: object, kept: Places, _: object) -> Vm:
        vm = Vm(
            name=wish.name,
            target="",
            cpu="max",
            cpus=2,
            memory_mib=2048,
            disk_gib=16,
            port=2222,
            base=str(tmp_path / "base"),
            created_s=0.0,
            arch=wish.hardware.name,
        )
        place = kept.place(wish.name)
        place.path.mkdir(parents=True)
        place.ssh_config.write_text(f"Host vm:{wish.name}\n  Port 2222\n")
        for file in (place.disk, place.config):
            file.write_text("")
        write_record(place, vm)
        return vm

    def remove(machine: Machine, _: Places) -> None:
        shutil.rmtree(machine.place.path)

    (tmp_path / "base").mkdir()
    for name in ("vmlinuz", "initrd", "disk.raw"):
        (tmp_path / "base" / name).write_text("")
    monkeypatch.setattr(engines, "create_vm", make)
    monkeypatch.setattr(engines, "remove", remove)
    monkeypatch.setattr(engines, "start", lambda *_, **__: 1.0)
    monkeypatch.setattr("jetsonx.vm.tools.which_host", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(engines, "check_memory", lambda *_: None)
    for module in ("engine", "libvirt_run"):
        monkeypatch.setattr(f"jetsonx.vm.{module}.which_host", lambda name: f"/usr/bin/{name}")
    return Places(tmp_path / "vms")


FREE = {"context inspect": (1, "no such context")}


def test_an_engine_is_a_machine_with_a_context_that_leads_there(places: Places, tmp_path: Path) -> None:
    world, runner = effects(tmp_path, FREE)
    made = create_engine(WISH, places, world, virsh=None, limit_s=1)
    settings = "Host jetsonx-engine-isolated\n  Port 2222\n" + render_sharing(made.place.path)
    assert (made.place.path / "engine_ssh").read_text() == settings
    assert any(call.endswith("--docker=host=ssh://jetsonx-engine-isolated isolated") for call in runner.calls), (
        runner.calls
    )
    assert [each.vm.name for each in load_engines(places, world)] == ["isolated"]
    with pytest.raises(ConfigError, match="there is an engine isolated already"):
        create_engine(WISH, places, world, virsh=None, limit_s=1)
    with pytest.raises(ConfigError, match="there is no engine 'other'; known: isolated"):
        load_engine("other", places, world)


@pytest.mark.parametrize("name", ["isolated", "default"])
def test_a_context_of_somebody_else_is_left_alone(name: str, places: Places, tmp_path: Path) -> None:
    world, runner = effects(tmp_path, {"context inspect": (0, '[{"Metadata": {"Description": "production"}}]')})
    wish = Wish(name=name, target=None, memory_mib=2048, cpus=2, disk_gib=16, hardware=X86_64)
    with pytest.raises(ConfigError, match="there is a Docker context"):
        create_engine(wish, places, world, virsh=None, limit_s=1)
    assert not places.root.exists()
    assert not any("context rm" in call for call in runner.calls)


def test_nothing_is_left_of_an_engine_that_does_not_come_up(
    places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> float:
        raise DeviceError("it does not answer")

    monkeypatch.setattr(engines, "start", refuse)
    world, _ = effects(tmp_path, FREE)
    with pytest.raises(DeviceError):
        create_engine(WISH, places, world, virsh=None, limit_s=1)
    assert not places.names()
    monkeypatch.setattr(engines, "start", lambda *_, **__: 1.0)
    world, _ = effects(tmp_path, {**FREE, "context create": (1, "disk full")})
    with pytest.raises(HostError, match="make the Docker context"):
        create_engine(WISH, places, world, virsh=None, limit_s=1)
    assert not places.names()


def test_libvirt_gets_the_machine_whole(places: Places, tmp_path: Path) -> None:
    said = {
        **FREE,
        "dominfo": (1, "no domain"),
        "vol-path": (0, "/pool/volume\n"),
        "domstate": (0, "running\n"),
    }
    world, runner = effects(tmp_path, said)
    uri = "qemu+ssh://root@far:2222/system"
    virsh = Virsh(uri=uri, pool="fast", runner=runner, console=world.console)
    made = create_engine(WISH, places, world, virsh=virsh, limit_s=1)
    assert made.place.path.parent.name == ".libvirt", "`vm start` must not find it"
    assert not places.names()
    assert (
        "ProxyCommand ssh -o BatchMode=yes -W %h:%p -- ssh://root@far:2222\n"
        in (made.place.path / "engine_ssh").read_text()
    )
    volumes = [call.split()[call.split().index("vol-upload") + 1] for call in runner.calls if "vol-upload" in call]
    assert volumes.pop() == "jetsonx-isolated-trial", "the guest that KVM is tried with"
    assert volumes == [f"jetsonx-isolated-{name}" for name in ("disk.qcow2", "config.tar", "vmlinuz", "initrd")]
    assert not made.place.disk.exists(), "the copy on the hypervisor is the machine's disk now"
    (again,) = load_engines(places, world)
    assert again.virsh is not None
    assert (again.virsh.uri, again.virsh.pool, again.is_running) == (uri, "fast", True)


def test_an_engine_goes_with_its_own_context_alone(places: Places, tmp_path: Path) -> None:
    world, _ = effects(tmp_path, FREE)
    made = create_engine(WISH, places, world, virsh=None, limit_s=1)
    text = '[{"Name": "isolated", "Metadata": {"Description": "jetsonx engine in a virtual machine"}}]'
    world, runner = effects(tmp_path, {"context inspect": (0, text)})
    remove_engine(made, world)
    assert any("context rm --force isolated" in call for call in runner.calls)


@pytest.mark.parametrize("text", ['[{"Metadata": {}}]', "[]", "what?"])
def test_a_context_that_is_another_now_stays(text: str, places: Places, tmp_path: Path) -> None:
    made = create_engine(WISH, places, effects(tmp_path, FREE)[0], virsh=None, limit_s=1)
    world, runner = effects(tmp_path, {"context inspect": (0, text)})
    remove_engine(made, world)
    assert not any("context rm" in call for call in runner.calls)


def test_calls_in_a_row_share_a_login_where_the_socket_has_room() -> None:
    assert 'ControlPath "/vms/50%%/isolated/ssh"' in render_sharing(Path("/vms/50%/isolated"))
    assert render_sharing(Path("/", "long" * 21)) != ""
    assert render_sharing(Path("/", "long" * 22)) == ""


def test_the_line_for_ssh_comes_first_and_once(tmp_path: Path) -> None:
    places = Places(tmp_path / "vms")
    config = tmp_path / ".ssh/config"
    assert not is_included(config, places)
    include(config, places)
    assert config.read_text() == f"{include_line(places)}\n"
    assert config.stat().st_mode & 0o777 == 0o600
    real = tmp_path / "dotfiles"
    real.write_text("Host a\n  User b\n")
    config.unlink()
    config.symlink_to(real)
    include(config, places)
    assert config.is_symlink()
    assert real.read_text() == f"{include_line(places)}\nHost a\n  User b\n"
    assert is_included(config, places)


def test_the_line_goes_as_it_came(tmp_path: Path) -> None:
    places, config = Places(tmp_path / "vms"), tmp_path / ".ssh/config"
    include(config, places)
    exclude(config, places)
    assert not config.exists(), "there was none before"
    config.write_text("Host a\n  User b\n")
    config.chmod(0o640)
    include(config, places)
    assert is_as_put(config, places)
    exclude(config, places)
    assert config.read_text() == "Host a\n  User b\n"
    assert config.stat().st_mode & 0o777 == 0o640
    config.write_text(f"# mine\n{include_line(places)}\n")
    assert not is_as_put(config, places), "somebody moved it, who may need it there"


@pytest.mark.parametrize(
    ("words", "answer", "status", "is_left"),
    [
        (("--yes",), "", 0, False),
        ((), "y\n", 0, False),
        ((), "n\n", 0, True),
        ((), "", 1, True),
    ],
)
def test_the_last_engine_takes_the_line_along_when_it_may(
    words: tuple[str, ...],
    answer: str,
    status: int,
    is_left: bool,
    places: Places,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("JETSONX_VMS", str(places.root))
    monkeypatch.setattr("jetsonx.runner.Runner.run", Answers({**FREE}).run)
    config = tmp_path / ".ssh/config"
    for name in ("one", "isolated"):
        create_engine(replace(WISH, name=name), places, effects(tmp_path, FREE)[0], virsh=None, limit_s=1)
    include(config, places)
    first = CliRunner().invoke(cli, ["vm", "engine", "remove", "one"], obj=None)
    assert (first.exit_code, is_included(config, places)) == (0, True), "another one needs it"
    last = CliRunner().invoke(cli, ["vm", "engine", "remove", "isolated", *words], input=answer)
    assert (last.exit_code, is_included(config, places)) == (status, is_left), last.output
    assert bool(load_engines(places, effects(tmp_path, FREE)[0])) == (status != 0)


@pytest.mark.parametrize("fails", ["vol-upload", " define ", " start "])
def test_what_libvirt_does_not_take_leaves_nothing_there(
    fails: str, places: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool without room, XML that is refused, a hypervisor without memory."""
    monkeypatch.setattr(libvirt_kvm, "_PATIENCE_S", 0.0)
    volumes = "".join(f" jetsonx-isolated-{name}  /pool/{name}\n" for name in ("disk.qcow2", "config.ign"))
    said = {
        fails: (1, "No space left on device"),
        **FREE,
        "dominfo": (1, "no domain"),
        "domcapabilities": (1, "no KVM"),
        "domstate": (1, ""),
        "vol-list": (0, volumes),
    }
    world, runner = effects(tmp_path, said)
    virsh = Virsh(uri="qemu:///system", pool="default", runner=runner, console=world.console)
    with pytest.raises(HostError, match="libvirt at qemu:///system could not") as error:
        create_engine(WISH, places, world, virsh=virsh, limit_s=1)
    assert error.value.details == "No space left on device"
    assert not load_engines(places, world)
    for name in ("disk.qcow2", "config.ign"):
        assert any(f"vol-delete jetsonx-isolated-{name}" in call for call in runner.calls)


def test_kvm_on_a_hypervisor_is_tried_three_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = {"domstate": (1, "no domain"), "vol-path": (0, "/pool/trial\n")}
    world, runner = effects(tmp_path, said)
    monkeypatch.setattr("jetsonx.vm.libvirt_run.which_host", lambda name: f"/usr/bin/{name}")
    virsh = Virsh(uri="qemu:///system", pool="default", runner=runner, console=world.console)
    assert choose_kvm("auto", "a", X86_64, virsh, tmp_path) == (True, "")
    assert sum(" create " in call for call in runner.calls) == 3
    assert sum("vol-delete jetsonx-a-trial" in call for call in runner.calls) == 2, "before and after"
    runner.calls.clear()
    assert choose_kvm("on", "a", X86_64, virsh, tmp_path) == (True, "")
    assert not any(" create " in call for call in runner.calls), "insisted on, it is not tried"
    monkeypatch.setattr(libvirt_kvm, "_PATIENCE_S", 0.0)
    virsh.runner.said = {**said, "domstate": (0, "running")}  # type: ignore[attr-defined]
    chosen, why = choose_kvm("auto", "a", X86_64, virsh, tmp_path)
    assert (chosen, "does not come to its end" in why) == (False, True)
    assert any("destroy jetsonx-a.trial" in call for call in runner.calls)
