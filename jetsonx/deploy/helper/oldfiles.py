"""Files of an image that the device has: read by `docker create` and `docker cp`, in the order in which they come.

Nothing is run in the container and no right is needed but Docker's. What comes before it is wanted, or is wanted twice
or in pieces, is put aside: some megabytes in memory, as to open thousands of small files takes longer than to copy
them, and the rest on the disk.
"""

import contextlib
import io
import os
import posixpath
import subprocess
from collections import OrderedDict
from typing import Any, Iterator, List

from jetsonx.deploy.helper.archive import Entries
from jetsonx.deploy.helper.recipe import RecipeError, Source, part_of

LABEL = "dev.jetsonx.tmp"
_OPEN_MAX = 4
_MEMORY_BYTES = 12 << 20


class OldFiles:
    """The files of the image ``image_id``; to be closed. ``folder`` is an empty one for what is put aside."""

    def __init__(self, docker: List[str], image_id: str, folder: str) -> None:
        self._docker = docker
        self._image_id = image_id
        self._folder = folder
        self._container = ""
        self._roots = []  # type: List[bytes]
        self.sources = []  # type: List[Source]
        self._left = []  # type: List[int]
        self._wanted = {}  # type: dict[bytes, int]
        self._aside = {}  # type: dict[int, Any]  # its bytes, None when they are on the disk
        self._memory_left = _MEMORY_BYTES
        self._open = OrderedDict()  # type: OrderedDict[int, _Root]
        self._over = set()  # type: Any

    def expect(self, roots: List[bytes], sources: List[Source]) -> None:
        """Say which files will be asked for, before the first is."""
        self._roots, self.sources = roots, sources
        self._left = [source.uses for source in sources]
        self._wanted = {source.path: index for index, source in enumerate(sources)}

    def close(self) -> None:
        """Remove the container."""
        for root in self._open.values():
            root.close()
        if self._container:
            with open(os.devnull, "wb") as null:
                subprocess.call([*self._docker, "rm", "-f", self._container], stdout=null, stderr=null)

    def whole(self, index: int) -> Iterator[bytes]:
        """The content of a source."""
        if self._left[index] == 1 and index not in self._aside:
            found = self._reach(index)
            if found is not None:
                self._left[index] = 0
                for piece in found:
                    yield piece
                return
        for piece in self.part(index, 0, self.sources[index].size):
            yield piece

    def part(self, index: int, offset: int, length: int) -> Iterator[bytes]:
        """A part of a source. Raises RecipeError when the image has no such file, or one of another size."""
        if index not in self._aside:
            found = self._reach(index)
            if found is not None:
                self._put_aside(index, found)
        with self._opened(index) as file:
            for piece in part_of(file, offset, length):
                yield piece
        self._left[index] -= 1
        if self._left[index] <= 0:
            self._forget(index)

    def _opened(self, index: int) -> Any:
        data = self._aside[index]
        return open(self._place(index), "rb") if data is None else io.BytesIO(data)

    def _forget(self, index: int) -> None:
        data = self._aside.pop(index, None)
        if data is not None:
            self._memory_left += len(data)
            return
        with contextlib.suppress(OSError):
            os.unlink(self._place(index))

    def _place(self, index: int) -> str:
        return os.path.join(self._folder, str(index))

    def _reach(self, index: int) -> Any:
        """The content of a source as it passes; None when it is aside now."""
        source = self.sources[index]
        if source.root not in self._over:
            root = self._root(source.root)
            for path, entry in root.files:
                found = self._wanted.get(path)
                if found is None or self._left[found] <= 0 or found in self._aside:
                    continue
                if entry.kind == b"0":
                    self._check(found, entry.size)
                    if found == index:
                        return entry.content()
                    self._put_aside(found, entry.content())
            self._end(source.root)
        if index in self._aside:
            return None
        return self._single(index)

    def _single(self, index: int) -> Any:
        """A file that was not where it should be: its folder is behind a symbolic link, or it has several names."""
        root = _Root(self._docker, self._made(), self.sources[index].path, is_folder=False)
        try:
            for _, entry in root.files:
                if entry.kind == b"0":
                    self._check(index, entry.size)
                    self._put_aside(index, entry.content())
        finally:
            root.close()
        if index not in self._aside:
            raise RecipeError("missing-file", "the old image has no file {!r}".format(self.sources[index].path))

    def _check(self, index: int, size: int) -> None:
        source = self.sources[index]
        if size != source.size:
            text = "{!r} in the old image has {} bytes, expected were {}"
            raise RecipeError("missing-file", text.format(source.path, size, source.size))

    def _put_aside(self, index: int, content: Iterator[bytes]) -> None:
        size = self.sources[index].size
        if size <= self._memory_left:
            self._aside[index] = b"".join(content)
            self._memory_left -= size
            return
        with open(self._place(index), "wb") as file:
            file.writelines(content)
        self._aside[index] = None

    def _root(self, number: int) -> "_Root":
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        while len(self._open) >= _OPEN_MAX:
            self._finish(next(iter(self._open)))
        path = self._roots[number]
        is_folder = path not in self._wanted
        self._open[number] = _Root(self._docker, self._made(), path, is_folder)
        return self._open[number]

    def _finish(self, number: int) -> None:
        """Take what is left of a root, so that it can be closed."""
        for path, entry in self._open[number].files:
            found = self._wanted.get(path)
            if found is not None and self._left[found] > 0 and found not in self._aside and entry.kind == b"0":
                self._check(found, entry.size)
                self._put_aside(found, entry.content())
        self._end(number)

    def _end(self, number: int) -> None:
        self._open.pop(number).close()
        self._over.add(number)

    def _made(self) -> str:
        if not self._container:
            # Never started, so that any command will do; an image without one could not be created from.
            words = ["create", "--label", LABEL + "=1", "--network", "none", self._image_id, "jetsonx"]
            process = subprocess.Popen(self._docker + words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            out, err = process.communicate()
            if process.returncode:
                raise RecipeError("missing-file", err.decode("utf-8", "replace").strip()[-300:])
            self._container = out.decode().strip().splitlines()[-1]
        return self._container


class _Root:
    """A running `docker cp` of a directory, or of one file. ``files``: (path in the image, entry) as they come."""

    def __init__(self, docker: List[str], container: str, path: bytes, is_folder: bool) -> None:
        place = container.encode() + b":/" + path + (b"/." if is_folder else b"")
        words = [word.encode() for word in docker] + [b"cp", place, b"-"]
        with open(os.devnull, "wb") as null:
            self._process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=null)
        self._path = path if is_folder else posixpath.dirname(path)
        self.files = self._files()

    def _files(self) -> Iterator[Any]:
        stream = self._process.stdout  # type: Any
        for entry in Entries(stream.read):
            name = entry.name[2:] if entry.name.startswith(b"./") else entry.name
            yield posixpath.join(self._path, name), entry

    def close(self) -> None:
        self._process.kill()
        stream = self._process.stdout  # type: Any
        stream.close()
        self._process.wait()


def remove_leftovers(docker: List[str]) -> None:
    """Remove the containers that an earlier run, which was killed, could not."""
    words = ["ps", "--all", "--quiet", "--filter", "label=" + LABEL + "=1"]
    process = subprocess.Popen(docker + words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    found = process.communicate()[0].decode().split()
    if found:
        with open(os.devnull, "wb") as null:
            subprocess.call([*docker, "rm", "-f", *found], stdout=null, stderr=null)
