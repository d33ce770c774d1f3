"""An image in a tar file, as ``docker save`` writes it: read as one stream, in whatever order it comes.

Docker up to 24 writes ``<id>/layer.tar`` and says at the end, in ``manifest.json``, which of them belong to the image;
from 25 on the same file holds an OCI layout too, whose blobs are the layers. So every member is taken for what it looks
like: JSON is kept, anything else is read as a layer, and the manifest picks. Where the file can be sought in and is not
compressed, the documents are read first, so that layers that are known are passed over.

Sources: moby's image/tarexport; the OCI image specification, "Image Layout".
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from jetsonx.artifact.image import as_users, parse_config, parse_json, put_together, with_history
from jetsonx.artifact.layers import LayerReader
from jetsonx.artifact.members import Change
from jetsonx.artifact.recognise import COMPRESSED
from jetsonx.artifact.tree import Tree, TreeKind
from jetsonx.effects import Effects
from jetsonx.elf.load import Options
from jetsonx.errors import ConfigError, DownloadError
from jetsonx.packages.links import clean_path
from jetsonx.rootfs.codec import Read, decompressed
from jetsonx.rootfs.tar import Member, TarReader

_MANIFEST = "manifest.json"
_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")
_DOCUMENT_MAX = 1 << 22
_DOCUMENTS_MAX = 1 << 26  # bytes of all together
_LAYERS_MAX = 1000


@dataclass(slots=True)
class _Found:
    """What a stream held. ``layers``: by name, the changes, the digest and the stored size; or why it is no layer."""

    documents: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    layers: dict[str, tuple[Sequence[Change], str, int] | DownloadError] = field(default_factory=dict)


def load_archive(path: Path, name: str, options: Options, effects: Effects) -> Tree:
    """The image in a tar file. Raises ConfigError when it is damaged or holds none, OSError."""
    with path.open("rb") as file:
        known = _digests(file, path) if file.read(6).startswith(COMPRESSED) is False else {}
        file.seek(0)
        return read_archive(file.read, name, "docker-archive", options, effects, known=known)


def read_archive(
    read: Read, name: str, kind: TreeKind, options: Options, effects: Effects, *, known: Mapping[str, str] | None = None
) -> Tree:
    """The image in a stream. ``known`` are digests of layers by name, when they could be read beforehand.

    Raises ConfigError when it is damaged or holds no image.
    """
    with as_users(name), effects.store.scratch() as scratch:
        reader = LayerReader(options=options, effects=effects, scratch=scratch)
        found = _read(read, name, reader, known or {})
        manifest = _choose(found, name)
        config, diff_ids, made_by = parse_config(
            _document(found, manifest["Config"], name), what=f"{name}: its configuration"
        )
        names = _strings(manifest.get("Layers"), name)
        layers = [_layer(found, each, name) for each in names]
        _check(names, layers, diff_ids, name)
        nodes = put_together([changes for changes, _, _ in layers], [f"layer {x[1][7:19]}" for x in layers])
    return Tree(
        name=name,
        kind=kind,
        nodes=nodes,
        is_root=True,
        layers=with_history([(digest, size) for _, digest, size in layers], made_by),
        config=config,
        digest=_digest_of(manifest["Config"]),
    )


# ---- the stream ------------------------------------------------------------------------------------------------------


def _read(read: Read, name: str, reader: LayerReader, known: Mapping[str, str]) -> _Found:
    found, room = _Found(), _DOCUMENTS_MAX
    archive = TarReader(decompressed(read, name=name), name=name)
    for member in archive:
        path = clean_path(member.name, source=name)
        if member.kind in ("symlink", "hardlink"):
            found.links[path] = member.target
        elif member.kind == "file" and _is_document(archive, member):
            room -= member.size_bytes
            if room < 0:
                raise DownloadError(f"{name}: it holds more than {_DOCUMENTS_MAX} bytes of documents: no image does")
            found.documents[path] = archive.read()
        elif member.kind == "file" and member.size_bytes:
            found.layers[path] = _read_layer(archive, member, path, reader, known)
    return found


def _is_document(archive: TarReader, member: Member) -> bool:
    return member.size_bytes <= _DOCUMENT_MAX and archive.head(1) in (b"{", b"[")


def _read_layer(
    archive: TarReader, member: Member, path: str, reader: LayerReader, known: Mapping[str, str]
) -> tuple[Sequence[Change], str, int] | DownloadError:
    blob = _BLOB.fullmatch(path)
    expected = f"sha256:{blob[1]}" if blob else known.get(path)
    if expected and (changes := reader.known(expected)) is not None:
        return changes, expected, member.size_bytes
    pieces = archive.pieces()
    of_archive: list[DownloadError] = []

    def read(_: int) -> bytes:
        try:
            return bytes(next(pieces, b""))
        except DownloadError as error:
            of_archive.append(error)
            raise

    try:
        changes, digest = reader.read(read, member.size_bytes, name=path, expected=expected)
    except DownloadError as error:
        for _ in pieces:  # the rest of it, so that what follows is found
            pass
        if of_archive:
            raise of_archive[0] from error
        return error
    return changes, digest, member.size_bytes


def _digests(file: IO[bytes], path: Path) -> Mapping[str, str]:
    """The digests of the layers by name, by the documents of a plain tar file; nothing when they do not say."""
    file.seek(0)
    found, room = _Found(), _DOCUMENTS_MAX
    archive = TarReader(iter(lambda: file.read(1 << 16), b""), name=str(path), skip=lambda count: file.seek(count, 1))
    try:
        for member in archive:
            if member.kind == "file" and member.size_bytes <= room and _is_document(archive, member):
                room -= member.size_bytes
                found.documents[clean_path(member.name, source="")] = archive.read()
        digests: dict[str, str] = {}
        for manifest in _manifests(found, ""):
            _, diff_ids, _ = parse_config(_document(found, manifest["Config"], ""), what="")
            digests.update(zip(_strings(manifest.get("Layers"), ""), diff_ids, strict=False))
    except DownloadError:  # the other pass will say what is wrong
        return {}
    return digests


# ---- the documents ---------------------------------------------------------------------------------------------------


def _manifests(found: _Found, name: str) -> list[Mapping[str, Any]]:
    raw = found.documents.get(_MANIFEST)
    if raw is None:
        raise DownloadError(f"{name} holds no image: there is no {_MANIFEST} in it")
    manifests: list[Mapping[str, Any]] = [
        x for x in parse_json(raw, list, what=f"{name}: {_MANIFEST}") if isinstance(x, dict)
    ]
    if not manifests or not all(isinstance(x.get("Config"), str) for x in manifests):
        raise DownloadError(f"{name}: its {_MANIFEST} names no image")
    return manifests


def _choose(found: _Found, name: str) -> Mapping[str, Any]:
    """The image for arm64; a single one in any case, since it is the files that tell."""
    manifests = _manifests(found, name)
    if len(manifests) == 1:
        return manifests[0]
    fitting = []
    for manifest in manifests:
        config, _, _ = parse_config(_document(found, manifest["Config"], name), what=f"{name}: a configuration")
        if config.architecture == "arm64":
            fitting.append(manifest)
    if len({x["Config"] for x in fitting}) != 1:
        raise ConfigError(
            f"{name} holds {len(manifests)} images, of which {len(fitting)} are for arm64",
            hint="save one image alone: docker save -o FILE IMAGE",
        )
    return fitting[0]


def _document(found: _Found, path: str, name: str) -> bytes:
    raw = found.documents.get(path)
    if raw is None:
        raise DownloadError(f"{name}: its {_MANIFEST} names {path!r}, which is not there")
    return raw


def _layer(found: _Found, path: str, name: str) -> tuple[Sequence[Change], str, int]:
    layer = found.layers.get(path) or found.layers.get(_target(found.links.get(path, "")))
    if layer is None:
        raise DownloadError(f"{name}: its {_MANIFEST} names the layer {path!r}, which is not there")
    if isinstance(layer, DownloadError):
        raise layer
    return layer


def _target(link: str) -> str:
    """Docker 1.10 to 24 keeps layers of one content once, and links to them: ``../<id>/layer.tar``."""
    return link.removeprefix("../")


def _check(
    names: Sequence[str], layers: Sequence[tuple[Sequence[Change], str, int]], diff_ids: Sequence[str], name: str
) -> None:
    if len(names) != len(diff_ids):
        raise DownloadError(f"{name}: it has {len(names)} layers, and its configuration names {len(diff_ids)}")
    for each, (_, digest, _), expected in zip(names, layers, diff_ids, strict=True):
        if each.endswith("/layer.tar") and digest != expected:
            raise DownloadError(f"{name}: the layer {each} is damaged: its content is not what the image is made of")


def _strings(value: object, name: str) -> list[str]:
    if not isinstance(value, list) or len(value) > _LAYERS_MAX or not all(isinstance(x, str) for x in value):
        raise DownloadError(f"{name}: the layers in its {_MANIFEST} are no list of at most {_LAYERS_MAX} names")
    return value


def _digest_of(config: str) -> str:
    """The image's ID, by the name of its configuration; "" for names of another kind."""
    name = config.removesuffix(".json").rpartition("/")[2]
    return f"sha256:{name}" if re.fullmatch("[0-9a-f]{64}", name) else ""
