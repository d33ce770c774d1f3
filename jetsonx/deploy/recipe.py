"""Writes recipes: how a layer's tar is made from files that the device has and as few new bytes as possible.

The format is in :mod:`jetsonx.deploy.helper.recipe`. A file that did not change costs its name; a changed one the bytes
that did; a tar header what distinguishes it from the one before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from jetsonx.deploy.helper import recipe as form
from jetsonx.deploy.helper.recipe import BLOCK, Templates, front_coded, header_size, number, predicted
from jetsonx.deploy.layermap import LayerMap, Mapped
from jetsonx.deploy.matching import ReadAt, find_matches
from jetsonx.deploy.oldtree import OldFile, OldTree
from jetsonx.deploy.roots import find_roots

_STEP = 1 << 20
_COPY_MIN = 32  # an operation and a source cost about as much
_FIELDS = ((100, 108), (108, 116), (116, 124), (136, 148), (156, 257), (257, 329), (329, 345), (345, 512))
_ZEROS = bytes(_STEP)


class RecipeWriter:
    """Writes the operations of an archive's members to ``out``. ``old`` are the files to copy from."""

    def __init__(self, old: OldTree, out: IO[bytes]) -> None:
        self._old = old
        self._out = out
        self._sources: dict[bytes, int] = {}  # path -> its number, by first use
        self._files: list[OldFile] = []
        self._uses: list[int] = []
        self._next = 0
        self._templates = Templates()

    def sources(self) -> bytes:
        """What the body begins with, known when all members are written."""
        roots = find_roots(file.path for file in self._files)
        numbers: dict[bytes, int] = {}
        for file in self._files:
            numbers.setdefault(roots[file.path], len(numbers))
        made = [number(len(numbers))]
        last = b""
        for path in numbers:
            made.append(front_coded(path, last))
            last = path
        made.append(number(len(self._files)))
        last = b""
        for file, uses in zip(self._files, self._uses, strict=True):
            root = numbers[roots[file.path]]
            made += (front_coded(file.path, last), number(file.size_bytes), number(uses), number(root))
            last = file.path
        return b"".join(made)

    def document(self, data: bytes) -> None:
        """A member that is written as it is."""
        self._begin()
        self._literal(data)
        self._end()

    def layer(self, layer: LayerMap) -> None:
        """A member that is a layer's plain tar."""
        self._begin()
        at = 0
        for member in layer.members:
            self._padding(layer, at, member.start)
            at = self._member(layer, member)
        self._padding(layer, at, layer.size_bytes)
        self._end()

    def _begin(self) -> None:
        self._next = 0
        self._templates = Templates()

    def _end(self) -> None:
        self._out.write(bytes((form.END,)))

    def _member(self, layer: LayerMap, member: Mapped) -> int:
        """Write a member's headers and content, with what pads it if that is cheaper; return where it ended."""
        end = member.data + member.stored_bytes
        is_plain = member.kind == "file" and len(member.segments) == 1 and member.size_bytes == member.stored_bytes
        source = self._same(layer, member) if is_plain and member.stored_bytes else None
        header = layer.read(member.data - BLOCK, BLOCK)
        if member.data - BLOCK > member.start:
            self._range(layer, member.start, member.data - BLOCK)
        if source is not None:
            number_of = self._number(source)
            if self._file(layer, member, source, number_of, header):
                return end + -member.stored_bytes % BLOCK
            self._header(header)
            self._out.write(bytes((form.WHOLE,)) + self._use(number_of))
            return end
        self._header(header)
        if member.stored_bytes:
            self._changed(layer, member)
        return end

    def _same(self, layer: LayerMap, member: Mapped) -> OldFile | None:
        """An old file of a member's content: the one of its name, else any."""
        size, read = member.stored_bytes, _reader(layer, member)
        named = self._old.files.get(member.path)
        steps = range(0, size, _STEP)
        if named and named.size_bytes == size and all(named.read(at, _STEP) == read(at, _STEP) for at in steps):
            return named
        return self._old.same(size, read) if size >= _COPY_MIN else None

    def _file(self, layer: LayerMap, member: Mapped, source: OldFile, index: int, header: bytes) -> bool:
        """Write header, content and padding as one operation, where that gives what is there."""
        pad = layer.read(member.data + member.stored_bytes, -member.stored_bytes % BLOCK)
        name = self._templates.prefix + source.path
        is_fit = index == self._next and header[156] == ord("0") and header[:100] == name.ljust(100, b"\0")
        if not is_fit or pad.strip(b"\0") or len(pad) != -member.stored_bytes % BLOCK:
            return False
        if header_size(header) != member.stored_bytes:
            return False
        patches = self._patches(header, name, member.stored_bytes)
        if patches is None:
            return False
        self._out.write(bytes((form.NEXT_PATCHED,)) + _packed(patches) if patches else bytes((form.NEXT,)))
        self._use(index)
        self._templates.saw(header, name)
        return True

    def _header(self, header: bytes) -> None:
        name, size = header[:100].rstrip(b"\0"), header_size(header)
        patches = None if size is None else self._patches(header, name, size)
        if size is None or patches is None:
            self._literal(header)
            return
        coded = front_coded(name, self._templates.name)
        self._out.write(bytes((form.HEADER, header[156])) + coded + number(size) + _packed(patches))
        self._templates.saw(header, name)

    def _patches(self, header: bytes, name: bytes, size: int) -> list[tuple[int, bytes]] | None:
        """What makes the prediction of a header right; None when nothing does."""
        template = self._templates.of(header[156])
        if predicted(template, name, size, []) == header:
            return []
        patches = []
        for start, end in _FIELDS:
            if header[start:end] != template[start:end]:
                low = next(at for at in range(start, end) if header[at] != template[at])
                high = next(at for at in range(end - 1, start - 1, -1) if header[at] != template[at])
                patches.append((low, header[low : high + 1]))
        return patches if predicted(template, name, size, patches) == header else None

    def _changed(self, layer: LayerMap, member: Mapped) -> None:
        """Write content that no old file has as a whole."""
        done = 0
        old = self._old.files.get(member.path)
        if old is not None and min(member.stored_bytes, old.size_bytes) >= _COPY_MIN:
            for match in find_matches(old.read, old.size_bytes, _reader(layer, member), member.stored_bytes):
                self._range(layer, member.data + done, member.data + match.new)
                operation = bytes((form.COPY,)) + self._use(self._number(old))
                self._out.write(operation + number(match.old) + number(match.length))
                done = match.new + match.length
        self._range(layer, member.data + done, member.data + member.stored_bytes)

    def _number(self, file: OldFile) -> int:
        index = self._sources.get(file.path)
        if index is None:
            index = self._sources[file.path] = len(self._files)
            self._files.append(file)
            self._uses.append(0)
        return index

    def _use(self, index: int) -> bytes:
        """A source as an operation names it, counted."""
        self._uses[index] += 1
        distance = index - self._next
        self._next = index + 1
        return number(distance << 1 if distance >= 0 else (-distance << 1) - 1)

    def _padding(self, layer: LayerMap, start: int, end: int) -> None:
        """Write what is between two members, or behind the last: nearly always zeros."""
        if end - start == -start % BLOCK and not layer.read(start, end - start).strip(b"\0"):
            if end > start:
                self._out.write(bytes((form.PAD,)))
            return
        for data in _pieces(layer, start, end):
            if data == _ZEROS[: len(data)]:
                self._out.write(bytes((form.ZEROS,)) + number(len(data)))
            else:
                self._literal(data)

    def _range(self, layer: LayerMap, start: int, end: int) -> None:
        for data in _pieces(layer, start, end):
            self._literal(data)

    def _literal(self, data: bytes) -> None:
        self._out.write(bytes((form.LITERAL,)) + number(len(data)))
        self._out.write(data)


def _reader(layer: LayerMap, member: Mapped) -> ReadAt:
    """What reads a member's content."""
    return lambda offset, length: layer.read(member.data + offset, min(length, member.stored_bytes - offset))


def _packed(patches: list[tuple[int, bytes]]) -> bytes:
    made = [number(len(patches))]
    for offset, data in patches:
        made += (number(offset), number(len(data)), data)
    return b"".join(made)


def _pieces(layer: LayerMap, start: int, end: int) -> Iterator[bytes]:
    for at in range(start, end, _STEP):
        yield layer.read(at, min(_STEP, end - at))
