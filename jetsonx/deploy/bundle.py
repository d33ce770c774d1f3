"""Makes the bundle that is sent to a device: one file, named by its sha256, the same bytes whenever it is made.

What is made is kept for a while in the user's cache: a fleet shares one bundle per pair of images.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import lzma
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from jetsonx.deploy.helper.archive import ARCHIVE_END
from jetsonx.deploy.helper.recipe import BLOCK, MAGIC
from jetsonx.deploy.hybrid import Documents, blob, gzipped, plain, render_documents
from jetsonx.deploy.image import LocalImage, LocalLayer, digest_of
from jetsonx.deploy.kept import Kept
from jetsonx.deploy.layermap import LayerMap
from jetsonx.deploy.oldtree import OldTree
from jetsonx.deploy.recipe import RecipeWriter
from jetsonx.deploy.transfer import (
    Descriptor,
    Known,
    Method,
    Need,
    Receiver,
    TransferPlan,
    choose_method,
    find_need,
    is_possible,
)
from jetsonx.deploy.whole import packed, write_member
from jetsonx.errors import ConfigError
from jetsonx.store.tree import file_sha256

_VERSION = 1  # raise it when other bytes are made of the same images
_STEP = 1 << 20
_BUNDLES_MAX = 12
# xz's presets by the bytes to be compressed: the tighter ones take seconds for each 10 MB.
_PRESETS = ((16 << 20, 6), (96 << 20, 2), (1 << 62, 0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A file to be sent. ``total_bytes``: of the archive that the engine reads; ``ids``: what it may call the image."""

    path: Path
    sha256: str
    size_bytes: int
    total_bytes: int
    ids: tuple[str, str]
    blobs: dict[str, Descriptor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An image ready for a device: the plan, and what is to be sent unless the device has it all."""

    name: str
    image: LocalImage
    plan: TransferPlan
    bundle: Bundle | None

    def request(self, docker: Sequence[str]) -> bytes:
        """What the helper's verb ``load`` reads; ``docker`` are the words that call it on the device."""
        if self.bundle is None:
            raise ValueError("nothing is to be sent")
        asked = {
            "bundle": self.bundle.sha256,
            "docker": list(docker),
            "old": self.plan.old_image_id,
            "reference": self.name,
            "ids": list(self.bundle.ids),
            "layers": list(self.image.diff_ids),
            "total": self.bundle.total_bytes,
        }
        return json.dumps(asked).encode()

    def arrived(self, kept: Kept) -> None:
        """Remember that a device has the image now: the next release is sent as what differs from it."""
        kept.keep(self.image)
        if self.bundle is not None:
            for called in self.bundle.ids:
                kept.name(called, Known(image_id=self.image.id, blobs=self.bundle.blobs))


def prepare(image: LocalImage, name: str, device: Receiver, kept: Kept, method: Method = "auto") -> Prepared:
    """Find the cheapest way to bring ``image`` to ``device`` under ``name``, and make what is to be sent.

    Raises ConfigError when the image is damaged or ``method`` is impossible, HostError when the cache is not writable.
    """
    known = kept.known()
    need = find_need(image, name, device, known)
    old = kept.find(need.old_id) if need.old_id else None
    whole = Need(sent=image.diff_ids)
    maker = Maker(image, name, kept)
    prices = {"thin": maker.price(need), "full": maker.price(whole)}
    recipe = None
    if old is not None and is_possible(need, device, method, {old.id}):
        with contextlib.suppress(ConfigError):  # what is kept is damaged: whole layers serve
            recipe = maker.recipe(need, old, "xz" if device.has_lzma else "zlib")
            prices["recipe"] = recipe.size_bytes
    chosen, why = choose_method(need, {} if need.there else prices, device, method)
    bundle = None
    if chosen == "recipe":
        bundle = recipe
    elif chosen != "none":
        need = whole if chosen == "full" else need
        bundle = maker.whole(need)
        prices[chosen] = bundle.size_bytes
    plan = TransferPlan(
        method=chosen,
        why=why,
        prices=prices,
        sent=need.sent,
        skipped=need.skipped,
        there=need.there,
        old_image_id=need.old if chosen == "recipe" else "",
        new_layers_bytes=bundle.total_bytes if bundle else 0,
    )
    return Prepared(name=name, image=image, plan=plan, bundle=bundle)


class Maker:
    """Makes bundles of an image, or finds them made."""

    def __init__(self, image: LocalImage, name: str, kept: Kept) -> None:
        self._image = image
        self._name = name
        self._kept = kept

    def price(self, need: Need) -> int:
        """About how many bytes whole layers take."""
        stored = [layer for layer in self._image.layers if layer.diff_id in need.sent]
        return len(self._image.config) + sum(layer.size_bytes for layer in stored)

    def recipe(self, need: Need, old: LocalImage, compression: str) -> Bundle:
        """The recipe that makes the layers of ``need`` from ``old``."""
        return self.find_or_make(
            ["recipe", compression, old.id, *self._what(need)], lambda out: self._recipe(out, need, old, compression)
        )

    def whole(self, need: Need) -> Bundle:
        """An archive with the layers of ``need``, compressed."""
        return self.find_or_make(["whole", *self._what(need)], lambda out: self._whole(out, need))

    def _what(self, need: Need) -> list[str]:
        held = [f"{diff_id}={need.held[diff_id].digest}" for diff_id in sorted(need.held)]
        return [self._image.id, self._name, ",".join(need.sent), ",".join(held)]

    def find_or_make(self, parts: list[str], make: Any) -> Bundle:
        """The bundle that ``make`` writes, which ``parts`` say all about, or the one that was made of them before."""
        key = hashlib.sha256("\n".join([str(_VERSION), *parts]).encode()).hexdigest()
        with self._kept.alone() as folder:
            bundles = folder / "bundles"
            found = _read_record(bundles, key)
            if found is not None:
                return found
        with self._kept.cache.scratch() as scratch:
            part = scratch / "bundle"
            with self._kept.cache.guard("making what is to be sent"), part.open("wb") as out:
                total, manifest, blobs = make(out)
            sha256 = file_sha256(part)
            record = {
                "sha256": sha256,
                "size_bytes": part.stat().st_size,
                "total_bytes": total,
                "ids": [self._image.id, digest_of(manifest)],
                "blobs": {diff_id: asdict(each) for diff_id, each in blobs.items()},
            }
            with self._kept.alone() as folder:
                part.rename(folder / "bundles" / sha256)
                (scratch / "record").write_text(json.dumps(record))
                (scratch / "record").rename(folder / "bundles" / f"{key}.json")
                _prune(folder / "bundles")
                return _bundle(folder / "bundles", record)

    # ---- recipes -------------------------------------------------------------------------------------------------

    def _recipe(
        self, out: IO[bytes], need: Need, old: LocalImage, compression: str
    ) -> tuple[int, bytes, dict[str, Descriptor]]:
        with contextlib.ExitStack() as stack:
            scratch = stack.enter_context(self._kept.cache.scratch())
            sent = [layer for layer in self._image.layers if layer.diff_id in need.sent]
            new, tree = self._maps(stack, scratch, list({layer.diff_id: layer for layer in sent}.values()), old)
            blobs = {layer.diff_id: plain(layer.diff_id, layer.size_bytes) for layer in new}
            documents = self._documents(blobs | dict(need.held))
            body = stack.enter_context((scratch / "body").open("w+b"))
            writer = RecipeWriter(tree, body)
            members = []
            for name, data in documents.first:
                members.append((name, len(data), hashlib.sha256(data).hexdigest()))
                writer.document(data)
            for layer in new:
                members.append((blob(layer.diff_id), layer.size_bytes, layer.diff_id.removeprefix("sha256:")))
                writer.layer(layer)
            for name, data in documents.last:
                members.append((name, len(data), hashlib.sha256(data).hexdigest()))
                writer.document(data)
            header = {"format": 1, "compression": compression, "members": members}
            write_recipe(out, header, writer.sources(), body)
        return _total(size for _, size, _ in members), documents.manifest, blobs | dict(need.held)

    def _maps(
        self, stack: contextlib.ExitStack, scratch: Path, sent: Sequence[LocalLayer], old: LocalImage
    ) -> tuple[list[LayerMap], OldTree]:
        """The layers to be sent, and the files of the old image in those layers that may hold the like of them."""
        first = min((self._image.diff_ids.index(layer.diff_id) for layer in sent), default=0)
        shared = 0
        for left, right in zip(self._image.diff_ids[:first], old.diff_ids, strict=False):
            if left != right:
                break
            shared += 1
        with ThreadPoolExecutor(2) as pool:
            new = [pool.submit(LayerMap, layer, scratch) for layer in sent]
            past = [
                pool.submit(LayerMap, layer, _folder(scratch, "old", at), is_trusted=True)
                for at, layer in enumerate(old.layers[shared:])
            ]
            maps = [stack.enter_context(contextlib.closing(each.result())) for each in new]
            tree = OldTree([stack.enter_context(contextlib.closing(each.result())) for each in past])
        return maps, tree

    def _documents(self, blobs: dict[str, Descriptor]) -> Documents:
        """The archive's documents; a layer that the engine has, and names by its chain, may go by any name."""
        layers = [blobs.get(each, plain(each, 0)) for each in self._image.diff_ids]
        return render_documents(self._image, layers, self._name)

    # ---- whole layers --------------------------------------------------------------------------------------------

    def _whole(self, out: IO[bytes], need: Need) -> tuple[int, bytes, dict[str, Descriptor]]:
        with self._kept.cache.scratch() as scratch:
            sent = {layer.diff_id: layer for layer in self._image.layers if layer.diff_id in need.sent}
            ready = {diff_id: packed(layer, scratch) for diff_id, layer in sent.items()}
            blobs = {diff_id: gzipped(layer.digest, layer.size_bytes) for diff_id, layer in ready.items()}
            documents = self._documents(blobs | dict(need.held))
            total = 0
            for name, data in documents.first:
                total += write_member(out, name, len(data), iter((data,)))
            for layer in ready.values():
                total += write_member(out, blob(layer.digest), layer.size_bytes, layer.stored())
            for name, data in documents.last:
                total += write_member(out, name, len(data), iter((data,)))
            out.write(ARCHIVE_END)
        return total + len(ARCHIVE_END), documents.manifest, blobs | dict(need.held)


def write_recipe(out: IO[bytes], header: Mapping[str, object], sources: bytes, body: IO[bytes]) -> None:
    """Write a recipe of what a RecipeWriter made; ``body`` is at its end."""
    described = json.dumps(header, separators=(",", ":")).encode()
    out.write(MAGIC + len(described).to_bytes(4, "big") + hashlib.sha256(described).digest() + described)
    size = body.tell() + len(sources)
    preset = next(preset for limit, preset in _PRESETS if size <= limit)
    is_xz = header["compression"] == "xz"
    packer: Any = lzma.LZMACompressor(preset=preset) if is_xz else zlib.compressobj(9)
    out.write(packer.compress(sources))
    body.seek(0)
    while block := body.read(_STEP):
        out.write(packer.compress(block))
    out.write(packer.flush())


def _total(sizes: Iterator[int]) -> int:
    return sum(BLOCK + size + -size % BLOCK for size in sizes) + len(ARCHIVE_END)


def _folder(scratch: Path, *parts: object) -> Path:
    """A directory of its own: old and new layer may be the same one."""
    folder = scratch / "-".join(map(str, parts))
    folder.mkdir()
    return folder


def _read_record(bundles: Path, key: str) -> Bundle | None:
    place = bundles / f"{key}.json"
    try:
        record = json.loads(place.read_bytes())
        path = bundles / record["sha256"]
        if path.stat().st_size != record["size_bytes"]:
            return None
        place.touch()
        return _bundle(bundles, record)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _bundle(bundles: Path, record: Mapping[str, Any]) -> Bundle:
    blobs = {diff_id: Descriptor(**each) for diff_id, each in record["blobs"].items()}
    return Bundle(**{**record, "path": bundles / record["sha256"], "ids": tuple(record["ids"]), "blobs": blobs})


def _prune(bundles: Path) -> None:
    """Keep the bundles used last."""
    records = sorted(bundles.glob("*.json"), key=lambda place: place.stat().st_mtime_ns, reverse=True)
    for place in records[_BUNDLES_MAX:]:
        place.unlink()
    needed = set()
    for place in records[:_BUNDLES_MAX]:
        with contextlib.suppress(ValueError, KeyError):
            needed.add(json.loads(place.read_bytes())["sha256"])
    for path in bundles.iterdir():
        if path.suffix != ".json" and path.name not in needed:
            path.unlink()
