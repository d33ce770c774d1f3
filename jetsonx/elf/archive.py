"""The members of a static library: the ``ar`` format of GNU and BSD, read without trusting it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from jetsonx.elf.facts import UnreadableElfError
from jetsonx.elf.source import Buffer, clean

_MAGIC = b"!<arch>\n"
_THIN_MAGIC = b"!<thin>\n"
ARCHIVE_MAGICS = (_MAGIC, _THIN_MAGIC)
"""The first 8 bytes of a static library, of a thin one."""

_HEADER_BYTES = 60
_SYMBOL_TABLES = {"/", "/SYM64/", "__.SYMDEF", "__.SYMDEF SORTED"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One file of the archive; its bytes are ``offset`` to ``offset + size_bytes``."""

    name: str
    offset: int
    size_bytes: int


def iter_members(data: Buffer) -> Iterator[Member]:
    """The members in order, symbol tables left out. Raises UnreadableElfError when the archive is damaged or thin."""
    if data[:8] == _THIN_MAGIC:
        raise UnreadableElfError("it is a thin archive: it holds only names of files in the build directory")
    if data[:8] != _MAGIC:
        raise UnreadableElfError("it does not begin as a static library does")
    long_names = b""
    at = 8
    while at + 1 < len(data):  # a single padding byte may end the file
        raw = data[at : at + _HEADER_BYTES]
        size_text = raw[48:58].strip()
        if len(raw) < _HEADER_BYTES or raw[58:] != b"`\n" or not size_text.isdigit():
            raise UnreadableElfError(f"the static library is damaged: no member header at 0x{at:x}")
        start, size = at + _HEADER_BYTES, int(size_text)
        if size > len(data) - start:
            raise UnreadableElfError(f"the static library is cut off: the member at 0x{at:x} goes beyond its end")
        at = start + size + size % 2
        name = clean(raw[:16]).rstrip()
        if name == "//":
            long_names = data[start : start + min(size, 1 << 24)]
        elif name not in _SYMBOL_TABLES:
            yield _named(data, name, start, size, long_names)


def _named(data: Buffer, name: str, start: int, size: int, long_names: bytes) -> Member:
    if name.startswith("#1/") and name[3:].isdigit():  # BSD: the name is the first bytes of the member
        length = min(int(name[3:]), size, 4096)
        raw = data[start : start + length]
        start, size = start + length, size - length
    elif name.startswith("/") and name[1:].isdigit():  # GNU: an offset into the table of long names
        raw = long_names[int(name[1:]) : int(name[1:]) + 4096].partition(b"\n")[0]
    else:
        raw = name.rstrip("/").encode()
    return Member(name=clean(raw.rstrip(b"/\0")), offset=start, size_bytes=size)
