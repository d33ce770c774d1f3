"""A root file system in a directory: a mounted SD card, a debootstrap tree, a copy made with rsync."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jetsonx.catalog import Filter, Target
from jetsonx.effects import Effects
from jetsonx.errors import ConfigError
from jetsonx.rootfs.gather import add_selection, choose, report_unreadable, wanted_paths
from jetsonx.rootfs.identity import check_identity
from jetsonx.rootfs.listing import Listing, list_directory, plan_places
from jetsonx.store.tree import Objects, TreeWriter

# Directories that a root file system is often in rather than is.
_INSIDE = ("Linux_for_Tegra/rootfs", "rootfs")


def add_directory(path: Path, writer: TreeWriter, wanted: Filter | None, *, target: Target, effects: Effects) -> None:
    """Add the files of the root file system at ``path`` to a tree; ``wanted`` None takes everything that can be read.

    Raises ConfigError when it is none, or one of another L4T release or processor than the target's, HostError when
    what is needed cannot be read.
    """
    if not path.is_dir():
        raise ConfigError(f"{path} is {'no directory' if path.exists() else 'not there'}", hint=_EXPECTED)
    root = next((path / inside for inside in _INSIDE if (path / inside / "usr").is_dir()), path)
    listing = list_directory(root, plan_places(wanted))
    files = [member.name for member in listing.members if member.kind == "file"]
    check_identity(files, lambda name: _read(root / name), target, what=str(root))
    selection = choose(listing, wanted, what=str(root))
    contents, unreadable = _take(root, wanted_paths(selection), listing, effects)
    report_unreadable((*listing.unreadable, *unreadable), wanted, what=str(root), console=effects.console)
    add_selection(selection, contents, writer)


_EXPECTED = "name the directory that holds usr/ and etc/ of a Jetson's root file system"


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def _take(
    root: Path, paths: Sequence[str], listing: Listing, effects: Effects
) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """The contents put into the store, by path; (path, why) of those that cannot be read."""
    sizes = {member.name: member.size_bytes for member in listing.members}
    executable = {member.name for member in listing.members if member.mode & 0o111}
    contents: dict[str, str] = {}
    unreadable: list[tuple[str, str]] = []
    with effects.store.scratch() as scratch:
        objects = Objects(effects.store.folder("objects"), scratch)

        def put(path: str) -> tuple[str, str]:
            try:
                file = (root / path).open("rb")
            except OSError as error:
                return "", error.strerror or str(error)
            with file:
                return objects.put(file, executable=path in executable)[0], ""

        with (
            effects.console.bar(f"{len(paths)} files from {root}", sum(sizes[path] for path in paths)) as bar,
            ThreadPoolExecutor(max_workers=os.cpu_count()) as pool,
        ):
            for path, (sha256, why) in zip(paths, pool.map(put, paths), strict=True):
                bar.advance(sizes[path])
                if sha256:
                    contents[path] = sha256
                else:
                    unreadable.append((path, why))
    return contents, unreadable
