"""Write an OCI image layout by hand (image-spec 1.1): blobs, one manifest, the index that names it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_COMPRESS = {
    "gzip": ("gzip", "-6", "-n", "-c"),
    "fast": ("gzip", "-1", "-n", "-c"),
    "zstd": ("zstd", "-q", "-3", "-c"),
    "plain": ("cat",),
}
_SUFFIX = {"gzip": "+gzip", "fast": "+gzip", "zstd": "+zstd", "plain": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A layer as it is served, and the digest of what is in it (the config's diff_id)."""

    path: Path
    compression: str
    digest: str
    diff_id: str
    size_bytes: int


def pack_layer(tar: Path, compression: str) -> Blob:
    """Compress a layer beside its tar (gzip -6 is what image builders do by default) and remove the tar."""
    diff_id = file_digest(tar)
    path = tar.with_suffix(".blob")
    with tar.open("rb") as source, path.open("wb") as packed:
        subprocess.run(_COMPRESS[compression], stdin=source, stdout=packed, check=True)
    tar.unlink()
    return Blob(
        path=path, compression=compression, digest=file_digest(path), diff_id=diff_id, size_bytes=path.stat().st_size
    )


def write_layout(directory: Path, name: str, layers: Sequence[Blob], *, architecture: str = "arm64") -> None:
    """A layout of one image; layers are hard links, so that images share them on disk too."""
    _begin(directory)
    _finish(directory, name, _add_image(directory, layers, architecture))


def write_platforms(directory: Path, name: str, images: Mapping[str, Sequence[Blob]]) -> None:
    """A layout of one image for several architectures: an index of the images that ``images`` names by architecture."""
    _begin(directory)
    manifests = [_add_image(directory, layers, architecture) for architecture, layers in images.items()]
    media_type = "application/vnd.oci.image.index.v1+json"
    content = {"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}
    _finish(directory, name, _add_json(directory, media_type, content))


def _begin(directory: Path) -> None:
    (directory / "blobs/sha256").mkdir(parents=True)
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def _finish(directory: Path, name: str, top: dict[str, Any]) -> None:
    named = {**top, "annotations": {"org.opencontainers.image.ref.name": name}}
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))


def _add_image(directory: Path, layers: Sequence[Blob], architecture: str) -> dict[str, Any]:
    config = _add_json(
        directory,
        "application/vnd.oci.image.config.v1+json",
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Env": ["PATH=/usr/local/cuda/bin:/usr/bin:/bin"], "Cmd": ["/bin/bash"]},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
            "history": [{"created_by": f"layer {number}"} for number in range(1, len(layers) + 1)],
        },
    )
    described = []
    for layer in layers:
        place = directory / "blobs/sha256" / layer.digest.partition(":")[2]
        if not place.exists():
            os.link(layer.path, place)
        media_type = f"application/vnd.oci.image.layer.v1.tar{_SUFFIX[layer.compression]}"
        described.append({"mediaType": media_type, "digest": layer.digest, "size": layer.size_bytes})
    media_type = "application/vnd.oci.image.manifest.v1+json"
    manifest = _add_json(
        directory,
        media_type,
        {"schemaVersion": 2, "mediaType": media_type, "config": config, "layers": described},
    )
    return {**manifest, "platform": {"os": "linux", "architecture": architecture}}


def _add_json(directory: Path, media_type: str, content: dict[str, Any]) -> dict[str, Any]:
    data = json.dumps(content).encode()
    digest = hashlib.sha256(data).hexdigest()
    (directory / "blobs/sha256" / digest).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


def file_digest(path: Path) -> str:
    """``sha256:…`` of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return f"sha256:{digest.hexdigest()}"
