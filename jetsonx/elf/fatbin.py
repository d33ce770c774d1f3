"""The fat binary container: which GPUs the device code inside a file is for.

nvcc puts one fat binary per translation unit, and one from the device link, into the section ``.nv_fatbin``;
relocatable device code (``-rdc=true``) waits in ``__nv_relfatbin``. NVIDIA documents nothing of the container: the
layout here was found by looking at what nvcc 11 to 13 writes, and agrees with cuobjdump. Little endian throughout.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jetsonx.elf.facts import ELF_MAGIC, Entry, Fatbin, Section, UnreadableElfError

FATBIN_MAGIC = struct.pack("<IHH", 0xBA55ED50, 1, 16)
"""The first 8 bytes of every fat binary: magic number, version, size of the header."""

EXECUTABLE_SECTION = ".nv_fatbin"
RELOCATABLE_SECTION = "__nv_relfatbin"

_KINDS = {1: "ptx", 2: "cubin", 8: "ltoir"}
_ENTRY = struct.Struct("<HHIQIIHHIIIQQQ")  # 64 bytes; an extension may follow
_DEBUG, _LZ4, _ZSTD, _ARCH_SPECIFIC, _FAMILY = 0x2, 0x2000, 0x8000, 0x100000, 0x200000

_STUB_MAX_BYTES = 1 << 20  # code without kernels is a few kB; what is larger holds kernels, and is not unpacked to see
_ZSTD_WINDOW_BYTES = 1 << 23  # what the highest ordinary zstd level uses; a frame that wants more is not nvcc's

Buffer = bytes | mmap.mmap


@dataclass(frozen=True, slots=True)
class _Payload:
    """Where the bytes of an entry lie, and how large they become. ``size_bytes`` 0: not compressed."""

    entry: Entry
    start: int
    end: int
    unpacked_bytes: int


def read_fatbins(data: Buffer, sections: Iterable[Section]) -> tuple[Fatbin, ...]:
    """All fat binaries in those of ``sections`` that hold them by name; ``data`` is the whole file.

    Raises UnreadableElfError when a container is damaged or cut off. Memory stays under about 10 MB whatever the sizes
    written in the file: only the smallest entry is ever unpacked, and only to tell whether there are kernels.
    """
    found: list[Fatbin] = []
    for section in sections:
        if section.name in {EXECUTABLE_SECTION, RELOCATABLE_SECTION}:
            end = section.offset + section.size_bytes
            found += _read_section(data, section.offset, end, section.name == RELOCATABLE_SECTION)
    return tuple(found)


def _read_section(data: Buffer, at: int, end: int, is_relocatable: bool) -> Iterator[Fatbin]:
    end = min(end, len(data))
    while (at := _skip_zeros(data, at, end)) < end:
        if end - at < 16 or data[at : at + 8] != FATBIN_MAGIC:
            raise UnreadableElfError(f"the device code is damaged: no fat binary at 0x{at:x}, where one should begin")
        (size,) = struct.unpack_from("<Q", data, at + 8)
        if size > end - at - 16:
            raise UnreadableElfError(f"the device code is cut off: the fat binary at 0x{at:x} goes beyond its section")
        payloads = tuple(_read_entries(data, at + 16, at + 16 + size))
        yield Fatbin(
            offset=at,
            entries=tuple(payload.entry for payload in payloads),
            has_kernels=_has_kernels(data, payloads),
            is_relocatable=is_relocatable,
        )
        at += 16 + size


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
        entry = Entry(
            kind=name,
            sm=sm,
            variant="a" if flags & _ARCH_SPECIFIC else "f" if flags & _FAMILY else "",
            isa=(major, minor) if name == "ptx" else None,
            size_bytes=header + size,
            compression="lz4" if flags & _LZ4 else "zstd" if flags & _ZSTD else "",
            is_debug=bool(flags & _DEBUG),
        )
        yield _Payload(entry, start, start + (packed or size), unpacked if entry.compression else 0)
        at = start + size


def _has_kernels(data: Buffer, payloads: Iterable[_Payload]) -> bool:
    """Look into the entry that is cheapest to look into. Doubt means yes: it will be judged, not passed over."""
    cubins = [x for x in payloads if x.entry.kind == "cubin"]
    texts = [x for x in payloads if x.entry.kind == "ptx"]
    if not cubins and not texts:
        return any(True for _ in payloads)
    cheapest = min(cubins or texts, key=lambda x: (x.entry.compression != "", x.unpacked_bytes or x.end - x.start))
    code = _unpack(data, cheapest)
    if code is None:
        return True
    return _cubin_has_kernels(code) if cubins else b".entry" in code


def _unpack(data: Buffer, payload: _Payload) -> bytes | None:
    """The code of an entry, or None when it is larger than a stub can be or does not unpack."""
    if max(payload.unpacked_bytes, payload.end - payload.start) > _STUB_MAX_BYTES:
        return None
    raw = data[payload.start : payload.end]
    if payload.entry.compression == "lz4":
        return unpack_lz4(raw, payload.unpacked_bytes)
    if payload.entry.compression == "zstd":
        return _unpack_zstd(raw, payload.unpacked_bytes)
    return raw


def _unpack_zstd(raw: bytes, size_bytes: int) -> bytes | None:
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
            seed = bytes(out[-distance:])  # shorter than the copy when the copy overlaps itself: then it repeats
            out += (seed * (length // distance + 1))[:length]
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


def _cubin_has_kernels(code: bytes) -> bool:
    """True when a section named ``.text.<function>`` is there: pure struct reading, since most cubins come this way."""
    try:
        if code[:4] != ELF_MAGIC:
            return True
        (table,) = struct.unpack_from("<Q", code, 0x28)
        step, count, names_index = struct.unpack_from("<HHH", code, 0x3A)
        (names,) = struct.unpack_from("<Q", code, table + names_index * step + 0x18)
        for i in range(count):
            (name,) = struct.unpack_from("<I", code, table + i * step)
            if code.startswith(b".text.", names + name):
                return True
    except (struct.error, OverflowError):  # outside of the cubin, by little or by far
        return True
    return False
