"""An image on this host as it is to be brought to devices: an OCI layout in a directory, or what `docker save` wrote.

Sources: OCI image specification 1.1, "Image Layout" and "Image Configuration"; moby's image/tarexport.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from jetsonx.errors import ConfigError, DownloadError
from jetsonx.image.layer import Compression
from jetsonx.rootfs.codec import decompressed
from jetsonx.rootfs.tar import TarReader

_DOCUMENT_MAX = 1 << 24
_NESTED_MAX = 4  # indexes of indexes
_MAGIC: tuple[tuple[bytes, Compression], ...] = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"))
_HINT = "name the directory that jetsonx built the image into, such as out/image, or build it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalLayer:
    """A layer: ``size_bytes`` at ``offset_bytes`` of the file ``path``. ``diff_id`` is the digest of its plain tar."""

    diff_id: str
    digest: str
    size_bytes: int
    compression: Compression
    path: Path
    offset_bytes: int = 0

    def blocks(self) -> Iterator[bytes]:
        """The plain tar. Raises DownloadError when it is damaged."""
        return decompressed(_reader(self.stored()), name=f"layer {self.diff_id[7:19]}")

    def stored(self) -> Iterator[bytes]:
        """The bytes as they lie there."""
        left = self.size_bytes
        with self.path.open("rb") as file:
            file.seek(self.offset_bytes)
            while left and (block := file.read(min(left, 1 << 20))):
                left -= len(block)
                yield block


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalImage:
    """An image on this host. ``id`` is the digest of ``config``, whose bytes travel as they are."""

    id: str
    config: bytes
    layers: tuple[LocalLayer, ...]
    reference: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """Its layers, base first."""
        return tuple(layer.diff_id for layer in self.layers)

    @property
    def size_bytes(self) -> int:
        """What is stored: configuration and layers."""
        return len(self.config) + sum(layer.size_bytes for layer in self.layers)


def load_image(path: Path) -> LocalImage:
    """The image at ``path``.

    Raises ConfigError when it is not there, is no image, or is damaged as far as its documents tell.
    """
    try:
        if path.is_file():
            return _from_archive(path)
        if not (path / "oci-layout").is_file() or not (path / "index.json").is_file():
            raise ConfigError(f"{path} holds no OCI image: no oci-layout and index.json", hint=_HINT)
        return _from_layout(path)
    except FileNotFoundError as error:
        raise ConfigError(f"{path} is no whole image: {error.filename} is not there", hint=_HINT) from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", hint=_HINT) from error
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, DownloadError) as error:
        raise ConfigError(f"{path} is damaged, or no image as jetsonx knows them: {error}", hint=_HINT) from error


def image_of(config: bytes, layers: Sequence[LocalLayer], reference: str) -> LocalImage:
    """An image of its parts. Raises ValueError, KeyError or TypeError when they do not belong together."""
    said = json.loads(config)
    if [layer.diff_id for layer in layers] != said["rootfs"]["diff_ids"]:
        raise ValueError("it has other layers than its configuration says")
    labels = (said.get("config") or {}).get("Labels") or {}
    return LocalImage(id=digest_of(config), config=config, layers=tuple(layers), reference=reference, labels=labels)


def digest_of(data: bytes) -> str:
    """As registries and engines write it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _from_layout(path: Path) -> LocalImage:
    document = _limited(path / "index.json")
    described: Mapping[str, Any] = {}
    for _ in range(_NESTED_MAX):
        found = json.loads(document)
        if "manifests" not in found:
            break
        described = _choice(found["manifests"])
        document = _document(path, described["digest"])
    manifest = json.loads(document)
    config = _document(path, manifest["config"]["digest"])
    diff_ids = json.loads(config)["rootfs"]["diff_ids"]
    layers = [_layer(path, each, diff_id) for each, diff_id in zip(manifest["layers"], diff_ids, strict=True)]
    name = (described.get("annotations") or {}).get("io.containerd.image.name", "")
    return image_of(config, layers, name)


def _choice(manifests: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The image for a Jetson, or the only one."""
    if len(manifests) == 1:
        return manifests[0]
    for each in manifests:
        platform = each.get("platform") or {}
        if (platform.get("os"), platform.get("architecture")) == ("linux", "arm64"):
            return each
    raise ValueError("none of its images is for linux/arm64")


def _layer(path: Path, described: Mapping[str, Any], diff_id: str) -> LocalLayer:
    place = _blob(path, described["digest"])
    size = place.stat().st_size
    if size != described["size"]:
        raise ValueError(f"the layer {described['digest']} has {size} bytes instead of {described['size']}")
    with place.open("rb") as file:
        magic = file.read(4)
    return LocalLayer(
        diff_id=diff_id, digest=described["digest"], size_bytes=size, compression=_compression(magic), path=place
    )


def _compression(magic: bytes) -> Compression:
    return next((name for start, name in _MAGIC if magic.startswith(start)), "none")


def _blob(path: Path, digest: str) -> Path:
    kind, _, digits = digest.partition(":")
    if kind != "sha256" or len(digits) != 64 or not set(digits) <= set("0123456789abcdef"):
        raise ValueError(f"{digest!r} is no digest")
    return path / "blobs" / "sha256" / digits


def _document(path: Path, digest: str) -> bytes:
    raw = _limited(_blob(path, digest))
    if digest_of(raw) != digest:
        raise ValueError(f"the blob {digest} is not what its name says")
    return raw


def _limited(path: Path) -> bytes:
    with path.open("rb") as file:
        raw = file.read(_DOCUMENT_MAX + 1)
    if len(raw) > _DOCUMENT_MAX:
        raise ValueError(f"{path.name} has more than {_DOCUMENT_MAX} bytes")
    return raw


def _from_archive(path: Path) -> LocalImage:
    """What `docker save` wrote: documents are read, layers stay where they are."""
    documents: dict[str, bytes] = {}
    places: dict[str, tuple[int, int, Compression]] = {}
    with path.open("rb") as file:
        blocks = iter(lambda: file.read(1 << 20), b"")
        reader = TarReader(blocks, name=str(path), skip=lambda count: file.seek(count, 1))
        for member in reader:
            if member.kind == "symlink":  # as Docker did until 24 for layers that it had written already
                target = _joined(member.name, member.target)
                if target in places:
                    places[member.name] = places[target]
            if member.kind != "file":
                continue
            places[member.name] = (reader.position, member.size_bytes, _compression(reader.head(4)))
            if member.size_bytes <= _DOCUMENT_MAX and reader.head(1) in (b"{", b"["):
                documents[member.name] = reader.read()
    [described] = json.loads(documents["manifest.json"])
    config = documents[described["Config"]]
    diff_ids = json.loads(config)["rootfs"]["diff_ids"]
    layers = []
    for name, diff_id in zip(described["Layers"], diff_ids, strict=True):
        offset, size, compression = places[name]
        digest = diff_id if compression == "none" else _digest_at(path, offset, size)
        layers.append(
            LocalLayer(
                diff_id=diff_id, digest=digest, size_bytes=size, compression=compression, path=path, offset_bytes=offset
            )
        )
    names = cast(list[str], described.get("RepoTags") or [""])
    return image_of(config, layers, names[0])


def _joined(name: str, target: str) -> str:
    parts = [*name.split("/")[:-1]]
    for part in target.split("/"):
        parts = parts[:-1] if part == ".." else [*parts, part]
    return "/".join(parts)


def _digest_at(path: Path, offset: int, size: int) -> str:
    layer = LocalLayer(diff_id="", digest="", size_bytes=size, compression="gzip", path=path, offset_bytes=offset)
    digest = hashlib.sha256()
    for block in layer.stored():
        digest.update(block)
    return f"sha256:{digest.hexdigest()}"


def _reader(blocks: Iterator[bytes]) -> Any:
    """A ``read(count)`` that gives at most so many bytes."""
    held = b""

    def read(count: int) -> bytes:
        nonlocal held
        data = held or next(blocks, b"")
        held = data[count:]
        return data[:count]

    return read
