"""A tar reader for streams that are long and not to be trusted: ustar, GNU and PAX, sparse files of every kind.

Python's ``tarfile`` takes ten times as long per member and believes what a header says. Here a header costs a few
microseconds, contents are views of the decompressed blocks, and no size that the stream declares is ever allocated.

Sources: POSIX.1-2017 pax(1), "ustar Interchange Format" and "pax Extended Header"; GNU tar's manual, "Basic Tar Format"
and "Storing Sparse Files".
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, NamedTuple

from jetsonx.rootfs.codec import DamagedError, damaged

Kind = Literal["file", "dir", "symlink", "hardlink", "other"]
Segments = tuple[tuple[int, int], ...]

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_HOLE = bytes(1 << 20)
# Bounds on what describes a file; Linux takes no name longer than 4 kB, and no honest file has so many holes.
_HEADER_MAX = 1 << 20
_SEGMENTS_MAX = 1 << 16
_DIGITS_MAX = 20

_HEADER_ONLY: dict[int, Kind] = {
    ord("1"): "hardlink",
    ord("2"): "symlink",
    ord("3"): "other",
    ord("4"): "other",
    ord("5"): "dir",
    ord("6"): "other",
}
_REGULAR = frozenset(b"\x0007")
_WANTED = frozenset(("path", "linkpath", "size"))


class Member(NamedTuple):
    """One member: its name and target as the archive spells them (undecodable bytes escaped), sizes as unpacked."""

    name: str
    kind: Kind
    size_bytes: int
    mode: int
    target: str


class TarReader:
    """Iterates over the members of a tar stream, given as blocks of any size.

    After a member of kind ``file`` came, :meth:`read` or :meth:`pieces` gives its content, once; what is not asked for
    is passed over. ``name`` says in errors what is being read. ``skip``, for a file that can be sought in, passes over
    that many bytes behind the blocks taken so far.

    Raises DownloadError for a stream that is damaged or cut off.
    """

    def __init__(self, blocks: Iterable[bytes], *, name: str, skip: Callable[[int], object] | None = None) -> None:
        self._blocks = iter(blocks)
        self._name = name
        self._pass_over = skip
        self._data = b""
        self._at = 0
        self._before = 0  # bytes of the stream ahead of the block at hand
        self._left = 0  # bytes of the current member, and of its padding, that were not taken yet
        self._pad = 0
        self._size = 0
        self._segments: Segments | None = None
        self._defaults: dict[str, str] = {}

    def __iter__(self) -> Iterator[Member]:
        """Each member in turn, then the rest of the stream to its end, so that a cut anywhere is noticed."""
        try:
            while (header := self._next_header()) is not None:
                yield self._member(header)
            for _ in self._blocks:
                pass
        except (DamagedError, ValueError) as error:
            raise damaged(self._name, error) from error

    @property
    def position(self) -> int:
        """Bytes of the stream taken so far: after a member came, where its content begins."""
        return self._before + self._at

    @property
    def stored(self) -> Segments:
        """The current file's content as it lies at :attr:`position`: (offset in the file, length) one after another.

        A file that is not sparse is one such piece.
        """
        return ((0, self._size),) if self._segments is None else self._segments

    @property
    def stored_bytes(self) -> int:
        """How many bytes of content the current file has in the stream."""
        return self._left

    def head(self, count: int) -> bytes:
        """The first ``count`` bytes of the current file, or as many as it has, without taking them."""
        if self._segments is not None:
            count = min(count, self._segments[0][1]) if self._segments and self._segments[0][0] == 0 else 0
        count = min(count, self._left)
        while len(self._data) - self._at < count:
            rest = self._data[self._at :]
            if not self._more():
                raise damaged(self._name, "it is cut off within a file")
            self._data, self._before = rest + self._data, self._before - len(rest)
        return self._data[self._at : self._at + count]

    def read(self) -> bytes:
        """The whole content of the current file; the caller has looked at its size."""
        if self._segments is None and self._at + self._size <= len(self._data):
            return self._own(self._size)  # as nearly always: within one block
        return b"".join(self.pieces())

    def pieces(self) -> Iterator[bytes | memoryview]:
        """The content of the current file, in pieces of at most about a megabyte."""
        try:
            if self._segments is None:
                yield from self._stored(self._size)
                return
            position = 0
            for offset, length in self._segments:
                yield from _hole(offset - position)
                yield from self._stored(length)
                position = offset + length
            yield from _hole(self._size - position)
        except DamagedError as error:
            raise damaged(self._name, error) from error

    # ---- members -------------------------------------------------------------------------------------------------

    def _member(self, header: bytes) -> Member:
        """What ``header`` and the headers that extend the next one say together."""
        records: dict[str, str] = {}
        sparse: list[tuple[str, str]] = []
        long_name = long_target = ""
        while True:
            kind = header[156]
            if kind in b"xXg":
                found = list(_pax_records(self._extension(header)))
                if kind == ord("g"):
                    self._defaults.update((key, value) for key, value in found if key in _WANTED)
                else:
                    records = {key: value for key, value in found if key in _WANTED}
                    sparse = [(key, value) for key, value in found if key.startswith("GNU.sparse.")]
            elif kind == ord("L"):
                long_name = _text(self._extension(header))
            elif kind == ord("K"):
                long_target = _text(self._extension(header))
            else:
                break
            following = self._next_header()
            if following is None:
                raise DamagedError("it ends where a member should follow")
            header = following
        if self._defaults:
            records = {**self._defaults, **records}
        name = records.get("path") or long_name or _header_name(header)
        target = records.get("linkpath") or long_target or _text(header[157:257])
        stored = _decimal(records["size"]) if records.get("size") else _number(header[124:136])
        mode = _number(header[100:108])
        return self._begin(header, name, target, stored, mode, sparse)

    def _begin(
        self, header: bytes, name: str, target: str, stored: int, mode: int, sparse: list[tuple[str, str]]
    ) -> Member:
        code = header[156]
        kind = _HEADER_ONLY.get(code)
        self._segments = None
        if kind is not None:
            self._left = self._pad = self._size = 0
            return Member(name, kind, 0, mode, target)
        self._left, self._pad = stored, -stored % _BLOCK
        self._size = stored
        if code == ord("S"):
            self._old_sparse(header)
            return Member(name, "file", self._size, mode, "")
        if code not in _REGULAR:
            return Member(name, "dir" if code == ord("D") else "other", 0, mode, "")
        if sparse:
            name = self._pax_sparse(sparse) or name
        if name.endswith("/"):  # as old archives mark directories
            return Member(name, "dir", 0, mode, "")
        return Member(name, "file", self._size, mode, "")

    def _old_sparse(self, header: bytes) -> None:
        segments = list(_segments_in(header[386:482]))
        more = header[482]
        while more:
            block = self._take(_BLOCK)
            segments += _segments_in(block[:504])
            if len(segments) > _SEGMENTS_MAX:
                raise DamagedError("a sparse file has too many pieces")
            more = block[504]
        self._set_sparse(_number(header[483:495]), segments)

    def _pax_sparse(self, sparse: list[tuple[str, str]]) -> str:
        last = dict(sparse)
        if last.get("GNU.sparse.major") == "1":
            size, segments = last.get("GNU.sparse.realsize", ""), self._leading_map()
        elif "GNU.sparse.map" in last:
            numbers = [_decimal(number) for number in last["GNU.sparse.map"].split(",") if number]
            size, segments = last.get("GNU.sparse.size", ""), list(zip(numbers[::2], numbers[1::2], strict=False))
        elif "GNU.sparse.size" in last:
            offsets = [_decimal(value) for key, value in sparse if key == "GNU.sparse.offset"]
            lengths = [_decimal(value) for key, value in sparse if key == "GNU.sparse.numbytes"]
            size, segments = last["GNU.sparse.size"], list(zip(offsets, lengths, strict=False))
        else:
            return ""
        self._set_sparse(_decimal(size), segments)
        return last.get("GNU.sparse.name", "")

    def _leading_map(self) -> list[tuple[int, int]]:
        """The map of the 1.0 format: decimal numbers, one a line, before the content; padded to a whole block."""
        text = b""

        def numbers() -> Iterator[int]:
            nonlocal text
            while True:
                line, newline, text = text.partition(b"\n")
                while not newline:
                    if len(line) > _DIGITS_MAX:
                        raise DamagedError("the map of a sparse file is not a list of numbers")
                    line, newline, text = (line + self._own(_BLOCK)).partition(b"\n")
                yield _decimal(line.decode("ascii", "replace"))

        number = numbers()
        count = next(number)
        if count > _SEGMENTS_MAX:
            raise DamagedError("a sparse file has too many pieces")
        return [(next(number), next(number)) for _ in range(count)]

    def _set_sparse(self, size: int, segments: list[tuple[int, int]]) -> None:
        position = 0
        for offset, length in segments:
            if offset < position:
                raise DamagedError("the pieces of a sparse file overlap")
            position = offset + length
        if position > size or sum(length for _, length in segments) > self._left:
            raise DamagedError("the pieces of a sparse file reach beyond it")
        self._size, self._segments = size, tuple(segments)

    # ---- blocks --------------------------------------------------------------------------------------------------

    def _next_header(self) -> bytes | None:
        """The next header, its checksum right; None at the end of the archive."""
        if self._left or self._pad:
            self._skip(self._left + self._pad)
            self._left = self._pad = 0
        if self._at == len(self._data) and not self._more():
            return None  # without an end mark, but where one may be: as every tool, we let it pass
        header = self._take(_BLOCK)
        if header == _ZEROS:
            return None
        given = _number(header[148:156])
        # The sum of all bytes with the checksum's own taken as spaces. Adler-32's low half is such a sum plus one,
        # modulo 65521: exact for 256 bytes, and several times faster than sum().
        field = (zlib.adler32(header[148:156]) & 0xFFFF) - 1
        total = (zlib.adler32(header[:256]) & 0xFFFF) + (zlib.adler32(header[256:]) & 0xFFFF) - 2 - field + 256
        if given != total and given != total - 256 * sum(byte > 127 for byte in header[:148] + header[156:]):
            raise DamagedError("a header's checksum is wrong")
        return header

    def _extension(self, header: bytes) -> bytes:
        size = _number(header[124:136])
        if size > _HEADER_MAX:
            raise DamagedError(f"a header of {size} bytes: at most {_HEADER_MAX} are read")
        data = self._take(size)
        self._skip(-size % _BLOCK)
        return data

    def _own(self, count: int) -> bytes:
        """``count`` bytes of the current member."""
        if count > self._left:
            raise DamagedError("a sparse file's map is larger than the file")
        self._left -= count
        return self._take(count)

    def _stored(self, count: int) -> Iterator[memoryview]:
        self._left -= count
        while count:
            if self._at == len(self._data) and not self._more():
                raise DamagedError("it is cut off within a file")
            piece = memoryview(self._data)[self._at : self._at + count]
            self._at += len(piece)
            count -= len(piece)
            yield piece

    def _take(self, count: int) -> bytes:
        end = self._at + count
        if end <= len(self._data):
            taken = self._data[self._at : end]
            self._at = end
            return taken
        parts = [self._data[self._at :]]
        count -= len(parts[0])
        while count > 0:
            if not self._more():
                raise DamagedError("it is cut off")
            parts.append(self._data[:count])
            self._at = len(parts[-1])
            count -= self._at
        return b"".join(parts)

    def _skip(self, count: int) -> None:
        if self._pass_over and count > (there := len(self._data) - self._at):
            self._pass_over(count - there)
            self._before += self._at + count
            self._data, self._at = b"", 0
            return
        while count > (there := len(self._data) - self._at):
            count -= there
            if not self._more():
                raise DamagedError("it is cut off within a file")
        self._at += count

    def _more(self) -> bool:
        self._before += len(self._data)
        self._data, self._at = next(self._blocks, b""), 0
        return bool(self._data)


def _hole(count: int) -> Iterator[memoryview]:
    zeros = memoryview(_HOLE)
    while count > 0:
        yield zeros[:count]
        count -= len(zeros)


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _header_name(header: bytes) -> str:
    name = _text(header[:100])
    if header[257:263] == b"ustar\0" and header[345]:  # GNU's own format has other fields there
        return f"{_text(header[345:500])}/{name}"
    return name


def _number(field: bytes) -> int:
    """A numeric field: octal digits, or base 256 when the first bit is set. Negative sizes and modes are damage."""
    if field[0] & 0x80:
        if field[0] & 0x40:
            raise DamagedError("a number in a header is negative")
        return int.from_bytes(bytes((field[0] & 0x3F,)) + field[1:], "big")
    digits = field.partition(b"\0")[0].strip()
    if not digits:
        return 0
    if not digits.isdigit():
        raise DamagedError(f"a header holds {field!r} where a number should be")
    return int(digits, 8)


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > _DIGITS_MAX:
        raise DamagedError(f"a header holds {text[:_DIGITS_MAX]!r} where a number should be")
    return int(text)


def _segments_in(fields: bytes) -> Iterator[tuple[int, int]]:
    for start in range(0, len(fields), 24):
        if fields[start + 12] == 0:
            return
        yield _number(fields[start : start + 12]), _number(fields[start + 12 : start + 24])


def _pax_records(data: bytes) -> Iterator[tuple[str, str]]:
    """The ``"<length> <key>=<value>\\n"`` records of an extended header."""
    at = 0
    while at < len(data) and data[at]:
        space = data.find(b" ", at, at + _DIGITS_MAX)
        if space < 0:
            raise DamagedError("an extended header's record has no length")
        length = _decimal(data[at:space].decode("ascii", "replace"))
        record = data[space + 1 : at + length]
        key, equals, value = record[:-1].partition(b"=")
        if not equals or record[-1:] != b"\n" or at + length > len(data):
            raise DamagedError("an extended header's record does not end where it says")
        yield key.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape")
        at += length
