"""What may go from the store, and its going: by age, by size, never what a project's lock file needs unless told.

:func:`jetsonx.store.items.load_items` reads what there is, :func:`plan_prune` decides, :func:`prune` acts. An SDK is
links and scripts into trees and made again in a moment: it goes with the first of its trees.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jetsonx.store.items import Item, list_folder, trees_of_sdk
from jetsonx.store.store import Store
from jetsonx.store.tree import remove_tree

BUSY_S = 3600
"""While another jetsonx is at work, what was used within this time may be in its hands."""

_PATH_KEYS = {"sdk": "path", "project": "file"}  # in references of these kinds


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


def prune(store: Store, plan: PrunePlan, *, everything: bool = False) -> int:
    """Carry out a plan; returns the bytes freed, with those of contents that nothing held any more.

    ``everything``: forget what was resolved, too. Killed at any moment, it leaves whole what it has not removed.
    """
    if not store.root.is_dir():
        return 0
    freed = sum(item.size_bytes for item in plan.remove if not item.is_tree)
    with store.guard("pruning"), store.scratch() as scratch:
        gone = {item.name for item in plan.remove}
        sdks = [sdk for sdk in list_folder(store.root / "sdk") if everything or trees_of_sdk(sdk) & gone]
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
        for sdk in list_folder(store.root / "sdk"):
            if trees_of_sdk(sdk) & names:
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
            named = _named(ref.parent.name, json.loads(ref.read_text()), store.root)
            if named is not None and not named.exists():
                ref.unlink(missing_ok=True)


def _named(kind: str, record: object, root: Path) -> Path | None:
    """What a reference leads to; None for one that is itself all there is, such as a list of resolved versions."""
    if not isinstance(record, dict):
        return None
    if kind in _PATH_KEYS:
        return Path(str(record.get(_PATH_KEYS[kind])))
    return root / "trees" / str(record["tree"]) if record.keys() == {"tree", "digest", "info"} else None


def _drop_orphan(path: Path) -> int:
    """Remove an object that no tree holds; returns its bytes."""
    with contextlib.suppress(FileNotFoundError):
        status = path.stat()
        if status.st_nlink == 1:
            path.unlink()
            return status.st_size
    return 0
