"""The fat binary container: which GPUs the device code inside a file is for.

nvcc puts one fat binary per translation unit, and one from the device link, into the section ``.nv_fatbin``;
relocatable device code (``-rdc=true``) waits in ``__nv_relfatbin``. NVIDIA documents nothing of the container: the
layout here was found by looking at what nvcc 11 to 13 writes, and agrees with cuobjdump. Little endian throughout.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from jetsonx.elf.cubin import cubin_toolkit, has_kernels
from jetsonx.elf.facts import Entry, Fatbin, Section, UnreadableElfError
from jetsonx.elf.source import Buffer
from jetsonx.elf.unpack import unpack_lz4, unpack_zstd

FATBIN_MAGIC = struct.pack("<IHH", 0xBA55ED50, 1, 16)
"""The first 8 bytes of every fat binary: magic number, version, size of the header."""

EXECUTABLE_SECTION = ".nv_fatbin"
RELOCATABLE_SECTION = "__nv_relfatbin"
DEVICE_SECTIONS = frozenset((EXECUTABLE_SECTION, RELOCATABLE_SECTION))

_KINDS = {1: "ptx", 2: "cubin", 8: "ltoir"}
_ENTRY = struct.Struct("<HHIQIIHHIIIQQQ")  # 64 bytes; an extension may follow
_DEBUG, _LZ4, _ZSTD, _ARCH_SPECIFIC, _FAMILY = 0x2, 0x2000, 0x8000, 0x100000, 0x200000

_STUB_MAX_BYTES = 1 << 16  # code without kernels is a few kB; what is larger holds kernels, and is not unpacked to see
_LOOK_MAX_BYTES = 1 << 20  # until one says which toolkit made it
_UNPACKED_MAX_BYTES = 1 << 26  # of all stubs together, and 16 times the file: real ones are far below
_ALIGNMENT = 8


class _Payload(NamedTuple):
    """Where the bytes of an entry lie, and how large they become. ``size_bytes`` 0: not compressed."""

    entry: Entry
    start: int
    end: int
    unpacked_bytes: int


def read_fatbins(data: Buffer, sections: Iterable[Section], *, deep: bool = False) -> tuple[Fatbin, ...]:
    """All fat binaries in those of ``sections`` that hold them by name; ``data`` is the whole file.

    ``deep`` searches the rest of the file as well; what only looks like a fat binary there is passed over.

    Raises UnreadableElfError when a container is damaged or cut off. Memory stays under about 10 MB whatever the sizes
    written in the file: only the smallest entry is ever unpacked, and only to tell whether there are kernels.
    """
    return tuple(_Reader(data).read(sections, deep=deep))


class _Reader:
    def __init__(self, data: Buffer) -> None:
        self._data = data
        self._room = _UNPACKED_MAX_BYTES + 16 * len(data)  # what may still be unpacked
        self._limit = _LOOK_MAX_BYTES

    def read(self, sections: Iterable[Section], *, deep: bool) -> Iterator[Fatbin]:
        done = 0
        for section in sorted((x for x in sections if x.name in DEVICE_SECTIONS), key=lambda x: x.offset):
            end = min(section.offset + section.size_bytes, len(self._data))
            if deep:
                yield from self._search(done, section.offset)
            # What two sections claim, as only a hostile file has it, is read once.
            yield from self._read_section(max(section.offset, done), end, section.name == RELOCATABLE_SECTION)
            done = max(done, end)
        if deep:
            yield from self._search(done, len(self._data))

    def _read_section(self, at: int, end: int, is_relocatable: bool) -> Iterator[Fatbin]:
        while (at := _skip_zeros(self._data, at, end)) < end:
            fatbin, at = self._fatbin(at, end)
            yield replace(fatbin, is_relocatable=True) if is_relocatable else fatbin

    def _search(self, at: int, end: int) -> Iterator[Fatbin]:
        while (at := self._data.find(FATBIN_MAGIC, at, end)) >= 0:
            if at % _ALIGNMENT == 0:
                try:
                    fatbin, at = self._fatbin(at, end)
                except UnreadableElfError:
                    pass
                else:
                    yield replace(fatbin, is_outside=True)
                    continue
            at += 1

    def _fatbin(self, at: int, end: int) -> tuple[Fatbin, int]:
        """The fat binary at an offset, and where it ends."""
        data = self._data
        if end - at < 16 or data[at : at + 8] != FATBIN_MAGIC:
            raise UnreadableElfError(f"the device code is damaged: no fat binary at 0x{at:x}, where one should begin")
        (size,) = struct.unpack_from("<Q", data, at + 8)
        if size > end - at - 16:
            raise UnreadableElfError(f"the device code is cut off: the fat binary at 0x{at:x} goes beyond its section")
        payloads = list(_read_entries(data, at + 16, at + 16 + size))
        has_kernels = self._look_inside(payloads)
        entries = tuple(payload.entry for payload in payloads)
        return Fatbin(offset=at, entries=entries, has_kernels=has_kernels), at + 16 + size

    def _look_inside(self, payloads: list[_Payload]) -> bool:
        """Whether there are kernels, by the entry that is cheapest to look into; which tells its toolkit as well.

        Doubt means yes: it will be judged, not passed over.
        """
        cubins = [x for x in payloads if x.entry.kind == "cubin"]
        texts = [x for x in payloads if x.entry.kind == "ptx"]
        if not cubins and not texts:
            return bool(payloads)
        cheapest = min(cubins or texts, key=lambda x: (x.entry.compression != "", x.unpacked_bytes or x.end - x.start))
        code = self._unpack(cheapest)
        if code is None:
            return True
        if not cubins:
            return b".entry" in code
        if cheapest.entry.compression and (toolkit := cubin_toolkit(code)):
            payloads[payloads.index(cheapest)] = cheapest._replace(entry=cheapest.entry._replace(toolkit=toolkit))
            self._limit = _STUB_MAX_BYTES
        return has_kernels(code)

    def _unpack(self, payload: _Payload) -> bytes | None:
        """The code of an entry, or None when it is too large to look into or does not unpack."""
        size = max(payload.unpacked_bytes, payload.end - payload.start)
        if size > min(self._limit, self._room):
            return None
        self._room -= size
        raw = self._data[payload.start : payload.end]
        if payload.entry.compression == "lz4":
            return unpack_lz4(raw, payload.unpacked_bytes)
        if payload.entry.compression == "zstd":
            return unpack_zstd(raw, payload.unpacked_bytes)
        return raw


def _skip_zeros(data: Buffer, at: int, end: int) -> int:
    """The next byte that is not zero. Fat binaries begin at aligned places, with zeros between."""
    while at < end:
        block = data[at : min(at + 4096, end)]
        rest = block.lstrip(b"\0")
        if rest:
            return at + len(block) - len(rest)
        at += len(block)
    return end


def _read_entries(data: Buffer, at: int, end: int) -> Iterator[_Payload]:
    while at < end:
        if end - at < _ENTRY.size:
            raise UnreadableElfError(f"the device code is damaged: an entry at 0x{at:x} is cut off")
        kind, _, header, size, packed, _, minor, major, sm, _, _, flags, _, unpacked = _ENTRY.unpack_from(data, at)
        start = at + header
        if header < _ENTRY.size or size > end - start or packed > size:
            raise UnreadableElfError(f"the device code is damaged: an entry at 0x{at:x} goes beyond its fat binary")
        name = _KINDS.get(kind, "other")
        compression = "lz4" if flags & _LZ4 else "zstd" if flags & _ZSTD else ""
        entry = Entry(
            name,
            sm,
            header + size,
            "a" if flags & _ARCH_SPECIFIC else "f" if flags & _FAMILY else "",
            (major, minor) if name == "ptx" else None,
            compression,
            bool(flags & _DEBUG),
            cubin_toolkit(data, start) if name == "cubin" and not compression else None,
            at,
        )
        yield _Payload(entry, start, start + (packed or size), unpacked if compression else 0)
        at = start + size
