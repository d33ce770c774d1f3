"""What a virtual machine boots from. Files are told by their content: names of disk images are often wrong.

Sources of the signatures: QEMU's block drivers (block/qcow2.h, vmdk.c, vdi.c, vhdx.h, vpc.c), ECMA-119 for ISO 9660,
the UEFI specification for GPT, and the formats' own for compressed files.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from jetsonx.errors import ConfigError

Format = Literal["iso", "raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi"]
Packing = Literal["gz", "xz", "zst", "bz2", "zip", "7z"]

HEAD_BYTES = 36 << 10
"""As much of a file's beginning as :func:`identify` wants: an ISO's mark is behind its first 32 KiB."""
TAIL_BYTES = 512
"""As much of its end: a VHD of fixed size is marked there alone."""
QEMU_NAMES: Mapping[Format, str] = {"vhd": "vpc"}
"""What qemu-img calls a format where it has another name for it."""

_PACKINGS: tuple[tuple[bytes, Packing], ...] = (
    (b"\x1f\x8b", "gz"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zst"),
    (b"BZh", "bz2"),
    (b"PK\x03\x04", "zip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
)
_DISKS: tuple[tuple[int, bytes, Format], ...] = (
    (0, b"QFI\xfb", "qcow2"),
    (0, b"vhdxfile", "vhdx"),
    (0, b"conectix", "vhd"),  # of dynamic size: a copy of the footer stands first
    (0, b"KDMV", "vmdk"),
    (0, b"COWD", "vmdk"),
    (0, b"# Disk DescriptorFile", "vmdk"),
    (64, b"\x7f\x10\xda\xbe", "vdi"),
    (0x8001, b"CD001", "iso"),
    (0x8001, b"BEA01", "iso"),  # UDF alone
    (512, b"EFI PART", "raw"),  # GPT on sectors of 512 bytes, and of 4096
    (4096, b"EFI PART", "raw"),
    (0x438, b"\x53\xef", "raw"),  # a file system of the ext family without a partition table
)
_BOOT_RECORD = (510, b"\x55\xaa")
_EXTENT = re.compile(rb'^(?:RW|RDONLY)\s+\d+\s+\w+\s+"([^"]*)"', re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a file is. ``packing``: how it is compressed; the disk inside is seen only after unpacking, then ``format``
    is None. ``needs``: other files that it refers to, without which it is of no use.
    """

    format: Format | None
    packing: Packing | None = None
    needs: tuple[str, ...] = ()


def identify(head: bytes, tail: bytes = b"") -> Content | None:
    """What a file of this beginning and end is; None for what is no disk image that is known here."""
    for mark, packing in _PACKINGS:
        if head.startswith(mark):
            return Content(format=None, packing=packing)
    for offset, mark, found in _DISKS:
        if head[offset : offset + len(mark)] == mark:
            return Content(format=found, needs=_needs(found, head))
    if tail[:8] == b"conectix":
        return Content(format="vhd")
    # Last: what comes above may hold a boot record too, so that old firmware starts it from a USB stick.
    offset, mark = _BOOT_RECORD
    return Content(format="raw") if head[offset : offset + 2] == mark else None


def _needs(found: Format, head: bytes) -> tuple[str, ...]:
    """Files that a disk image names: the one below a qcow2 overlay, the extents of a VMDK's description."""
    if found == "qcow2" and len(head) >= 20:
        offset, length = struct.unpack_from(">QI", head, 8)
        name = head[offset : offset + length] if offset else b""
        return (name.decode(errors="replace") or "another file",) if offset else ()
    if found == "vmdk" and head.startswith(b"#"):
        return tuple(name.decode(errors="replace") for name in _EXTENT.findall(head))
    return ()


def read_content(path: Path, shown: str = "") -> Content:
    """What the file at ``path`` is. Raises ConfigError when it cannot be read or is no disk image.

    ``shown``: what to call it in an error, when the user has no such file.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
            tail = _tail(stream)
    except IsADirectoryError:
        raise ConfigError(f"{path} is a directory, not a disk image", hint="name the image file in it") from None
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}", hint="--boot takes a name such as alpine, a URL, or a disk image's path"
        ) from None
    return check_content(identify(head, tail), path, shown or str(path))


def check_content(content: Content | None, path: Path, shown: str) -> Content:
    """The content, if a machine of its own can boot from it. Raises ConfigError."""
    if content is None:
        raise ConfigError(
            f"{shown} is no disk image: its content is none of iso, raw (partitions or an ext file system), "
            "qcow2, vmdk, vhd, vhdx, vdi, nor one of them in gz, xz, zst, bz2, zip or 7z",
            hint="file(1) says what it is instead",
        )
    beside = path.parent
    if content.format == "qcow2" and content.needs:
        raise ConfigError(
            f"{shown} is an overlay: it needs {content.needs[0]}, which the machine would not have",
            hint=f"make one file of it: qemu-img convert -O qcow2 {path} whole.qcow2",
        )
    for name in content.needs:  # an extent elsewhere would let a downloaded file pull in any file of this host
        if Path(name).name != name or not (beside / name).is_file():
            raise ConfigError(
                f"{shown} is only a description: the disk is in {name}, which is not beside it",
                hint="put all files of the VMDK into one directory",
            )
    return content


def _tail(stream: IO[bytes]) -> bytes:
    size = stream.seek(0, 2)
    stream.seek(max(0, size - TAIL_BYTES))
    return stream.read(TAIL_BYTES)
