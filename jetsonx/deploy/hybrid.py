"""The archive that every engine loads: an OCI layout and what `docker save` writes in one, layers left out at will.

The documents that make an engine register the image come last, so that a stream that was cut anywhere leaves nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jetsonx.deploy.image import LocalImage, digest_of
from jetsonx.deploy.transfer import Descriptor
from jetsonx.image.oci import full_name

_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """All of an archive but its layers. ``first`` and ``last``: (name, bytes) before and behind them."""

    manifest: bytes
    first: tuple[tuple[str, bytes], ...]
    last: tuple[tuple[str, bytes], ...]


def plain(diff_id: str, size_bytes: int) -> Descriptor:
    """A layer that is stored as the plain tar."""
    return Descriptor(media_type=_LAYER, digest=diff_id, size_bytes=size_bytes)


def gzipped(digest: str, size_bytes: int) -> Descriptor:
    """A layer that is stored compressed."""
    return Descriptor(media_type=f"{_LAYER}+gzip", digest=digest, size_bytes=size_bytes)


def render_documents(image: LocalImage, layers: Sequence[Descriptor], name: str) -> Documents:
    """The documents for an image to be called ``name``, ``repository:tag``."""
    config = {"mediaType": _CONFIG, "digest": image.id, "size": len(image.config)}
    described = [{"mediaType": each.media_type, "digest": each.digest, "size": each.size_bytes} for each in layers]
    manifest = _json({"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": described})
    annotations = {
        "io.containerd.image.name": full_name(name),
        "org.opencontainers.image.ref.name": name.rpartition(":")[2],
    }
    entry = {
        "mediaType": _MANIFEST,
        "digest": digest_of(manifest),
        "size": len(manifest),
        "annotations": annotations,
        "platform": _platform(image.config),
    }
    docker = {
        "Config": blob(image.id),
        "RepoTags": [name],
        "Layers": [blob(each.digest) for each in layers],
    }
    return Documents(
        manifest=manifest,
        first=(("oci-layout", _json({"imageLayoutVersion": "1.0.0"})),),
        last=(
            (blob(image.id), image.config),
            (blob(digest_of(manifest)), manifest),
            ("manifest.json", _json([docker])),
            ("index.json", _json({"schemaVersion": 2, "mediaType": _INDEX, "manifests": [entry]})),
        ),
    )


def blob(digest: str) -> str:
    """Where a blob is in the archive."""
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _platform(config: bytes) -> Mapping[str, str]:
    said = json.loads(config)
    return {name: said[name] for name in ("architecture", "os", "variant") if said.get(name)}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
