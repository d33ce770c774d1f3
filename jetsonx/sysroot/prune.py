"""What may go from the store, and its going: by age, by size, never what a project's lock file needs unless told.

:func:`load_items` reads what there is, :func:`plan_prune` decides, :func:`prune` acts. An SDK is links and scripts into
trees and made again in a moment: it goes with the first of its trees, and being used counts as use of them all.
"""

from __future__ import annotations

import contextlib
import json
import re
import stat
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jetsonx.sysroot.store import Project, Store
from jetsonx.sysroot.tree import remove_tree
from jetsonx.sysroot.usage import Contents, load_contents

BUSY_S = 3600
"""While another jetsonx is at work, what was used within this time may be in its hands."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunePlan:
    """What goes, and with the reason what would have gone; how many bytes that frees and leaves."""

    remove: tuple[Item, ...]
    keep: tuple[tuple[Item, str], ...]
    freed_bytes: int
    left_bytes: int


def plan_prune(
    items: Sequence[Item],
    *,
    before_s: float | None = None,
    budget_bytes: int | None = None,
    even_locked: bool = False,
    busy_since_s: float = float("inf"),
) -> PrunePlan:
    """Remove what was last used before ``before_s``, then the longest unused until the rest fits the budget.

    ``busy_since_s``: what was used since may be in another process's hands and stays.
    """
    holders = Counter(content for item in items for content in item.contents)
    total = left = sum({content: size for item in items for content, size in item.contents.items()}.values())
    remove, keep = [], []
    for item in sorted(items, key=lambda item: (item.used_s, item.name)):
        is_old = before_s is not None and item.used_s < before_s
        is_over = budget_bytes is not None and left > budget_bytes
        if not is_old and not is_over:
            continue
        if item.needed_by is not None and not even_locked:
            keep.append((item, f"{item.needed_by} needs it"))
        elif item.used_s >= busy_since_s:
            keep.append((item, "another jetsonx is at work and may be using it"))
        else:
            remove.append(item)
            for content, size in item.contents.items():
                holders[content] -= 1
                left -= 0 if holders[content] else size
    return PrunePlan(remove=tuple(remove), keep=tuple(keep), freed_bytes=total - left, left_bytes=left)


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


# ---- reading ---------------------------------------------------------------------------------------------------------


def load_items(store: Store, *, downloads_only: bool = False) -> tuple[Item, ...]:
    """Everything in the store that can go; only what can be downloaded again when asked so."""
    projects = store.projects()
    items = [*_downloads(store, projects), *_lists(store)]
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
    for ref in _entries(store.root / "refs" / "sdk"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            times[Path(json.loads(ref.read_text())["path"]).name] = ref.stat().st_mtime
    used: dict[str, float] = defaultdict(float)
    for sdk in _entries(store.root / "sdk"):
        for name in _trees_of_sdk(sdk):
            used[name] = max(used[name], times.get(sdk.name, 0.0))
    return used


def _trees_of_sdk(sdk: Path) -> set[str]:
    names: set[str] = set()
    for path in sdk.rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_symlink():
                names.update(_TREE_NAME.findall(str(path.readlink())))
            elif path.is_file():
                names.update(_TREE_NAME.findall(path.read_text(errors="replace")))
    return names


def _downloads(store: Store, projects: Sequence[Project]) -> Iterator[Item]:
    for folder in _entries(store.root / "downloads"):
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


def _layers(store: Store) -> Iterator[Item]:
    """Layers of images that were built: ``KEY.tar.gz`` and ``KEY.json``, see jetsonx/image/blobs.py."""
    by_key: dict[str, list[Path]] = defaultdict(list)
    for path in _entries(store.root / "layers"):
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
    for folder in _entries(store.root / "apt"):
        with contextlib.suppress(OSError):
            times = [path.stat().st_mtime for path in (folder, folder / "apt.conf") if path.exists()]
            contents = {(str(path), ""): size for path, size in _files(folder).items()}
            name = f"package lists {folder.name}"
            yield Item(kind="lists", name=name, paths=(folder,), used_s=max(times), contents=contents)


def _entries(folder: Path) -> list[Path]:
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


# ---- acting ----------------------------------------------------------------------------------------------------------


def prune(store: Store, plan: PrunePlan, *, everything: bool = False) -> int:
    """Carry out a plan; returns the bytes freed, with those of contents that nothing held any more.

    ``everything``: forget what was resolved, too. Killed at any moment, it leaves whole what it has not removed.
    """
    if not store.root.is_dir():
        return 0
    freed = sum(item.size_bytes for item in plan.remove if not item.is_tree)
    with store.guard("pruning"), store.scratch() as scratch:
        gone = {item.name for item in plan.remove}
        sdks = [sdk for sdk in _entries(store.root / "sdk") if everything or _trees_of_sdk(sdk) & gone]
        for path in (*sdks, *(path for item in plan.remove for path in item.paths)):
            _remove(path, scratch)
        _forget(store, everything=everything)
        with store.alone() as alone:
            if alone:
                freed += sum(map(_drop_orphan, store.folder("objects").glob("*/*")))
    return freed


def drop_sdks(store: Store, names: set[str]) -> None:
    """Remove the SDKs that lead into any of the trees with these names, so that the next build makes them anew."""
    with store.guard("removing an SDK"), store.scratch() as scratch:
        for sdk in _entries(store.root / "sdk"):
            if _trees_of_sdk(sdk) & names:
                _remove(sdk, scratch)


def _remove(path: Path, scratch: Path) -> None:
    """In one step out of the way, then at leisure: a tree that is half there would be taken for whole."""
    aside = scratch / "removed"
    with contextlib.suppress(FileNotFoundError):  # another process prunes, too
        path.rename(aside)
        if aside.is_dir():
            remove_tree(aside)
        else:
            aside.unlink()


def _forget(store: Store, *, everything: bool) -> None:
    """Drop every reference to something that is gone."""
    for ref in store.folder("refs").glob("*/*"):
        if everything and ref.parent.name != "project":
            ref.unlink(missing_ok=True)
            continue
        with contextlib.suppress(OSError, ValueError):
            if _names_what_is_gone(json.loads(ref.read_text()), store.root):
                ref.unlink(missing_ok=True)


def _names_what_is_gone(record: object, root: Path) -> bool:
    if not isinstance(record, dict):
        return False
    named = [root / "trees" / str(record["tree"])] if "tree" in record else []
    named += [Path(str(record[key])) for key in ("path", "file") if key in record]
    return any(not path.exists() for path in named)


def _drop_orphan(path: Path) -> int:
    """Remove an object that no tree holds; returns its bytes."""
    with contextlib.suppress(FileNotFoundError):
        status = path.stat()
        if status.st_nlink == 1:
            path.unlink()
            return status.st_size
    return 0
