"""Layers that are already compressed, in the user's cache by what they were made of.

    CACHE/KEY.tar.gz    the layer
    CACHE/KEY.json      its digests, and the paths in it

The JSON file is written last, so a layer is there whole or not at all; two processes that write the same one write the
same bytes. A blob that was touched since is digested again before it is trusted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from jetsonx.errors import HostError
from jetsonx.image.layer import Blob, Compression, Entry, order_entries, write_layer

_PART = ".part-"
_DAY_S = 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A layer in a file. ``paths`` lists its members that are no directories."""

    blob: Blob
    path: Path
    paths: tuple[str, ...]


def find_or_store(cache_dir: Path, key: str, make: Callable[[Path], Iterable[Entry]]) -> Stored:
    """The layer stored under ``key``; made by ``make`` when it is not there or is damaged.

    ``make`` is given an empty scratch directory that lasts until its entries are written.
    Raises HostError when the cache cannot be written, and what ``make`` and :func:`write_layer` raise.
    """
    if (stored := _find(cache_dir, key)) is not None:
        return stored
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        _sweep(cache_dir)
        with tempfile.TemporaryDirectory(dir=cache_dir, prefix=_PART) as scratch:
            return _store(cache_dir, key, make, Path(scratch))
    except OSError as error:
        raise HostError(
            f"cannot store an image layer in {cache_dir}: {error}",
            hint="free space there, or move the cache: JETSONX_CACHE=/another/directory",
        ) from error


def store(directory: Path, entries: Iterable[Entry], *, mtime_s: int, compression: Compression = "gzip") -> Stored:
    """Write a layer into ``directory`` under the hexadecimal digits of its digest. Raises OSError."""
    ordered = order_entries(entries)
    part = directory / ".part"
    with part.open("wb") as stream:
        blob = write_layer(ordered, stream, mtime_s=mtime_s, compression=compression)
    path = part.rename(directory / blob.digest.removeprefix("sha256:"))
    return Stored(blob=blob, path=path, paths=_names(ordered))


def _sweep(cache_dir: Path) -> None:
    """Remove what processes left that were killed; one that is at work still is younger than a day."""
    for part in cache_dir.glob(f"{_PART}*"):
        with contextlib.suppress(FileNotFoundError):  # ended, or swept by another process, meanwhile
            if time.time() - part.stat().st_mtime > _DAY_S:
                shutil.rmtree(part, ignore_errors=True)


def _store(cache_dir: Path, key: str, make: Callable[[Path], Iterable[Entry]], scratch: Path) -> Stored:
    (scratch / "files").mkdir()
    made = store(scratch, make(scratch / "files"), mtime_s=0)
    made.path.chmod(0o444)
    path = made.path.replace(cache_dir / f"{key}.tar.gz")
    record = {"blob": asdict(made.blob), "paths": made.paths, "mtime_ns": path.stat().st_mtime_ns}
    (scratch / "record").write_text(json.dumps(record), encoding="utf-8")
    (scratch / "record").replace(cache_dir / f"{key}.json")
    return Stored(blob=made.blob, path=path, paths=made.paths)


def _find(cache_dir: Path, key: str) -> Stored | None:
    path = cache_dir / f"{key}.tar.gz"
    try:
        record = json.loads((cache_dir / f"{key}.json").read_text(encoding="utf-8"))
        blob = Blob(**record["blob"])
        status = path.stat()
        if status.st_size != blob.size_bytes:
            return None
        if status.st_mtime_ns != record["mtime_ns"] and _digest(path) != blob.digest:
            return None
        return Stored(blob=blob, path=path, paths=tuple(record["paths"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not there, or not as it was written: it is made again


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


def _names(entries: Iterable[Entry]) -> tuple[str, ...]:
    return tuple(entry.path for entry in entries if entry.kind != "dir")
