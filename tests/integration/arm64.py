"""AArch64 programs that start on this machine, by QEMU and the kernel's binfmt_misc, for as long as a test needs it."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from jetsonx.host.binfmt import MOUNT, probe_binfmt, read_entries
from jetsonx.host.binfmt_install import NAME, registration

_ENTRIES = Path("/") / MOUNT
_PREFIX = "jetsonx-tests-"
_NUMBERS = itertools.count()


@contextlib.contextmanager
def serve_arm64(qemu: str) -> Iterator[None]:
    """Have ``qemu`` (a static qemu-aarch64) start AArch64 programs, also in containers, unless something does already.

    What is taken back at the end is what was done here: an entry of this process's own name, and the mount of
    binfmt_misc by this or another test run when nothing else uses it. Needs root.
    """
    _drop_left_behind()
    found = probe_binfmt()
    others = [name for name in read_entries(Path("/")) if not name.startswith(_PREFIX)]
    if found.enabled and "F" in found.flags and found.name in others:
        yield
        return
    # Beside entries of other test runs: they end when those do.
    mounts = not found.mounted
    ours = mounts or (not others and found.name is not None)
    entry = _ENTRIES / f"{_PREFIX}{os.getpid()}-{next(_NUMBERS)}-aarch64"  # the probe of devices looks for the word
    if mounts:
        subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(_ENTRIES)], check=True)
    try:
        _write(_ENTRIES / "register", registration(qemu).replace(NAME.encode(), os.fsencode(entry.name), 1))
        try:
            yield
        finally:
            _write(entry, b"-1")
    finally:
        if ours and not read_entries(Path("/")):
            subprocess.run(["umount", str(_ENTRIES)], check=False)


def _drop_left_behind() -> None:
    """Take back the entries of runs that were killed: they would answer for ever, with a QEMU that may be gone."""
    for name in read_entries(Path("/")):
        process = name.removeprefix(_PREFIX).partition("-")[0]
        if name.startswith(_PREFIX) and not Path("/proc", process).exists():
            with contextlib.suppress(OSError):  # by another run, a moment ago
                _write(_ENTRIES / name, b"-1")


def _write(path: Path, data: bytes) -> None:
    """In one piece, and creating nothing."""
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
