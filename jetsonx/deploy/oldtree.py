"""The files of an earlier image that its upper layers hold, as the device sees them in a container of it.

Source of the rules for what hides what: OCI image specification 1.1, "Image Layer Filesystem Changeset".
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from jetsonx.deploy.layermap import LayerMap, Mapped
from jetsonx.deploy.matching import ReadAt

_WHITEOUT, _OPAQUE = b".wh.", b".wh..wh..opq"
_STEP = 1 << 20
_HEAD = 64


class OldFile:
    """A file's content in a layer. ``path``: where the engine shows it; of several names the one it comes to first."""

    __slots__ = ("_layer", "_segments", "path", "size_bytes")

    def __init__(self, layer: LayerMap, member: Mapped) -> None:
        self._layer = layer
        self.path = member.path
        self.size_bytes = member.size_bytes
        self._segments = []
        at = member.data
        for offset, length in member.segments:
            self._segments.append((offset, length, at))
            at += length

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the file, holes as zeros, fewer at its end."""
        if len(self._segments) == 1 and self._segments[0][:2] == (0, self.size_bytes):
            return self._layer.read(self._segments[0][2] + offset, max(min(length, self.size_bytes - offset), 0))
        made = bytearray(max(min(length, self.size_bytes - offset), 0))
        for begin, count, at in self._segments:
            low, high = max(begin, offset), min(begin + count, offset + len(made))
            if low < high:
                made[low - offset : high - offset] = self._layer.read(at + low - begin, high - low)
        return bytes(made)


class OldTree:
    """The files of ``layers``, lowest first."""

    def __init__(self, layers: Sequence[LayerMap]) -> None:
        self.files: dict[bytes, OldFile] = {}
        for layer in layers:
            self._apply(layer)
        for path in sorted(self.files, key=lambda path: path.split(b"/"), reverse=True):
            self.files[path].path = path
        self._by_size: dict[int, list[OldFile]] = {}
        for file in self.files.values():
            self._by_size.setdefault(file.size_bytes, []).append(file)
        self._by_head: dict[int, dict[bytes, list[OldFile]]] = {}
        self._by_digest: dict[tuple[int, bytes], dict[bytes, OldFile]] = {}

    def same(self, size: int, read: ReadAt) -> OldFile | None:
        """A file of this size and of the content that ``read`` gives, wherever it is.

        Only those are hashed that begin with the same bytes, as nearly all files of one size begin with others.
        """
        if size not in self._by_size:
            return None
        if size not in self._by_head:
            heads = self._by_head.setdefault(size, {})
            for file in self._by_size[size]:
                heads.setdefault(file.read(0, _HEAD), []).append(file)
        head = read(0, _HEAD)
        files = self._by_head[size].get(head)
        if files is None:
            return None
        if (size, head) not in self._by_digest:
            self._by_digest[size, head] = {_digest(size, file.read): file for file in files}
        return self._by_digest[size, head].get(_digest(size, read))

    def _apply(self, layer: LayerMap) -> None:
        gone: set[bytes] = set()
        emptied: set[bytes] = set()
        own: dict[bytes, OldFile] = {}
        for member in layer.members:
            folder, _, name = member.path.rpartition(b"/")
            if name == _OPAQUE:
                emptied.add(folder)
            elif name.startswith(_WHITEOUT):
                gone.add(b"/".join(filter(None, (folder, name[len(_WHITEOUT) :]))))
            elif member.path and member.kind != "dir":
                gone.add(member.path)
                own.pop(member.path, None)
                if member.kind == "file":
                    own[member.path] = OldFile(layer, member)
                elif member.kind == "hardlink" and member.target in own:
                    own[member.path] = own[member.target]
            elif member.path:
                own.pop(member.path, None)
        self.files = {path: file for path, file in self.files.items() if not _is_hidden(path, gone, emptied)}
        self.files.update(own)


def _is_hidden(path: bytes, gone: set[bytes], emptied: set[bytes]) -> bool:
    if path in gone:
        return True
    folder = path
    while folder:
        folder = folder.rpartition(b"/")[0]
        if folder in emptied or folder in gone:
            return True
    return False


def _digest(size: int, read: ReadAt) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for at in range(0, size, _STEP):
        digest.update(read(at, _STEP))
    return digest.digest()
