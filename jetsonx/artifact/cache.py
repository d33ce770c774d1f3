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
from operator import attrgetter
from sys import intern
from typing import IO, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from jetsonx.artifact.members import Change
from jetsonx.elf.facts import Import
from jetsonx.elf.load import Options
from jetsonx.store.store import Store

VERSION = 2
"""Counts up with every change to the values, or to how they are read."""

_KIND = "layer-facts"
_Pack = Callable[[Any], Any]


def recall(store: Store, digest: str, options: Options) -> tuple[Change, ...] | None:
    """The changes that a layer makes, when they are known; ``digest`` is of what is stored, ``sha256:…``."""
    text = store.recall(_KIND, _key(digest, options))
    return None if text is None else parse(text)


def is_there(store: Store, digest: str, options: Options) -> bool:
    """True when something is remembered of the layer, be it damaged."""
    return store.recall(_KIND, _key(digest, options)) is not None


def remember(store: Store, digest: str, options: Options, changes: Sequence[Change]) -> None:
    """Write them down. Raises HostError when the cache cannot be written."""
    store.remember(_KIND, _key(digest, options), render(changes))


def _key(digest: str, options: Options) -> str:
    return f"{digest} {VERSION} {options!r}"


def render(changes: Sequence[Change]) -> str:
    """The changes as text; a line each, packed one by one, since all together take much memory."""
    import zstandard

    codec = zstandard.ZstdCompressor(level=1).compressobj()
    pack, encode = cast(_Pack, _packer(Change)), json.JSONEncoder(separators=(",", ":")).encode
    pieces = [codec.compress(f"{encode(pack(change))}\n".encode()) for change in changes]
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
        unpack, decode = _unpacker(Change), json.JSONDecoder().decode
        with zstandard.ZstdDecompressor().stream_reader(packed) as plain:
            return tuple([unpack(decode(line)) for line in io.TextIOWrapper(cast(IO[bytes], plain), "utf-8")])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, zstandard.ZstdError):
        return None


# Values become lists of their fields in order. Symbols, of which there are hundreds of thousands, are packed as text:
# they hold no control characters. What packs and unpacks is put together once for each type.


@cache
def _packer(kind: Any) -> _Pack | None:
    """A function that makes of a value of the type ``kind`` what JSON can hold; None: it can hold the value itself."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind == frozenset[str]:
        return "\n".join
    if kind == tuple[Import, ...]:
        return lambda value: "\n".join([f"{x[0]}\t{x[1]}\t{x[2]}\t{'w' if x[3] else ''}" for x in value])
    if origin is Literal or kind in (str, int, bool):
        return None
    if origin in (Union, types.UnionType):
        [present] = [_packer(x) for x in inner if x is not type(None)]
        return present and (lambda value: None if value is None else present(value))
    if origin is tuple and inner[-1] is ...:
        each = _packer(inner[0])
        return each and (lambda value: [each(x) for x in value])
    parts = [_packer(x) for x in inner] if origin is tuple else [_packer(x) for x in _fields(kind).values()]
    take = attrgetter(*_fields(kind)) if is_dataclass(kind) else tuple
    if not is_dataclass(kind) and not any(parts):
        return None
    return lambda value: [x if part is None else part(x) for part, x in zip(parts, take(value), strict=True)]


@cache
def _unpacker(kind: Any) -> _Pack:
    """A function that makes a value of the type ``kind`` out of what :func:`_packer` made of one."""
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
    if origin is tuple and inner[-1] is ...:
        each = _unpacker(inner[0])
        return lambda value: tuple([each(x) for x in _of_type(value, list)])
    if origin is tuple:
        return _record(tuple, inner)
    if kind in (str, int, bool):
        return lambda value: value if type(value) is kind else _of_type(value, kind)
    return _record(kind, tuple(_fields(kind).values()))


def _record(kind: Any, inner: tuple[Any, ...]) -> _Pack:
    if not is_dataclass(kind) and all(x in (str, int, bool) for x in inner):
        return lambda value: _row(kind, inner, value)
    parts, names = [_unpacker(x) for x in inner], [*_fields(kind)] if is_dataclass(kind) else []

    def unpack(value: Any) -> Any:
        values = [part(x) for part, x in zip(parts, _of_type(value, list), strict=True)]
        return kind(**dict(zip(names, values, strict=True))) if names else tuple.__new__(kind, values)

    return unpack


def _row(kind: Any, inner: tuple[Any, ...], value: Any) -> Any:
    if tuple(map(type, _of_type(value, list))) != inner:
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return tuple.__new__(kind, value)


def _fields(kind: Any) -> dict[str, Any]:
    """The names of a record's fields, in order, with their types."""
    hints = get_type_hints(kind)
    return {name: hints[name] for name in ([x.name for x in fields(kind)] if is_dataclass(kind) else kind._fields)}


def _imports(value: Any) -> tuple[Import, ...]:
    if value == "":
        return ()
    rows = [line.split("\t") for line in value.split("\n")]
    new = tuple.__new__
    return tuple(
        [
            new(Import, (intern(name), intern(version), intern(library), weak == "w"))
            for name, version, library, weak in rows
        ]
    )


def _of_type(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{value!r} is no {kind.__name__}")
    return value


def _one_of(value: Any, choices: tuple[Any, ...]) -> Any:
    if value not in choices:
        raise ValueError(value)
    return value
