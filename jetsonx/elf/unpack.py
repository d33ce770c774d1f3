"""Unpacking the code in fat binaries: LZ4 blocks and zstd frames of a size that is known beforehand."""

from __future__ import annotations

_ZSTD_WINDOW_BYTES = 1 << 23  # what the highest ordinary zstd level uses; a frame that wants more is not nvcc's


def unpack_zstd(raw: bytes, size_bytes: int) -> bytes | None:
    """Unpack a zstd frame that must give exactly ``size_bytes`` bytes; None when it does not."""
    import zstandard  # imported late: plain machine code is not compressed unless asked for

    try:
        with zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).stream_reader(raw) as reader:
            code = reader.read(size_bytes + 1)
    except zstandard.ZstdError:
        return None
    return code if len(code) == size_bytes else None


def unpack_lz4(raw: bytes, size_bytes: int) -> bytes | None:
    """Unpack one raw LZ4 block that must give exactly ``size_bytes`` bytes; None when it does not.

    The format is the LZ4 project's "LZ4 Block Format": a token, literals, then a copy from what was already written.
    """
    out = bytearray()
    at = 0
    try:
        while True:
            token = raw[at]
            literals, at = _lz4_length(raw, at + 1, token >> 4)
            if literals > min(len(raw) - at, size_bytes - len(out)):
                return None
            out += raw[at : at + literals]
            at += literals
            if at == len(raw):
                return bytes(out) if len(out) == size_bytes else None
            distance = raw[at] | raw[at + 1] << 8
            length, at = _lz4_length(raw, at + 2, token & 15)
            length += 4
            if not 0 < distance <= len(out) or length > size_bytes - len(out):
                return None
            start = len(out) - distance
            seed = bytes(out[start : start + length])  # shorter when it overlaps itself: then it repeats
            out += seed if distance >= length else (seed * (length // distance + 1))[:length]
    except IndexError:
        return None


def _lz4_length(raw: bytes, at: int, first: int) -> tuple[int, int]:
    length = first
    if first == 15:
        while True:
            length += raw[at]
            at += 1
            if raw[at - 1] != 255:
                break
    return length, at
