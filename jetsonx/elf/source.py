"""Bytes to read facts from: an open file, or what is in memory. Nothing is read that was not asked for."""

from __future__ import annotations

import mmap
import os
from typing import Protocol

from jetsonx.elf.facts import UnreadableElfError

Buffer = bytes | mmap.mmap

_NAME_MAX = 4096
_HEAD_BYTES = 4096
_READ_MAX = 1 << 26  # no honest table is larger, and a hostile file may be large and full of nothing


class Source(Protocol):
    """``read`` gives exactly ``count`` bytes at ``offset``; UnreadableElfError when they are not all there."""

    @property
    def size(self) -> int: ...  # noqa: D102 - see the class
    def read(self, offset: int, count: int) -> bytes: ...  # noqa: D102


class FileSource:
    """An open file. Its first page is read once, since headers and program headers lie there together."""

    __slots__ = ("_file", "_head", "size")

    def __init__(self, file: int, size: int) -> None:
        self._file = file
        self._head = os.pread(file, _HEAD_BYTES, 0)
        self.size = size

    def read(self, offset: int, count: int) -> bytes:
        """Raises UnreadableElfError, OSError."""
        end = offset + count
        if 0 <= offset <= end <= len(self._head):
            return self._head[offset:end]
        if not 0 <= offset <= end <= self.size or count > _READ_MAX:
            raise cut_off(offset, count, self.size)
        data = os.pread(self._file, count, offset)
        if len(data) < count:
            raise cut_off(offset, count, offset + len(data))
        return data


class BufferSource:
    """Bytes in memory, or a mapped file."""

    __slots__ = ("_data", "size")

    def __init__(self, data: Buffer) -> None:
        self._data = data
        self.size = len(data)

    def read(self, offset: int, count: int) -> bytes:
        """Raises UnreadableElfError."""
        if not 0 <= offset <= offset + count <= self.size or count > _READ_MAX:
            raise cut_off(offset, count, self.size)
        return self._data[offset : offset + count]


def cut_off(offset: int, count: int, size: int) -> UnreadableElfError:
    """The error for bytes that are not in the file."""
    return UnreadableElfError(
        f"the ELF file is damaged or cut off: {count} bytes at 0x{offset:x} are not in it, it has {size}"
    )


def clean(raw: bytes) -> str:
    """What the bytes of a name say, with everything escaped that could trouble a terminal or a file of lines."""
    text = raw[:_NAME_MAX].decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(x if x.isprintable() else x.encode("unicode_escape").decode() for x in text)


def string_at(table: bytes, offset: int) -> str:
    """The NUL-terminated name at ``offset`` of a string table. Raises UnreadableElfError when it is outside."""
    if not 0 <= offset < len(table):
        raise UnreadableElfError(f"the ELF file is damaged: a name at 0x{offset:x} is outside of its table")
    end = table.find(b"\0", offset, offset + _NAME_MAX)
    raw = table[offset : end if end >= 0 else offset + _NAME_MAX]
    text = raw.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else clean(raw)


def plain_text(strings: bytes) -> str | None:
    """A string table as text, when that is plain and no name too long, as nearly always; None otherwise."""
    if not strings.isascii() or not strings.translate(None, delete=b"\0").decode().isprintable():
        return None
    at, text = 0, strings.decode() + "\0"
    while at < len(text):
        end = text.rfind("\0", at, at + _NAME_MAX + 1)
        if end < 0:
            return None
        at = end + 1
    return text
