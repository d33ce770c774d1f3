"""A layer of an image as a value, and the one way it becomes bytes.

The bytes depend on the entries alone: sorted, owned by root unless said otherwise, one fixed time, and gzip with
neither name nor time in its header. They are digested while they are written, so no layer is ever held in memory.

The plain bytes are compressed in blocks of a fixed size, each a gzip member or zstd frame of its own, by as many
threads as there are processors: CUDA's libraries are hundreds of megabytes, and the bytes do not depend on the number
of threads.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from jetsonx.errors import BuildError

_CHUNK = 1 << 20
_BLOCK = 1 << 20
_LEVEL = 6
_ZSTD_LEVEL = 3
_GZIP = 31  # zlib's window bits for a gzip container; its header has no name and time 0
_TYPES = {"file": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE}

Kind = Literal["file", "dir", "symlink", "hardlink"]
Compression = Literal["gzip", "zstd", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One member of a layer. ``path`` and a hard link's ``target`` are relative to the root and normal (no ``..``)."""

    path: str
    kind: Kind
    mode: int
    data: Path | bytes = b""
    target: str = ""
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A layer as it is stored and sent: digests of the compressed and of the plain bytes, and the compressed size."""

    digest: str
    diff_id: str
    size_bytes: int
    compression: Compression = "gzip"


def file(path: str, data: Path | bytes | str, mode: int = 0o644) -> Entry:
    """A regular file; text is encoded as UTF-8."""
    return Entry(path=path, kind="file", mode=mode, data=data.encode() if isinstance(data, str) else data)


def directory(path: str, mode: int = 0o755) -> Entry:
    """A directory."""
    return Entry(path=path, kind="dir", mode=mode)


def symlink(path: str, target: str) -> Entry:
    """A symbolic link holding ``target`` as it stands."""
    return Entry(path=path, kind="symlink", mode=0o777, target=target)


def hardlink(path: str, target: str) -> Entry:
    """A second name of the file entry at ``target``."""
    return Entry(path=path, kind="hardlink", mode=0o644, target=target)


def order_entries(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """The entries in the order they are written: parents first (added where they are not named), hard links last.

    It is that in which engines walk directories, so that what `docker cp` copies out of an old layer comes in the order
    in which a recipe for a new one wants it.

    Raises ValueError for a path that is not normal, for two entries at one path, for an entry below something that is
    no directory, and for a hard link to something that is no file of this layer.
    """
    found: dict[str, Entry] = {}
    for entry in entries:
        _check_path(entry.path)
        if found.setdefault(entry.path, entry) != entry:
            raise ValueError(f"two different entries at {entry.path!r}")
    for path in list(found):
        for parent in _parents(path):
            if found.setdefault(parent, directory(parent)).kind != "dir":
                raise ValueError(f"{path!r} lies below {parent!r}, which is a {found[parent].kind}")
    for entry in found.values():
        if entry.kind == "hardlink" and (entry.target not in found or found[entry.target].kind != "file"):
            raise ValueError(f"hard link {entry.path!r} to {entry.target!r}, which is no file of this layer")
    return tuple(sorted(found.values(), key=lambda entry: (entry.kind == "hardlink", entry.path.split("/"))))


def write_layer(
    entries: Iterable[Entry], stream: IO[bytes], *, mtime_s: int = 0, compression: Compression = "gzip"
) -> Blob:
    """Write the layer to ``stream`` as a tar file, compressed, and return what was written.

    ``mtime_s`` is the time of every entry, in seconds since 1970. The same entries give the same bytes with the same
    zlib or libzstd; another may compress differently, but ``diff_id`` stays.

    Raises ValueError as :func:`order_entries` does, BuildError when a source cannot be read or changes meanwhile.
    """
    ordered = order_entries(entries)
    workers = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(workers) as pool:
        sink = _Sink(stream, pool, compression, ahead=2 * workers)
        for entry in ordered:
            _write_entry(entry, sink, mtime_s)
        sink.write(bytes(2 * tarfile.BLOCKSIZE))  # a tar file ends with two empty blocks
        return sink.finish()


def write_blob(blocks: Iterable[bytes], stream: IO[bytes], *, compression: Compression = "gzip") -> Blob:
    """Write a layer that is a tar file already to ``stream``, compressed, and return what was written."""
    workers = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(workers) as pool:
        sink = _Sink(stream, pool, compression, ahead=2 * workers)
        for block in blocks:
            sink.write(block)
        return sink.finish()


def _write_entry(entry: Entry, sink: _Sink, mtime_s: int) -> None:
    info = tarfile.TarInfo(entry.path)
    info.type = _TYPES[entry.kind]
    info.mode, info.uid, info.gid, info.mtime = entry.mode, entry.uid, entry.gid, mtime_s
    info.linkname = entry.target
    if isinstance(entry.data, bytes):
        info.size = len(entry.data)
        sink.write(_header(info))
        sink.write(entry.data)
    else:
        source = _Source(entry.data)
        info.size = source.size_bytes
        sink.write(_header(info))
        for chunk in source.chunks():
            sink.write(chunk)
    sink.write(bytes(-info.size % tarfile.BLOCKSIZE))


def _header(info: tarfile.TarInfo) -> bytes:
    # PAX adds its own records only where the classic header cannot hold a value: long or non-ASCII names, > 8 GB.
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


class _Source:
    """A file to be packed, which has to stay as long as it was: its size is written before its bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self.size_bytes = path.stat().st_size
        except OSError as error:
            raise self._unreadable(error) from error

    def chunks(self) -> Iterator[bytes]:
        left = self.size_bytes
        try:
            with self._path.open("rb") as stream:
                while left and (chunk := stream.read(min(left, _CHUNK))):
                    left -= len(chunk)
                    yield chunk
                if left or stream.read(1):
                    message = f"{self._path} changed while it was being packed into the image"
                    raise BuildError(message, hint="run the build again")
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> BuildError:
        return BuildError(f"cannot pack {self._path} into the image: {error.strerror}")


class _Sink:
    """Digest, compress, digest, write. At most ``ahead`` blocks are being compressed at a time."""

    def __init__(self, stream: IO[bytes], pool: ThreadPoolExecutor, compression: Compression, *, ahead: int) -> None:
        self._stream = stream
        self._pool = pool
        self._compression = compression
        self._ahead = ahead
        self._block = bytearray()
        self._packing: deque[Future[bytes]] = deque()
        self._plain = hashlib.sha256()
        self._packed = hashlib.sha256()
        self._packed_bytes = 0

    def write(self, data: bytes) -> None:
        self._plain.update(data)
        self._block += data
        while len(self._block) >= _BLOCK:
            self._pack(bytes(self._block[:_BLOCK]))
            del self._block[:_BLOCK]

    def finish(self) -> Blob:
        if self._block:
            self._pack(bytes(self._block))
        self._put(down_to=0)
        return Blob(
            digest=f"sha256:{self._packed.hexdigest()}",
            diff_id=f"sha256:{self._plain.hexdigest()}",
            size_bytes=self._packed_bytes,
            compression=self._compression,
        )

    def _pack(self, block: bytes) -> None:
        self._packing.append(self._pool.submit(_COMPRESS[self._compression], block))
        self._put(down_to=self._ahead)

    def _put(self, *, down_to: int) -> None:
        while len(self._packing) > down_to:
            packed = self._packing.popleft().result()
            self._packed.update(packed)
            self._packed_bytes += len(packed)
            self._stream.write(packed)


def _gzip(block: bytes) -> bytes:
    member = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    return member.compress(block) + member.flush()


def _zstd(block: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(block)


def _plain(block: bytes) -> bytes:
    return block


_COMPRESS: dict[Compression, Callable[[bytes], bytes]] = {"gzip": _gzip, "zstd": _zstd, "none": _plain}


def _check_path(path: str) -> None:
    if not path or "\0" in path or any(step in ("", ".", "..") for step in path.split("/")):
        raise ValueError(f"not a normal relative path: {path!r}")


def _parents(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
