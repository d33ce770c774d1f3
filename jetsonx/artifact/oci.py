"""An image in a directory: an OCI image layout, as skopeo, buildah and jetsonx itself write it.

Source: OCI image specification 1.1, "Image Layout".
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from jetsonx.artifact.image import as_users, parse_config, put_together, with_history
from jetsonx.artifact.layers import LayerReader
from jetsonx.artifact.members import Change
from jetsonx.artifact.recognise import is_layout
from jetsonx.artifact.tree import Tree
from jetsonx.artifact.workers import StoredLayer, read_ahead
from jetsonx.effects import Effects
from jetsonx.elf.load import Options
from jetsonx.errors import ConfigError, DownloadError
from jetsonx.registry.manifest import (
    OCI_INDEX,
    Blob,
    Choice,
    ImageManifest,
    choose,
    parse_document,
    parse_index,
    parse_manifest,
)
from jetsonx.registry.reference import Reference

PLATFORM = "linux/arm64"
_DOCUMENT_MAX = 1 << 24
_NESTED_MAX = 4  # indexes of indexes


def load_layout(path: Path, name: str, options: Options, effects: Effects) -> Tree:
    """The image for linux/arm64 in the layout at ``path``, or the only one there is.

    Raises ConfigError when it is damaged or holds no such image; OSError when it cannot be read.
    """
    if not is_layout(path):
        raise ConfigError(f"{path} holds no OCI image: no oci-layout and index.json", hint="name the directory of one")
    with as_users(name), effects.store.scratch() as scratch:
        manifest = _manifest(path)
        config, _, made_by = parse_config(_document(path, manifest.config), what=f"{name}: its configuration")
        reader = LayerReader(options=options, effects=effects, scratch=scratch)
        read_ahead([_stored(path, blob) for blob in manifest.layers], reader)
        layers = [_changes(path, blob, reader) for blob in manifest.layers]
        nodes = put_together(layers, [_called(blob) for blob in manifest.layers])
    return Tree(
        name=name,
        kind="oci",
        nodes=nodes,
        is_root=True,
        layers=with_history([(blob.digest, blob.size_bytes) for blob in manifest.layers], made_by),
        config=config,
        digest=manifest.digest,
    )


def _called(blob: Blob) -> str:
    return f"layer {blob.digest[7:19]}"


def _stored(path: Path, blob: Blob) -> StoredLayer:
    return StoredLayer(path=_place(path, blob), digest=blob.digest, size_bytes=blob.size_bytes)


def _place(path: Path, blob: Blob) -> Path:
    return path / "blobs" / "sha256" / blob.sha256


def _changes(path: Path, blob: Blob, reader: LayerReader) -> tuple[Change, ...]:
    known = reader.known(blob.digest)
    if known is not None:
        return known
    with _place(path, blob).open("rb") as file:
        changes, _ = reader.read(file.read, blob.size_bytes, name=_called(blob), expected=blob.digest)
    return changes


def _manifest(path: Path) -> ImageManifest:
    raw = _limited(path / "index.json")
    kind, document = parse_document(raw, OCI_INDEX, what=str(path))
    blob = Blob(digest="sha256:" + hashlib.sha256(raw).hexdigest(), size_bytes=len(raw))
    for _ in range(_NESTED_MAX):
        if "manifests" not in document:
            reference = Reference(registry=f"oci:{path.parent}", repository=path.name)
            return parse_manifest(document, reference=reference, digest=blob.digest, raw=raw)
        blob = _choice(parse_index(document, what=str(path)), str(path))
        raw = _document(path, blob)
        kind, document = parse_document(raw, blob.media_type or kind, what=str(path))
    raise DownloadError(f"{path}: its index leads to an index that leads to an index, without end")


def _choice(choices: tuple[Choice, ...], what: str) -> Blob:
    """The image for a Jetson; a single one in any case, since it is the files that tell."""
    return choices[0].manifest if len(choices) == 1 else choose(choices, PLATFORM, what=what)


def _document(path: Path, blob: Blob) -> bytes:
    raw = _limited(_place(path, blob))
    if hashlib.sha256(raw).hexdigest() != blob.sha256:
        raise DownloadError(f"{path}: the blob {blob.digest} is damaged")
    return raw


def _limited(path: Path) -> bytes:
    with path.open("rb") as file:
        raw = file.read(_DOCUMENT_MAX + 1)
    if len(raw) > _DOCUMENT_MAX:
        raise DownloadError(f"{path} is no document of an image: it has more than {_DOCUMENT_MAX} bytes")
    return raw
