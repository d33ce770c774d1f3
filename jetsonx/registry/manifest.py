"""What a registry says an image is made of: OCI image specification 1.1, and Docker's schema 2 before it.

Everything here came over the network: it is checked before it is believed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jetsonx.errors import ConfigError, DownloadError
from jetsonx.registry.reference import Reference

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
ACCEPTED = (OCI_INDEX, DOCKER_INDEX, OCI_MANIFEST, DOCKER_MANIFEST)
_CONFIGS = ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
# Layers that a registry serves as such; "foreign" ones lie elsewhere and exist for Windows only.
_LAYER = re.compile(
    r"application/vnd\.(?:oci\.image\.layer(?:\.nondistributable)?\.v1\.tar|docker\.image\.rootfs\.diff\.tar)"
    r"(?:[+.](?:gzip|zstd))?"
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MOST_LAYERS = 1000
_MOST_PLATFORMS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A file in a registry: ``digest`` is ``sha256:…``, ``size_bytes`` what is stored and sent."""

    digest: str
    size_bytes: int
    media_type: str = ""

    @property
    def sha256(self) -> str:
        """The digest in plain hex."""
        return self.digest.partition(":")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageManifest:
    """An image for one platform. ``digest`` is of ``raw``, its manifest as it came; layers are listed base first."""

    reference: Reference
    digest: str
    config: Blob
    layers: tuple[Blob, ...]
    raw: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One entry of an index: a manifest, and the platform it says it is for ("" when it does not say)."""

    manifest: Blob
    platform: str


def parse_document(raw: bytes, media_type: str, *, what: str) -> tuple[str, Mapping[str, Any]]:
    """A manifest or an index: its media type and its JSON object. ``media_type`` is what the server calls it.

    Raises DownloadError for what is neither, and for Docker's schema 1, which no digest protects.
    """
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DownloadError(f"{what}: the manifest is no JSON: {error}") from error
    if not isinstance(document, dict):
        raise DownloadError(f"{what}: the manifest is no JSON object")
    if document.get("schemaVersion") == 1:
        raise DownloadError(
            f"{what}: the registry has this image in Docker's schema 1 only, which was given up in 2017",
            hint="push it again with a current Docker, or use a newer tag",
        )
    kind = document.get("mediaType")
    if kind is None:  # OCI leaves it to the header, and some servers leave that out
        kind = media_type.partition(";")[0].strip()
        if kind not in ACCEPTED:
            kind = OCI_INDEX if "manifests" in document else OCI_MANIFEST if "layers" in document else kind
    is_index, has_layers = kind in (OCI_INDEX, DOCKER_INDEX), "layers" in document or "config" in document
    if kind not in ACCEPTED or document.get("schemaVersion") != 2:
        raise DownloadError(f"{what}: {kind or 'this'} is no image", hint="is it an image, not a chart or an artifact?")
    if is_index == has_layers or is_index != ("manifests" in document):
        raise DownloadError(f"{what}: the manifest says it is {kind}, and its content is something else")
    return kind, document


def parse_index(document: Mapping[str, Any], *, what: str) -> tuple[Choice, ...]:
    """The images of an index; signatures and build records among them (platform unknown) are left out."""
    choices = []
    for entry in _items(document, "manifests", _MOST_PLATFORMS, what):
        platform = entry.get("platform") or {}
        if not isinstance(platform, dict):
            raise DownloadError(f"{what}: an index entry's platform is {platform!r}")
        parts = [str(platform.get(key) or "") for key in ("os", "architecture", "variant")]
        blob = _blob(entry, what)
        if parts[0] != "unknown" and blob.media_type in ACCEPTED:
            choices.append(Choice(manifest=blob, platform="/".join(filter(None, parts))))
    return tuple(choices)


def choose(choices: Sequence[Choice], platform: str, *, what: str) -> Blob:
    """The manifest for ``platform`` (``linux/arm64``, of any variant); one that names no platform if it is alone.

    Raises ConfigError that names the platforms there are.
    """
    # linux/arm64 is linux/arm64/v8 (OCI image index, "platform variants"): the plain one first
    fitting = sorted((c for c in choices if f"{c.platform}/".startswith(f"{platform}/")), key=lambda c: len(c.platform))
    unnamed = [choice for choice in choices if not choice.platform]
    if fitting:
        return fitting[0].manifest
    if len(unnamed) == 1 == len(choices):
        return unnamed[0].manifest
    raise wrong_platform(what, platform, sorted({choice.platform or "one it does not name" for choice in choices}))


def wrong_platform(what: str, wanted: str, there: Sequence[str]) -> ConfigError:
    """The error for an image of other platforms than the wanted one."""
    return ConfigError(
        f"{what} is not for {wanted}: it has {', '.join(there) or 'no image at all'}",
        hint="a Jetson needs a linux/arm64 image: take another tag or another image",
    )


def parse_manifest(document: Mapping[str, Any], *, reference: Reference, digest: str, raw: bytes) -> ImageManifest:
    """The image that a manifest describes. Raises DownloadError for what is wrong in it or no layer of files."""
    what = str(reference)
    config = document.get("config")
    if not isinstance(config, dict):
        raise DownloadError(f"{what}: the manifest names no configuration")
    layers = tuple(_blob(layer, what) for layer in _items(document, "layers", _MOST_LAYERS, what))
    image = ImageManifest(reference=reference, digest=digest, config=_blob(config, what), layers=layers, raw=raw)
    if image.config.media_type not in _CONFIGS:
        raise DownloadError(
            f"{what}: holds {image.config.media_type}, no file system",
            hint="is it an image, not a chart or an artifact?",
        )
    for layer in layers:
        if not _LAYER.fullmatch(layer.media_type):
            raise DownloadError(
                f"{what}: a layer is {layer.media_type}, which jetsonx cannot unpack",
                hint="it takes tar layers, plain or compressed by gzip or zstd",
            )
    return image


def check_platform(config: Mapping[str, Any], platform: str, *, what: str) -> None:
    """Raise ConfigError when an image's configuration names another platform. ``what`` names the image."""
    there = f"{config.get('os') or 'linux'}/{config.get('architecture') or 'unknown'}"
    if there != platform:
        raise wrong_platform(what, platform, [there])


def _items(document: Mapping[str, Any], key: str, most: int, what: str) -> Sequence[Mapping[str, Any]]:
    items = document.get(key)
    if not isinstance(items, list) or len(items) > most or not all(isinstance(item, dict) for item in items):
        raise DownloadError(f"{what}: the manifest's {key} are no list of at most {most} entries")
    return items


def _blob(entry: Mapping[str, Any], what: str) -> Blob:
    digest, size, kind = entry.get("digest"), entry.get("size"), entry.get("mediaType")
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise DownloadError(f"{what}: the manifest names a blob {digest!r}; jetsonx knows sha256 only")
    if type(size) is not int or not 0 <= size < 1 << 50 or not isinstance(kind, str):
        raise DownloadError(f"{what}: the manifest says that {digest} is {kind!r} of {size!r} bytes")
    return Blob(digest=digest, size_bytes=size, media_type=kind)
