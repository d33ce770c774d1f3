"""``/etc/ld.so.cache``, which ld.so searches before its default directories: written, and read back.

Only ldconfig of the target's architecture writes this file, and running it means emulation; its format is small and
fixed. Layout and sort order: glibc, sysdeps/generic/dl-cache.h and elf/dl-cache.c, the "new" format 1.1. Every glibc
that a Jetson has run (2.27 to 2.39) reads it without the old format in front, the header fields glibc 2.33 added
are zero except for the byte order.
"""

from __future__ import annotations

import posixpath
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_MAGIC = b"glibc-ld.so.cache1.1"
_OLD_MAGIC = b"ld.so-1.7.0\0"
_HEADER = struct.Struct("<20sIIB3xI12x")  # magic, entries, string bytes, flags, offset of extensions
_ENTRY = struct.Struct("<iIIIQ")  # flags, offset of name, offset of path, OS version, hwcap
_OLD_ENTRY_BYTES = 12
_LITTLE_ENDIAN = 2
_ORDERS = (0, _LITTLE_ENDIAN)  # 0: written before glibc 2.33
_LIBRARY = re.compile(r"(lib|ld-)[^/]*\.so(\.[^/]*)?")

AARCH64_FLAGS = 0x0A03
"""FLAG_AARCH64_LIB64 | FLAG_ELF_LIBC6: what ld.so for AArch64 accepts, and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """What ld.so is told: the library called ``name`` is the file ``path`` (absolute)."""

    name: str
    path: str
    flags: int = AARCH64_FLAGS
    hwcap: int = 0


def find_libraries(paths: Iterable[str], directories: Sequence[str]) -> tuple[CacheEntry, ...]:
    """The libraries that ld.so should find among ``paths``, looking only in ``directories``, the first one first.

    Paths and directories are relative to the root. Every name a library goes by counts (file and links alike), as the
    programs name the soname and its packages hold a link of that name.
    """
    in_directory: dict[str, list[str]] = {}
    for path in paths:
        directory, name = posixpath.split(path)
        if _LIBRARY.fullmatch(name):
            in_directory.setdefault(directory, []).append(name)
    found: dict[str, str] = {}
    for directory in directories:
        for name in in_directory.get(directory, ()):
            found.setdefault(name, f"/{directory}/{name}")
    return tuple(CacheEntry(name=name, path=path) for name, path in found.items())


def render_cache(entries: Iterable[CacheEntry]) -> bytes:
    """The file's bytes for little-endian AArch64."""
    ordered = sorted(entries, key=lambda entry: (*sort_key(entry.name), entry.path), reverse=True)
    strings = bytearray()
    offsets: dict[str, int] = {}
    start = _HEADER.size + len(ordered) * _ENTRY.size
    for entry in ordered:
        for text in (entry.name, entry.path):
            if text not in offsets:
                offsets[text] = start + len(strings)
                strings += text.encode("utf-8", "surrogateescape") + b"\0"
    table = b"".join(_ENTRY.pack(e.flags, offsets[e.name], offsets[e.path], 0, e.hwcap) for e in ordered)
    return _HEADER.pack(_MAGIC, len(ordered), len(strings), _LITTLE_ENDIAN, 0) + table + bytes(strings)


def parse_cache(data: bytes) -> tuple[CacheEntry, ...]:
    """The entries of a cache file, in its order; the new format alone or behind the old one, as ldconfig before 2.32.

    Raises ValueError when the data is neither, is truncated, or points outside itself.
    """
    data = _without_old_format(data)
    if len(data) < _HEADER.size:
        raise ValueError("not an ld.so.cache: shorter than its header")
    magic, count, string_bytes, order, _ = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise ValueError("not an ld.so.cache in glibc's new format")
    if order & 3 not in _ORDERS:
        raise ValueError("an ld.so.cache of another byte order")
    if _HEADER.size + count * _ENTRY.size + string_bytes > len(data):
        raise ValueError("truncated ld.so.cache")
    entries = []
    for index in range(count):
        flags, name, path, _, hwcap = _ENTRY.unpack_from(data, _HEADER.size + index * _ENTRY.size)
        entries.append(CacheEntry(name=_string(data, name), path=_string(data, path), flags=flags, hwcap=hwcap))
    return tuple(entries)


def find_in_cache(entries: Sequence[CacheEntry], name: str) -> str | None:
    """The path ld.so would take for ``name``, found by binary search as ld.so does: a badly sorted cache finds nothing.

    Source: glibc, elf/dl-cache.c, search_cache.
    """
    wanted = sort_key(name)
    left, right = 0, len(entries) - 1
    while left <= right:
        middle = (left + right) // 2
        here = sort_key(entries[middle].name)
        if here == wanted:
            return entries[middle].path
        left, right = (middle + 1, right) if wanted < here else (left, middle - 1)
    return None


def sort_key(name: str) -> tuple[tuple[int, int], ...]:
    """A key that orders names as glibc's ``_dl_cache_libcmp`` does; the cache is sorted descending by it.

    Digits compare as one number (in a C int, which wraps) and rank above any other character; the end ranks lowest.
    """
    key: list[tuple[int, int]] = []
    for digits, other in re.findall(rb"([0-9]+)|([^0-9])", name.encode("utf-8", "surrogateescape"), re.DOTALL):
        key.append((2, _as_int32(int(digits))) if digits else (1, other[0]))
    return (*key, (0, 0))


def _as_int32(value: int) -> int:
    return (value + 2**31) % 2**32 - 2**31


def _string(data: bytes, offset: int) -> str:
    end = data.find(b"\0", offset)
    if end < 0:
        raise ValueError("an ld.so.cache entry points outside the file")
    return data[offset:end].decode("utf-8", "surrogateescape")


def _without_old_format(data: bytes) -> bytes:
    if not data.startswith(_OLD_MAGIC) or len(data) < len(_OLD_MAGIC) + 4:
        return data
    (count,) = struct.unpack_from("<I", data, len(_OLD_MAGIC))
    end = len(_OLD_MAGIC) + 4 + count * _OLD_ENTRY_BYTES
    return data[end + -end % 8 :]
