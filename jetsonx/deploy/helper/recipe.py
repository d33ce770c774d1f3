"""The format of a recipe: how the files of an archive are made from files of an earlier image and a few new bytes.

    MAGIC, length (4 bytes) and sha256 (32 bytes) of the header, header (JSON), body (one xz or zlib stream)

The header lists the archive's members in order, with size and sha256, and says how the body is compressed. The body
begins with the sources (files of the old image), then come, member by member, the operations that make its content.
Numbers are LEB128: seven bits a byte, the lowest first. The same module is used to write recipes and to read them.
"""

import zlib
from typing import Any, Callable, Iterator, List, NamedTuple, Optional

try:
    import lzma
except ImportError:
    HAS_LZMA = False  # a Python that was built without it
else:
    HAS_LZMA = True

MAGIC = b"jetsonx-recipe-1\n"
BLOCK = 512
HEADER_MAX = 64 << 20
CHUNK = 1 << 18
NUMBER_MAX = 1 << 62
NAME_MAX = 1 << 16

END = 0  # of the member
LITERAL = 1  # length, then the bytes
COPY = 2  # source, offset, length
WHOLE = 3  # source
PAD = 4  # zeros up to a multiple of 512
ZEROS = 5  # count
HEADER = 6  # a tar header like the last one of its type: type, name, size, patches
NEXT = 7  # a tar header named and sized as the next source is, that source, zeros up to a multiple of 512
NEXT_PATCHED = 8  # the same with patches to the header


class RecipeError(Exception):
    """The recipe cannot be followed. ``reason`` is a word for programs."""

    def __init__(self, reason: str, message: str) -> None:
        super(RecipeError, self).__init__(message)
        self.reason = reason


class Source(NamedTuple):
    """A file of the old image. ``root``: the directory, or file, that is to be copied out to get at it; a number.

    ``uses`` is how many operations copy from it.
    """

    path: bytes
    size: int
    uses: int
    root: int


def part_of(file: Any, offset: int, length: int) -> Iterator[bytes]:
    """A part of an open source, in pieces. Raises RecipeError when the file has less."""
    file.seek(offset)
    while length:
        piece = file.read(min(length, CHUNK))
        if not piece:
            raise RecipeError("damaged", "the bundle asks for more than a file has")
        length -= len(piece)
        yield piece


def number(value: int) -> bytes:
    """A number as it is written."""
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    made.append(value)
    return bytes(made)


def predicted(template: bytes, name: bytes, size: int, patches: List[Any]) -> bytes:
    """A tar header like ``template`` but for its name, size, the bytes in ``patches`` (offset, bytes) and its checksum.

    ``name`` has at most 100 bytes, ``size`` fits eleven octal digits.
    """
    header = bytearray(template)
    header[:100] = name.ljust(100, b"\0")
    header[124:136] = b"%011o\0" % size
    for offset, data in patches:
        header[offset : offset + len(data)] = data
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


class Templates:
    """The last tar header of each type, which the next is likely to resemble. Reader and writer keep it alike."""

    def __init__(self) -> None:
        self._last = {}  # type: dict[int, bytes]
        self.name = b""
        self.prefix = b""

    def of(self, kind: int) -> bytes:
        """The last header of the type ``kind``."""
        return self._last.get(kind) or bytes(156) + bytes((kind,)) + bytes(BLOCK - 157)

    def saw(self, header: bytes, name: bytes) -> None:
        """Remember a header, and whether names begin with "./"."""
        self._last[header[156]] = header
        self.name = name
        self.prefix = b"./" if name.startswith(b"./") else b""


class Reader:
    """Numbers and bytes out of the compressed body, which is read as it is needed."""

    def __init__(self, read: Callable[[int], bytes], compression: str) -> None:
        self._read = read
        self._is_xz = compression == "xz"
        if self._is_xz and not HAS_LZMA:
            raise RecipeError("damaged", "the python3 of this device has no lzma")
        self._codec = lzma.LZMADecompressor(memlimit=64 << 20) if self._is_xz else zlib.decompressobj()  # type: Any
        self._errors = (zlib.error, EOFError, lzma.LZMAError if HAS_LZMA else EOFError)
        self._data = b""
        self._at = 0
        self._waiting = b""

    def _more(self) -> None:
        """Have at least one byte more. Raises RecipeError at the end of the stream."""
        self._data, self._at = b"", 0
        try:
            while not self._data:
                if self._codec.eof:
                    raise RecipeError("damaged", "the bundle ends too early")
                if self._is_xz:
                    data = self._read(CHUNK) if self._codec.needs_input else b""
                    is_over = self._codec.needs_input and not data
                    self._data = b"" if is_over else self._codec.decompress(data, CHUNK)
                else:
                    data = self._waiting or self._read(CHUNK)
                    is_over = not data
                    self._data = self._codec.decompress(data, CHUNK)
                    self._waiting = self._codec.unconsumed_tail
                if is_over:
                    raise RecipeError("damaged", "the bundle is cut off")
        except self._errors as error:
            raise RecipeError("damaged", "the bundle is damaged: {}".format(error)) from error

    def byte(self) -> int:
        """The next byte."""
        if self._at == len(self._data):
            self._more()
        self._at += 1
        return self._data[self._at - 1]

    def number(self) -> int:
        """The next number."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise RecipeError("damaged", "a number in the bundle has no end")

    def pieces(self, count: int) -> Iterator[bytes]:
        """The next ``count`` bytes."""
        while count:
            if self._at == len(self._data):
                self._more()
            piece = self._data[self._at : self._at + count]
            self._at += len(piece)
            count -= len(piece)
            yield piece

    def name(self, last: bytes) -> bytes:
        """The next name, which shares its beginning with ``last``."""
        shared = self.number()
        length = self.number()
        if shared > len(last) or length > NAME_MAX:
            raise RecipeError("damaged", "a name in the bundle is not one")
        return last[:shared] + b"".join(self.pieces(length))

    def patches(self) -> List[Any]:
        """The next patches to a header."""
        found = []
        for _ in range(self.number()):
            offset, length = self.number(), self.number()
            if offset + length > BLOCK:
                raise RecipeError("damaged", "a header's patch reaches beyond it")
            found.append((offset, b"".join(self.pieces(length))))
        return found


def front_coded(name: bytes, last: bytes) -> bytes:
    """A name as :meth:`Reader.name` reads it."""
    limit = min(len(name), len(last))
    shared = next((at for at in range(limit) if name[at] != last[at]), limit)
    return number(shared) + number(len(name) - shared) + name[shared:]


def read_sources(reader: Reader) -> "tuple[List[bytes], List[Source]]":
    """The roots and the sources that a body begins with."""
    roots = []  # type: List[bytes]
    for _ in range(reader.number()):
        roots.append(reader.name(roots[-1] if roots else b""))
    sources = []  # type: List[Source]
    path = b""
    for _ in range(reader.number()):
        path = reader.name(path)
        size, uses, root = reader.number(), reader.number(), reader.number()
        if root >= len(roots):
            raise RecipeError("damaged", "a file in the bundle is below no root")
        sources.append(Source(path, size, uses, root))
    return roots, sources


def header_size(header: bytes) -> Optional[int]:
    """The size in a tar header, when it is written as :func:`predicted` writes it."""
    try:
        size = int(header[124:135], 8)
    except ValueError:
        return None
    return size if header[124:136] == b"%011o\0" % size else None
