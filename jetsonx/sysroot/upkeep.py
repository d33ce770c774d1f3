"""Finding damage in the store and making it good.

Damaged contents are only ever taken out; what is missing then is fetched and made again by what needs it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from jetsonx.errors import ConfigError, DownloadError
from jetsonx.store.items import made_of
from jetsonx.store.prune import drop_sdks
from jetsonx.store.store import Store, Tree
from jetsonx.store.tree import file_sha256
from jetsonx.sysroot.lookup import text

if TYPE_CHECKING:
    from jetsonx.catalog import Target
    from jetsonx.effects import Effects

_SHA256 = re.compile(r"[0-9a-f]{64}")
_OBJECT = re.compile(r"([0-9a-f]{62})(x?)")


def check_tree(store: Store, tree: Tree) -> tuple[str, ...]:
    """:meth:`Store.verify`, which marks a damaged tree; SDKs that lead into one are dropped, too."""
    troubles = store.verify(tree)
    if troubles:
        drop_sdks(store, {each.name for each in store.trees() if each.damaged} | {tree.name})
    return troubles


def check_downloads(store: Store, hashes: Iterable[str] | None = None) -> Iterator[str]:
    """Read downloads again (all, or those with these sha256 in hex) and drop the damaged; one line for each."""
    for sha256 in sorted(_names(store.root / "downloads") if hashes is None else hashes):
        if not _SHA256.fullmatch(sha256):
            continue
        path = store.download(sha256)
        if path is not None and path.is_file() and file_sha256(path) != sha256:
            store.drop_download(sha256)
            yield f"{path.name}: its content is not what its sha256 says; removed"


def check_objects(store: Store) -> Iterator[str]:
    """Read contents again that no tree holds now, and drop the damaged; one line for each."""
    with store.guard("checking the store"):
        for folder in _names(store.root / "objects"):
            for name in _names(store.root / "objects" / folder):
                path = store.root / "objects" / folder / name
                found = _OBJECT.fullmatch(name)
                with contextlib.suppress(FileNotFoundError):  # pruned meanwhile
                    if found and path.stat().st_nlink == 1 and file_sha256(path) != f"{folder}{found[1]}":
                        path.unlink()
                        yield f"object {folder}{name}: its content was changed; removed"


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def repair_sysroot(tree: Tree, effects: Effects) -> Tree:
    """Make a damaged sysroot anew from exactly what it was made of; what the cache lacks of it is fetched again.

    Raises DownloadError when that cannot be had any more, ConfigError for a sysroot of an older jetsonx, which did not
    note enough.
    """
    from jetsonx.sysroot import pull
    from jetsonx.sysroot.request import Request
    from jetsonx.sysroot.source import parse_source

    target = _target(tree)
    for trouble in check_downloads(effects.store, made_of(tree.info)):
        effects.console.warn(trouble)
    pins = pull.load_sysroot(tree).pins
    request = Request(source=parse_source(pins.source, pins.origin), full=bool(tree.info.get("full")))
    made = pull.pull_sysroot(target, request, effects, pins=pins)
    if made.digest != tree.digest:
        raise DownloadError(
            f"{tree.name} cannot be made whole: what it was made of gives {made.tree.name} today",
            hint=f"use that one, and remove the damaged one: rm -r {tree.path.parent}",
        )
    return made.tree


def _target(tree: Tree) -> Target:
    """A target of the release that a sysroot was made for, with the CUDA version it was made with."""
    from jetsonx.catalog import load_catalog, resolve_target

    catalog = load_catalog()
    release, cuda = text(tree.info, "release"), text(tree.info, "cuda_dir").rpartition("cuda-")[2]
    for module in catalog.modules if release else ():
        with contextlib.suppress(ConfigError):  # the release does not run on this module
            target = resolve_target(catalog, f"{module}@{release}")
            facts = catalog.cuda.get(cuda)
            return target.with_cuda(facts) if facts and cuda != target.cuda_version else target
    raise ConfigError(
        f"{tree.name} does not say which L4T release it is for",
        hint="pull it again: jetsonx sysroot pull TARGET",
    )
