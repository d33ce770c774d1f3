"""Makes the tar of a release of files from a recipe and an earlier release's directory: ``files``, request on stdin.

The request, a JSON object, has ``bundle`` (a file's name among what was received), ``old`` (the directory, below $HOME)
and ``payload`` (the tar's sha256, which it is called in the staging directory). It prints a JSON object: ``loaded``, or
``failed`` with a ``reason`` as ``load`` has them.
"""

import contextlib
import errno
import json
import os
import sys
from typing import Any, Dict, Iterator, List

from jetsonx.deploy.helper.rebuild import members
from jetsonx.deploy.helper.receive import staging_folder
from jetsonx.deploy.helper.recipe import MAGIC, RecipeError, Source, part_of


class OldFolder:
    """The files below a directory, as :func:`members` asks for them."""

    def __init__(self, folder: str) -> None:
        self._folder = os.fsencode(folder)
        self.sources = []  # type: List[Source]

    def expect(self, roots: List[bytes], sources: List[Source]) -> None:
        """Say which files will be asked for."""
        del roots
        self.sources = sources

    def whole(self, index: int) -> Iterator[bytes]:
        """The content of a source."""
        return self.part(index, 0, self.sources[index].size)

    def part(self, index: int, offset: int, length: int) -> Iterator[bytes]:
        """A part of a source. Raises RecipeError when there is no such file, or one of another size."""
        source = self.sources[index]
        place = os.path.join(self._folder, source.path)
        if not os.path.isfile(place):
            raise RecipeError("missing-file", "{!r} is not there".format(source.path))
        with open(place, "rb") as file:
            if os.fstat(file.fileno()).st_size != source.size:
                raise RecipeError("missing-file", "{!r} has another size there".format(source.path))
            for piece in part_of(file, offset, length):
                yield piece


def main(words: List[str]) -> int:
    """Make the tar that the request on standard input says; 0 when it is there."""
    del words
    os.umask(0o077)
    try:
        make(json.loads(sys.stdin.read()))
    except RecipeError as error:
        return _end(event="failed", reason=error.reason, message=str(error))
    except OSError as error:
        reason = "disk" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "damaged"
        return _end(event="failed", reason=reason, message=str(error))
    return _end(event="loaded")


def make(request: Dict[str, Any]) -> None:
    """Follow a recipe. Raises RecipeError, OSError."""
    folder = staging_folder()
    bundle = os.path.join(folder, request["bundle"])
    place = os.path.join(folder, request["payload"])
    part = place + ".made"
    try:
        with open(bundle, "rb") as file, open(part, "wb") as out:
            if file.read(len(MAGIC)) != MAGIC:
                raise RecipeError("damaged", "the bundle is no recipe")
            for _, _, pieces in members(file.read, OldFolder(os.path.join(os.path.expanduser("~"), request["old"]))):
                out.writelines(pieces)
            out.flush()
            os.fsync(out.fileno())
        os.replace(part, place)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)
    os.unlink(bundle)


def _end(**what: Any) -> int:
    sys.stdout.write(json.dumps(what) + "\n")
    return int(what["event"] != "loaded")
