"""A root file system in a tar file: NVIDIA's sample root file systems, or any other, compressed in any known way."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from jetsonx.catalog import Filter, Target
from jetsonx.effects import Effects
from jetsonx.errors import ConfigError, DownloadError
from jetsonx.packages.links import merge_usr
from jetsonx.rootfs.codec import decompressed
from jetsonx.rootfs.gather import add_selection, choose_items
from jetsonx.rootfs.identity import check_identity
from jetsonx.rootfs.layer import Bound, Item, load_ratio, parse_index, read_layer, render_item
from jetsonx.rootfs.overlay import Leaf
from jetsonx.rootfs.tar import TarReader
from jetsonx.store.tree import Objects, TreeWriter

_READ_BYTES = 1 << 20
# Names at the top of a root file system (hier(7)); the second set are those that hardly any other directory holds.
_TOP = re.compile("bin|boot|dev|etc|home|lib|lib64|media|mnt|opt|proc|root|run|sbin|srv|sys|tmp|usr|var")
_TELLING = re.compile("etc|usr|var|proc|sbin")
_ROOTFS = "rootfs"
_INDEX = "tarball-index"  # of the references that the store keeps


def add_tarball(path: Path, writer: TreeWriter, wanted: Filter | None, *, target: Target, effects: Effects) -> str:
    """Add the files of the root file system in the tar file at ``path`` to a tree; the sha256 of the file in hex.

    ``wanted`` None takes everything. Raises ConfigError when the file holds no root file system, is damaged, or is for
    another L4T release or processor than the target's.
    """
    sha256, root = read_identity(path, effects)
    with effects.store.scratch() as scratch, _damage_of(path):
        archive = _Archive(path, root, Objects(effects.store.folder("objects"), scratch), effects)
        selection = choose_items(archive.index(sha256, wanted), wanted, what=str(path))
        contents = {leaf.item.path: leaf.item.content or "" for leaf in selection.files.values()}
        contents |= archive.fetch(leaf for leaf in selection.files.values() if not leaf.item.content)
    add_selection(selection, contents, writer)
    check_identity(selection.files, writer.read, target, what=str(path))
    return sha256


class _Archive:
    """A tar file whose members below ``root`` are a root file system."""

    def __init__(self, path: Path, root: str, objects: Objects, effects: Effects) -> None:
        self._path = path
        self._root = root
        self._objects = objects
        self._effects = effects

    def index(self, sha256: str, wanted: Filter | None) -> list[Item]:
        """What it holds; the contents that ``wanted`` wants are in the store then. Read once, then remembered."""
        key = f"{sha256} {wanted!r}"
        if (text := self._effects.store.recall(_INDEX, key)) and self._is_whole(items := list(parse_index(text))):
            return items
        items = list(self._read(wanted, only=None))
        self._effects.store.remember(_INDEX, key, "".join(map(render_item, items)))
        return items

    def fetch(self, leaves: Iterable[Leaf]) -> dict[str, str]:
        """Contents that the filter did not ask for, but links do: sha256 by path."""
        paths = {leaf.item.number: leaf.item.path for leaf in leaves}
        return {paths[item.number]: item.content for item in self._read(None, only=paths)} if paths else {}

    def _is_whole(self, items: Iterable[Item]) -> bool:
        has = self._objects.has
        return all(
            has(item.content, item.size_bytes, executable=item.executable)
            for item in items
            if item.kind == "file" and item.content
        )

    def _read(self, wanted: Filter | None, *, only: Collection[int] | None) -> Iterator[Item]:
        def keeps(path: str) -> bool:
            if not path.startswith(self._root):
                return False
            return wanted is None or wanted.keeps(merge_usr(path.removeprefix(self._root)))

        name, size = str(self._path), self._path.stat().st_size
        with self._path.open("rb") as file, self._effects.console.bar(f"unpacking {self._path.name}", size) as bar:

            def read(count: int) -> bytes:
                data = file.read(count)
                bar.advance(len(data))
                return data

            bound = Bound(name, size, load_ratio(os.environ))
            for item in read_layer(read, self._objects, keeps, name=name, bound=bound, only=only):
                if only is not None:
                    yield item
                elif item.path.startswith(self._root):
                    yield self._inside(item)

    def _inside(self, item: Item) -> Item:
        content = item.content.removeprefix(self._root) if item.kind == "hardlink" else item.content
        return item._replace(path=item.path.removeprefix(self._root), content=content)


def find_root(names: Iterable[str]) -> str | None:
    """The directory of an archive that holds the root file system, as a prefix: ``""``, or ``"rootfs/"``.

    ``names`` are the members' in order; no more are taken than are needed. The root may lie one level down, or where
    NVIDIA's tools put it: ``Linux_for_Tegra/rootfs/``. None when nothing looks like one.
    """
    for name in names:
        steps = [step for step in name.split("/") if step not in ("", ".")]
        match steps:
            case []:
                continue
            case [first, *_] if _TOP.fullmatch(first):
                return ""
            case [_, second, third, *_] if second == _ROOTFS and _TOP.fullmatch(third):
                return f"{steps[0]}/{_ROOTFS}/"
            case [first, second, *_] if _TELLING.fullmatch(second) or (first == _ROOTFS and _TOP.fullmatch(second)):
                return f"{first}/"
    return None


def read_identity(path: Path, effects: Effects) -> tuple[str, str]:
    """The sha256 of a tar file in hex, and where in it the root lies (see :func:`find_root`).

    Both are remembered for as long as the file keeps its place, size and time: a sample root file system has gigabytes.
    Raises ConfigError when it is not there or holds no root file system.
    """
    try:
        status = path.stat()
        if path.is_dir():
            raise ConfigError(f"{path} is a directory, not a tar file", hint=f"take it as one: --from dir {path}")
        key = json.dumps([str(path.resolve()), status.st_size, status.st_mtime_ns])
        if known := effects.store.recall("tarball", key):
            sha256, root = json.loads(known)
            return sha256, root
        root = _read_root(path)
        sha256 = _read_sha256(path, status.st_size, effects)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", hint="name the tar file of a root file system") from None
    effects.store.remember("tarball", key, json.dumps([sha256, root]))
    return sha256, root


def _read_root(path: Path) -> str:
    with path.open("rb") as file, _damage_of(path):
        archive = TarReader(decompressed(file.read, name=str(path)), name=str(path))
        root = find_root(member.name for member in archive)
    if root is None:
        raise ConfigError(
            f"{path} holds no root file system",
            hint="expected usr/, lib/, etc/ and so on at its top, in one directory, or in Linux_for_Tegra/rootfs/",
        )
    return root


@contextlib.contextmanager
def _damage_of(path: Path) -> Iterator[None]:
    """A damaged file of the user's is his to fetch again, not the cache's."""
    try:
        yield
    except DownloadError as error:
        raise ConfigError(
            error.message, hint=f"expected a tar file, plain or compressed; was {path.name} downloaded to its end?"
        ) from error


def _read_sha256(path: Path, size_bytes: int, effects: Effects) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file, effects.console.bar(f"hashing {path.name}", size_bytes) as bar:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
            bar.advance(len(piece))
    return digest.hexdigest()
