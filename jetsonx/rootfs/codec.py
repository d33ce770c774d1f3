"""Decompression by magic number, in steps of about a megabyte: gzip, zstd, xz, bzip2, or none.

Every step is one call that lets go of the interpreter lock, and gives a bounded number of bytes whatever the data
claims: nothing here is allocated by a size that the input declares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, cast

from jetsonx.errors import DownloadError

# Gives at most this many bytes of the compressed stream, nothing at its end.
Read = Callable[[int], bytes]

STEP = 1 << 20
_INPUT = 1 << 18
_MAGIC_BYTES = 10
# A memory bound for the two formats whose header may ask for gigabytes: 128 MiB is what the tools allow by default
# (zstd --long=27), and twice what xz -9 needs.
_WINDOW_MAX = 1 << 27
# An honest writer leaves no long run of members with nothing in them; each costs a new decoder.
_EMPTY_MAX = 1000


class _Codec(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class DamagedError(Exception):
    """The compressed data, or what is in it, is not what it should be."""


def decompressed(read: Read, *, name: str) -> Iterator[bytes]:
    """Yield the plain bytes of a stream compressed in any known way; no piece is empty, none much larger than STEP.

    ``name`` says in errors what is being read. Raises DownloadError when the data is damaged or cut off.
    """
    import lzma
    import zlib

    import zstandard
    from isal import igzip_lib

    errors: tuple[type[Exception], ...] = (DamagedError, EOFError, lzma.LZMAError, zstandard.ZstdError)
    errors += (zlib.error, cast(type[Exception], igzip_lib.IsalError))  # its stub calls the class an instance
    try:
        yield from _pieces(_Source(read))
    except errors as error:
        raise damaged(name, error) from error
    except OSError as error:
        if error.errno is not None:  # a real input/output error, not bz2's "Invalid data stream"
            raise
        raise damaged(name, error) from error


def damaged(name: str, why: object) -> DownloadError:
    """The error for data that is not what it should be."""
    return DownloadError(
        f"{name} is damaged: {why}", hint="remove it from the cache (jetsonx sysroot prune --all) and fetch it again"
    )


class _Source:
    """A stream that can be looked into and read by exact counts."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._held = b""

    def peek(self, count: int) -> bytes:
        while len(self._held) < count and (more := self._read(_INPUT)):
            self._held += more
        return self._held[:count]

    def some(self) -> bytes:
        held, self._held = self._held, b""
        return held or self._read(_INPUT)

    def give_back(self, data: bytes) -> None:
        self._held = data + self._held

    def take(self, count: int) -> bytes:
        data = self.peek(count)
        if len(data) < count:
            raise EOFError("it is cut off")
        self._held = self._held[count:]
        return data

    def skip(self, count: int) -> None:
        while count:
            piece = self.some()
            if not piece:
                raise EOFError("it is cut off")
            self.give_back(piece[count:])
            count -= min(count, len(piece))


def _pieces(source: _Source) -> Iterator[bytes]:
    magic = source.peek(_MAGIC_BYTES)
    if magic.startswith(b"\x1f\x8b"):
        return _members(source, _gzip)
    if magic[:4] == _ZSTD or _is_skippable(magic):
        return _zstd(source)
    if magic.startswith((b"\xfd7zXZ\0", b"\x5d\0\0")):
        return _members(source, _xz)
    if magic.startswith(b"BZh") and magic[4:] in (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90"):
        return _members(source, _bzip2)
    return iter(source.some, b"")


def _gzip() -> _Codec:
    from isal import igzip_lib

    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)


def _xz() -> _Codec:
    import lzma

    return lzma.LZMADecompressor(memlimit=_WINDOW_MAX)


def _bzip2() -> _Codec:
    import bz2

    return bz2.BZ2Decompressor()


def _members(source: _Source, new: Callable[[], _Codec]) -> Iterator[bytes]:
    """The members of a stream one after the other; zeros may pad it."""
    empty = 0
    while data := source.some():
        data = data.lstrip(b"\0")
        if not data:
            continue
        codec, empty = new(), empty + 1
        while not codec.eof:
            if codec.needs_input:
                data = data or source.some()
                if not data:
                    raise EOFError("it is cut off")
            piece = codec.decompress(data, STEP)
            data = b""
            if piece:
                empty = 0
                yield piece
        if empty > _EMPTY_MAX:
            raise DamagedError("it holds nothing but empty members")
        source.give_back(codec.unused_data)


# ---- zstd ------------------------------------------------------------------------------------------------------------
# The library's streaming reader does not tell an end from a cut, and its push interface gives all that a piece of input
# holds, be it gigabytes. So the frames are walked here (RFC 8878, section 3.1) and handed over a few blocks at a time.

_ZSTD = b"\x28\xb5\x2f\xfd"
_ZSTD_BLOCK_MAX = 1 << 17
_ZSTD_BLOCKS = STEP // _ZSTD_BLOCK_MAX


def _is_skippable(magic: bytes) -> bool:
    return magic[1:4] == b"\x2a\x4d\x18" and 0x50 <= magic[0] <= 0x5F


def _zstd(source: _Source) -> Iterator[bytes]:
    import zstandard

    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_MAX)
    while source.peek(1):
        magic = source.take(4)
        if _is_skippable(magic):
            source.skip(int.from_bytes(source.take(4), "little"))
            continue
        if magic != _ZSTD:
            raise DamagedError("after a zstd frame comes something else")
        codec = decompressor.decompressobj(write_size=STEP)
        header, has_checksum = _frame_header(source)
        for data in _frame_blocks(source, has_checksum=has_checksum):
            if piece := codec.decompress(magic + header + data):
                yield piece
            magic = header = b""
        if not codec.eof:
            raise DamagedError("a zstd frame does not end where it should")


def _frame_header(source: _Source) -> tuple[bytes, bool]:
    descriptor = source.take(1)
    flags = descriptor[0]
    single_segment = flags >> 5 & 1
    size_bytes = (single_segment, 2, 4, 8)[flags >> 6]
    dictionary_bytes = (0, 1, 2, 4)[flags & 3]
    return descriptor + source.take((1 - single_segment) + dictionary_bytes + size_bytes), bool(flags & 4)


def _frame_blocks(source: _Source, *, has_checksum: bool) -> Iterator[bytes]:
    is_last = False
    while not is_last:
        parts: list[bytes] = []
        for _ in range(_ZSTD_BLOCKS):
            head = source.take(3)
            value = int.from_bytes(head, "little")
            is_last, is_run, size = bool(value & 1), value >> 1 & 3 == 1, value >> 3
            if size > _ZSTD_BLOCK_MAX:
                raise DamagedError("a zstd block is larger than the format allows")
            parts += (head, source.take(1 if is_run else size))
            if is_last:
                if has_checksum:
                    parts.append(source.take(4))
                break
        yield b"".join(parts)
