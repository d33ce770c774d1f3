"""Tar headers made by hand, for archives that no honest tool would write."""

from __future__ import annotations


def header(name: str | bytes, *, kind: str = "0", target: str | bytes = "", size: int = 0, mode: int = 0o644) -> bytes:
    """One ustar header block."""
    raw = bytearray(512)
    for start, text in ((0, _bytes(name)), (157, _bytes(target))):
        raw[start : start + len(text)] = text
    raw[100:108] = f"{mode:07o}\0".encode()
    raw[124:136] = f"{size:011o}\0".encode()
    raw[156] = ord(kind)
    raw[257:265] = b"ustar\x0000"
    return sealed(bytes(raw))


def sealed(block: bytes) -> bytes:
    """The block with the checksum that a header of this content must have; blocks of zeros stay as they are."""
    if len(block) != 512 or not any(block):
        return block
    total = sum(block[:148]) + sum(block[156:]) + 8 * 32
    return block[:148] + f"{total:06o}\0 ".encode() + block[156:]


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()
