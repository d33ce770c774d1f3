"""Images in tar files, byte by byte, as the Docker of each time saves them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence

OCI = "application/vnd.oci.image"


def tar(members: Mapping[str, bytes | str | None], *, hard: Mapping[str, str] | None = None) -> bytes:
    """A tar file: content as bytes, the target of a symbolic link as text, None for a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size, info.mode = len(content), 0o755
            elif isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
            else:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
        for name, target in (hard or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.LNKTYPE, target
            archive.addfile(info)
    return out.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def config(layers: Sequence[bytes], *, architecture: str = "arm64") -> bytes:
    """The configuration of an image with these plain layers."""
    return json.dumps(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {
                "Entrypoint": ["/app"],
                "Cmd": ["--fast"],
                "Env": ["PATH=/usr/bin", "A=b=c"],
                "WorkingDir": "/srv",
                "User": "1000",
                "Labels": {"jetsonx.target": "orin-nano@39.2.0"},
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer)}" for layer in layers]},
            "history": [{"created_by": f"step {i}"} for i in range(len(layers))] + [{"empty_layer": True}],
        }
    ).encode()


def layout(layers: Sequence[bytes], stored: Sequence[bytes], *, suffix: str = "", **changes: str) -> dict[str, bytes]:
    """The files of an OCI layout; ``stored`` are the layers as they are kept, ``suffix`` how: "+gzip"."""
    settings = config(layers, **changes)
    files = {f"blobs/sha256/{sha256(blob)}": blob for blob in (*stored, settings)}

    def described(blob: bytes, kind: str) -> dict[str, object]:
        return {"mediaType": f"{OCI}.{kind}", "digest": f"sha256:{sha256(blob)}", "size": len(blob)}

    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{OCI}.manifest.v1+json",
            "config": described(settings, "config.v1+json"),
            "layers": [described(blob, f"layer.v1.tar{suffix}") for blob in stored],
        }
    ).encode()
    files[f"blobs/sha256/{sha256(manifest)}"] = manifest
    index = {"schemaVersion": 2, "manifests": [described(manifest, "manifest.v1+json")]}
    return files | {"index.json": json.dumps(index).encode(), "oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}


def saved(layers: Sequence[bytes], **changes: str) -> dict[str, bytes | str | None]:
    """The members of what Docker up to 24 saves, in its order: what says which layers count comes last."""
    settings = config(layers, **changes)
    members: dict[str, bytes | str | None] = {}
    names = [f"{i:064x}/layer.tar" for i in range(len(layers))]
    for name, layer in zip(names, layers, strict=True):
        folder = name.partition("/")[0]
        members |= {f"{folder}/": None, f"{folder}/VERSION": b"1.0", f"{folder}/json": b"{}", name: layer}
    members[f"{sha256(settings)}.json"] = settings
    manifest = [{"Config": f"{sha256(settings)}.json", "RepoTags": ["a:b"], "Layers": names}]
    return members | {"manifest.json": json.dumps(manifest).encode(), "repositories": b"{}"}


def saved_as_layout(layers: Sequence[bytes], **changes: str) -> dict[str, bytes | str | None]:
    """The members of what Docker from 25 on saves: an OCI layout, with the manifest of old beside it."""
    files = layout(layers, layers, **changes)
    settings = config(layers, **changes)
    manifest = [
        {
            "Config": f"blobs/sha256/{sha256(settings)}",
            "RepoTags": ["a:b"],
            "Layers": [f"blobs/sha256/{sha256(layer)}" for layer in layers],
        }
    ]
    return {**files, "manifest.json": json.dumps(manifest).encode()}
