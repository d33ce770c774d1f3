"""What ``jetsonx verify`` and ``jetsonx diff`` share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jetsonx.errors import ConfigError, DeviceError, DownloadError, HostError

_COULD_NOT = 2


@contextmanager
def cannot_check() -> Iterator[None]:
    """Whatever stands in the way of an answer ends with status 2, so that a script tells it from findings."""
    try:
        yield
    except (ConfigError, DeviceError, DownloadError, HostError) as error:
        error.exit_code = _COULD_NOT
        raise


def check_writable(path: Path | None) -> None:
    """Say that a file cannot be written before the work is done for it. Raises ConfigError."""
    if path is None:
        return
    folder = path.parent
    if path.is_dir() or not folder.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        why = "it is a directory" if path.is_dir() else "its directory is not there" if not folder.is_dir() else ""
        raise _unwritable(path, why or "permission denied")


def write_file(path: Path, text: str) -> None:
    """Write a file whole or not at all. Raises ConfigError.

    What is no plain file is written as it is: a link stays one, and /dev/stdout is one.
    """
    direct = path.is_symlink() or (path.exists() and not path.is_file())
    part = path if direct else path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            part.write_text(text, encoding="utf-8", errors="backslashreplace")
            if not direct:
                part.replace(path)
        finally:
            if not direct:
                part.unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from None


def _unwritable(path: Path, why: str) -> ConfigError:
    return ConfigError(f"{path} cannot be written: {why}", hint="name a file in a directory that is there")
