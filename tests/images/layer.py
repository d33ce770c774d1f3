"""Write one layer of an image as a tar, the way image builders do: parents first, whiteouts for what is gone."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

MTIME_S = 1_750_000_000  # of everything made here, so that the same inputs give the same bytes


class Layer:
    """One layer being written. Names are relative to the root directory, as in image layers."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._directories: set[str] = set()

    def directory(self, name: str, mode: int = 0o755) -> None:
        if name not in self._directories:
            self._directories.add(name)
            self._add(name, tarfile.DIRTYPE, mode)

    def file(self, name: str, content: bytes | str, mode: int = 0o644) -> None:
        data = content.encode() if isinstance(content, str) else content
        self.stream(name, io.BytesIO(data), len(data), mode)

    def stream(self, name: str, content: IO[bytes], size_bytes: int, mode: int = 0o644) -> None:
        self._add(name, tarfile.REGTYPE, mode, size_bytes=size_bytes, content=content)

    def symlink(self, name: str, target: str) -> None:
        self._add(name, tarfile.SYMTYPE, 0o777, target=target)

    def hard_link(self, name: str, target: str) -> None:
        self._add(name, tarfile.LNKTYPE, 0o644, target=target)

    def device(self, name: str, major: int, minor: int) -> None:
        self._add(name, tarfile.CHRTYPE, 0o666, device=(major, minor))

    def fifo(self, name: str) -> None:
        self._add(name, tarfile.FIFOTYPE, 0o644)

    def remove(self, name: str) -> None:
        """A whiteout: what earlier layers have under this name is gone."""
        path = PurePosixPath(name)
        self.file(str(path.with_name(f".wh.{path.name}")), b"")

    def empty(self, name: str) -> None:
        """An opaque directory: what earlier layers have in it is gone."""
        self.directory(name)
        self.file(f"{name}/.wh..wh..opq", b"")

    def reach(self, name: str) -> None:
        """Take the directory ``name`` as there already: what follows goes through an earlier layer's link, say."""
        self._directories.update([name, *map(str, PurePosixPath(name).parents)])

    def copy(self, member: tarfile.TarInfo, content: IO[bytes] | None) -> None:
        """An entry of another archive, as it is."""
        self._parents(member.name)
        if member.isdir():
            self._directories.add(member.name)
        self._tar.addfile(member, content)

    def _add(
        self,
        name: str,
        kind: bytes,
        mode: int,
        *,
        size_bytes: int = 0,
        content: IO[bytes] | None = None,
        target: str = "",
        device: tuple[int, int] = (0, 0),
    ) -> None:
        self._parents(name)
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode, entry.mtime, entry.size, entry.linkname = kind, mode, MTIME_S, size_bytes, target
        entry.devmajor, entry.devminor = device
        entry.uname = entry.gname = "root"
        self._tar.addfile(entry, content)

    def _parents(self, name: str) -> None:
        for parent in reversed(PurePosixPath(name).parents[:-1] if name else ()):
            self.directory(str(parent))


@contextmanager
def write_layer(path: Path, layout: int = tarfile.PAX_FORMAT) -> Iterator[Layer]:
    """A layer's tar at ``path``, in tarfile's PAX_FORMAT or GNU_FORMAT."""
    with tarfile.open(path, "w", format=layout) as tar:
        yield Layer(tar)


def copy_changes(layer: Layer, before: Path | None, after: Path, leave_out: str = "(?!)") -> None:
    """What the tar ``after`` has that ``before`` has not, or has otherwise: the layer an image builder would commit.

    ``leave_out``: a regular expression for names that are passed over.
    """
    known = {} if before is None else {_name(member): _identity(member) for member in _members(before)}
    with tarfile.open(after) as tar:
        for member in tar:
            member.name = _name(member)
            # /dev is made by whoever runs the container; mmdebstrap makes one only when it runs as root.
            if not member.name or re.match(rf"dev(/|$)|{leave_out}", member.name):
                continue
            if known.get(member.name) != _identity(member):
                if member.islnk():
                    member.linkname = member.linkname.removeprefix("./")
                layer.copy(member, tar.extractfile(member) if member.isreg() else None)


def _members(path: Path) -> Iterator[tarfile.TarInfo]:
    with tarfile.open(path) as tar:
        yield from tar


def _name(member: tarfile.TarInfo) -> str:
    return member.name.removeprefix(".").strip("/")


def _identity(member: tarfile.TarInfo) -> tuple[object, ...]:
    return member.type, member.mode, member.size, int(member.mtime), member.linkname.removeprefix("./")
