"""Makes a virtual Jetson: its disk over the base image, its keys, and the configuration that its first start takes."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from jetsonx.catalog import Target
from jetsonx.console import amount
from jetsonx.effects import Effects
from jetsonx.errors import ConfigError, HostError
from jetsonx.runner import Command
from jetsonx.vm.coreos import fetch_coreos
from jetsonx.vm.disk import Base, fetch_base
from jetsonx.vm.guest import load_guest
from jetsonx.vm.hardware import ARM64, Hardware
from jetsonx.vm.ignition import FirstBoot, HostKey, render_ignition
from jetsonx.vm.place import PREFIX, Place, Places, write_record
from jetsonx.vm.tools import Tools
from jetsonx.vm.values import Vm, check_size
from jetsonx.vm.wire import LOOPBACK, SOCKET_PATH_BYTES, free_port, is_port_taken

_UID = 1000  # the first user that Debian makes
_ASIDE_BYTES = 17  # ssh makes its socket under a longer name first (OpenSSH, mux.c)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is asked of a new machine; ``target`` None: no Jetson; ``port`` 0 lets a free one be chosen.

    ``coreos``: the file of a Fedora CoreOS image, which it is to run in place of Debian.
    """

    name: str
    target: Target | None
    memory_mib: int
    cpus: int
    disk_gib: int
    port: int = 0
    hardware: Hardware = ARM64
    coreos: Path | None = None


def create_vm(wish: Wish, tools: Tools, places: Places, effects: Effects) -> Vm:
    """Make the machine; it is there whole or not at all.

    Raises ConfigError for a name that is taken or a size that cannot be, HostError for what this host lacks.
    """
    check_size(memory_mib=wish.memory_mib, cpus=wish.cpus, disk_gib=wish.disk_gib)
    place = places.place(wish.name)
    _check_new(place)
    base = _fetch(wish, tools, effects)
    with places.lock(wish.name, effects.console):
        _check_new(place)
        vm = Vm(
            name=wish.name,
            target=wish.target.name if wish.target else "",
            cpu=load_guest().cpu(wish.target.module.soc) if wish.target else wish.hardware.cpu,
            cpus=wish.cpus,
            memory_mib=wish.memory_mib,
            disk_gib=wish.disk_gib,
            port=_choose_port(wish.port, places),
            base=str(base.path),
            created_s=time.time(),
            arch=wish.hardware.name,
            system="coreos" if wish.coreos else "debian",
        )
        made = Place(path=places.root / f".{wish.name}.part" / wish.name)
        shutil.rmtree(made.path.parent, ignore_errors=True)  # what an interrupted one left
        try:
            made.path.mkdir(parents=True, mode=0o700)
            _fill(made, place, vm, base, tools, effects)
            made.path.rename(place.path)
        finally:
            shutil.rmtree(made.path.parent, ignore_errors=True)
    return vm


def _fetch(wish: Wish, tools: Tools, effects: Effects) -> Base:
    if wish.coreos is None:
        return fetch_base(wish.hardware, tools, effects)
    base = fetch_coreos(wish.coreos, wish.hardware, tools, effects)
    size_bytes = base.disk.stat().st_size
    if size_bytes > wish.disk_gib << 30:
        raise ConfigError(
            f"--disk {wish.disk_gib}: {wish.coreos} is a disk of {amount(size_bytes)}", hint="--disk takes GiB"
        )
    return base


def _check_new(place: Place) -> None:
    if place.path.exists():
        raise ConfigError(
            f"there is a virtual machine {place.name} already",
            hint=f"start it: jetsonx vm start {place.name}, or take another name",
        )


def _choose_port(asked: int, places: Places) -> int:
    taken = places.ports()
    if asked:
        if asked in taken or is_port_taken(asked):
            raise ConfigError(f"port {asked} of {LOOPBACK} is taken", hint="name another, or leave --port out")
        return asked
    port = free_port()
    while port in taken:
        port = free_port()
    return port


def _fill(made: Place, place: Place, vm: Vm, base: Base, tools: Tools, effects: Effects) -> None:
    """Write all that belongs to the machine into ``made``; ``place`` is where that will be."""
    overlay = ("create", "-q", "-f", "qcow2", "-b", str(base.disk), "-F", "raw", str(made.disk), f"{vm.disk_gib}G")
    _do(Command(argv=(tools.qemu_img, *overlay)), effects)
    host_key = made.path / "host_key"
    for key in (made.key, host_key):
        words = ("-q", "-t", "ed25519", "-N", "", "-C", f"{PREFIX}{vm.name}", "-f", str(key))
        _do(Command(argv=(tools.ssh_keygen, *words)), effects)
    public = host_key.with_suffix(".pub").read_text(encoding="ascii")
    (made.path / "known_hosts").write_text(f"{PREFIX}{vm.name} {public}", encoding="ascii")
    made.ssh_config.write_text(render_ssh_config(vm, place.path), encoding="utf-8")
    config = made.ignition if vm.system == "coreos" else made.config
    config.touch(mode=0o600)  # the host's key is in it
    config.write_bytes(_first_boot(vm, made, host_key) if vm.system == "coreos" else _config_tar(vm, made, host_key))
    host_key.unlink()
    host_key.with_suffix(".pub").unlink()
    write_record(made, vm)


def _first_boot(vm: Vm, made: Place, host_key: Path) -> bytes:
    pair = HostKey(private=host_key.read_text(), public=host_key.with_suffix(".pub").read_text())
    key = made.key.with_suffix(".pub").read_text().strip()
    return render_ignition(FirstBoot(hostname=vm.name, user=vm.user, keys=(key,), host_key=pair)).encode()


def _config_tar(vm: Vm, made: Place, host_key: Path) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as out:
        for path, text, mode, owner in _config_files(vm, made, host_key):
            info = tarfile.TarInfo(path)
            info.size, info.mode, info.uid, info.gid = len(text), mode, owner, owner
            out.addfile(info, io.BytesIO(text))
    return stream.getvalue()


def render_ssh_config(vm: Vm, folder: Path) -> str:
    """A configuration for ssh that knows the machine by ``vm:NAME``, its key and ours, and nothing of the user's."""
    lines = [
        f"Host {PREFIX}{vm.name}",
        f"  HostName {LOOPBACK}",
        f"  Port {vm.port}",
        f"  User {vm.user}",
        f"  HostKeyAlias {PREFIX}{vm.name}",
        f'  UserKnownHostsFile "{folder / "known_hosts"}"',
        "  GlobalKnownHostsFile /dev/null",
        "  StrictHostKeyChecking yes",
        f'  IdentityFile "{folder / "key"}"',
        "  IdentitiesOnly yes",
        "  IdentityAgent none",
    ]
    return "\n".join(lines) + "\n"


def render_sharing(folder: Path) -> str:
    """Lines for ssh that let calls in a row share a login, by a socket in ``folder``; none where its path is too long.

    docker calls ssh for each question, and a build a dozen times; a login takes an emulated machine seconds.
    """
    socket = folder / "ssh"
    if len(os.fsencode(socket)) + _ASIDE_BYTES > SOCKET_PATH_BYTES:
        return ""
    path = str(socket).replace("%", "%%")
    return f'  ControlMaster auto\n  ControlPath "{path}"\n  ControlPersist 60\n'


def _config_files(vm: Vm, made: Place, host_key: Path) -> Iterator[tuple[str, bytes, int, int]]:
    """Path, content, mode and owner of the files that make a copy of the base image this machine."""
    yield "etc/hostname", f"{vm.name}\n".encode(), 0o644, 0
    yield "etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {vm.name}\n".encode(), 0o644, 0
    if vm.target:
        yield "etc/nv_tegra_release", render_release(vm).encode(), 0o644, 0
    yield "etc/ssh/ssh_host_ed25519_key", host_key.read_bytes(), 0o600, 0
    yield "etc/ssh/ssh_host_ed25519_key.pub", host_key.with_suffix(".pub").read_bytes(), 0o644, 0
    yield f"home/{vm.user}/.ssh/authorized_keys", made.key.with_suffix(".pub").read_bytes(), 0o600, _UID
    yield "etc/jetsonx-vm", f"{vm.target}\n".encode(), 0o644, 0  # last: it says that all of them are there


def render_release(vm: Vm) -> str:
    """/etc/nv_tegra_release in NVIDIA's form, with what is not NVIDIA's said in it.

    The form is that of the files that jetsonx.rootfs.identity reads.
    """
    major, _, revision = vm.target.partition("@")[2].partition(".")
    return (
        f"# R{major} (release), REVISION: {revision}, GCID: 0, BOARD: virtual, EABI: aarch64, DATE: none\n"
        f"# A virtual {vm.target} made by jetsonx of Debian packages: there is no GPU and nothing of NVIDIA's in it.\n"
    )


def _do(command: Command, effects: Effects) -> None:
    done = effects.runner.run(command)
    if not done.ok:
        raise HostError(f"{Path(command.argv[0]).name} failed", details=done.tail, hint=f"it was: {command}")
