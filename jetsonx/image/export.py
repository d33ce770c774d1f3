"""A sysroot for other programs: as a tar file, or as an image that BuildKit takes for a named context.

The same sysroot gives the same bytes: sorted, owned by root, one fixed time. What is there before is replaced in one
step, and only when jetsonx wrote it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

from jetsonx.errors import ConfigError, HostError
from jetsonx.image import blobs, layer, oci
from jetsonx.image.layer import Blob, Compression, Entry, write_layer
from jetsonx.image.oci import Config, Image
from jetsonx.store.store import Tree
from jetsonx.store.tree import FIXED_TIME_S, manifest_digest
from jetsonx.sysroot.lookup import text

# BuildKit looks for the tag "latest" in a layout when the named context says no other.
_REFERENCE = "jetsonx-sysroot:latest"
_PLAN = "sysroot"
_SUFFIXES: dict[str, Compression] = {".gz": "gzip", ".tgz": "gzip", ".zst": "zstd", ".tzst": "zstd"}


def resolve_compression(name: str, asked: Compression | None = None) -> Compression:
    """How a tar file of this name is compressed: as asked, else as its suffix says, else not at all."""
    return asked or _SUFFIXES.get(Path(name).suffix, "none")


def load_entries(tree: Tree) -> tuple[Entry, ...]:
    """Everything in a sysroot, as entries of a layer. Raises ConfigError when it is known to be damaged."""
    try:
        found = None if tree.damaged else tree.load_manifest()
    except (OSError, ValueError):
        found = None
    if found is None or manifest_digest(found) != tree.digest:
        raise ConfigError(f"{tree.name} is damaged", hint=f"jetsonx sysroot verify --repair {tree.name}")
    entries = []
    for path, entry in found.items():
        match entry.kind:
            case "file":
                entries.append(layer.file(path, tree.path / path, entry.mode))
            case "link":
                entries.append(layer.symlink(path, entry.content))
            case "dir":
                entries.append(layer.directory(path, entry.mode))
    return tuple(entries)


def write_tar(tree: Tree, stream: IO[bytes], compression: Compression) -> Blob:
    """Write a sysroot to a stream as a tar file. Raises ConfigError or BuildError when it is not whole."""
    return write_layer(load_entries(tree), stream, mtime_s=FIXED_TIME_S, compression=compression)


def export_tar(tree: Tree, file: Path, *, compression: Compression | None = None, force: bool = False) -> Blob:
    """Write a sysroot to a tar file, whole or not at all; ``compression`` None: as the file's suffix says.

    Raises ConfigError when the file is there (unless ``force``) or the sysroot is damaged, HostError when it cannot be
    written.
    """
    if file.is_dir() or (file.exists() and not force):
        hint = "choose another file: --tar FILE" + ("" if file.is_dir() else ", or add --force to replace it")
        raise ConfigError(f"{file} is there already: not replaced", hint=hint)
    with _replaced_file(file) as stream:
        return write_tar(tree, stream, resolve_compression(file.name, compression))


@contextmanager
def _replaced_file(file: Path) -> Iterator[IO[bytes]]:
    part = file.with_name(f".{file.name}.part")  # one left by a killed process is written over
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as stream:
                yield stream
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise HostError(f"cannot write {file}: {error.strerror}", hint="choose another file: --tar FILE") from error


def export_oci(tree: Tree, directory: Path, *, compression: Compression = "zstd") -> Image:
    """Write a sysroot as an OCI image layout of one layer for linux/arm64; nothing is done when it is there already.

    Raises ConfigError when something else is there or the sysroot is damaged, HostError when it cannot be written.
    """
    key = f"{_PLAN} {tree.digest} {compression}"
    if (image := oci.read_image(directory, key)) is not None:
        return image
    if (directory / "index.json").is_file() and oci.plan_of(directory).partition(" ")[0] != _PLAN:
        raise ConfigError(
            f"{directory} holds an image that is no sysroot of jetsonx: not replaced",
            hint="choose another place: --oci DIR",
        )
    release = text(tree.info, "release")
    labels = {"dev.jetsonx.sysroot": tree.digest} | ({"dev.jetsonx.l4t": release} if release else {})
    entries = load_entries(tree)
    with oci.replaced_directory(directory, option="--oci") as layout:
        folder = layout / "blobs" / "sha256"
        folder.mkdir(parents=True)
        stored = blobs.store(folder, entries, mtime_s=FIXED_TIME_S, compression=compression)
        config = Config(labels=labels, created_s=FIXED_TIME_S)
        made_by = f"jetsonx sysroot export {tree.name}"
        image = oci.write_blobs(layout, config, [(made_by, stored)], reference=_REFERENCE, key=key)
    return replace(image, path=directory)
