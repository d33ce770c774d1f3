"""Which sysroot of the store a person means: a target, a digest or the name of a tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jetsonx.errors import ConfigError, DownloadError
from jetsonx.store.store import Store, Tree

if TYPE_CHECKING:
    from jetsonx.catalog import Target

KIND = "sysroot"
_NAMED = 8


def sysroots(store: Store) -> tuple[Tree, ...]:
    """Every sysroot in the store, the last used first."""
    trees = (tree for tree in store.trees() if tree.kind == KIND)
    return tuple(sorted(trees, key=lambda tree: (-store.last_used(tree), tree.name)))


def load_releases(store: Store) -> dict[str, set[str]]:
    """The L4T releases that each sysroot was pulled for, by the tree's name."""
    found: dict[str, set[str]] = {}
    for name, info in store.requests(KIND):
        if isinstance(release := info.get("release"), str):
            found.setdefault(name, set()).add(release)
    return found


def find_sysroot(store: Store, which: str) -> Tree:
    """The sysroot that ``which`` names, damaged or not.

    A target (``orin-nano@36.4.3``) means the sysroot of its L4T release that was used last; anything else is the
    beginning of a digest or of a tree's name. Raises ConfigError for a word that names none or several, DownloadError
    for a target without a sysroot in the store.
    """
    if "@" in which:
        from jetsonx.catalog import load_catalog, resolve_target  # late: a digest needs none of it

        return _of_target(store, resolve_target(load_catalog(), which))
    wanted = which.removeprefix("sha256:").removeprefix(f"{KIND}-")
    there = sysroots(store)
    found = [tree for tree in there if wanted and tree.digest.startswith(f"sha256:{wanted}")]
    if len(found) == 1:
        return found[0]
    named = ", ".join(describe(tree.name, tree.info) for tree in (found or there)[:_NAMED])
    hint = f"in the cache: {named or 'none'}" if not found else f"it may be {named}: give more digits"
    raise ConfigError(f"{'no' if not found else 'more than one'} sysroot {which!r} in {store.root}", hint=hint)


def _of_target(store: Store, target: Target) -> Tree:
    release = target.release.l4t
    releases = load_releases(store)
    for tree in sysroots(store):
        if release in releases.get(tree.name, ()) or tree.info.get("release") == release:
            return tree
    held = sorted({each for names in releases.values() for each in names})
    raise DownloadError(
        f"no sysroot for L4T {release} in {store.root}",
        details=f"it holds sysroots for L4T {', '.join(held)}" if held else None,
        hint=f"jetsonx sysroot pull {target.name}",
    )


def describe(name: str, info: Mapping[str, Any]) -> str:
    """A tree's name with what it is, for an error: ``sysroot-1f2e… (image nvcr.io/…, L4T 36.4.3)``."""
    parts = [" ".join(word for word in (text(info, "source"), text(info, "origin") or text(info, "suite")) if word)]
    parts += [f"L4T {release}"] if (release := text(info, "release")) else []
    return f"{name} ({', '.join(part for part in parts if part)})" if any(parts) else name


def text(info: Mapping[str, Any], key: str) -> str:
    """A word of a tree's info, "" when it is not there: trees of earlier versions lack some."""
    value = info.get(key)
    return value if isinstance(value, str) else ""
