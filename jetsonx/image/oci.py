"""An image in a directory that is two formats at once, from the same blobs.

* an OCI image layout (``oci-layout``, ``index.json``, ``blobs/``), which skopeo, podman, crane and containerd read;
* what ``docker save`` writes (``manifest.json``), so that ``tar -C DIR -c . | docker load`` works with every Docker.

Sources: OCI image specification 1.0 (image-layout.md, manifest.md, config.md); moby's image/tarexport.
"""

from __future__ import annotations

import ctypes
import datetime
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jetsonx.errors import ConfigError, HostError
from jetsonx.image.blobs import Stored
from jetsonx.image.layer import Blob, Compression

_INDEX = "application/vnd.oci.image.index.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_LAYERS: Mapping[Compression, str] = {"gzip": f"{_LAYER}+gzip", "zstd": f"{_LAYER}+zstd", "none": _LAYER}
_PLATFORM = {"architecture": "arm64", "os": "linux", "variant": "v8"}
_PLAN = "dev.jetsonx.plan"  # annotation of the index, which is no part of the image's digest
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """How a container of the image starts. ``created_s`` is in seconds since 1970, ``ports`` are such as "8080/tcp"."""

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    working_dir: str = "/"
    user: str = ""
    ports: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    created_s: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image as written. ``digest`` is its manifest's, ``id`` its configuration's (Docker's image ID).

    ``size_bytes`` is what is stored and sent: manifest, configuration and compressed layers, base first.
    """

    digest: str
    id: str
    path: Path
    size_bytes: int
    layers: tuple[Blob, ...]


def render_config(config: Config, layers: Sequence[tuple[str, Blob]]) -> bytes:
    """The image configuration, for layers given as (what made it, blob)."""
    created = datetime.datetime.fromtimestamp(config.created_s, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    run: dict[str, Any] = {"Env": [f"{name}={value}" for name, value in config.env.items()]}
    optional = {
        "Entrypoint": list(config.entrypoint),
        "Cmd": list(config.command),
        "WorkingDir": config.working_dir,
        "User": config.user,
        "ExposedPorts": {port: {} for port in config.ports},
        "Labels": dict(config.labels),
    }
    run |= {key: value for key, value in optional.items() if value}
    return _json(
        {
            "created": created,
            **_PLATFORM,
            "config": run,
            "rootfs": {"type": "layers", "diff_ids": [blob.diff_id for _, blob in layers]},
            "history": [{"created": created, "created_by": made_by} for made_by, _ in layers],
        }
    )


def render_manifest(config: bytes, layers: Sequence[Blob]) -> bytes:
    """The image manifest."""
    described = [
        {"mediaType": _LAYERS[blob.compression], "digest": blob.digest, "size": blob.size_bytes} for blob in layers
    ]
    return _json(
        {"schemaVersion": 2, "mediaType": _MANIFEST, "config": _describe(_CONFIG, config), "layers": described}
    )


def render_index(manifest: bytes, reference: str, plan_key: str, platform: Mapping[str, str] = _PLATFORM) -> bytes:
    """The layout's entry point. ``reference`` is ``repository:tag``."""
    names = {
        "io.containerd.image.name": full_name(reference),  # what containerd, and Docker on it, call the image
        "org.opencontainers.image.ref.name": reference.rpartition(":")[2],
    }
    described = {**_describe(_MANIFEST, manifest), "annotations": names, "platform": dict(platform)}
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [described], "annotations": {_PLAN: plan_key}}
    return _json(index)


def full_name(reference: str) -> str:
    """The reference with the registry that Docker assumes: ``saxpy:1`` is ``docker.io/library/saxpy:1``."""
    first, slash, _ = reference.partition("/")
    if not slash:
        return f"docker.io/library/{reference}"
    return reference if "." in first or ":" in first or first == "localhost" else f"docker.io/{reference}"


def write_blobs(
    layout: Path, config: Config, layers: Sequence[tuple[str, Stored]], *, reference: str, key: str
) -> Image:
    """Write the image into ``layout``, an empty directory; layers from elsewhere are hard-linked, or else copied.

    Raises OSError.
    """
    config_bytes = render_config(config, [(made_by, stored.blob) for made_by, stored in layers])
    (layout / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
    for _, stored in layers:
        _link(stored.path, layout / _blob(stored.blob.digest))
    return write_documents(layout, config_bytes, [stored.blob for _, stored in layers], reference=reference, key=key)


def write_documents(layout: Path, config_bytes: bytes, blobs: Sequence[Blob], *, reference: str, key: str) -> Image:
    """Write all but the layers, which are in ``layout`` already. Raises OSError."""
    manifest = render_manifest(config_bytes, blobs)
    for data in (config_bytes, manifest):
        (layout / _blob(_digest(data))).write_bytes(data)
    docker = {
        "Config": _blob(_digest(config_bytes)),
        "RepoTags": [reference],
        "Layers": [_blob(blob.digest) for blob in blobs],
    }
    (layout / "manifest.json").write_bytes(_json([docker]))
    (layout / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
    said = json.loads(config_bytes)
    platform = {name: said[name] for name in ("architecture", "os", "variant") if said.get(name)}
    (layout / "index.json").write_bytes(render_index(manifest, reference, key, platform))
    return _image(layout, config_bytes, manifest, tuple(blobs))


def read_image(layout: Path, key: str) -> Image | None:
    """The image that lies whole in ``layout``, when it was made by the plan with this key."""
    try:
        index = json.loads((layout / "index.json").read_bytes())
        if index["annotations"][_PLAN] != key or not (layout / "manifest.json").is_file():
            return None
        manifest = _read_blob(layout, index["manifests"][0])
        described = json.loads(manifest)
        config = _read_blob(layout, described["config"])
        diff_ids = json.loads(config)["rootfs"]["diff_ids"]
        blobs = []
        for layer, diff_id in zip(described["layers"], diff_ids, strict=True):
            size = (layout / _blob(layer["digest"])).stat().st_size
            if size != layer["size"]:
                return None
            kind = next(name for name, media_type in _LAYERS.items() if media_type == layer["mediaType"])
            blobs.append(Blob(digest=layer["digest"], diff_id=diff_id, size_bytes=size, compression=kind))
    except (OSError, ValueError, KeyError, TypeError, IndexError, StopIteration):
        return None
    return _image(layout, config, manifest, tuple(blobs))


def plan_of(layout: Path) -> str:
    """The key of the plan that an image layout was made by; "" when jetsonx did not make it, or nothing is there."""
    try:
        return str(json.loads((layout / "index.json").read_bytes())["annotations"][_PLAN])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


@contextmanager
def replaced_directory(directory: Path, *, option: str = "-o") -> Iterator[Path]:
    """A new directory to fill; it takes the place of ``directory`` in one step when the block ends well.

    Interrupted at any moment the old one is there whole or the new one is. One writer at a time.
    ``option`` is what the user chose the place with. Raises ConfigError when what is there is no image, HostError when
    it cannot be written there.
    """
    part = directory.parent / f".{directory.name}.part"
    hint = f"choose another place: {option} DIR"
    _refuse_foreign(directory, hint)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(part, ignore_errors=True)  # left by a process that was killed
        part.mkdir()
        try:
            yield part
            _take_place(part, directory)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise HostError(f"cannot write the image to {directory}: {error}", hint=hint) from error


def _refuse_foreign(directory: Path, hint: str) -> None:
    is_foreign = directory.is_dir() and any(directory.iterdir()) and not (directory / "oci-layout").is_file()
    if is_foreign or (directory.exists() and not directory.is_dir()):
        raise ConfigError(f"{directory} is there and is no image: not replaced", hint=hint)


def _take_place(new: Path, old: Path) -> None:
    if not old.exists():
        new.rename(old)
        return
    # Python has no exchanging rename. Where the C library or the file system has none either, the old directory is
    # moved aside first: between the two moves a kill leaves the new one under its temporary name only.
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is not None:
        paths = (os.fsencode(new), os.fsencode(old))
        if renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0:
            return
    aside = old.parent / f".{old.name}.old"
    shutil.rmtree(aside, ignore_errors=True)
    old.rename(aside)
    new.rename(old)
    shutil.rmtree(aside)


def _link(source: Path, target: Path) -> None:
    if source == target:
        return
    try:
        os.link(source, target)
    except FileExistsError:  # two layers of the same bytes
        return
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)


def _image(path: Path, config: bytes, manifest: bytes, layers: tuple[Blob, ...]) -> Image:
    size = len(config) + len(manifest) + sum({blob.digest: blob.size_bytes for blob in layers}.values())
    return Image(digest=_digest(manifest), id=_digest(config), path=path, size_bytes=size, layers=layers)


def _read_blob(layout: Path, described: Mapping[str, str]) -> bytes:
    data = (layout / _blob(described["digest"])).read_bytes()
    if _digest(data) != described["digest"]:
        raise ValueError("damaged")
    return data


def _describe(media_type: str, data: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(data), "size": len(data)}


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode()
