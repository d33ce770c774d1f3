"""From the listing of a root file system to the files of a sysroot: which contents are needed, and where they go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from jetsonx.catalog import Filter
from jetsonx.console import Console
from jetsonx.errors import HostError
from jetsonx.packages.links import has_strange, merge_usr
from jetsonx.rootfs.layer import Item
from jetsonx.rootfs.listing import Listing
from jetsonx.rootfs.overlay import FileSystem, Selection, merge_folders, select
from jetsonx.store.tree import Entry, TreeWriter

_NAMED = 5


def choose(listing: Listing, wanted: Filter | None, *, what: str) -> Selection:
    """What of a root file system belongs into a sysroot. Raises DownloadError for a listing that makes no sense."""
    return choose_items(_items(listing), wanted, what=what)


def choose_items(items: Iterable[Item], wanted: Filter | None, *, what: str) -> Selection:
    """The same by the rules for an image, as if ``items`` were its one layer."""
    system = FileSystem()
    system.apply(items, layer=0, name=what)
    merge_folders(system.root)
    return select(system.root, wanted.keeps if wanted else None)


def _items(listing: Listing) -> Iterable[Item]:
    for number, member in enumerate(listing.members):
        if not has_strange(member.name) and not has_strange(member.target):  # no manifest holds it, no compiler asks
            executable = bool(member.mode & 0o111)
            yield Item(member.kind, number, member.size_bytes, executable, member.target, member.name)


def wanted_paths(selection: Selection) -> tuple[str, ...]:
    """The paths in the listing whose contents the selection needs, in the order of their names."""
    return tuple(sorted({leaf.item.path for leaf in selection.files.values()}))


def add_selection(selection: Selection, contents: Mapping[str, str], writer: TreeWriter) -> None:
    """Add a selection to a tree. ``contents``: sha256 by path in the listing; a file that has none is left out."""
    writer.entries.update(selection.entries)
    for place, leaf in selection.files.items():
        if sha256 := contents.get(leaf.item.path):
            writer.entries[place] = Entry(
                kind="file", content=sha256, size_bytes=leaf.item.size_bytes, executable=leaf.item.executable
            )


def report_unreadable(
    troubles: Iterable[tuple[str, str]], wanted: Filter | None, *, what: str, console: Console
) -> None:
    """Say what could not be read; ``troubles`` are (path, why).

    Raises HostError for headers and libraries that the filter wants: a sysroot that lacks some at random is no use.
    What lies in ``etc/`` only tells about the system, and some of it is for its administrator alone.
    """
    troubles = tuple(troubles)
    needed = [path for path, _ in troubles if wanted and wanted.keeps(merge_usr(path)) and not path.startswith("etc/")]
    if needed:
        raise HostError(
            f"{what}: {_some(needed)} cannot be read: {dict(troubles)[needed[0]]}",
            hint="these are wanted: take it as a user who may read them (root)",
        )
    if troubles:
        console.say(f"{what}: left out, as this user may not read it: {_some([path for path, _ in troubles])}")


def _some(paths: list[str]) -> str:
    return ", ".join(paths[:_NAMED]) + (f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else "")
