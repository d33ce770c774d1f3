"""A file that is being downloaded: it grows at its end, and every byte of it is hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

_CHUNK = 1 << 20


class Part:
    """``path``, made when it is not there, else hashed as far as it goes. Use it in a ``with`` block.

    ``advance`` counts the bytes in it, from the start.
    """

    def __init__(self, path: Path, advance: Callable[[int], None]) -> None:
        self.size_bytes = 0
        self._advance = advance
        self._hash = hashlib.sha256()
        self._file = path.open("a+b", buffering=0)

    def __enter__(self) -> Part:
        """Read and hash what is there."""
        self._file.seek(0)
        buffer = memoryview(bytearray(_CHUNK))
        while count := self._file.readinto(buffer):
            self._hash.update(buffer[:count])
            self._count(count)
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the file; what was written stays."""
        self._file.close()

    def write(self, data: bytes | memoryview) -> None:
        """Add ``data`` at the end. Raises OSError, as when the disk is full, with the start of it written or not."""
        left = memoryview(data)
        while left:
            count = self._file.write(left)
            self._hash.update(left[:count])
            left = left[count:]
            self._count(count)

    def restart(self) -> None:
        """Cut it to nothing."""
        self._file.truncate(0)
        self._hash = hashlib.sha256()
        self._count(-self.size_bytes)

    def sha256(self) -> str:
        """Of everything in it, in hex."""
        return self._hash.hexdigest()

    def _count(self, amount: int) -> None:
        self.size_bytes += amount
        self._advance(amount)
