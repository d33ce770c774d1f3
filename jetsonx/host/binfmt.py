"""binfmt_misc (the kernel's Documentation/admin-guide/binfmt-misc.rst): which interpreter starts AArch64 programs here.

Registered with F (fix binary) the kernel keeps the interpreter open, so that it also serves containers, which do not
hold it; before Linux 4.8 there was no such flag.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jetsonx.errors import HostError
from jetsonx.runner import Command, Runner

MOUNT = "proc/sys/fs/binfmt_misc"
NAME = "jetsonx-aarch64"
"""The entry that :func:`install` makes, and the only one that :func:`remove` takes away."""
FLAGS = "POCF"
"""P: argv[0] is kept; O: the program is handed over open; C: credentials are its own; F: fix binary."""
INTERPRETERS = ("/usr/bin/qemu-aarch64-static", "/usr/local/bin/qemu-aarch64-static")
CONTAINER = ("docker", "run", "--privileged", "--rm", "tonistiigi/binfmt")

_STATUS = 42
# The ELF header of an AArch64 program, as far as it is fixed; the mask lets version, ABI and both executable types by.
_MAGIC = bytes.fromhex("7f454c460201010000000000000000000200b700")
_MASK = bytes.fromhex("ffffffffffffff00fffffffffffffffffeffffff")


@dataclass(frozen=True, slots=True, kw_only=True)
class Binfmt:
    """What serves AArch64: entry, interpreter and flags; None where nothing does."""

    mounted: bool
    name: str | None = None
    interpreter: str | None = None
    flags: str = ""
    enabled: bool = False


def parse_entry(text: str) -> Mapping[str, str]:
    """An entry's file as fields: "state" is enabled or disabled; then interpreter, flags, offset, magic, mask."""
    lines = text.splitlines()
    fields = {"state": lines[0].strip()} if lines else {}
    for line in lines[1:]:
        name, _, value = line.strip().partition(" ")
        fields[name.rstrip(":")] = value.strip()
    return fields


def serves_aarch64(fields: Mapping[str, str]) -> bool:
    """True when an entry's magic and mask take an AArch64 program; an entry for an extension does not."""
    try:
        magic = bytes.fromhex(fields["magic"])
        mask = bytes.fromhex(fields.get("mask", "")) or b"\xff" * len(magic)
        offset = int(fields.get("offset", "0"))
    except (KeyError, ValueError):
        return False
    there = _MAGIC[offset : offset + len(magic)]
    pairs = zip(there, magic, mask, strict=False)
    return len(there) == len(magic) == len(mask) and all(byte & bits == wanted & bits for byte, wanted, bits in pairs)


def probe_binfmt(root: Path = Path("/")) -> Binfmt:
    """What serves AArch64 on this host; an enabled entry before a disabled one. Reads only."""
    folder = root / MOUNT
    found = []
    try:
        names = sorted(path.name for path in folder.iterdir() if path.name not in ("register", "status"))
        mounted = (folder / "register").exists()
    except OSError:
        return Binfmt(mounted=False)
    for name in names:
        try:
            fields = parse_entry((folder / name).read_text())
        except OSError:
            continue  # gone meanwhile
        if serves_aarch64(fields):
            found.append(
                Binfmt(
                    mounted=mounted,
                    name=name,
                    interpreter=fields.get("interpreter"),
                    flags=fields.get("flags", ""),
                    enabled=fields["state"] == "enabled",
                )
            )
    return next(iter(sorted(found, key=lambda each: not each.enabled)), Binfmt(mounted=mounted))


def registration(interpreter: str) -> bytes:
    """The line for ``register``: ``:name:M:offset:magic:mask:interpreter:flags``, magic and mask as ``\\xNN``."""

    def escaped(data: bytes) -> bytes:
        return b"".join(b"\\x%02x" % byte for byte in data)

    parts = (NAME.encode(), b"M", b"", escaped(_MAGIC), escaped(_MASK), os.fsencode(interpreter), FLAGS.encode())
    return b":" + b":".join(parts)


def tiny_program() -> bytes:
    """An AArch64 ELF program of one segment that does nothing but exit with status 42."""
    code = struct.pack("<3I", 0xD2800000 | _STATUS << 5, 0xD2800BA8, 0xD4000001)  # mov x0, #42; mov x8, #93; svc #0
    base, size = 0x400000, 64 + 56
    header = _MAGIC[:16] + struct.pack("<HHIQQQIHHHHHH", 2, 183, 1, base + size, 64, 0, 0, 64, 56, 1, 64, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size + len(code), size + len(code), 0x10000)
    return header + segment + code


def prove(scratch: Path, runner: Runner) -> bool:
    """Start an AArch64 program as any other; True when it ran. ``scratch`` is a directory for it."""
    program = scratch / "arm64"
    program.write_bytes(tiny_program())
    program.chmod(0o755)
    try:
        return runner.run(Command(argv=(str(program),))).status == _STATUS
    except (HostError, OSError):  # the kernel knows no way to start it
        return False


def install(scratch: Path, runner: Runner, *, root: Path = Path("/")) -> str:
    """Let this kernel start AArch64 programs; what was done, in a sentence. Nothing when it does already.

    Takes a statically linked QEMU of this host, else the container that Docker's documentation names. Raises HostError
    without root, and when neither is there.
    """
    before = probe_binfmt(root)
    if before.enabled and "F" in before.flags and prove(scratch, runner):
        return f"nothing to do: {before.name} serves AArch64 through {before.interpreter}"
    if os.geteuid() != 0:
        raise HostError("registering an interpreter takes root", hint="sudo jetsonx binfmt install")
    folder = root / MOUNT
    if not before.mounted:
        mounted = runner.run(Command(argv=("mount", "-t", "binfmt_misc", "binfmt_misc", str(folder))))
        if not mounted.ok:
            raise HostError(f"binfmt_misc cannot be mounted on {folder}", details=mounted.tail)
    interpreter = next((path for path in INTERPRETERS if os.access(root / path.lstrip("/"), os.X_OK)), None)
    if interpreter is None:
        return _install_by_container(runner)
    _withdraw(folder)
    try:
        (folder / "register").write_bytes(registration(interpreter))
    except OSError as error:
        raise HostError(
            f"the kernel does not take {interpreter} for AArch64: {error.strerror}",
            hint="it takes Linux 4.8 or newer, and binfmt_misc",
        ) from error
    if not prove(scratch, runner):
        _withdraw(folder)
        raise HostError(
            f"{interpreter} was registered, but an AArch64 program does not start with it; it is withdrawn again",
            hint="is it statically linked? apt-get install qemu-user-static",
        )
    return f"{interpreter} is registered as {NAME}, flags {FLAGS}; until the next boot"


def _install_by_container(runner: Runner) -> str:
    try:
        done = runner.run(Command(argv=(*CONTAINER, "--install", "arm64")))
    except HostError:
        raise HostError(
            "no statically linked QEMU for AArch64 on this host, and no docker to get one",
            hint="apt-get install qemu-user-static, then jetsonx binfmt install",
        ) from None
    if not done.ok:
        raise HostError(
            "tonistiigi/binfmt did not install it", details=done.tail, hint="apt-get install qemu-user-static"
        )
    return "tonistiigi/binfmt registered its QEMU; until the next boot"


def remove(*, root: Path = Path("/")) -> bool:
    """Take away what :func:`install` registered from this host's QEMU; False when it is not there. Needs root."""
    folder = root / MOUNT
    if not (folder / NAME).exists():
        return False
    if os.geteuid() != 0:
        raise HostError("removing an interpreter takes root", hint="sudo jetsonx binfmt remove")
    _withdraw(folder)
    return True


def _withdraw(folder: Path) -> None:
    entry = folder / NAME
    if entry.exists():
        entry.write_bytes(b"-1")
