"""Lets this kernel start AArch64 programs, and takes exactly that back. Either lasts until the next boot.

What is ours is known by the entry's name, or written down in :data:`RECORD`, so that a later `remove` finds it whatever
became of the `install`. Only an entry that the container has just made is not: SIGKILL in that moment leaves it behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from jetsonx.errors import HostError
from jetsonx.host.binfmt import MOUNT, probe_binfmt, prove, read_entries, tiny_program
from jetsonx.host.binfmt_status import MOUNT_CALL, BinfmtStatus
from jetsonx.host.facts import Docker
from jetsonx.host.probe import own_words
from jetsonx.runner import Command, Runner

NAME = "jetsonx-aarch64"
"""The entry for an interpreter of this host."""
FLAGS = "POCF"
"""P: argv[0] is kept; O: the program is handed over open; C: credentials are its own; F: fix binary."""
INTERPRETERS = tuple(
    f"{directory}/{name}"
    for name in ("qemu-aarch64-static", "qemu-aarch64")
    for directory in ("usr/bin", "usr/local/bin")  # no PATH: what is registered runs with other users' rights
)
CONTAINER = ("docker", "run", "--privileged", "--rm", "tonistiigi/binfmt", "--install", "arm64")
RECORD = "run/jetsonx/binfmt.json"
"""What install did beside :data:`NAME`; a boot clears it, as it does the entries."""

_MASK = bytes.fromhex("ffffffffffffff00fffffffffffffffffeffffff")  # lets the ABI and both types of programs by


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """``nothing``: why nothing is to be done, "" otherwise. ``mounts``: binfmt_misc has to be mounted first.

    ``interpreter``: the one of this host to register, None when the container brings it.
    """

    nothing: str = ""
    mounts: bool = False
    interpreter: str | None = None

    @property
    def steps(self) -> tuple[str, ...]:
        """What will be done, as one would type or say it."""
        if self.nothing:
            return ()
        register = f"register {self.interpreter} for AArch64 as {NAME}, flags {FLAGS}"
        step = register if self.interpreter else shlex.join(CONTAINER)
        return (shlex.join(MOUNT_CALL), step) if self.mounts else (step,)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Record:
    """``mounted``: binfmt_misc was by us. ``entries``: those that the container made, name and text."""

    mounted: bool = False
    entries: Mapping[str, str] = field(default_factory=dict)


def find_interpreter(root: Path = Path("/")) -> str | None:
    """A statically linked QEMU of this host: with a dynamic one, containers would miss its libraries."""
    from jetsonx.elf.facts import UnreadableElfError
    from jetsonx.elf.load import is_elf, read_elf  # late: nothing else here reads programs

    for name in INTERPRETERS:
        path = root / name
        try:
            if os.access(path, os.X_OK) and is_elf(path) and read_elf(path).interpreter is None:
                return f"/{name}"
        except (UnreadableElfError, OSError):
            continue
    return None


def plan_install(status: BinfmtStatus, interpreter: str | None) -> Plan:
    """What lets AArch64 programs start here: ``interpreter`` of this host, else the container's.

    Raises HostError when neither can be had, and where the kernel cannot do it or was told not to.
    """
    found = status.found
    if status.serves_containers:
        by = f"{found.name} hands them to {found.interpreter}" if found.name else "without an entry"
        return Plan(nothing=f"AArch64 programs start here already: {by}")
    if status.is_desktop:
        return Plan(nothing="Docker Desktop brings QEMU for its containers")
    if not status.has_flag_f:
        raise HostError(
            f"Linux {status.kernel} cannot keep an interpreter open for containers (flag F, since 4.8)",
            hint="cross-compile instead: jetsonx build needs no emulation",
        )
    if not found.is_on:
        raise HostError("binfmt_misc is switched off as a whole", hint=f"echo 1 | sudo tee /{MOUNT}/status")
    if interpreter is None:
        _check_engine(status.docker)
    return Plan(mounts=not found.mounted, interpreter=interpreter)


def _check_engine(docker: Docker | None) -> None:
    """The container registers with the kernel that runs the engine, which has to be this one."""
    if docker is None or docker.is_podman:
        why = "no docker to get one with"
    elif docker.answer != "yes":
        why = "the Docker engine does not answer"
    elif not docker.is_local:
        why = f"the Docker engine at {docker.endpoint} is another machine"
    else:
        return
    raise HostError(
        f"no statically linked QEMU for AArch64 on this host, and {why}",
        hint="install your distribution's package of it (Debian, Ubuntu: apt-get install qemu-user-static) "
        "and say jetsonx binfmt install again",
    )


def install(plan: Plan, runner: Runner, *, root: Path = Path("/")) -> str:
    """Carry out a plan and prove it; the name of the entry that serves AArch64 now.

    Raises HostError without root, and when no AArch64 program starts afterwards; what was done is then taken back, as
    it is when the user interrupts.
    """
    _check_root("install")
    try:
        if plan.mounts:
            _save(_Record(mounted=True), root)
            _call(MOUNT_CALL, runner, "binfmt_misc cannot be mounted; in a container, register on its host")
        if plan.interpreter is not None:
            _register(plan.interpreter, root)
        else:
            _run_container(runner, root)
        found = probe_binfmt(root)
        if found.name is None or "F" not in found.flags or not prove(runner):
            raise HostError(
                "QEMU was registered, but AArch64 programs do not start with it; that is taken back",
                hint="jetsonx binfmt status says what else is registered",
            )
    except BaseException:
        with contextlib.suppress(HostError):  # binfmt_misc in use stays mounted; why we are here matters more
            remove(runner, root=root)
        raise
    return found.name


def registration(interpreter: str) -> bytes:
    """The line for ``register``: ``:name:M:offset:magic:mask:interpreter:flags``, magic and mask as ``\\xNN``."""

    def escaped(data: bytes) -> bytes:
        return b"".join(b"\\x%02x" % byte for byte in data)

    magic = escaped(tiny_program()[: len(_MASK)])
    parts = (NAME.encode(), b"M", b"", magic, escaped(_MASK), os.fsencode(interpreter), FLAGS.encode())
    return b":" + b":".join(parts)


def _register(interpreter: str, root: Path) -> None:
    folder = root / MOUNT
    if (folder / NAME).exists():  # of an earlier install; disabled, or its interpreter is of no use
        _write(folder / NAME, b"-1")
    try:
        _write(folder / "register", registration(interpreter))
    except OSError as error:
        raise HostError(f"the kernel does not take {interpreter} for AArch64: {error.strerror}") from error


def _run_container(runner: Runner, root: Path) -> None:
    """The container logs its failures and ends with 0 all the same, so that only the proof tells."""
    before = read_entries(root)
    try:
        _call(CONTAINER, runner, "tonistiigi/binfmt does not start")
    finally:
        new = {name: text for name, text in read_entries(root).items() if name not in before}
        record = _load(root)
        _save(_Record(mounted=record.mounted, entries={**record.entries, **new}), root)


def remove(runner: Runner, *, root: Path = Path("/")) -> tuple[str, ...]:
    """Take back what :func:`install` did, and say what that was; () when there is nothing of it. Others' entries stay.

    Raises HostError without root, and when binfmt_misc is in use and cannot be unmounted.
    """
    folder, record = root / MOUNT, _load(root)
    there = read_entries(root)
    ours = [name for name, text in there.items() if name == NAME or _is_same(record.entries.get(name), text)]
    unmounts = record.mounted and probe_binfmt(root).mounted and set(ours) == set(there)
    if not ours and record == _Record():
        return ()
    _check_root("remove")
    for name in ours:
        _write(folder / name, b"-1")
    if unmounts:
        _call(("umount", MOUNT_CALL[-1]), runner, "binfmt_misc stays mounted")
    _forget(root)
    return (*(f"{name} is removed" for name in ours), *(["binfmt_misc is unmounted"] if unmounts else []))


def root_line(verb: str) -> str:
    """What an ordinary user types; the path is whole, since sudo has a PATH of its own."""
    return shlex.join(("sudo", *own_words(), "binfmt", verb))


def _is_same(recorded: str | None, text: str) -> bool:
    """True for an entry as it was recorded; whether it is enabled (its first line) may have changed."""
    return recorded is not None and recorded.partition("\n")[2] == text.partition("\n")[2]


def _check_root(verb: str) -> None:
    if os.geteuid() != 0:
        raise HostError(f"binfmt {verb} takes root's rights", hint=root_line(verb))


def _call(argv: tuple[str, ...], runner: Runner, failure: str) -> None:
    done = runner.run(Command(argv=argv))
    if not done.ok:
        raise HostError(failure, details=done.tail)


def _write(path: Path, data: bytes) -> None:
    """Hand the kernel a line in one piece. Nothing is created: binfmt_misc takes no files."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def _load(root: Path) -> _Record:
    """What was written down; nothing when that cannot be read."""
    try:
        said = json.loads((root / RECORD).read_text())
        return _Record(mounted=bool(said["mounted"]), entries={str(k): str(v) for k, v in said["entries"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return _Record()


def _save(record: _Record, root: Path) -> None:
    path = root / RECORD
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps({"schema": 1, **asdict(record)}))
    beside.replace(path)


def _forget(root: Path) -> None:
    (root / RECORD).unlink(missing_ok=True)
