"""Layers put over one another, as containerd does it, and what of the result belongs into a sysroot; all of it pure.

A file system is kept as nested dictionaries: a directory is a dict, anything else a :class:`Leaf`. Paths are looked up
in it as the kernel would under ``chroot``: through symbolic links, never above the root.

Source of the rules: OCI image specification, "Image Layer Filesystem Changeset".
"""

from __future__ import annotations

import posixpath
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias, Union

from jetsonx.errors import DownloadError
from jetsonx.packages.links import MERGED, relative_link
from jetsonx.rootfs.layer import PATH_MAX, WHITEOUT, Item
from jetsonx.store.tree import Entry

_OPAQUE = ".wh..wh..opq"
_META = ".wh..wh."  # AUFS's own bookkeeping, which old engines left in their layers
_HOPS_MAX = 40  # as in Linux


@dataclass(slots=True, eq=False)
class Leaf:
    """Anything but a directory; hard links share one. ``layer`` and ``number`` tell where a file's content is."""

    item: Item
    layer: int

    @property
    def target(self) -> str | None:
        """What a symbolic link holds, None for anything else."""
        return self.item.content if self.item.kind == "symlink" else None


Node: TypeAlias = Union["Folder", Leaf]
Folder: TypeAlias = dict[str, Node]


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What a sysroot takes: directories and links as entries, files with the layer that holds their content."""

    entries: dict[str, Entry]
    files: dict[str, Leaf]


class FileSystem:
    """What the layers applied so far make together."""

    def __init__(self) -> None:
        self.root: Folder = {}
        self._parents: dict[str, Folder] = {}

    def apply(self, items: Iterable[Item], *, layer: int, name: str) -> None:
        """Put a layer over what is there; ``layer`` is noted for its files, ``name`` says in errors which it is.

        What a layer takes away is taken from the layers below it, wherever in the archive it says so. Raises
        DownloadError for a layer that links to or writes below what is not there.
        """
        changes = []
        for item in items:
            if item.path.rpartition("/")[2].startswith(WHITEOUT):
                self._take_away(item.path)
            else:
                changes.append(item)
        for item in changes:
            self._add(item, layer, name)
        self._parents.clear()

    def _take_away(self, path: str) -> None:
        folder, _, name = path.rpartition("/")
        _, found = walk(self.root, folder, follow=True)
        if not isinstance(found, dict):
            return
        if name == _OPAQUE:
            found.clear()
        elif not name.startswith(_META):
            found.pop(name.removeprefix(WHITEOUT), None)

    def _add(self, item: Item, layer: int, layer_name: str) -> None:
        parent, _, name = item.path.rpartition("/")
        folder = self._folder(parent, item, layer_name)
        before = folder.get(name)
        if item.kind == "dir":
            if not isinstance(before, dict):
                folder[name] = {}
                self._forget(before)
            return
        if isinstance(before, dict):
            del folder[name]
        self._forget(before)
        folder[name] = self._link(item, layer_name) if item.kind == "hardlink" else Leaf(item, layer)

    def _link(self, item: Item, layer_name: str) -> Leaf:
        _, node = walk(self.root, item.content, follow=False)
        if isinstance(node, Leaf):
            return node
        trouble = "not there" if node is None else "a directory"
        raise DownloadError(f"{layer_name}: refused: {item.path} is a hard link to {item.content}, which is {trouble}")

    def _folder(self, path: str, item: Item, layer_name: str) -> Folder:
        """The directory at ``path``, links followed, made when it is not there."""
        known = self._parents.get(path)
        if known is not None:
            return known
        at, found = walk(self.root, path, follow=True)
        if found is None and at is not None:
            found = self.root
            for step in at.split("/"):
                found = found.setdefault(step, {}) if isinstance(found, dict) else found
        if not isinstance(found, dict) or len(at or "") > PATH_MAX:
            raise DownloadError(f"{layer_name}: refused: it writes {item.path[:200]}, but above it is no directory")
        self._parents[path] = found
        return found

    def _forget(self, replaced: Node | None) -> None:
        # A path known to lead to a directory may lead elsewhere once a directory or a link on its way is replaced.
        if isinstance(replaced, dict) or (replaced is not None and replaced.target is not None):
            self._parents.clear()


def walk(root: Folder, path: str, *, follow: bool, start: str = "") -> tuple[str | None, Node | None]:
    """Look ``path`` up as ``chroot`` into ``root`` would, from the directory ``start``; return where it leads.

    ``follow`` says whether a symbolic link at its end is followed. Where nothing is there the node is None, and the
    path is where it would be; it is None as well after too many links, or below what is no directory.
    """
    trail: list[tuple[str, Folder]] = []
    steps = deque([*start.split("/"), *path.split("/")] if not path.startswith("/") else path.split("/"))
    hops = 0
    while steps:
        step = steps.popleft()
        if step in ("", "."):
            continue
        if step == "..":
            if trail:
                trail.pop()
            continue
        folder = trail[-1][1] if trail else root
        node = folder.get(step)
        if isinstance(node, dict):
            trail.append((step, node))
            continue
        here = "/".join([name for name, _ in trail] + [step])
        target = node.target if node is not None else None
        if target is not None and (follow or any(steps)):
            hops += 1
            if hops > _HOPS_MAX:
                return None, None
            if target.startswith("/"):
                trail.clear()
            steps.extendleft(reversed(target.split("/")))
        elif node is None:
            return _beyond(here, steps), None
        else:
            return (None, None) if any(step not in ("", ".") for step in steps) else (here, node)
    return "/".join(name for name, _ in trail), trail[-1][1] if trail else root


def _beyond(here: str, steps: Iterable[str]) -> str | None:
    """Where the rest of a path leads from what is not there yet."""
    return posixpath.normpath(posixpath.join("/", here, *steps)).strip("/") or None


# ---- the selection ---------------------------------------------------------------------------------------------------


def merge_folders(root: Folder) -> None:
    """Give ``root`` the merged-/usr layout: ``lib`` becomes a link, and what it held goes to ``usr/lib``."""
    for name, merged in MERGED.items():
        folder = root.get(name)
        if not isinstance(folder, dict):
            continue
        _, usr = walk(root, merged, follow=True)
        if not isinstance(usr, dict):
            parent = root.setdefault("usr", {})
            if not isinstance(parent, dict):
                continue
            usr = parent[posixpath.basename(merged)] = {}
        _move(folder, usr, name)
        root[name] = Leaf(Item("symlink", -1, 0, False, merged, name), -1)


def _move(source: Folder, into: Folder, path: str) -> None:
    left = [(source, into, path)]
    while left:
        source, into, path = left.pop()
        for name, node in source.items():
            there = into.get(name)
            if isinstance(node, dict):
                if not isinstance(there, dict):
                    there = into[name] = {}
                left.append((node, there, f"{path}/{name}"))
            elif there is None or (isinstance(there, Leaf) and there.target is not None and node.target is None):
                into[name] = _absolute(node, path)  # a link in usr/lib to the file in lib gives way to the file


def _absolute(leaf: Leaf, folder: str) -> Leaf:
    """A relative link that is moved must not depend on where it lies."""
    if leaf.target is None or leaf.target.startswith("/"):
        return leaf
    target = posixpath.normpath(posixpath.join("/", folder, leaf.target))
    return Leaf(leaf.item._replace(content=target), leaf.layer)


def select(root: Folder, keeps: Callable[[str], bool] | None) -> Selection:
    """What of a file system belongs into a sysroot: what ``keeps`` says (None: everything), and what its links need.

    A link leads to the first stop on its way that is kept, spelled relative; its last stop is kept in any case when
    that is a file. Links to what is not kept are left out. Devices are too.
    """
    leaves: dict[str, Leaf] = {}
    folders: set[str] = set()
    for path, node in _paths(root):
        if isinstance(node, dict):
            if keeps is None or keeps(f"{path}/"):
                folders.add(path)
        elif keeps is None or keeps(path):
            leaves[path] = node
    files = {path: leaf for path, leaf in leaves.items() if leaf.item.kind == "file"}
    ways = {path: list(_way(root, path, leaf)) for path, leaf in leaves.items() if leaf.target is not None}
    for way in ways.values():
        if way and isinstance(last := way[-1][1], Leaf) and last.item.kind == "file":
            files.setdefault(way[-1][0], last)
    links = _links(files, folders, ways)
    if keeps is None:
        lost = {path: relative_link(path, leaves[path].item.content) for path in ways if path not in links}
        links.update(lost)  # /etc/mtab and its like: what they lead to is made at run time
    for path, merged in MERGED.items():
        if merged in folders and path not in files:
            links.setdefault(path, merged)
    entries = {path: Entry(kind="dir") for path in folders if path}
    entries |= {path: Entry(kind="link", content=target) for path, target in links.items()}
    return Selection(entries=entries, files=files)


def _paths(root: Folder) -> Iterator[tuple[str, Node]]:
    left: list[tuple[str, Folder]] = [("", root)]
    while left:
        prefix, folder = left.pop()
        for name, node in folder.items():
            path = f"{prefix}{name}"
            yield path, node
            if isinstance(node, dict):
                left.append((f"{path}/", node))


def _way(root: Folder, path: str, leaf: Leaf) -> Iterator[tuple[str, Node]]:
    """The stops of a symbolic link: what it names, what that names in turn, to the end; nothing if there is none."""
    stops: list[tuple[str, Node]] = []
    target = leaf.target
    while target is not None:
        place, node = walk(root, target, follow=False, start=posixpath.dirname(path))
        if place is None or node is None or len(stops) >= _HOPS_MAX:
            return
        stops.append((place, node))
        path, target = place, None if isinstance(node, dict) else node.target
    yield from stops


def _links(files: dict[str, Leaf], folders: set[str], ways: dict[str, list[tuple[str, Node]]]) -> dict[str, str]:
    """The links that lead to something kept, and what they hold; adds the directories all this needs to ``folders``."""
    for path in list(files) + list(folders):
        _add_parents(folders, path)
    live: set[str] = set()
    waiting = {path: way[-1] for path, way in ways.items() if way}
    while ready := [
        path for path, (end, node) in waiting.items() if end in files or (isinstance(node, dict) and end in folders)
    ]:
        for path in ready:
            del waiting[path]
            live.add(path)
            _add_parents(folders, path)
    links = {}
    for path in live:
        stop = next(place for place, _ in ways[path] if place in files or place in live or place in folders)
        links[path] = posixpath.relpath(f"/{stop}", f"/{posixpath.dirname(path)}")
    return links


def _add_parents(folders: set[str], path: str) -> None:
    folders.add("")
    while path := posixpath.dirname(path):
        if path in folders:
            return
        folders.add(path)
