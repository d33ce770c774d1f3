"""What a sysroot is made of: packages, wheels, archives and image layers, as values that a lock file can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A .deb: ``version`` as Debian writes it, ``sha256`` in hex, ``url`` where it was found ("" from a lock file)."""

    name: str
    version: str
    filename: str
    sha256: str
    size_bytes: int = 0
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A .whl: ``name`` normalised, ``sha256`` in hex, ``size_bytes`` 0 while it is not known."""

    name: str
    version: str
    filename: str
    sha256: str
    size_bytes: int = 0
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """One of NVIDIA's redistributable archives: ``filename`` is its path below the tree (``cuda`` or ``cudnn``)."""

    name: str
    version: str
    platform: str
    filename: str
    sha256: str
    size_bytes: int
    tree: str = "cuda"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPin:
    """A layer of an image: the digest (``sha256:…``) and size of the compressed blob."""

    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePin:
    """An image for one platform: ``digest`` is that of its manifest."""

    reference: str
    digest: str
    layers: tuple[LayerPin, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """The part of a lock file that fixes a sysroot.

    ``source`` and ``origin`` as :class:`jetsonx.sysroot.source.Source` has them; ``suite`` is the codename of the
    packages' suite ("" for none). ``base``: what the root file system itself is known by, which is the sha256 of a
    tarball, and for a device or directory the digest of the whole sysroot.
    """

    suite: str
    packages: tuple[Package, ...] = ()
    wheels: tuple[Wheel, ...] = ()
    archives: tuple[Archive, ...] = ()
    source: str = "apt"
    origin: str = ""
    image: ImagePin | None = None
    base: str = ""

    @property
    def hashes(self) -> list[str]:
        """The hashes of everything pinned, sorted: the same hashes give the same sysroot."""
        image = [layer.digest for layer in self.image.layers] if self.image else []
        items: tuple[Package | Wheel | Archive, ...] = (*self.packages, *self.wheels, *self.archives)
        base = [self.base] if self.base else []
        # The order of layers is part of what they make.
        return [*image, *sorted([*(item.sha256 for item in items), *base])]


def to_json(item: Package | Wheel | Archive | ImagePin) -> dict[str, Any]:
    """The item as JSON takes it."""
    return asdict(item)


def package_from_json(value: Mapping[str, Any]) -> Package:
    """The inverse of :func:`to_json` for a package."""
    return Package(**value)


def wheel_from_json(value: Mapping[str, Any]) -> Wheel:
    """The inverse of :func:`to_json` for a wheel."""
    return Wheel(**value)


def archive_from_json(value: Mapping[str, Any]) -> Archive:
    """The inverse of :func:`to_json` for an archive."""
    return Archive(**value)


def image_from_json(value: Mapping[str, Any]) -> ImagePin:
    """The inverse of :func:`to_json` for an image."""
    return ImagePin(**{**value, "layers": tuple(LayerPin(**layer) for layer in value["layers"])})
