"""Facts of layers, remembered in the store by the layer's digest: a layer never changes, so it is read once.

What is remembered is text that begins with its own sha256. It is checked for that and for the types of all values
before it is used; whatever is damaged, or was written by another version, is read anew.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import types
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from sys import intern
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from jetsonx.artifact.members import Change
from jetsonx.elf.facts import Import
from jetsonx.elf.load import Options
from jetsonx.store.store import Store

VERSION = 1
"""Counts up with every change to the values, or to how they are read."""

_KIND = "layer-facts"
_Pack = Callable[[Any], Any]


def recall(store: Store, digest: str, options: Options) -> tuple[Change, ...] | None:
    """The changes that a layer makes, when they are known; ``digest`` is of what is stored, ``sha256:…``."""
    text = store.recall(_KIND, _key(digest, options))
    return None if text is None else parse(text)


def remember(store: Store, digest: str, options: Options, changes: Sequence[Change]) -> None:
    """Write them down. Raises HostError when the cache cannot be written."""
    store.remember(_KIND, _key(digest, options), render(changes))


def _key(digest: str, options: Options) -> str:
    return f"{digest} {VERSION} {options!r}"


def render(changes: Sequence[Change]) -> str:
    """The changes as text; a line each, packed one by one, since all together take much memory."""
    import zstandard

    codec = zstandard.ZstdCompressor(level=1).compressobj()
    pieces = [codec.compress(json.dumps(_pack(change), separators=(",", ":")).encode() + b"\n") for change in changes]
    packed = b"".join([*pieces, codec.flush()])
    return f"{hashlib.sha256(packed).hexdigest()}\n{base64.b64encode(packed).decode()}"


def parse(text: str) -> tuple[Change, ...] | None:
    """The inverse of :func:`render`; None for anything else."""
    import zstandard

    digest, _, rest = text.partition("\n")
    try:
        packed = base64.b64decode(rest, validate=True)
        if hashlib.sha256(packed).hexdigest() != digest:
            return None
        unpack = _unpacker(Change)
        with zstandard.ZstdDecompressor().stream_reader(packed) as plain:
            return tuple(unpack(json.loads(line)) for line in io.BufferedReader(cast(io.RawIOBase, plain)))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, zstandard.ZstdError):
        return None


# Values become lists of their fields in order. Symbols, of which there are hundreds of thousands, are packed as text:
# they hold no control characters.


def _pack(value: Any) -> Any:
    if isinstance(value, frozenset):
        return "\n".join(sorted(value))
    if isinstance(value, tuple) and value and type(value[0]) is Import:
        return "\n".join(f"{x.name}\t{x.version}\t{x.library}\t{'w' if x.is_weak else ''}" for x in value)
    if isinstance(value, tuple):
        return [_pack(x) for x in value]
    if is_dataclass(value):
        return [_pack(getattr(value, field.name)) for field in fields(value)]
    return value


@cache
def _unpacker(kind: Any) -> _Pack:
    """A function that makes a value of the type ``kind`` out of what :func:`_pack` made of one."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind == frozenset[str]:
        return lambda value: frozenset(value.split("\n")) if value else frozenset()
    if kind == tuple[Import, ...]:
        return _imports
    if origin in (Union, types.UnionType):
        [present] = [_unpacker(x) for x in inner if x is not type(None)]
        return lambda value: None if value is None else present(value)
    if origin is Literal:
        return lambda value: _one_of(value, inner)
    if origin is tuple:
        return _tuple(inner)
    if kind in (str, int, bool):
        return lambda value: _of_type(value, kind)
    return _record(kind)


def _tuple(inner: tuple[Any, ...]) -> _Pack:
    if inner[-1] is ...:
        each = _unpacker(inner[0])
        return lambda value: tuple(each(x) for x in _of_type(value, list))
    parts = [_unpacker(x) for x in inner]
    return lambda value: tuple(part(x) for part, x in zip(parts, _of_type(value, list), strict=True))


def _record(kind: Any) -> _Pack:
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)] if is_dataclass(kind) else cast(Any, kind)._fields
    parts = [(name, _unpacker(hints[name])) for name in names]
    return lambda value: kind(**{name: part(x) for (name, part), x in zip(parts, _of_type(value, list), strict=True)})


def _imports(value: Any) -> tuple[Import, ...]:
    if value == []:
        return ()
    rows = [line.split("\t") for line in value.split("\n")]
    return tuple(
        Import(intern(name), intern(version), intern(library), weak == "w") for name, version, library, weak in rows
    )


def _of_type(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def _one_of(value: Any, choices: tuple[Any, ...]) -> Any:
    if value not in choices:
        raise ValueError(value)
    return value
