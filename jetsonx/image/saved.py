"""What an engine saves of an image, as the layout that jetsonx packs: the same configuration, so the same image ID.

`docker save` writes a tar with ``manifest.json``; the layers in it are plain tars, named ``ID/layer.tar`` up to Docker
24 and ``blobs/sha256/…`` since; containerd's image store leaves them compressed. It comes as a stream: layers are
packed anew as they pass, nothing else is large.
Source: moby's image/tarexport.
"""

from __future__ import annotations

import itertools
import json
import posixpath
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from jetsonx.errors import BuildError
from jetsonx.image.layer import Blob, write_blob
from jetsonx.image.oci import Image, replaced_directory, write_documents
from jetsonx.rootfs.codec import decompressed
from jetsonx.rootfs.tar import TarReader

_DOCUMENT_MAX = 16 << 20
_BLOCK = 512  # no tar file is shorter
_PACKED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")  # gzip, zstd


def write_saved(blocks: Iterable[bytes], directory: Path, *, reference: str, key: str) -> Image:
    """Write the image in the stream of `docker save` to ``directory``; ``key`` is noted there, see ``read_image``.

    Raises BuildError when the stream holds no whole image, DownloadError when it is damaged, and what
    :func:`jetsonx.image.oci.replaced_directory` raises.
    """
    with replaced_directory(directory) as layout:
        folder = layout / "blobs" / "sha256"
        folder.mkdir(parents=True)
        documents, layers, links = _take(blocks, folder)
        try:
            [described] = json.loads(documents["manifest.json"])
            config = documents[described["Config"]]
            blobs = [layers[links.get(name, name)] for name in described["Layers"]]
            diff_ids = json.loads(config)["rootfs"]["diff_ids"]
        except (KeyError, ValueError, TypeError) as error:
            raise BuildError(
                f"what the engine saved of {reference} is no whole image ({error})", hint=f"docker save {reference}"
            ) from error
        if [blob.diff_id for blob in blobs] != diff_ids:
            raise BuildError(f"what the engine saved of {reference} is damaged: its layers are not those it names")
        kept = {blob.digest.removeprefix("sha256:") for blob in blobs}
        for path in folder.iterdir():
            if path.name not in kept:
                path.unlink()
        image = write_documents(layout, config, blobs, reference=reference, key=key)
    return replace(image, path=directory)


def _take(blocks: Iterable[bytes], folder: Path) -> tuple[dict[str, bytes], dict[str, Blob], dict[str, str]]:
    """Everything in the stream: JSON documents, layers (now in ``folder``), and links of one name to another."""
    documents: dict[str, bytes] = {}
    layers: dict[str, Blob] = {}
    links: dict[str, str] = {}
    reader = TarReader(blocks, name="the saved image")
    for member in reader:
        name = posixpath.normpath(member.name)
        if member.kind in ("symlink", "hardlink"):
            beside = posixpath.dirname(name) if member.kind == "symlink" else ""
            links[name] = posixpath.normpath(posixpath.join(beside, member.target))
        elif member.kind == "file":
            pieces = (bytes(piece) for piece in reader.pieces())
            first = next(pieces, b"")
            is_layer = first.startswith(_PACKED) or (member.size_bytes >= _BLOCK and first[:1] not in b"{[")
            if is_layer:
                plain = decompressed(_reader(itertools.chain([first], pieces)), name="the saved image")
                layers[name] = _store(plain, folder)
            elif member.size_bytes <= _DOCUMENT_MAX:
                documents[name] = first + b"".join(pieces)
    return documents, layers, links


def _reader(pieces: Iterator[bytes]) -> Callable[[int], bytes]:
    """A ``read(size)`` over pieces of any size; it gives fewer bytes than asked for where a piece ends."""
    left = b""

    def read(size: int) -> bytes:
        nonlocal left
        left = left or next(pieces, b"")
        taken, left = left[:size], left[size:]
        return taken

    return read


def _store(pieces: Iterator[bytes], folder: Path) -> Blob:
    part = folder / ".part"
    with part.open("wb") as stream:
        blob = write_blob(pieces, stream)
    part.replace(folder / blob.digest.removeprefix("sha256:"))
    return blob
