"""Base images: the disk, kernel and initial RAM disk that virtual Jetsons start from, made from packages without root.

The packages become a tar; a guest without anything unpacks it onto an empty disk, configures it and switches itself
off. So the right processor runs the maintainer scripts, and this host needs neither root nor binfmt_misc. An image is
known by its inputs and made once; each machine's disk is an overlay over it.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from jetsonx.effects import Effects
from jetsonx.errors import DownloadError, HostError
from jetsonx.packages.apt import Apt, fetch_packages, resolve_packages
from jetsonx.packages.debs import find_suite, read_deb, suite_lists
from jetsonx.packages.package import Package
from jetsonx.runner import Command
from jetsonx.vm.guest import Guest, load_guest
from jetsonx.vm.hardware import Hardware
from jetsonx.vm.initrd import order_modules, pack_initrd
from jetsonx.vm.qemu import install_command
from jetsonx.vm.root import Root
from jetsonx.vm.tools import Tools

DISK_GIB = 16
"""The size that a base image's file system shows; what is not written takes no room."""
_ROOM_BYTES = 3 << 30  # what making one takes for a while: packages, tar, disk
_INSTALL_LIMIT_S = 1800
_HERE = Path(__file__).parent
_MARK = "jetsonx: "
_FILES: Mapping[str, tuple[str, int]] = {
    "etc/fstab": ("/dev/vda / ext4 noinit_itable 0 1\n", 0o644),
    "etc/resolv.conf": ("nameserver 10.0.2.3\n", 0o644),  # QEMU's own, in its user networking
    "etc/systemd/network/80-jetsonx.network": ("[Match]\nName=e*\n[Network]\nDHCP=ipv4\n", 0o644),
    "etc/systemd/system/jetsonx-grow.service": (
        (
            "[Unit]\nDescription=Grow the file system to the disk's size, once\n"
            "ConditionPathExists=!/var/lib/jetsonx-grown\n"
            "[Service]\nType=oneshot\nExecStart=/sbin/resize2fs /dev/vda\nExecStart=touch /var/lib/jetsonx-grown\n"
            "[Install]\nWantedBy=multi-user.target\n"
        ),
        0o644,
    ),
    # All drivers are loaded; asking for each of the kernel's devices again takes an emulated processor seconds.
    "etc/systemd/system/systemd-udev-trigger.service.d/jetsonx.conf": (
        (
            "[Service]\nExecStart=\n"
            "ExecStart=udevadm trigger --type=devices --action=add --subsystem-match=net --subsystem-match=block\n"
        ),
        0o644,
    ),
    # Before that service, PAM lets nobody in: sshd's greeting is to mean that it does.
    "etc/systemd/system/ssh.service.d/jetsonx.conf": ("[Unit]\nAfter=systemd-user-sessions.service\n", 0o644),
    "etc/ssh/sshd_config.d/jetsonx.conf": (
        "PasswordAuthentication no\nPermitRootLogin no\nUseDNS no\nHostKey /etc/ssh/ssh_host_ed25519_key\n",
        0o644,
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A base image in the directory ``path``."""

    path: Path

    @property
    def disk(self) -> Path:
        """The disk, a raw image that nobody writes to."""
        return self.path / "disk.raw"

    @property
    def kernel(self) -> Path:
        """The kernel, as QEMU loads it."""
        return self.path / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """The initial RAM disk."""
        return self.path / "initrd"


def base_key(guest: Guest, hardware: Hardware) -> str:
    """What an image is known by: all that goes into it but the versions of packages, which are those of its day."""
    parts = [hardware.name, guest.text, str(DISK_GIB), json.dumps(_FILES), *map(_text, ("init.sh", "setup.sh"))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _text(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def fetch_base(hardware: Hardware, tools: Tools, effects: Effects) -> Base:
    """The base image for virtual Jetsons, made when the cache does not hold it.

    Raises DownloadError when its packages cannot be had, HostError when there is no room or the guest that makes it
    fails; nothing is left of it then.
    """
    guest, store = load_guest(), effects.store
    base = Base(path=store.root / "vm" / base_key(guest, hardware))
    if base.path.is_dir():
        return base
    with store.lock(f"vm base {hardware.name}"):
        if base.path.is_dir():
            return base
        if store.free_bytes() < _ROOM_BYTES:
            raise store.disk_full("making the image of a virtual Jetson", needed_bytes=_ROOM_BYTES)
        effects.console.say("making the image that virtual Jetsons share; this takes minutes, once")
        with store.scratch() as scratch, store.guard("making the image of a virtual Jetson"):
            made = Base(path=scratch / "base")
            made.path.mkdir()
            _make(made, scratch / "root.tar", guest, hardware, tools, effects)
            store.folder("vm")
            made.path.rename(base.path)
    return base


def _make(base: Base, tar: Path, guest: Guest, hardware: Hardware, tools: Tools, effects: Effects) -> None:
    debs, paths = _fetch_debs(guest, hardware, effects)
    started = time.monotonic()
    _write_root(base, tar, guest, {deb: read_deb(deb, paths, effects) for deb in debs})
    effects.console.say(f"{len(debs)} packages unpacked in {time.monotonic() - started:.0f} s")
    with base.disk.open("wb") as stream:
        stream.truncate(DISK_GIB << 30)
    # No checksums: an emulated processor computes them slowly, and the host's disk has its own.
    words = ("-q", "-F", "-t", "ext4", "-m", "1", "-O", "^metadata_csum", "-E", "lazy_itable_init=1,nodiscard")
    done = effects.runner.run(Command(argv=(tools.mke2fs, *words, str(base.disk))))
    if not done.ok:
        raise HostError("mke2fs could not make a file system", details=done.tail)
    _install(base, tar, hardware, tools, effects)
    versions = {deb.name: deb.version for deb in debs}
    (base.path / "base.json").write_text(json.dumps({"schema": 1, "packages": versions}, indent=2) + "\n")


def _fetch_debs(guest: Guest, hardware: Hardware, effects: Effects) -> tuple[list[Package], Mapping[str, Path]]:
    if effects.offline:
        raise DownloadError("offline, and the cache has no image of virtual Jetsons", hint="run it with a network once")
    suite = find_suite(guest.suite)
    assert suite is not None  # noqa: S101 - the catalog's own; tells mypy
    apt: Apt = suite_lists(suite, hardware, effects)
    if apt.missing:
        raise DownloadError(
            f"a virtual Jetson is made of Debian's {guest.suite}: {apt.missing}",
            details=apt.details,
            hint=f"set JETSONX_APT_MIRROR to a Debian archive that has {hardware.debian_arch}",
        )
    names = (*guest.packages, guest.busybox, hardware.kernel)
    store, runner = effects.store, effects.runner
    debs = resolve_packages(apt, names, store=store, runner=runner)
    paths = fetch_packages(apt, debs, store=store, runner=runner, console=effects.console)
    return [deb for deb in debs if deb.name not in guest.left_out], paths


def _write_root(base: Base, tar: Path, guest: Guest, debs: Mapping[Package, bytes]) -> None:
    """The root file system as a tar, and beside the disk what starts a machine."""
    kept: dict[str, bytes] = {}

    def keep(place: str, content: IO[bytes]) -> IO[bytes]:
        if not (place.endswith(("/busybox", ".ko")) or place.startswith("boot/vmlinuz")):
            return content
        kept[place] = content.read()
        return io.BytesIO(kept[place])

    with tarfile.open(tar, "w", format=tarfile.GNU_FORMAT) as out:
        root = Root(out=out, keep=keep)
        root.begin()
        for deb, data in debs.items():
            root.add_package(
                data,
                name=deb.filename,
                is_recorded=not deb.name.startswith("linux-image-"),
                is_configured=deb.name in guest.by_hand,
            )
        root.finish()
        for path, (text, mode) in _FILES.items():
            root.add_file(path, text.encode(), mode=mode)
        root.add_file("jetsonx-setup", _text("setup.sh").encode(), mode=0o755)
    kernel = next(data for place, data in kept.items() if place.startswith("boot/vmlinuz"))
    busybox = next(data for place, data in kept.items() if place.endswith("/busybox"))
    files = {Path(place).stem.replace("-", "_"): data for place, data in kept.items() if place.endswith(".ko")}
    order = order_modules(guest.modules, files)
    base.kernel.write_bytes(kernel)
    modules = {f"{name}.ko": files[name] for name in order}
    base.initrd.write_bytes(pack_initrd(busybox, modules, _text("init.sh").encode()))


def _install(base: Base, tar: Path, hardware: Hardware, tools: Tools, effects: Effects) -> None:
    """Let a guest unpack and configure the system on its own disk. Raises HostError with its last words."""
    seen: list[str] = []

    def watch(line: str) -> None:
        if line.startswith(_MARK):
            seen.append(line.removeprefix(_MARK).strip())
            effects.console.say(f"in the machine: {seen[-1]}")
        else:
            effects.console.command(line.rstrip())

    command = install_command(tools.qemu, hardware, kernel=base.kernel, initrd=base.initrd, disk=base.disk, tar=tar)
    limited = Command(argv=("timeout", "--kill-after=5", str(_INSTALL_LIMIT_S), *command.argv))
    done = effects.runner.run(limited, on_line=watch)
    if not done.ok or not seen or seen[-1] != "installed":
        raise HostError(
            "the guest that makes the image of virtual Jetsons failed",
            details=done.tail,
            hint="run it again with -v for all that it says",
        )
