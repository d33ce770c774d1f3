"""Tar archives as streams, as little of them as is needed: one is written for the engine, its own are read."""

from typing import Any, Callable, Iterator, NamedTuple

from jetsonx.deploy.helper.recipe import BLOCK, RecipeError

_CHUNK = 1 << 18
_EXTENSION_MAX = 1 << 20


class Entry(NamedTuple):
    """A member: ``kind`` is its type byte, ``content`` gives its bytes, to be taken before the next member."""

    name: bytes
    kind: bytes
    size: int
    content: Callable[[], Iterator[bytes]]


def member_header(name: str, size: int) -> bytes:
    """The header of a file in an archive for an engine; names there are ASCII and short."""
    digits = b"%011o\0" % size if size < 8 << 30 else b"\x80" + size.to_bytes(11, "big")
    header = bytearray(BLOCK)
    encoded = name.encode("ascii")
    header[: len(encoded)] = encoded
    header[100:124] = b"%07o\0%07o\0%07o\0" % (0o644, 0, 0)
    header[124:136] = digits
    header[136:148] = b"00000000000\0"
    header[148:156] = b" " * 8
    header[156:157] = b"0"
    header[257:265] = b"ustar\00000"
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def padding(size: int) -> bytes:
    """What follows ``size`` bytes of content."""
    return bytes(-size % BLOCK)


ARCHIVE_END = bytes(2 * BLOCK)


class Entries:
    """The members of the tar stream that ``read`` gives, as `docker cp` writes it: ustar and pax.

    Raises RecipeError when it is cut off or damaged.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read
        self._left = 0
        self._pad = 0

    def __iter__(self) -> Iterator[Entry]:
        """Each member in turn."""
        long_name = None  # type: Any
        size_given = None  # type: Any
        while True:
            self._skip()
            header = self._exactly(BLOCK, may_end=True)
            if not header.strip(b"\0"):
                self._drain()
                return
            size, kind = _size(header), header[156:157]
            if kind in b"xgLK":
                data = self._exactly(self._bounded(size))
                self._exactly(-size % BLOCK)
                if kind == b"L":
                    long_name = data.rstrip(b"\0")
                elif kind == b"x":
                    records = dict(_records(data))
                    long_name = records.get(b"path", long_name)
                    size_given = int(records[b"size"]) if b"size" in records else None
                continue
            size = size if size_given is None else size_given
            name = long_name if long_name is not None else _name(header)
            long_name = size_given = None
            self._left = size if kind in b"\x000" else 0
            self._pad = -self._left % BLOCK
            yield Entry(name, b"0" if kind == b"\0" else kind, self._left, self._content)

    def _content(self) -> Iterator[bytes]:
        while self._left:
            data = self._read(min(self._left, _CHUNK))
            if not data:
                raise RecipeError("missing-file", "what the engine copies out of the old image is cut off")
            self._left -= len(data)
            yield data

    def _skip(self) -> None:
        for _ in self._content():
            pass
        self._exactly(self._pad)
        self._pad = 0

    def _drain(self) -> None:
        while self._read(_CHUNK):
            pass

    def _exactly(self, count: int, may_end: bool = False) -> bytes:
        data = self._read(count) if count else b""
        while len(data) < count:
            more = self._read(count - len(data))
            if not more:
                if may_end and not data:
                    return b""
                raise RecipeError("missing-file", "what the engine copies out of the old image is cut off")
            data += more
        return data

    def _bounded(self, size: int) -> int:
        if size > _EXTENSION_MAX:
            raise RecipeError("missing-file", "what the engine copies out of the old image is no tar archive")
        return size


def _size(header: bytes) -> int:
    field = header[124:136]
    try:
        return int.from_bytes(field[1:], "big") if field[0] & 0x80 else int(field.strip(b"\0 ") or b"0", 8)
    except ValueError as error:
        raise RecipeError("missing-file", "what the engine copies out of the old image is no tar") from error


def _name(header: bytes) -> bytes:
    name = header[:100].partition(b"\0")[0]
    if header[257:263] == b"ustar\0" and header[345]:
        return header[345:500].partition(b"\0")[0] + b"/" + name
    return name


def _records(data: bytes) -> Iterator[Any]:
    while data.strip(b"\0"):
        length, _, _ = data.partition(b" ")
        record = data[len(length) + 1 : int(length) - 1]
        yield record.partition(b"=")[::2]
        data = data[int(length) :]
