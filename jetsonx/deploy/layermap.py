"""A layer's tar as a file that can be read anywhere, and what lies where in it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from jetsonx.deploy.image import LocalLayer
from jetsonx.errors import ConfigError, DownloadError
from jetsonx.rootfs.tar import Kind, Segments, TarReader

_STEP = 1 << 20


class Mapped(NamedTuple):
    """A member of a layer: its headers are from ``start`` to ``data``, its ``stored_bytes`` of content follow.

    ``path`` is relative to the root; "" when it leads out of it. ``segments``: see ``TarReader.stored``.
    """

    path: bytes
    kind: Kind
    start: int
    data: int
    stored_bytes: int
    size_bytes: int
    segments: Segments
    target: bytes


class LayerMap:
    """The plain tar of a layer, unpacked into ``folder`` unless it lies plain already; to be closed.

    ``members`` are as far as the tar can be understood; what comes behind them is bytes like any other.
    Raises ConfigError when the layer is damaged; with ``is_trusted`` its digest is not looked at.
    """

    def __init__(self, layer: LocalLayer, folder: Path, *, is_trusted: bool = False) -> None:
        self.diff_id = layer.diff_id
        self.size_bytes = 0
        self.members: list[Mapped] = []
        self._digest = hashlib.sha256()
        self._is_trusted = is_trusted
        self._is_sound = True
        self._offset = layer.offset_bytes
        is_plain = layer.compression == "none"
        path = layer.path if is_plain else folder / f"{layer.diff_id[7:]}.tar"
        try:
            with Path(os.devnull if is_plain else path).open("wb") as copy:
                self._read(layer, None if is_plain else copy.fileno())
        except DownloadError as error:
            raise _damaged(layer, str(error)) from error
        if not is_trusted and f"sha256:{self._digest.hexdigest()}" != layer.diff_id:
            raise _damaged(layer, "its digest is another")
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if not is_plain:
            path.unlink()
            self._offset = 0

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the tar, fewer at its end."""
        return os.pread(self._fd, max(min(length, self.size_bytes - offset), 0), self._offset + offset)

    def _read(self, layer: LocalLayer, copy: int | None) -> None:
        blocks = self._passing(layer, copy)
        reader = TarReader(blocks, name=f"layer {layer.diff_id[7:19]}")
        start = 0
        try:
            for member in reader:
                data, stored = reader.position, reader.stored_bytes
                self.members.append(
                    Mapped(
                        path=normal(os.fsencode(member.name)),
                        kind=member.kind,
                        start=start,
                        data=data,
                        stored_bytes=stored,
                        size_bytes=member.size_bytes,
                        segments=reader.stored if member.kind == "file" else (),
                        target=normal(os.fsencode(member.target)),
                    )
                )
                start = data + stored + -stored % 512
        except DownloadError:
            if not self._is_sound:  # the compressed data is damaged, which is no matter of what a tar may hold
                raise
            for _ in blocks:
                pass

    def _passing(self, layer: LocalLayer, copy: int | None) -> Iterator[bytes]:
        self._is_sound = False
        for block in layer.stored() if layer.compression == "none" else layer.blocks():
            self._is_sound = True
            self.size_bytes += len(block)
            if not self._is_trusted:
                self._digest.update(block)
            if copy is not None:
                view = memoryview(block)
                while view:
                    view = view[os.write(copy, view) :]
            yield block
            self._is_sound = False
        self._is_sound = True


def normal(name: bytes) -> bytes:
    """A member's name relative to the root, as the engine lists it; "" when it leads out of it."""
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    return b"" if b".." in parts else b"/".join(parts)


def _damaged(layer: LocalLayer, why: str) -> ConfigError:
    return ConfigError(
        f"{layer.path} is damaged: {why}", hint="build the image again; what was kept of it is replaced then"
    )
