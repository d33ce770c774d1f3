"""The layers of an image, each read once: from the store when its digest is known there, else from the stream."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jetsonx.artifact import cache
from jetsonx.artifact.ahead import ahead
from jetsonx.artifact.members import Change, read_changes
from jetsonx.effects import Effects
from jetsonx.elf.load import Options
from jetsonx.errors import DownloadError
from jetsonx.rootfs.codec import Read, decompressed
from jetsonx.rootfs.layer import Bound, load_ratio

_READ_BYTES = 1 << 20
_ROOM_BYTES = 1 << 28  # a layer of kilobytes may hold a file of megabytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerReader:
    """Reads layers for one image; ``scratch`` is a directory for what is too large for memory."""

    options: Options
    effects: Effects
    scratch: Path

    def is_known(self, digest: str) -> bool:
        """True when :meth:`known` most likely has an answer."""
        return cache.is_there(self.effects.store, digest, self.options)

    def known(self, digest: str) -> tuple[Change, ...] | None:
        """What the layer of this digest changes, when it was read before."""
        return cache.recall(self.effects.store, digest, self.options)

    def read(self, read: Read, size: int, *, name: str, expected: str | None) -> tuple[tuple[Change, ...], str]:
        """What a layer changes and the digest of what was read, as it is stored: remembered by that.

        ``size`` is how much is stored of it. Raises DownloadError when it is damaged, or has another digest than
        ``expected``.
        """
        digest = hashlib.sha256()
        changes = tuple(self.changes(_hashed(read, digest.update), size, name=name))
        found = f"sha256:{digest.hexdigest()}"
        if expected not in (None, found):
            raise DownloadError(f"{name} is damaged: its content has the digest {found}")
        cache.remember(self.effects.store, found, self.options, changes)
        return changes, found

    def changes(self, read: Read, size: int, *, name: str) -> Iterator[Change]:
        """What a tar stream holds, compressed or not; read to its end."""
        bound = Bound(name, size, load_ratio(os.environ), room_bytes=_ROOM_BYTES)
        with ahead(_to_its_end(read, name)) as blocks:
            yield from read_changes(blocks, self.options, name=name, bound=bound, scratch=self.scratch)


def _hashed(read: Read, update: Callable[[bytes], object]) -> Read:
    def hashed(count: int) -> bytes:
        data = read(count)
        update(data)
        return data

    return hashed


def _to_its_end(read: Read, name: str) -> Iterator[bytes]:
    yield from decompressed(read, name=name)
    while read(_READ_BYTES):  # what is behind the compressed data belongs to the blob, and to its digest
        pass
