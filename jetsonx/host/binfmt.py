"""binfmt_misc (the kernel's Documentation/admin-guide/binfmt-misc.rst): which interpreter starts AArch64 programs here.

Registered with F (fix binary) the kernel keeps the interpreter open, so that it also serves containers, which do not
hold it; before Linux 4.8 there was no such flag.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from jetsonx.errors import HostError
from jetsonx.runner import Command, Runner

MOUNT = "proc/sys/fs/binfmt_misc"
CONTROLS = frozenset(("register", "status"))
"""What lies beside the entries."""

_STATUS = 42
_TYPE_AT, _EXEC, _DYN = 16, 2, 3  # ELF header: offset of e_type; a program at a fixed address, and one at any


@dataclass(frozen=True, slots=True, kw_only=True)
class Binfmt:
    """What serves AArch64: entry, interpreter and flags; None where nothing does.

    ``enabled``: the kernel uses the entry. ``is_on``: False when binfmt_misc as a whole is switched off.
    """

    mounted: bool
    name: str | None = None
    interpreter: str | None = None
    flags: str = ""
    enabled: bool = False
    is_on: bool = True


def parse_entry(text: str) -> Mapping[str, str]:
    """An entry's file as fields: "state" is enabled or disabled; then interpreter, flags, offset, magic, mask."""
    lines = text.splitlines()
    fields = {"state": lines[0].strip()} if lines else {}
    for line in lines[1:]:
        name, _, value = line.strip().partition(" ")
        fields[name.rstrip(":")] = value.strip()
    return fields


def serves_aarch64(fields: Mapping[str, str]) -> bool:
    """True when an entry's magic and mask take AArch64 programs of both types; an entry for an extension does not."""
    try:
        magic = bytes.fromhex(fields["magic"])
        mask = bytes.fromhex(fields.get("mask", "")) or b"\xff" * len(magic)
        offset = int(fields.get("offset", "0"))
    except (KeyError, ValueError):
        return False
    if not magic or len(mask) != len(magic) or offset < 0:
        return False
    return all(_matches(tiny_program(kind), offset, magic, mask) for kind in (_EXEC, _DYN))


def _matches(program: bytes, offset: int, magic: bytes, mask: bytes) -> bool:
    there = program[offset : offset + len(magic)]
    pairs = zip(there, magic, mask, strict=False)
    return len(there) == len(magic) and all(byte & bits == wanted & bits for byte, wanted, bits in pairs)


def judge_entries(entries: Iterable[tuple[str, str]], *, is_on: bool = True) -> Binfmt:
    """Which of the entries (name and text, the youngest first) serves AArch64: the kernel takes the first that is
    enabled. One that is not is told where there is no other.
    """
    disabled = None
    for name, text in entries:
        fields = parse_entry(text)
        if not serves_aarch64(fields):
            continue
        found = Binfmt(
            mounted=True,
            name=name,
            interpreter=fields.get("interpreter"),
            flags=fields.get("flags", ""),
            enabled=is_on and fields["state"] == "enabled",
            is_on=is_on,
        )
        if fields["state"] == "enabled":
            return found
        disabled = disabled or found
    return disabled or Binfmt(mounted=True, is_on=is_on)


def probe_binfmt(root: Path = Path("/")) -> Binfmt:
    """What serves AArch64 on this host. Reads only."""
    folder = root / MOUNT
    if not os.access(folder / "register", os.F_OK):
        return Binfmt(mounted=False)
    return judge_entries(read_entries(root).items(), is_on=_text(folder / "status").strip() != "disabled")


def read_entries(root: Path) -> dict[str, str]:
    """Every entry's file by name, in the kernel's order: it lists the youngest first, as it asks them."""
    try:
        paths = [path for path in (root / MOUNT).iterdir() if path.name not in CONTROLS]
    except OSError:
        return {}
    return {path.name: text for path in paths if (text := _text(path))}


def tiny_program(kind: int = _EXEC) -> bytes:
    """An AArch64 ELF program of one segment that does nothing but exit with status 42; ``kind`` is its e_type."""
    code = struct.pack("<3I", 0xD2800000 | _STATUS << 5, 0xD2800BA8, 0xD4000001)  # mov x0, #42; mov x8, #93; svc #0
    base, size = 0x400000, 64 + 56
    ident = b"\x7fELF" + bytes([2, 1, 1, 0]) + bytes(8)  # 64 bits, little endian, version 1, System V
    header = ident + struct.pack("<HHIQQQIHHHHHH", kind, 183, 1, base + size, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size + len(code), size + len(code), 0x10000)
    return header + segment + code


def prove(runner: Runner) -> bool:
    """Start an AArch64 program as any other; True when it ran.

    Raises HostError when the directory for temporary files (``TMPDIR``) lets no program start at all.
    """
    place = tempfile.gettempdir()
    if os.statvfs(place).f_flag & os.ST_NOEXEC:
        raise HostError(
            f"no program can be started from {place}: it is mounted noexec",
            hint="set TMPDIR to a directory where programs may start",
        )
    with tempfile.TemporaryDirectory(prefix="jetsonx-", dir=place) as scratch:
        program = Path(scratch, "arm64")
        program.write_bytes(tiny_program())
        program.chmod(0o755)
        try:
            return runner.run(Command(argv=(str(program),))).status == _STATUS
        except (HostError, OSError):  # the kernel knows no way to start it, or the entry's interpreter is gone
            return False


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""  # gone meanwhile
