"""What has to travel to a device, and how: computed from what it has and what each way costs.

An engine skips a layer by its chain ID: the layer and all those below it. With containerd's image store the manifest
must, besides, name the blobs that the device holds, or the image is there and yet not whole.
Sources: OCI image specification 1.1, "Layer ChainID"; moby's image/tarexport/load.go and containerd's ImportIndex.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from jetsonx.deploy.image import LocalImage
from jetsonx.deploy.values import RemoteImage
from jetsonx.errors import ConfigError

Method = Literal["auto", "recipe", "thin", "full"]
Chosen = Literal["none", "recipe", "thin", "full"]
_CLEARLY = 0.9  # a recipe costs the device some work, so it must save a tenth


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A layer's blob as a manifest names it."""

    media_type: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """An image that was brought to a device before: ``image_id`` is its configuration's digest.

    ``blobs``: by diff ID, what its manifest there names the layers by.
    """

    image_id: str
    blobs: Mapping[str, Descriptor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """A device as a receiver of images. ``has_lzma``: its python3 does, as Debian's and Ubuntu's do."""

    images: tuple[RemoteImage, ...] = ()
    is_containerd: bool = False
    has_python: bool = True
    has_lzma: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a device lacks of an image. ``there``: its ID for the image, when it lacks nothing.

    ``sent`` and ``skipped`` are diff IDs; ``held`` what the device calls those that are skipped; ``old`` the image that
    a recipe starts from, known here by its configuration ``old_id``, "" when there is none.
    """

    there: str = ""
    sent: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    held: Mapping[str, Descriptor] = field(default_factory=dict)
    old: str = ""
    old_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferPlan:
    """How an image gets to a device. ``prices``: bytes by method, of those that are possible; ``why``: in words.

    ``there`` is the device's ID of the image if it has it already. ``old_image_id`` is the device's too.
    """

    method: Chosen
    why: str
    prices: Mapping[str, int] = field(default_factory=dict)
    sent: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    there: str = ""
    old_image_id: str = ""
    new_layers_bytes: int = 0

    @property
    def size_bytes(self) -> int:
        """Bytes to be sent."""
        return self.prices.get(self.method, 0)


def chain_ids(diff_ids: Sequence[str]) -> tuple[str, ...]:
    """The chain ID of each layer, base first."""
    chains: list[str] = []
    for diff_id in diff_ids:
        chain = diff_id
        if chains:
            chain = f"sha256:{hashlib.sha256(f'{chains[-1]} {diff_id}'.encode()).hexdigest()}"
        chains.append(chain)
    return tuple(chains)


def find_need(image: LocalImage, name: str, device: Receiver, known: Mapping[str, Known]) -> Need:
    """What the device lacks of ``image``, to be called ``name`` there.

    ``known`` are the images brought to devices before, by the ID that an engine gives them, whose content is kept.
    """
    for remote in device.images:
        is_it = known[remote.id].image_id == image.id if remote.id in known else remote.id == image.id
        if is_it and remote.diff_ids == image.diff_ids:
            return Need(there=remote.id, skipped=image.diff_ids)
    chains = {chain for remote in device.images for chain in chain_ids(remote.diff_ids)}
    held: dict[str, Descriptor] = {}
    if device.is_containerd:
        for remote in device.images:
            if remote.id in known:
                held.update(known[remote.id].blobs)
    skipped = [
        diff_id
        for diff_id, chain in zip(image.diff_ids, chain_ids(image.diff_ids), strict=True)
        if chain in chains and (not device.is_containerd or diff_id in held)
    ]
    old = _reference(image, name, device, known)
    return Need(
        sent=tuple(diff_id for diff_id in image.diff_ids if diff_id not in skipped),
        skipped=tuple(skipped),
        held={diff_id: held[diff_id] for diff_id in skipped if diff_id in held},
        old=old.id if old else "",
        old_id=known[old.id].image_id if old else "",
    )


def _reference(image: LocalImage, name: str, device: Receiver, known: Mapping[str, Known]) -> RemoteImage | None:
    """The image to start from: one of the same app, the one that runs first; else the one that shares most layers."""
    app = name.rpartition(":")[0]
    chains = chain_ids(image.diff_ids)

    def rank(remote: RemoteImage) -> tuple[bool, bool, int, str]:
        shared = len(set(chains) & set(chain_ids(remote.diff_ids)))
        is_same = any(tag.rpartition(":")[0] == app for tag in remote.tags)
        return f"{app}:current" in remote.tags, is_same, shared, remote.id

    return max((remote for remote in device.images if remote.id in known), key=rank, default=None)


def choose_method(
    need: Need, prices: Mapping[str, int], device: Receiver, method: Method = "auto"
) -> tuple[Chosen, str]:
    """The method and why. ``prices`` has no "recipe" when none can be made.

    Raises ConfigError when ``method`` asks for a recipe and there can be none.
    """
    if need.there:
        return "none", "the device has this image"
    why_not = ""
    if not device.has_python:
        why_not = "the device has no python3 to follow a recipe"
    elif not need.old:
        why_not = "no earlier release is on the device whose content is kept here"
    elif "recipe" not in prices:
        why_not = "what is kept here of the earlier release is damaged"
    if method == "recipe" and why_not:
        raise ConfigError(f"--method recipe: {why_not}", hint="--method auto")
    if method != "auto":
        return method, "asked for"
    if why_not:
        return "thin", why_not
    if prices["recipe"] < _CLEARLY * prices["thin"]:
        return "recipe", f"{prices['recipe']} bytes instead of {prices['thin']} for whole layers"
    return "thin", "a recipe would not be clearly smaller"


def is_possible(need: Need, device: Receiver, method: Method, kept: Collection[str]) -> bool:
    """True when a recipe is worth the work of making it."""
    wanted = method in ("auto", "recipe") and device.has_python
    return wanted and not need.there and need.old_id in kept
