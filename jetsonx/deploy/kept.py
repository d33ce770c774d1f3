"""Images that were deployed, kept in the user's cache: what a recipe starts from, and what engines call them.

deployed/images/ID.json       configuration and layers
deployed/layers/DIFFID        a layer, compressed as it was; hard-linked from the built image where that is possible
deployed/names/ID.json        what an engine calls an image (its manifest's digest with containerd's store, or its own)
deployed/bundles/             what was sent, see bundle.py

What was used longest ago goes first when there is more than the budget.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jetsonx.deploy.image import LocalImage, LocalLayer, image_of
from jetsonx.deploy.transfer import Descriptor, Known
from jetsonx.store.cachedir import CacheDir

BUDGET_BYTES = 20 << 30


class Kept:
    """What is kept in ``cache``, layers of at most ``budget_bytes``."""

    def __init__(self, cache: CacheDir, budget_bytes: int = BUDGET_BYTES) -> None:
        self.cache = cache
        self._budget = budget_bytes

    @contextlib.contextmanager
    def alone(self) -> Iterator[Path]:
        """The directory, while no other process changes it."""
        with self.cache.guard("keeping what is deployed"), self.cache.lock("deployed"):
            for name in ("images", "layers", "names", "bundles"):
                self.cache.folder("deployed").joinpath(name).mkdir(exist_ok=True)
            yield self.cache.folder("deployed")

    def keep(self, image: LocalImage) -> None:
        """Keep an image, as the one used last. Raises HostError when the cache cannot be written."""
        with self.alone() as folder, self.cache.scratch() as scratch:
            for layer in image.layers:
                place = folder / "layers" / layer.diff_id.removeprefix("sha256:")
                if not place.exists() or place.stat().st_size != layer.size_bytes:
                    _bring(layer, scratch / "layer")
                    (scratch / "layer").rename(place)
            record = {
                "config": base64.b64encode(image.config).decode(),
                "reference": image.reference,
                "layers": [
                    {name: value for name, value in asdict(layer).items() if name not in ("path", "offset_bytes")}
                    for layer in image.layers
                ],
            }
            _write(scratch, folder / "images" / _file(image.id), record)
            self._prune(folder, image.id)

    def name(self, called: str, known: Known) -> None:
        """Note what an engine calls an image, and by what names its layers are held there."""
        with self.alone() as folder, self.cache.scratch() as scratch:
            _write(scratch, folder / "names" / _file(called), asdict(known))

    def find(self, image_id: str) -> LocalImage | None:
        """The image, if all of it is kept; it counts as used."""
        folder = self.cache.root / "deployed"
        place = folder / "images" / _file(image_id)
        try:
            record = json.loads(place.read_bytes())
            layers = [
                LocalLayer(path=folder / "layers" / each["diff_id"].removeprefix("sha256:"), **each)
                for each in record["layers"]
            ]
            if any(layer.path.stat().st_size != layer.size_bytes for layer in layers):
                return None
            image = image_of(base64.b64decode(record["config"]), layers, record["reference"])
            os.utime(place)
        except (OSError, ValueError, KeyError, TypeError):
            return None  # not there, or not as it was written: as if it had never been kept
        return image if image.id == image_id else None

    def known(self) -> dict[str, Known]:
        """Images brought to devices before, by what an engine calls them."""
        folder = self.cache.root / "deployed"
        found = {f"sha256:{place.stem}": Known(image_id=f"sha256:{place.stem}") for place in _records(folder, "images")}
        for place in _records(folder, "names"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                record = json.loads(place.read_bytes())
                blobs = {diff_id: Descriptor(**each) for diff_id, each in record["blobs"].items()}
                found[f"sha256:{place.stem}"] = Known(image_id=record["image_id"], blobs=blobs)
        return found

    def _prune(self, folder: Path, current: str) -> None:
        """Remove the images used longest ago, never the current one, and the layers that no other needs."""
        records = sorted(_records(folder, "images"), key=lambda place: place.stat().st_mtime_ns, reverse=True)
        needed: dict[str, int] = {}
        for place in records:
            layers = _layers(place)
            more = {name: size for name, size in layers.items() if name not in needed}
            if place.name != _file(current) and sum(needed.values()) + sum(more.values()) > self._budget:
                place.unlink()
                continue
            needed.update(more)
        for path in (folder / "layers").iterdir():
            if path.name not in needed:
                path.unlink()
        oldest = time.time() - 365 * 86400
        for place in _records(folder, "names"):
            if place.stat().st_mtime < oldest:
                place.unlink()


def _records(folder: Path, kind: str) -> list[Path]:
    return list((folder / kind).glob("*.json"))


def _layers(place: Path) -> dict[str, int]:
    """Sizes of an image's layers by the names of their files."""
    try:
        found: list[dict[str, Any]] = json.loads(place.read_bytes())["layers"]
        return {each["diff_id"].removeprefix("sha256:"): each["size_bytes"] for each in found}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _file(digest: str) -> str:
    return f"{digest.removeprefix('sha256:')}.json"


def _write(scratch: Path, place: Path, record: object) -> None:
    (scratch / "record").write_text(json.dumps(record), encoding="utf-8")
    (scratch / "record").rename(place)


def _bring(layer: LocalLayer, place: Path) -> None:
    """A hard link costs no disk; another file system, or a layer inside an archive, takes a copy."""
    place.unlink(missing_ok=True)
    if layer.offset_bytes == 0 and layer.path.stat().st_size == layer.size_bytes:
        try:
            os.link(layer.path, place)
        except OSError:
            shutil.copyfile(layer.path, place)
        return
    with place.open("wb") as file:
        for block in layer.stored():
            file.write(block)
