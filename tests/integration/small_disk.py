"""A disk of a device's that is small, and fills up when a test says so. Needs root."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

_FILLER = "filler"


@contextlib.contextmanager
def small_disk(place: Path, size_bytes: int) -> Iterator[None]:
    """A file system of so many bytes at ``place``, until the block is left."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", place], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def fill_command(place: Path, *, is_eaten: bool = False) -> str:
    """For sh: nothing is left on the disk at ``place``; ``is_eaten``: nor of what becomes free from then on."""
    once = f"cat /dev/zero >>{place / _FILLER} 2>/dev/null"
    if not is_eaten:
        return once
    return f"{once}; (while [ -e {place / _FILLER} ]; do {once}; done) </dev/null >/dev/null 2>&1 9>&- &"


def leave_room(place: Path, room_bytes: int) -> None:
    """Fill the disk at ``place`` but for so many bytes."""
    make_room(place)
    free = os.statvfs(place)
    subprocess.run(["fallocate", "-l", str(free.f_bavail * free.f_frsize - room_bytes), place / _FILLER], check=True)


def make_room(place: Path) -> None:
    """Take away what fills the disk at ``place``; who eats what becomes free may be about to make it anew."""
    while (place / _FILLER).exists():
        (place / _FILLER).unlink()
        subprocess.run(["sleep", "0.1"], check=True)
