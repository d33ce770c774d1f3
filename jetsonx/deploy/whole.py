"""Layers as they travel whole: as gzip, which every engine reads inside an archive."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from jetsonx.deploy.helper.archive import member_header, padding
from jetsonx.deploy.helper.recipe import BLOCK
from jetsonx.deploy.image import LocalLayer
from jetsonx.errors import ConfigError

_GZIP = 31  # zlib's window bits for a gzip container; its header has no name and time 0


def write_member(out: IO[bytes], name: str, size: int, pieces: Iterator[bytes]) -> int:
    """Write a member of an archive; returns how much that was. Raises ConfigError when ``pieces`` are not ``size``."""
    out.write(member_header(name, size))
    done = 0
    for piece in pieces:
        done += len(piece)
        out.write(piece)
    if done != size:
        raise ConfigError(f"the image's {name} is cut off", hint="build the image again")
    out.write(padding(size))
    return BLOCK + size + len(padding(size))


def packed(layer: LocalLayer, scratch: Path) -> LocalLayer:
    """The layer as gzip: what every engine reads inside an archive."""
    if layer.compression == "gzip":
        return layer
    path = scratch / layer.diff_id[7:]
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for block in _compressed(layer):
            digest.update(block)
            file.write(block)
    return LocalLayer(
        diff_id=layer.diff_id,
        digest=f"sha256:{digest.hexdigest()}",
        size_bytes=path.stat().st_size,
        compression="gzip",
        path=path,
    )


def _compressed(layer: LocalLayer) -> Iterator[bytes]:
    packer = zlib.compressobj(6, wbits=_GZIP)
    for block in layer.stored() if layer.compression == "none" else layer.blocks():
        yield packer.compress(block)
    yield packer.flush()
