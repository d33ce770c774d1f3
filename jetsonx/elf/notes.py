"""Notes of an ELF file: properties of its code, and the libraries that it opens while it runs."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from jetsonx.elf.facts import DlopenNote
from jetsonx.elf.source import clean

_HEADER = struct.Struct("<III")
_PROPERTIES = (b"GNU\0", 5)  # NT_GNU_PROPERTY_TYPE_0
_DLOPEN = (b"FDO\0", 0x407C0C0A)
_AARCH64_FEATURES = 0xC0000000  # GNU_PROPERTY_AARCH64_FEATURE_1_AND: bit 0 BTI, bit 1 PAC
_DLOPEN_MAX = 100
_PRIORITIES = ("required", "recommended", "suggested")


class Notes(NamedTuple):
    """See the fields of :class:`jetsonx.elf.facts.ElfFacts`."""

    has_bti: bool = False
    has_pac: bool = False
    dlopen_notes: tuple[DlopenNote, ...] = ()


def parse_notes(data: bytes, align: int, found: Notes) -> Notes:
    """Add what the notes in ``data`` say to ``found``. Damaged notes say nothing: no loader needs them."""
    for owner, kind, content in _iter_notes(data, 8 if align == 8 else 4):
        if (owner, kind) == _PROPERTIES:
            features = _features(content)
            found = found._replace(has_bti=bool(features & 1), has_pac=bool(features & 2))
        elif (owner, kind) == _DLOPEN and len(found.dlopen_notes) < _DLOPEN_MAX:
            found = found._replace(dlopen_notes=(*found.dlopen_notes, *_dlopen(content))[:_DLOPEN_MAX])
    return found


def _iter_notes(data: bytes, align: int) -> Iterator[tuple[bytes, int, bytes]]:
    at = 0
    while at + _HEADER.size <= len(data):
        name_bytes, content_bytes, kind = _HEADER.unpack_from(data, at)
        at += _HEADER.size
        start = at + name_bytes + -name_bytes % 4
        start += -start % align
        yield data[at : at + min(name_bytes, 16)], kind, data[start : start + content_bytes]
        at = start + content_bytes
        at += -at % align


def _features(content: bytes) -> int:
    """The AArch64 features among the properties of a note."""
    at = 0
    while at + 8 <= len(content):
        kind, size = struct.unpack_from("<II", content, at)
        if kind == _AARCH64_FEATURES and size >= 4 and at + 12 <= len(content):
            return int(struct.unpack_from("<I", content, at + 8)[0])
        at += 8 + size + -size % 8
    return 0


def _dlopen(content: bytes) -> Iterator[DlopenNote]:
    try:
        items: Any = json.loads(content.rstrip(b"\0"))
    except (ValueError, RecursionError):
        return
    for item in items if isinstance(items, list) else ():
        if not isinstance(item, dict):
            continue
        names = item.get("soname")
        priority = item.get("priority")
        yield DlopenNote(
            sonames=tuple(_text(x) for x in names[:_DLOPEN_MAX]) if isinstance(names, list) else (),
            priority=priority if priority in _PRIORITIES else "recommended",
            description=_text(item.get("description", "")),
        )


def _text(value: object) -> str:
    return clean(str(value).encode("utf-8", "backslashreplace")) if isinstance(value, str) else ""
