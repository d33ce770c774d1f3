"""What the store holds, piece by piece, as far as a piece can go without another: for :mod:`jetsonx.store.prune`."""

from __future__ import annotations

import contextlib
import json
import re
import stat
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jetsonx.store.store import Project, Store
from jetsonx.store.usage import Contents, load_contents

_NO_TREES = ("download", "layer", "lists")
_TREE_NAME = re.compile(r"/trees/([a-z]+-[0-9a-f]{12})(?![0-9a-f])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Something that goes or stays whole.

    ``kind``: that of a tree, or ``download``, ``layer`` (of an image that was built), ``lists`` (apt's). ``used_s`` in
    seconds since 1970; ``contents`` its bytes, by keys that are equal where two items share them; ``needed_by`` the
    lock file that needs it.
    """

    kind: str
    name: str
    paths: tuple[Path, ...]
    used_s: float
    contents: Contents
    needed_by: Path | None = None

    @property
    def size_bytes(self) -> int:
        """The bytes of its contents, shared ones too."""
        return sum(self.contents.values())

    @property
    def is_tree(self) -> bool:
        """True when its contents are objects of the store, which are freed with the last tree that holds them."""
        return self.kind not in _NO_TREES


def made_of(info: Mapping[str, Any]) -> frozenset[str]:
    """The sha256 of everything that a tree's ``info`` says it was made of; of nothing when one of them is not known."""
    found = [item.get("sha256") if isinstance(item, dict) else None for item in _items(info)]
    found += [info["base"]] if info.get("base") else []
    image = info.get("image")
    layers = image.get("layers", ()) if isinstance(image, dict) else ()
    found += [layer.get("digest") if isinstance(layer, dict) else None for layer in layers]
    if not all(isinstance(each, str) for each in found):
        return frozenset()
    return frozenset(each.removeprefix("sha256:") for each in found if each)


def _items(info: Mapping[str, Any]) -> Iterator[object]:
    for key in ("packages", "wheels", "archives"):
        yield from info.get(key) or ()


def needed_by(name: str, hashes: frozenset[str], digest: str, projects: Iterable[Project]) -> Path | None:
    """The lock file that needs a tree (or a download, whose only hash is its own); see :meth:`Store.protect`."""
    for project in projects:
        made = bool(hashes) and hashes <= project.hashes
        if made or name in project.trees or digest.removeprefix("sha256:") in project.hashes:
            return project.file
    return None


def load_items(store: Store, *, downloads_only: bool = False) -> tuple[Item, ...]:
    """Everything in the store that can go; only what can be downloaded again when asked so."""
    projects = store.projects()
    items = [*_downloads(store, projects), *_partial(store), *_lists(store)]
    if not downloads_only:
        items += [*_trees(store, projects), *_layers(store)]
    return tuple(items)


def _trees(store: Store, projects: Sequence[Project]) -> Iterator[Item]:
    used = _used_by_sdks(store)
    for tree in store.trees():
        yield Item(
            kind=tree.kind,
            name=tree.name,
            paths=(tree.path.parent,),
            used_s=max(store.last_used(tree), used[tree.name]),
            contents=load_contents(tree),
            needed_by=needed_by(tree.name, made_of(tree.info), tree.digest, projects),
        )


def _used_by_sdks(store: Store) -> Mapping[str, float]:
    """When a tree was last used through an SDK, by its name: a known SDK is taken without a look at its tools."""
    times: dict[str, float] = {}
    for ref in list_folder(store.root / "refs" / "sdk"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            times[Path(json.loads(ref.read_text())["path"]).name] = ref.stat().st_mtime
    used: dict[str, float] = defaultdict(float)
    for sdk in list_folder(store.root / "sdk"):
        for name in trees_of_sdk(sdk):
            used[name] = max(used[name], times.get(sdk.name, 0.0))
    return used


def trees_of_sdk(sdk: Path) -> set[str]:
    """The names of the trees that an SDK's links and scripts lead into."""
    names: set[str] = set()
    for path in sdk.rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_symlink():
                names.update(_TREE_NAME.findall(str(path.readlink())))
            elif path.is_file():
                names.update(_TREE_NAME.findall(path.read_text(errors="replace")))
    return names


def _downloads(store: Store, projects: Sequence[Project]) -> Iterator[Item]:
    for folder in list_folder(store.root / "downloads"):
        with contextlib.suppress(OSError):
            files = _files(folder)
            name = next((path.name for path in sorted(files)), folder.name)
            yield Item(
                kind="download",
                name=name,
                paths=(folder,),
                used_s=folder.stat().st_mtime,
                contents={(str(path), ""): size for path, size in files.items()},
                needed_by=needed_by("", frozenset(), folder.name, projects),
            )


def _partial(store: Store) -> Iterator[Item]:
    for path in list_folder(store.root / "partial"):
        with contextlib.suppress(OSError):
            files = _files(path) if path.is_dir() else {path: path.stat().st_size}
            yield Item(
                kind="download",
                name=f"part of {next(iter(sorted(files)), path).name}",
                paths=(path,),
                used_s=max(each.stat().st_mtime for each in (path, *files)),  # the file grows, its directory does not
                contents={(str(each), ""): size for each, size in files.items()},
            )


def _layers(store: Store) -> Iterator[Item]:
    """Layers of images that were built: ``KEY.tar.gz`` and ``KEY.json``, see jetsonx/image/blobs.py."""
    by_key: dict[str, list[Path]] = defaultdict(list)
    for path in list_folder(store.root / "layers"):
        if key := path.name.partition(".")[0]:  # a name that begins with a point is being written
            by_key[key].append(path)
    for key, paths in by_key.items():
        with contextlib.suppress(OSError):
            yield Item(
                kind="layer",
                name=f"image layer {key[:12]}",
                paths=tuple(paths),
                used_s=max(path.stat().st_mtime for path in paths),
                contents={(str(path), ""): path.stat().st_size for path in paths},
            )


def _lists(store: Store) -> Iterator[Item]:
    for folder in list_folder(store.root / "apt"):
        with contextlib.suppress(OSError):
            times = [path.stat().st_mtime for path in (folder, folder / "apt.conf") if path.exists()]
            contents = {(str(path), ""): size for path, size in _files(folder).items()}
            name = f"package lists {folder.name}"
            yield Item(kind="lists", name=name, paths=(folder,), used_s=max(times), contents=contents)


def list_folder(folder: Path) -> list[Path]:
    """What is in a directory, sorted; nothing when it is not there."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _files(folder: Path) -> dict[Path, int]:
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode):
            found[path] = status.st_size
    return found
