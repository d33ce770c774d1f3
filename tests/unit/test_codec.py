"""Decompression: every format, in any pieces, whole and damaged."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import random
import struct
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from jetsonx.errors import DownloadError
from jetsonx.rootfs.codec import STEP, decompressed

PLAIN = random.Random(1).randbytes(5000) + b"x" * 300_000
SKIPPED = struct.pack("<II", 0x184D2A50, 7) + b"ignored"


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def zstd_stream(data: bytes) -> bytes:
    """As a writer that does not know the size beforehand."""
    codec = zstandard.ZstdCompressor(level=1).compressobj()
    return codec.compress(data) + codec.flush()


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    "bzip2": bz2.compress,
    "zstd": zstd,
    "zstd-stream": zstd_stream,
}


def unpack(data: bytes, step: int = 1 << 30) -> bytes:
    stream = io.BytesIO(data)
    return b"".join(decompressed(lambda count: stream.read(min(count, step)), name="layer 1"))


@pytest.mark.parametrize("compress", COMPRESSIONS.values(), ids=COMPRESSIONS)
@pytest.mark.parametrize("plain", [b"", b"a", PLAIN], ids=["empty", "one", "large"])
@pytest.mark.parametrize("step", [1, 7, 1 << 30])
def test_every_compression_in_any_pieces(compress: Callable[[bytes], bytes], plain: bytes, step: int) -> None:
    assert unpack(compress(plain), step) == plain


@pytest.mark.parametrize("data", [b"", b"x", b"\x1f", PLAIN], ids=["empty", "one", "half a magic", "large"])
def test_what_has_no_magic_is_plain(data: bytes) -> None:
    assert unpack(data) == data


@pytest.mark.parametrize("name", ["gzip", "xz", "bzip2", "zstd", "zstd-stream"])
def test_several_members(name: str) -> None:
    compress = COMPRESSIONS[name]
    assert unpack(compress(b"one ") + compress(b"") + compress(b"two"), 3) == b"one two"


@pytest.mark.parametrize("name", ["gzip", "xz", "bzip2"])
def test_padding_of_zeros(name: str) -> None:
    assert unpack(COMPRESSIONS[name](b"one") + bytes(1024)) == b"one"


def test_skippable_zstd_frames() -> None:
    assert unpack(SKIPPED + zstd(b"one ") + SKIPPED + zstd_stream(b"two") + SKIPPED) == b"one two"


@pytest.mark.parametrize("name", ["gzip", "xz", "bzip2", "zstd", "zstd-stream"])
def test_cut_anywhere(name: str) -> None:
    whole = COMPRESSIONS[name](b"some text, " * 40 + PLAIN[:500])
    for length in range(12, len(whole)):
        with pytest.raises(DownloadError, match="layer 1 is damaged"):
            unpack(whole[:length])


@pytest.mark.parametrize("name", ["gzip", "xz", "zstd", "bzip2"])
def test_a_wrong_checksum(name: str) -> None:
    data = bytearray(COMPRESSIONS[name](PLAIN))
    data[len(data) // 2] ^= 1
    with pytest.raises(DownloadError):
        unpack(bytes(data))


@pytest.mark.parametrize("name", ["gzip", "xz", "zstd", "bzip2"])
def test_something_else_behind_it(name: str) -> None:
    with pytest.raises(DownloadError):
        unpack(COMPRESSIONS[name](b"text") + b"something else altogether")


@pytest.mark.parametrize("name", ["gzip", "xz", "bzip2", "zstd", "zstd-stream"])
def test_a_bomb_comes_in_small_pieces(name: str) -> None:
    bomb = COMPRESSIONS[name](bytes(64 << 20))
    stream = io.BytesIO(bomb)
    first = next(decompressed(stream.read, name="bomb"))
    assert 0 < len(first) <= STEP


def test_nothing_but_empty_members() -> None:
    with pytest.raises(DownloadError, match="empty members"):
        unpack(gzip.compress(b"") * 3000)


def test_an_xz_stream_that_asks_for_gigabytes_of_memory() -> None:
    data = lzma.compress(b"x", filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29}], format=lzma.FORMAT_XZ)
    with pytest.raises(DownloadError):
        unpack(data)


def test_errors_of_the_disk_are_not_damage() -> None:
    def read(count: int) -> bytes:
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        list(decompressed(read, name="layer 1"))


@settings(max_examples=150, deadline=None)
@given(data=st.data(), name=st.sampled_from(sorted(COMPRESSIONS)))
def test_mutations_never_crash(data: st.DataObject, name: str) -> None:
    whole = bytearray(COMPRESSIONS[name](PLAIN[:3000] + b"y" * 2000))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(DownloadError):
        unpack(bytes(whole))
