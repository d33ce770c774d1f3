"""Fedora CoreOS as a base image: a disk that the user downloaded, told by its content and kept in the cache.

Partitions as docs.fedoraproject.org/en-US/fedora-coreos/disk-layout has them: `boot` and `root`, `EFI-SYSTEM` to start
by UEFI, on x86-64 `BIOS-BOOT` too. Those of arm64 are the same without the last. GPT is that of the UEFI specification.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

from jetsonx.effects import Effects
from jetsonx.errors import ConfigError, HostError
from jetsonx.host.probe_vm import find_firmware
from jetsonx.runner import Command, Completed
from jetsonx.store.tree import file_sha256
from jetsonx.vm.boot import QEMU_NAMES
from jetsonx.vm.boot_convert import convert_image
from jetsonx.vm.disk import Base
from jetsonx.vm.hardware import ARM64, X86_64, Hardware
from jetsonx.vm.tools import Tools

DOWNLOAD = "https://fedoraproject.org/coreos/download"
"""Where people get it; jetsonx fetches none."""
_SECTOR = 512
_TABLE_BYTES = 64 << 10  # more than the 128 entries that every GPT has room for
_MOST_ENTRIES = 256
_CORRUPT = 2  # how `qemu-img check` says so; 63: the format has nothing to check
_HINT = f"the file for QEMU, ….qcow2.xz: {DOWNLOAD}"


def partition_names(head: bytes) -> tuple[str, ...]:
    """The names of the partitions in a disk's GUID partition table; none for a disk without one, or a damaged one."""
    header = head[_SECTOR : 2 * _SECTOR]
    if header[:8] != b"EFI PART" or len(header) < _SECTOR:
        return ()
    first, count, size = struct.unpack_from("<QII", header, 72)
    if size < 128 or count > _MOST_ENTRIES:
        return ()
    starts = (first * _SECTOR + number * size for number in range(count))
    entries = (head[start : start + 128] for start in starts)
    used = (entry for entry in entries if len(entry) == 128 and any(entry[:16]))
    return tuple(entry[56:128].decode("utf-16-le", "replace").split("\0")[0] for entry in used)


def find_hardware(head: bytes) -> Hardware | None:
    """For which machines a disk with this beginning is a Fedora CoreOS; None when it is none, or for others."""
    names = set(partition_names(head))
    if not {"boot", "root", "EFI-SYSTEM"} <= names:
        return None
    return X86_64 if "BIOS-BOOT" in names else ARM64


def coreos_firmware(hardware: Hardware) -> str:
    """The UEFI firmware it needs; "" where QEMU's own BIOS does. Raises HostError without it."""
    if hardware is not ARM64:
        return ""
    path = find_firmware(hardware.uname)
    if not path:
        raise HostError(
            "Fedora CoreOS for arm64 boots by UEFI, and there is no such firmware on this host",
            hint="sudo apt-get install qemu-efi-aarch64 (Debian, Ubuntu) or sudo dnf install edk2-aarch64 (Fedora)",
        )
    return path


def fetch_coreos(image: Path, hardware: Hardware, tools: Tools, effects: Effects) -> Base:
    """The base image for a downloaded disk, packed or not; made when the cache does not hold it.

    Raises ConfigError for a file that is no Fedora CoreOS or one for other machines; nothing is kept of it then.
    """
    store = effects.store
    base = Base(path=store.root / "vm" / f"coreos-{_digest(image)[:16]}")
    with store.lock("vm base coreos"):
        if base.path.is_dir():
            _check(base, image, hardware)
            return base
        with store.scratch() as scratch, store.guard("unpacking Fedora CoreOS"):
            made = Base(path=scratch / "base")
            made.path.mkdir()
            _unpack(image, made, scratch, tools, effects)
            _check(made, image, hardware)
            (made.path / "base.json").write_text(json.dumps({"schema": 1, "image": image.name}, indent=2) + "\n")
            store.folder("vm")
            made.path.rename(base.path)
    return base


def _digest(image: Path) -> str:
    try:
        return file_sha256(image)
    except OSError as error:
        raise ConfigError(f"{image} cannot be read: {error.strerror}", hint=_HINT) from None


def _unpack(image: Path, base: Base, scratch: Path, tools: Tools, effects: Effects) -> None:
    """Make the raw disk of the file, where what was never written takes no room."""
    path, found = convert_image(image, scratch, effects.runner, effects.console)
    if found == "iso":
        raise ConfigError(f"{image} is a CD, not the disk of a Fedora CoreOS", hint=_HINT)
    effects.console.say(f"keeping {image.name} as a base image")
    named = QEMU_NAMES.get(found, found)
    checked = effects.runner.run(Command(argv=(tools.qemu_img, "check", "-q", "-f", named, "--", str(path))))
    if checked.status == _CORRUPT:  # to read it all, what is behind the end of a cut-off file counts as zeros
        raise _damaged(image, checked)
    words = (tools.qemu_img, "convert", "-f", named, "-O", "raw", "--", str(path), str(base.disk))
    done = effects.runner.run(Command(argv=words))
    if not done.ok:
        if effects.store.is_full(done.tail):
            raise effects.store.disk_full("unpacking Fedora CoreOS")
        raise _damaged(image, done)


def _damaged(image: Path, said: Completed) -> ConfigError:
    return ConfigError(f"{image} is damaged", details=said.tail, hint="it may be cut off: fetch it again")


def _check(base: Base, image: Path, wanted: Hardware) -> None:
    with base.disk.open("rb") as stream:
        found = find_hardware(stream.read(_TABLE_BYTES))
    if found is None:
        raise ConfigError(
            f"{image} is a disk, but not one of Fedora CoreOS: it has no partitions boot, root and EFI-SYSTEM",
            hint=_HINT,
        )
    if found is not wanted:
        raise ConfigError(f"{image} is for {found.name} machines, not {wanted.name}", hint=f"--arch {found.name}")
