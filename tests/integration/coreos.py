"""A stand-in for Fedora CoreOS, whose images cannot be fetched here: Debian, with its partitions, booted as it boots.

A disk with CoreOS' partition labels, started by UEFI firmware alone. Its first boot reads QEMU's firmware configuration
by the real Ignition (Debian's, of the guest's processor), and runs that once. Everything is made without root.
"""

from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

from jetsonx.effects import Effects
from jetsonx.packages.apt import fetch_packages, resolve_packages
from jetsonx.packages.deb import iter_deb
from jetsonx.packages.debs import find_suite, read_deb, suite_lists
from jetsonx.vm.disk import Base
from jetsonx.vm.guest import load_guest
from jetsonx.vm.hardware import ARM64

_HERE = Path(__file__).parent
_MIB = 1 << 20
_ESP_MIB, _ROOT_AT = 64, 82 * _MIB
_TABLE = f"""\
label: gpt
name=reserved, start=1MiB, size=1MiB, type=8DA63339-0007-60C0-C436-083AC8230908
name=EFI-SYSTEM, start=2MiB, size={_ESP_MIB}MiB, type=uefi
name=boot, start=66MiB, size=16MiB, type=linux
name=root, start=82MiB, type=linux
"""
_ENTRY = "title stand-in\nlinux /vmlinuz\ninitrd /initrd\noptions console=ttyAMA0 apparmor=0\n"
_IGNITION = "usr/lib/dracut/modules.d/30ignition/ignition"
_LOADER = "usr/lib/systemd/boot/efi/systemd-bootaa64.efi"


def make_coreos(folder: Path, base: Base, effects: Effects) -> Path:
    """The image, a qcow2 for arm64, made in ``folder`` from the image of virtual Jetsons."""
    files = _read_files({"ignition": _IGNITION, "systemd-boot-efi": _LOADER}, effects)
    disk = folder / "disk.raw"
    with disk.open("wb") as stream:
        stream.truncate(_ROOT_AT + base.disk.stat().st_size + 2 * _MIB)
    _call("sfdisk", "--quiet", disk, text=_TABLE)
    esp = _make_esp(folder, base, files)
    _copy_holes(esp, disk, at=2 * _MIB)
    _copy_holes(base.disk, disk, at=_ROOT_AT)
    image = folder / "coreos.qcow2"
    _call("qemu-img", "convert", "-f", "raw", "-O", "qcow2", disk, image)
    disk.unlink()
    return image


def _read_files(wanted: Mapping[str, str], effects: Effects) -> dict[str, bytes]:
    """Files out of arm64 packages, by the package's name."""
    suite = find_suite(load_guest().suite)
    assert suite is not None
    apt = suite_lists(suite, ARM64, effects)
    debs = [
        deb
        for deb in resolve_packages(apt, tuple(wanted), store=effects.store, runner=effects.runner)
        if deb.name in wanted
    ]
    paths = fetch_packages(apt, debs, store=effects.store, runner=effects.runner, console=effects.console)
    found = {}
    for deb in debs:
        for info, content in iter_deb(io.BytesIO(read_deb(deb, paths, effects)), name=deb.filename):
            if content is not None and info.name.removeprefix("./") == wanted[deb.name]:
                found[wanted[deb.name]] = content.read()
    return found


def _make_esp(folder: Path, base: Base, found: Mapping[str, bytes]) -> Path:
    """The partition that the firmware reads: systemd-boot, the kernel, and an initial RAM disk with another /init."""
    esp, files, added = folder / "esp", folder / "efi", folder / "added"
    for each in (files / "EFI/BOOT", files / "loader/entries", added):
        each.mkdir(parents=True)
    (files / "EFI/BOOT/BOOTAA64.EFI").write_bytes(found[_LOADER])
    (files / "loader/entries/a.conf").write_text(_ENTRY)
    (files / "vmlinuz").write_bytes(base.kernel.read_bytes())
    (added / "init").write_bytes((_HERE / "coreos_init.sh").read_bytes())
    (added / "first.sh").write_bytes((_HERE / "coreos_first.sh").read_bytes())
    (added / "ignition").write_bytes(found[_IGNITION])
    for each in added.iterdir():
        each.chmod(0o755)
    names = "".join(f"{each.name}\n" for each in added.iterdir()).encode()
    words = ["busybox", "cpio", "-o", "-H", "newc"]
    archive = subprocess.run(words, cwd=added, input=names, capture_output=True, check=True).stdout
    first = base.initrd.read_bytes()  # the kernel unpacks one after the other, from multiples of four bytes on
    (files / "initrd").write_bytes(first + bytes(-len(first) % 4) + archive)
    with esp.open("wb") as stream:
        stream.truncate(_ESP_MIB * _MIB)
    _call("mformat", "-i", esp, "-F", "-T", _ESP_MIB * 2048, "::")
    _call("mcopy", "-i", esp, "-s", *files.iterdir(), "::/")
    return esp


def _copy_holes(source: Path, target: Path, *, at: int) -> None:
    """Copy into the middle of another file what was ever written, and no zeros."""
    with source.open("rb") as reader, target.open("r+b") as writer:
        for start, end in _written(reader.fileno(), source.stat().st_size):
            writer.seek(at + start)
            reader.seek(start)
            for offset in range(start, end, _MIB):
                writer.write(reader.read(min(_MIB, end - offset)))


def _written(descriptor: int, size: int) -> Iterable[tuple[int, int]]:
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError:  # nothing but a hole follows
            return
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end


def _call(*words: object, text: str = "") -> None:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    done = subprocess.run(
        [*map(str, words)], input=text, capture_output=True, text=True, check=False, env={**os.environ, "PATH": path}
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
