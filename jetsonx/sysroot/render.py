"""The sysroots of the store as text and as JSON. Trees of earlier versions lack some of what is shown."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from jetsonx.console import amount
from jetsonx.store.store import Store, Tree
from jetsonx.store.usage import Usage, load_usage
from jetsonx.sysroot.contents import Contents
from jetsonx.sysroot.lookup import load_releases, sysroots, text

SCHEMA = 1

_HEADINGS = ("NAME", "L4T", "SOURCE", "CUDA", "SIZE", "OWN", "SHARED", "LAST USED")
_RIGHT = {4, 5, 6}
_NAMES = {
    "l4t": "L4T",
    "glibc": "glibc",
    "glibcxx": "libstdc++",
    "gcc": "GCC headers",
    "cuda": "CUDA",
    "cudnn": "cuDNN",
    "tensorrt": "TensorRT",
    "opencv": "OpenCV",
    "vpi": "VPI",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A sysroot, what it takes, when it was last used (seconds since 1970) and for which L4T releases it was pulled."""

    tree: Tree
    usage: Usage
    used_s: float
    releases: tuple[str, ...]

    @property
    def cuda(self) -> str:
        """The CUDA version laid out in it, "" for none."""
        return text(self.tree.info, "cuda_dir").rpartition("cuda-")[2]

    @property
    def source(self) -> str:
        """Where it came from: ``apt bookworm``, ``image nvcr.io/…``; the first sysroots were all made by apt."""
        info = self.tree.info
        return f"{text(info, 'source') or 'apt'} {text(info, 'origin') or text(info, 'suite')}".strip()


def load_rows(store: Store) -> tuple[Row, ...]:
    """Every sysroot in the store, the last used first; reads manifests, but no file of a tree."""
    usage, releases = load_usage(store), load_releases(store)
    return tuple(
        Row(
            tree=tree,
            usage=usage.get(tree.name, Usage()),
            used_s=store.last_used(tree),
            releases=tuple(sorted(releases.get(tree.name, set()) | ({text(tree.info, "release")} - {""}))),
        )
        for tree in sysroots(store)
    )


def render_table(rows: Sequence[Row]) -> str:
    """One line for each sysroot, under headings."""
    cells = [_HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADINGS))]
    return "\n".join(_line(line, widths) for line in cells)


def _cells(row: Row) -> tuple[str, ...]:
    usage = row.usage
    return (
        row.tree.name,
        ", ".join(row.releases) or "-",
        row.source,
        row.cuda or "-",
        amount(usage.size_bytes),
        amount(usage.own_bytes),
        amount(usage.shared_bytes),
        _local(row.used_s) + (" damaged" if row.tree.damaged else ""),
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (
        cell.rjust(width) if column in _RIGHT else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join(padded).rstrip()


def row_json(row: Row) -> dict[str, Any]:
    """The sysroot as `list --json` gives it."""
    tree, info = row.tree, row.tree.info
    return {
        "name": tree.name,
        "digest": tree.digest,
        "path": str(tree.path),
        "damaged": tree.damaged,
        "source": text(info, "source") or "apt",
        "origin": text(info, "origin") or text(info, "suite") or None,
        "releases": list(row.releases),
        "cuda": row.cuda or None,
        "size_bytes": row.usage.size_bytes,
        "own_bytes": row.usage.own_bytes,
        "shared_bytes": row.usage.shared_bytes,
        "last_used": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(row.used_s)),
    }


def show_json(row: Row, contents: Contents) -> dict[str, Any]:
    """The sysroot as `show --json` gives it: with what was found in it, and all that is known of its making."""
    return {"schema": SCHEMA, **row.tree.info, **row_json(row), "contents": asdict(contents)}


def render_show(row: Row, contents: Contents) -> str:
    """The same for a person."""
    tree = row.tree
    lines = [
        ("digest", tree.digest),
        ("path", str(tree.path)),
        ("source", row.source),
        ("pulled for", ", ".join(f"L4T {release}" for release in row.releases) or "?"),
        ("last used", _local(row.used_s)),
        ("size", f"{amount(row.usage.size_bytes)}, of which no other tree holds {amount(row.usage.own_bytes)}"),
    ]
    lines += [("state", "damaged: jetsonx sysroot verify --repair")] if tree.damaged else []
    found = [(_NAMES[key], value) for key, value in asdict(contents).items() if value]
    blocks = ["\n".join(_pairs(lines)), "found in it\n" + "\n".join(f"  {line}" for line in _pairs(found))]
    blocks += [f"{title}\n" + "\n".join(f"  {line}" for line in items) for title, items in _made_of(tree.info) if items]
    return "\n\n".join(blocks)


def _pairs(lines: Iterable[tuple[str, str]]) -> list[str]:
    return [f"{name:<12} {value}" for name, value in lines]


def _made_of(info: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    image = info.get("image")
    if isinstance(image, dict):
        layers = [layer for layer in image.get("layers") or () if isinstance(layer, dict)]
        title = f"image {image.get('reference', '')} ({image.get('digest', '')})"
        yield title, [f"{layer.get('digest', '')}  {amount(int(layer.get('size_bytes') or 0))}" for layer in layers]
    for key in ("packages", "wheels", "archives"):
        items = [item for item in info.get(key) or () if isinstance(item, dict)]
        yield f"{len(items)} {key}", [f"{item.get('name', '')} {item.get('version', '')}" for item in items]


def _local(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
