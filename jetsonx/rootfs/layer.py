"""One layer: every name that it holds, and the contents of the files that a sysroot wants, put into the store.

The index names all that the layer changes, also what the filter leaves out: a directory that becomes a link, a file
that a later layer's hard link points to. Only contents are left out. What the names mean together is for
:mod:`jetsonx.rootfs.overlay` to say.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from jetsonx.errors import ConfigError, DownloadError
from jetsonx.packages.links import clean_path, has_strange, merge_usr
from jetsonx.rootfs.codec import Read, decompressed
from jetsonx.rootfs.tar import Member, TarReader
from jetsonx.store.tree import Objects

RATIO_VARIABLE = "JETSONX_MAX_UNPACK_RATIO"
_RATIO = 100  # what gzip and zstd make of real file systems is below 20
_ROOM_BYTES = 1 << 30
_NAMES_MAX = 2_000_000
_SMALL = 1 << 20
PATH_MAX = 4096  # Linux takes no longer path
WHITEOUT = ".wh."


# (part, advance, restarted): write the blob to the file `part`, or go on writing it, and check it. `advance` counts
# bytes; `restarted` says that the file was cut to nothing and begun anew.
Fetch = Callable[[Path, Callable[[int], None], Callable[[], None]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSource:
    """Where a layer comes from: ``path`` when it is on disk, else what ``fetch`` brings.

    ``name`` says in errors which it is. ``digest`` is ``"sha256:…"`` of the blob, "" when it is not known beforehand;
    then nothing of it is remembered.
    """

    name: str
    digest: str
    size_bytes: int | None
    fetch: Fetch | None = None
    path: Path | None = None

    @property
    def sha256(self) -> str:
        """The digest in hex, or ""."""
        return self.digest.partition(":")[2]


class Item(NamedTuple):
    """One name of a layer, in the order of the archive.

    ``content`` is a file's sha256 in hex, empty when its content was not kept; what a symbolic link holds; the path
    that a hard link is another name for. ``other`` is a device or the like. ``number`` counts the archive's members.
    """

    kind: Literal["file", "dir", "symlink", "hardlink", "other"]
    number: int
    size_bytes: int
    executable: bool
    content: str
    path: str


class Bound:
    """How many bytes a layer may unpack to: ``room_bytes``, or ``ratio`` times its compressed size if that is more."""

    def __init__(self, name: str, compressed_bytes: int, ratio: int, room_bytes: int | None = None) -> None:
        self._name = name
        self._ratio = ratio
        self._left = max(_ROOM_BYTES if room_bytes is None else room_bytes, ratio * compressed_bytes)
        self._limit = self._left

    def check(self, size_bytes: int) -> None:
        """Raise DownloadError when ``size_bytes`` more are too many."""
        if size_bytes > self._left:
            raise DownloadError(
                f"{self._name} unpacks to more than {self._limit} bytes, {self._ratio} times its size: refused, since "
                "that is how a decompression bomb looks",
                hint=f"if you trust it, allow more: {RATIO_VARIABLE}={self._ratio * 10}",
            )

    def spend(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """Pass ``blocks`` on, counted."""
        for block in blocks:
            self.check(len(block))
            self._left -= len(block)
            yield block


def load_ratio(environ: Mapping[str, str]) -> int:
    """How many times its size a layer may unpack to. Raises ConfigError when the user's setting is no number."""
    text = environ.get(RATIO_VARIABLE, str(_RATIO))
    if not text.isascii() or not text.isdigit() or not int(text[:9]) > 0:
        raise ConfigError(f"{RATIO_VARIABLE}={text}: a whole number above 0 was expected", hint="the default is 100")
    return int(text[:9])


def read_layer(
    read: Read,
    objects: Objects,
    keeps: Callable[[str], bool] | None,
    *,
    name: str,
    bound: Bound,
    only: Collection[int] | None = None,
) -> Iterator[Item]:
    """Yield what a layer holds, and store the contents of the files that ``keeps`` wants (None: of all).

    ``keeps`` judges paths as they are in the merged-/usr layout. With ``only`` the contents of the members with these
    numbers are stored instead, and only they are yielded.

    Raises DownloadError, naming the layer, when it is damaged, cut off, or wants what no layer may.
    """
    last = max(only, default=-1) if only is not None else 0
    archive = TarReader(bound.spend(decompressed(read, name=name)), name=name)
    for number, member in enumerate(archive):
        if number >= _NAMES_MAX:
            raise DownloadError(f"{name} holds more than {_NAMES_MAX} names: refused")
        bound.check(member.size_bytes)
        if only is not None:
            if number in only:
                yield _stored(archive, member, objects, number, member.name)
            if number >= last:
                return  # a second look for one header should not unpack a gigabyte of libraries behind it
            continue
        is_kept = keeps is None or keeps(merge_usr(member.name.removeprefix("./")))
        if not is_kept and (has_strange(member.name) or len(member.name) > PATH_MAX):
            continue
        path = clean_path(member.name, source=name)
        if not path:
            continue
        if len(path) > PATH_MAX:
            raise DownloadError(f"{name}: refused: a path of {len(path)} characters, {path[:60]}…")
        if member.kind == "file" and is_kept and not path.rpartition("/")[2].startswith(WHITEOUT):
            yield _stored(archive, member, objects, number, path)
        else:
            yield _named(member, number, path, name=name, is_kept=is_kept)


def _named(member: Member, number: int, path: str, *, name: str, is_kept: bool) -> Item:
    kind, target = member.kind, member.target if member.kind in ("symlink", "hardlink") else ""
    if kind == "hardlink":
        target = clean_path(target, source=name)
    elif has_strange(target) or len(target) > PATH_MAX:
        if is_kept:
            raise DownloadError(f"{name}: refused: its link {path} points to {target!r}, which is no usable name")
        kind, target = "other", ""
    return Item(kind, number, member.size_bytes, bool(member.mode & 0o111), target, path)


def _stored(archive: TarReader, member: Member, objects: Objects, number: int, path: str) -> Item:
    executable = bool(member.mode & 0o111)
    if member.size_bytes <= _SMALL:
        sha256, size = objects.put(archive.read(), executable=executable)
    else:
        sha256, size = objects.put_pieces(archive.pieces(), executable=executable)
    return Item("file", number, size, executable, sha256, path)


# ---- the index as text -----------------------------------------------------------------------------------------------

_LETTERS = {"file": "f", "dir": "d", "symlink": "s", "hardlink": "h", "other": "o"}
_KINDS = {letter: kind for kind, letter in _LETTERS.items()}


def render_item(item: Item) -> str:
    """One line of an index."""
    executable = "x" if item.executable else ""
    return f"{_LETTERS[item.kind]}\t{item.number}\t{item.size_bytes}\t{executable}\t{item.content}\t{item.path}\n"


def parse_index(text: str) -> Iterator[Item]:
    """The inverse of :func:`render_item`, for all lines. Raises ValueError or KeyError for anything else."""
    for line in text.split("\n")[:-1]:
        letter, number, size, executable, content, path = line.split("\t")
        yield Item(_KINDS[letter], int(number), int(size), executable == "x", content, path)  # type: ignore[arg-type]
