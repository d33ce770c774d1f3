"""A frame of an upload: 48 bytes that say what follows, then the data. Both sides use this module.

magic (4 bytes), length of the data (4, big-endian), its offset in the file (8), its SHA-256 (32).
"""

import hashlib
import struct
from typing import NamedTuple, Optional

_HEADER = struct.Struct(">4sIQ32s")
_MAGIC = b"JXF1"
HEADER_BYTES = _HEADER.size
MOST_BYTES = 1 << 20
"""More data than this is in no frame."""

Header = NamedTuple("Header", [("length", int), ("offset", int), ("sha256", bytes)])


def pack_frame(offset: int, data: bytes) -> bytes:
    """The frame with ``data``, whose place in the file is ``offset``."""
    return _HEADER.pack(_MAGIC, len(data), offset, hashlib.sha256(data).digest()) + data


def parse_header(data: bytes) -> Optional[Header]:
    """What a frame's first 48 bytes say; None when they are no header."""
    magic, length, offset, sha256 = _HEADER.unpack(data)
    if magic != _MAGIC or not 0 < length <= MOST_BYTES:
        return None
    return Header(length, offset, sha256)
