"""Follows a recipe: gives the archive that it describes, piece by piece, each member's digest checked at its end."""

import hashlib
import json
from typing import Any, Callable, Dict, Iterator, Tuple

from jetsonx.deploy.helper import recipe
from jetsonx.deploy.helper.archive import ARCHIVE_END, member_header, padding
from jetsonx.deploy.helper.recipe import (
    BLOCK,
    HEADER_MAX,
    Reader,
    RecipeError,
    Templates,
    predicted,
    read_sources,
)

_ZEROS = bytes(1 << 16)


def read_header(read: Callable[[int], bytes]) -> Dict[str, Any]:
    """The header of a bundle whose magic was read. Raises RecipeError when there is none."""
    size, sha256 = int.from_bytes(read(4), "big"), read(32)
    data = read(size) if size <= HEADER_MAX else b""
    if hashlib.sha256(data).digest() != sha256:
        raise RecipeError("damaged", "the bundle's header is damaged")
    try:
        header = json.loads(data.decode())
        members = header["members"]
        if header["format"] != 1 or not all(len(member) == 3 for member in members):
            raise ValueError("another format")
    except (ValueError, KeyError, TypeError) as error:
        raise RecipeError("damaged", "the bundle's header is damaged: {}".format(error)) from error
    return dict(header)


def rebuild(read: Callable[[int], bytes], old: Any) -> Iterator[bytes]:
    """The archive that the bundle, ``read`` from behind its magic, makes out of the files of ``old``.

    Raises RecipeError before the last byte of the archive when anything is not as it should be.
    """
    for name, size, pieces in members(read, old):
        yield member_header(name, size)
        for piece in pieces:
            yield piece
        yield padding(size)
    yield ARCHIVE_END


def members(read: Callable[[int], bytes], old: Any) -> Iterator[Tuple[str, int, Iterator[bytes]]]:
    """Name, size and content of each member of that archive; the content of one is to be taken before the next.

    Raises RecipeError before the last byte of a content when anything is not as it should be.
    """
    header = read_header(read)
    reader = Reader(read, header["compression"])
    old.expect(*read_sources(reader))
    for name, size, sha256 in header["members"]:
        yield name, size, _checked(name, size, sha256, _Content(reader, old).pieces())


def _checked(name: str, size: int, sha256: str, pieces: Iterator[bytes]) -> Iterator[bytes]:
    digest, length = hashlib.sha256(), 0
    for piece in pieces:
        length += len(piece)
        if length > size:
            break
        digest.update(piece)
        yield piece
    if length != size or digest.hexdigest() != sha256:
        raise RecipeError("mismatch", "{} did not come out as it should".format(name))


class _Content:
    """The content of one member."""

    def __init__(self, reader: Reader, old: Any) -> None:
        self._reader = reader
        self._old = old
        self._templates = Templates()
        self._at = 0
        self._next = 0

    def pieces(self) -> Iterator[bytes]:
        """It, in pieces."""
        while True:
            operation = self._reader.byte()
            if operation == recipe.END:
                return
            for piece in self._do(operation):
                self._at += len(piece)
                yield piece

    def _do(self, operation: int) -> Iterator[bytes]:
        reader = self._reader
        if operation == recipe.LITERAL:
            return reader.pieces(reader.number())
        if operation == recipe.COPY:
            index = self._source()
            return self._part(index, reader.number(), reader.number())
        if operation == recipe.WHOLE:
            return self._whole(self._source())
        if operation == recipe.PAD:
            return _zeros(-self._at % BLOCK)
        if operation == recipe.ZEROS:
            return _zeros(reader.number())
        if operation == recipe.HEADER:
            kind, name = reader.byte(), reader.name(self._templates.name)
            return iter((self._header(kind, name, reader.number(), reader.patches()),))
        if operation in (recipe.NEXT, recipe.NEXT_PATCHED):
            return self._file(reader.patches() if operation == recipe.NEXT_PATCHED else [])
        raise RecipeError("damaged", "the bundle is damaged: no operation {}".format(operation))

    def _file(self, patches: Any) -> Iterator[bytes]:
        source = self._described(self._next)
        yield self._header(ord("0"), self._templates.prefix + source.path, source.size, patches)
        for piece in self._whole(self._next):
            yield piece
        yield padding(source.size)

    def _header(self, kind: int, name: bytes, size: int, patches: Any) -> bytes:
        header = predicted(self._templates.of(kind), name, size, patches)
        if len(header) != BLOCK:
            raise RecipeError("damaged", "a header in the bundle is damaged")
        self._templates.saw(header, name)
        return header

    def _source(self) -> int:
        """A source is written as its distance from the one that is next by order, folded so that it is not negative."""
        folded = self._reader.number()
        return self._next + (folded >> 1 if not folded & 1 else -(folded + 1 >> 1))

    def _described(self, index: int) -> Any:
        if not 0 <= index < len(self._old.sources):
            raise RecipeError("damaged", "the bundle names a file that it does not list")
        return self._old.sources[index]

    def _whole(self, index: int) -> Iterator[bytes]:
        self._described(index)
        self._next = index + 1
        return iter(self._old.whole(index))

    def _part(self, index: int, offset: int, length: int) -> Iterator[bytes]:
        self._described(index)
        self._next = index + 1
        return iter(self._old.part(index, offset, length))


def _zeros(count: int) -> Iterator[bytes]:
    while count:
        piece = _ZEROS[:count]
        count -= len(piece)
        yield piece
