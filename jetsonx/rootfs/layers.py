"""The layers of an image, or the one of a device or tarball, into a tree.

1. index     each layer is downloaded and, while it still comes in, unpacked by a worker process; contents go to the
             store, and what the layer holds is remembered, so that another image with the same layer needs neither
2. overlay   the indexes put over one another say what the file system is, and what of it a sysroot takes
3. fill      a link may lead to a file that the filter left out: its layer is read once more for that
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jetsonx.catalog.filters import Filter
from jetsonx.console import Console
from jetsonx.errors import DownloadError
from jetsonx.rootfs.layer import Item, LayerSource, load_ratio, parse_index, render_item
from jetsonx.rootfs.overlay import FileSystem, Folder, Leaf, merge_folders, select
from jetsonx.rootfs.workers import Unpacker
from jetsonx.runner import Runner
from jetsonx.store.store import Store
from jetsonx.store.tree import Entry, Objects, TreeWriter

__all__ = ["LayerSource", "LayersDone", "add_layers"]

# Part of every key: raise it when the same layer would give another index.
_FORMAT = 2
_KIND = "layer"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayersDone:
    """What adding layers took: ``reused`` of the ``layers`` were known from before, with ``reused_bytes`` of blobs.

    ``files`` with ``size_bytes`` are what the tree got of them.
    """

    layers: int
    reused: int
    reused_bytes: int
    downloaded_bytes: int
    files: int
    size_bytes: int


def add_layers(
    layers: Sequence[LayerSource],
    writer: TreeWriter,
    *,
    filter: Filter | None,  # noqa: A002 - the word for it everywhere
    what: str,
    store: Store,
    runner: Runner,
    console: Console,
) -> LayersDone:
    """Add to ``writer`` what the ``layers``, lowest first, make together, as far as ``filter`` keeps it (None: all).

    ``what`` heads the progress bar. Raises DownloadError, naming the layer, when one is damaged, hostile or too large;
    HostError when the disk is full; and what their ``fetch`` raises. Then, and on Ctrl-C, every worker is ended.
    """
    ratio = load_ratio(os.environ)
    places = _places(layers)
    keys = {n: _key(layers[n], filter) for n in places}
    recalled = {n: store.recall(_KIND, key) for n, key in keys.items() if key}
    indexes = {n: text for n, text in recalled.items() if text is not None}
    known = set(indexes)
    with store.guard("unpacking layers"), store.scratch() as scratch:
        unpacker = Unpacker(
            layers, filter=filter, ratio=ratio, scratch=scratch, store=store, runner=runner, console=console
        )
        for n, text in unpacker.unpack({n: None for n in keys if n not in known}, what=what).items():
            indexes[n] = text
            if keys[n]:
                store.remember(_KIND, keys[n], text)
        selection = select(_apply(layers, places, indexes), filter.keeps if filter else None)
        missing = _missing(selection.files.values(), Objects(store.folder("objects"), scratch))
        found = unpacker.unpack(missing, what=f"{what}: what links lead to")
        for n, text in found.items():
            if keys[n]:
                store.remember(_KIND, keys[n], _completed(indexes[n], text))
    contents = {(n, item.number): item for n, text in found.items() for item in parse_index(text)}
    files = {
        path: _entry(contents.get((leaf.layer, leaf.item.number), leaf.item)) for path, leaf in selection.files.items()
    }
    writer.entries |= selection.entries | files
    reused = [layer for layer, n in zip(layers, places, strict=True) if n in known - set(missing)]
    return LayersDone(
        layers=len(layers),
        reused=len(reused),
        reused_bytes=sum(layer.size_bytes or 0 for layer in reused),
        downloaded_bytes=unpacker.downloaded_bytes,
        files=len(files),
        size_bytes=sum(entry.size_bytes for entry in files.values()),
    )


def _places(layers: Sequence[LayerSource]) -> list[int]:
    """For each layer the first that is the same: images often hold the empty layer several times."""
    first: dict[str, int] = {}
    return [first.setdefault(layer.digest, n) if layer.digest else n for n, layer in enumerate(layers)]


def _key(layer: LayerSource, chosen: Filter | None) -> str:
    return json.dumps({"format": _FORMAT, "digest": layer.digest, "filter": repr(chosen)}) if layer.digest else ""


def _apply(layers: Sequence[LayerSource], places: Sequence[int], indexes: Mapping[int, str]) -> Folder:
    system = FileSystem()
    try:
        for layer, n in zip(layers, places, strict=True):
            system.apply(parse_index(indexes[n]), layer=n, name=layer.name)
    except (ValueError, KeyError) as error:
        raise DownloadError(
            f"what the cache says about a layer was damaged: {error}", hint="jetsonx sysroot prune --all"
        ) from error
    merge_folders(system.root)
    return system.root


def _missing(files: Iterable[Leaf], objects: Objects) -> dict[int, tuple[int, ...]]:
    """Which members of which layer must be read again: not kept at first, or pruned from the store since."""
    missing: dict[int, set[int]] = defaultdict(set)
    for leaf in files:
        item = leaf.item
        if not item.content or not objects.has(item.content, item.size_bytes, executable=item.executable):
            missing[leaf.layer].add(item.number)
    return {n: tuple(sorted(numbers)) for n, numbers in missing.items()}


def _completed(index: str, found: str) -> str:
    """An index with the contents that were read later."""
    later = {item.number: item.content for item in parse_index(found)}
    return "".join(
        render_item(item._replace(content=later[item.number]) if item.number in later else item)
        for item in parse_index(index)
    )


def _entry(item: Item) -> Entry:
    return Entry(kind="file", content=item.content, size_bytes=item.size_bytes, executable=item.executable)
