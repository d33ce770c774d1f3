"""The output directory: everything below it is jetsonx's to replace, so it must be jetsonx's own."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from jetsonx.errors import ConfigError, HostError

_MARK = "# Written by jetsonx: everything in this directory is made by `jetsonx build` and may be replaced by it.\n"
_IGNORE = f"{_MARK}*\n"


def claim_output(out: Path) -> None:
    """Make ``out``, or make sure that an earlier build made it.

    The mark is a .gitignore, so that version control passes the directory by too.

    Raises ConfigError for a directory with somebody else's files in it, HostError when it cannot be made.
    """
    mark = out / ".gitignore"
    try:
        if mark.is_file() and mark.read_text().startswith(_MARK):
            return
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ConfigError(
                f"the output directory {out} holds files that jetsonx did not make, and a build would replace them",
                hint="name an empty or new directory with -o",
            )
        out.mkdir(parents=True, exist_ok=True)
        mark.write_text(_IGNORE)
    except OSError as error:
        raise HostError(
            f"the output directory {out} cannot be written: {error.strerror}", hint="name another one with -o"
        ) from error


def collect_outputs(outputs: Mapping[str, Path], files: Path) -> bool:
    """Make ``files`` hold exactly ``outputs``, by their paths in it; True when that changed anything."""
    changed = False
    keep = set()
    for name, source in outputs.items():
        place = files / name
        keep.add(place)
        if _stamp(place) != _stamp(source):
            _copy(source, place)
            changed = True
    for path in [path for path in files.rglob("*") if path.is_symlink() or not path.is_dir()]:
        if path not in keep:
            path.unlink()
            changed = True
    return changed


def _stamp(path: Path) -> tuple[object, ...] | None:
    """Equal for equal files, without reading them: a link's target, or size, time and mode."""
    if path.is_symlink():
        return (path.readlink(),)
    if not path.is_file():
        return None
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_mode


def _copy(source: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    part = place.with_name(f".{place.name}.part")
    part.unlink(missing_ok=True)
    shutil.copy2(source, part, follow_symlinks=False)
    part.replace(place)


def write_if_changed(path: Path, text: str) -> None:
    """Write a file, leaving its time alone when the text is the same, so that nothing rebuilds for it."""
    if not path.is_file() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
