"""The root file system that a sysroot starts from: an image's layers, a device's files, a tarball or a directory."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from jetsonx.catalog import Filter, Line, Target
from jetsonx.console import amount
from jetsonx.effects import Effects
from jetsonx.errors import ConfigError, DownloadError
from jetsonx.packages.package import ImagePin, LayerPin, Pins
from jetsonx.store.tree import TreeWriter
from jetsonx.sysroot.source import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """``fill`` adds its files, those that the filter keeps (None: all), and gives the digest that it is known by.

    ``what`` names it in messages; ``image`` are an image's pins.
    """

    what: str
    fill: Callable[[TreeWriter, Filter | None], str]
    image: ImagePin | None = None
    needed_bytes: int = 0


def resolve_image(source: Source, target: Target) -> Source:
    """An image source with its reference. Raises ConfigError when none is known for the release."""
    if source.origin:
        from jetsonx.registry.reference import parse_reference

        return Source(kind="image", origin=str(parse_reference(source.origin)))
    image = target.release.image
    if image is None:
        raise ConfigError(
            f"no container image is known for L4T {target.release.l4t}",
            hint="name one (image:nvcr.io/nvidia/l4t-base:r32.7.1), or take another source: apt, a device, a tarball",
        )
    return Source(kind="image", origin=image.reference)


def source_filter(line: Line, source: Source) -> Filter:
    """Which files a sysroot from this source keeps: of a whole root file system more than of packages."""
    return line.filter if source.kind == "apt" else line.image_filter


def file_stamp(path: Path) -> tuple[int, int]:
    """Size and modification time, by which a file is known again. Raises ConfigError when it is not there."""
    try:
        status = path.stat()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", hint="name the root file system's tarball") from None
    return status.st_size, status.st_mtime_ns


def resolve_base(source: Source, target: Target, effects: Effects, pins: Pins | None) -> Base:
    """The base that ``source`` means; what ``pins`` say when given. Reads the manifest of an image."""
    if source.kind == "image":
        return _image(source, target, effects, pins.image if pins else None)
    return Base(what=str(source), fill=partial(_FILLS[source.kind], source.origin, target, effects, pins))


def _add_device(
    origin: str, target: Target, effects: Effects, _pins: Pins | None, writer: TreeWriter, kept: Filter | None
) -> str:
    from jetsonx.rootfs.device import add_device

    add_device(origin, writer, kept, target=target, effects=effects)
    return ""


def _add_directory(
    origin: str, target: Target, effects: Effects, _pins: Pins | None, writer: TreeWriter, kept: Filter | None
) -> str:
    from jetsonx.rootfs.directory import add_directory

    add_directory(Path(origin), writer, kept, target=target, effects=effects)
    return ""


def _add_tarball(
    origin: str, target: Target, effects: Effects, pins: Pins | None, writer: TreeWriter, kept: Filter | None
) -> str:
    from jetsonx.rootfs.tarball import add_tarball, read_identity

    path = Path(origin)
    if pins is not None and (found := read_identity(path, effects)[0]) != pins.base:
        raise DownloadError(
            f"{path} has the sha256 {found}; jetsonx.lock pins {pins.base}",
            hint="find the file that was locked, or `jetsonx build --refresh` to take this one",
        )
    return add_tarball(path, writer, kept, target=target, effects=effects)


_FILLS = {"device": _add_device, "directory": _add_directory, "tarball": _add_tarball}


def _image(source: Source, target: Target, effects: Effects, pinned: ImagePin | None) -> Base:
    # Few commands pull anything, and all import this module.
    from jetsonx.registry.client import Registry
    from jetsonx.registry.credentials import load_credentials
    from jetsonx.registry.manifest import Blob
    from jetsonx.registry.reference import parse_reference
    from jetsonx.rootfs.layers import LayerSource, add_layers

    reference = parse_reference(source.origin)
    registry = Registry(effects.http, load_credentials(os.environ, effects.runner))
    if pinned is None:
        manifest = registry.manifest(reference, target.platform)
        layers = tuple(LayerPin(digest=blob.digest, size_bytes=blob.size_bytes) for blob in manifest.layers)
        pinned = ImagePin(reference=str(reference), digest=manifest.digest, layers=layers)

    def fetch(layer: LayerPin, part: Path, advance: Callable[[int], None], restarted: Callable[[], None]) -> None:
        if effects.offline:
            raise DownloadError(
                f"offline, and the cache lacks layer {layer.digest} of {reference}", hint="run it once with a network"
            )
        blob = Blob(digest=layer.digest, size_bytes=layer.size_bytes, media_type="")
        registry.download(reference, blob, part, advance, restarted)

    sources = [
        LayerSource(
            name=f"layer {number} of {reference}",
            digest=layer.digest,
            size_bytes=layer.size_bytes,
            fetch=partial(fetch, layer),
            path=None,
        )
        for number, layer in enumerate(pinned.layers, start=1)
    ]

    def fill(writer: TreeWriter, kept: Filter | None) -> str:
        done = add_layers(
            sources,
            writer,
            filter=kept,
            what=str(reference),
            store=effects.store,
            runner=effects.runner,
            console=effects.console,
        )
        if done.reused:
            effects.console.say(
                f"{reference}: {done.reused} of {done.layers} layers were here already, {amount(done.reused_bytes)} "
                "were not downloaded again"
            )
        return pinned.digest

    return Base(
        what=str(reference), fill=fill, image=pinned, needed_bytes=sum(layer.size_bytes for layer in pinned.layers)
    )
