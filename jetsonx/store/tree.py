"""A directory tree as a value: entries by path, written into objects kept by content, then laid out with hard links.

Nothing touches the final directory while the entries are gathered, so a name that lies about where it belongs can do
no harm: a path is only a key until :func:`lay_out` creates it under the root.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import IO, Literal

from jetsonx.errors import DownloadError

# Every file of the store has this time, so that two trees of the same digest are the same to `stat` and to `tar`.
FIXED_TIME_S = 1_000_000_000
_SMALL = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One path of a tree. ``content`` is a file's sha256 in hex, or where a symbolic link points."""

    kind: Literal["file", "link", "dir"]
    content: str = ""
    size_bytes: int = 0
    executable: bool = False
    owner: str = ""

    @property
    def mode(self) -> int:
        """The permission bits it has on disk: read-only files, so that a build cannot change what others share."""
        return {"file": 0o555 if self.executable else 0o444, "link": 0o777, "dir": 0o755}[self.kind]


class Objects:
    """File contents by sha256, each stored once; an executable file is another object than a plain one.

    ``scratch`` is a directory of this process alone, on the same file system as ``root``.
    """

    # Images hold files by the ten thousand, so this uses calls and strings where pathlib would cost as much again.

    def __init__(self, root: Path, scratch: Path) -> None:
        self._root = str(root)
        self._scratch = str(scratch)
        self._serial = count(1)

    def path(self, sha256: str, *, executable: bool) -> Path:
        """Where the object lies, whether it is there or not."""
        return Path(self._place(sha256, executable=executable))

    def has(self, sha256: str, size_bytes: int, *, executable: bool) -> bool:
        """True when the object is there and of that size; its content is not read."""
        try:
            return os.stat(self._place(sha256, executable=executable)).st_size == size_bytes  # noqa: PTH116
        except FileNotFoundError:
            return False

    def put(self, data: bytes | IO[bytes], *, executable: bool) -> tuple[str, int]:
        """Store a file's content and return its sha256 and its size in bytes."""
        if not isinstance(data, bytes):
            head, read = data.read(_SMALL), data.read
            if len(head) == _SMALL:
                return self.put_pieces(chain((head,), iter(lambda: read(_SMALL), b"")), executable=executable)
            data = head
        sha256 = hashlib.sha256(data).hexdigest()
        if not self.has(sha256, len(data), executable=executable):
            with self._part(executable=executable) as (part, file):
                _write(file, data)
            self._keep(part, sha256, executable=executable)
        return sha256, len(data)

    def put_pieces(self, pieces: Iterable[bytes | memoryview], *, executable: bool) -> tuple[str, int]:
        """Store a file's content that comes in pieces, as :meth:`put` does."""
        digest, size = hashlib.sha256(), 0
        with self._part(executable=executable) as (part, file):
            for piece in pieces:
                digest.update(piece)
                _write(file, piece)
                size += len(piece)
        self._keep(part, digest.hexdigest(), executable=executable)
        return digest.hexdigest(), size

    def _place(self, sha256: str, *, executable: bool) -> str:
        return f"{self._root}/{sha256[:2]}/{sha256[2:]}{'x' if executable else ''}"

    @contextlib.contextmanager
    def _part(self, *, executable: bool) -> Iterator[tuple[str, int]]:
        part = f"{self._scratch}/object-{next(self._serial)}"
        file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            yield part, file
            os.fchmod(file, 0o555 if executable else 0o444)
            os.utime(file, (FIXED_TIME_S, FIXED_TIME_S))
        except BaseException:
            os.unlink(part)  # noqa: PTH108
            raise
        finally:
            os.close(file)

    def _keep(self, part: str, sha256: str, *, executable: bool) -> None:
        place = self._place(sha256, executable=executable)
        try:
            os.rename(part, place)  # noqa: PTH104
        except FileNotFoundError:
            os.makedirs(place.rpartition("/")[0], exist_ok=True)  # noqa: PTH103
            os.rename(part, place)  # noqa: PTH104


def _write(file: int, data: bytes | memoryview) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]


class TreeWriter:
    """Gathers the entries of a tree; a later entry of the same path takes the place of an earlier one.

    Parts can be filled by several threads and merged in a fixed order, so the result does not depend on who was first.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self.entries: dict[str, Entry] = {}

    def add_file(self, path: str, data: bytes | IO[bytes], *, mode: int = 0o644, owner: str = "") -> None:
        """Add a regular file. Of ``mode`` only the executable bit is kept."""
        executable = bool(mode & 0o111)
        sha256, size = self._objects.put(data, executable=executable)
        self.entries[path] = Entry(kind="file", content=sha256, size_bytes=size, executable=executable, owner=owner)

    def add_symlink(self, path: str, target: str, *, owner: str = "") -> None:
        """Add a symbolic link; ``target`` is kept as it is given."""
        self.entries[path] = Entry(kind="link", content=target, owner=owner)

    def add_hardlink(self, path: str, target: str, *, owner: str = "") -> None:
        """Add a second name for the file already added at ``target``. Raises DownloadError when it is not there."""
        entry = self.entries.get(target)
        if entry is None or entry.kind == "dir":
            raise DownloadError(f"{owner}: refused: {path} is a hard link to {target}, which the package does not hold")
        self.entries[path] = replace(entry, owner=owner)

    def add_dir(self, path: str) -> None:
        """Add a directory; parents of other entries need not be added."""
        if path:
            self.entries.setdefault(path, Entry(kind="dir"))

    def part(self) -> TreeWriter:
        """An empty writer into the same objects, for :meth:`merge`."""
        return TreeWriter(self._objects)

    def merge(self, part: TreeWriter) -> None:
        """Take over a part's entries; a directory never takes the place of something else."""
        for path, entry in part.entries.items():
            if entry.kind == "dir":
                self.entries.setdefault(path, entry)
            else:
                self.entries[path] = entry

    def read(self, path: str) -> bytes:
        """The content of a file added before. Raises KeyError when there is none."""
        entry = self.entries[path]
        if entry.kind != "file":
            raise KeyError(path)
        return self._objects.path(entry.content, executable=entry.executable).read_bytes()


def close_entries(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Entries sorted by path with every parent directory present; pure.

    Raises DownloadError when a path leads through a file or a symbolic link: an archive that first links ``a`` to
    somewhere and then writes ``a/b`` wants to write there.
    """
    closed = dict(entries)
    for path, entry in entries.items():
        parent = path.rpartition("/")[0]
        while parent:
            above = closed.setdefault(parent, _DIR)
            if above.kind != "dir":
                raise DownloadError(
                    f"{entry.owner or 'a package'}: refused: it writes {path}, but {parent} is a "
                    f"{'symbolic link' if above.kind == 'link' else 'file'}"
                    + (f" of {above.owner}" if above.owner not in ("", entry.owner) else "")
                )
            if above is not _DIR and parent in entries:
                break
            parent = parent.rpartition("/")[0]
    return dict(sorted(closed.items()))


_DIR = Entry(kind="dir")


def lay_out(root: Path, entries: Mapping[str, Entry], objects: Objects) -> None:
    """Create ``root`` and in it everything in ``entries`` (closed and sorted, see :func:`close_entries`).

    Raises DownloadError for two names that differ only in case, where the disk takes them for one, and for a name that
    is too long for it.
    """
    root.mkdir()
    path = ""
    try:
        for path, entry in entries.items():
            _make(f"{root}/{path}", entry, objects)
    except FileExistsError:
        others = [name for name in entries if name != path and name.casefold() == path.casefold()]
        if not others:
            raise
        raise DownloadError(
            f"{others[0]} and {path} differ only in case, and the disk under {root.parent} takes them for one",
            hint="set JETSONX_CACHE to a directory on a case-sensitive file system",
        ) from None
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        raise DownloadError(f"refused: {path[:200]}… is a longer name than the disk takes") from None
    for path, entry in entries.items():
        if entry.kind == "dir":
            os.utime(f"{root}/{path}", (FIXED_TIME_S, FIXED_TIME_S))
    os.utime(root, (FIXED_TIME_S, FIXED_TIME_S))


def _make(place: str, entry: Entry, objects: Objects) -> None:
    match entry.kind:
        case "dir":
            os.mkdir(place)  # noqa: PTH102 - ten thousand Path objects cost as much as the calls themselves
        case "link":
            os.symlink(entry.content, place)  # noqa: PTH211
            os.utime(place, (FIXED_TIME_S, FIXED_TIME_S), follow_symlinks=False)
        case "file":
            _link(objects.path(entry.content, executable=entry.executable), place, entry.mode)


def _link(source: Path, place: str, mode: int) -> None:
    try:
        os.link(source, place)
    except OSError as error:
        # A file may have only so many names (65 000 on ext4), and some file systems know no hard links at all.
        if error.errno not in (errno.EMLINK, errno.EXDEV, errno.EPERM, errno.ENOTSUP):
            raise
        shutil.copyfile(source, place)
        _seal(Path(place), mode)


def _seal(path: Path, mode: int) -> None:
    path.chmod(mode)
    os.utime(path, (FIXED_TIME_S, FIXED_TIME_S))


def manifest_digest(entries: Mapping[str, Entry]) -> str:
    """``"sha256:…"`` over what a tree holds: sorted paths, types, modes and contents; not over who owns what."""
    digest = hashlib.sha256()
    for path, entry in sorted(entries.items()):
        digest.update(f"{entry.kind} {entry.mode:o} {entry.content}\t{path}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def render_manifest(entries: Mapping[str, Entry]) -> str:
    """One line per path: kind, mode, size in bytes, content, owner and path, separated by tabs."""
    return "".join(
        f"{entry.kind}\t{entry.mode:o}\t{entry.size_bytes}\t{entry.content}\t{entry.owner}\t{path}\n"
        for path, entry in sorted(entries.items())
    )


def parse_manifest(text: str) -> dict[str, Entry]:
    """The inverse of :func:`render_manifest`. Raises ValueError for anything else."""
    entries: dict[str, Entry] = {}
    for line in text.split("\n")[:-1]:  # not splitlines: names may hold what Unicode counts as a line's end
        kind, mode, size, content, owner, path = line.split("\t")
        if kind not in ("file", "link", "dir"):
            raise ValueError(f"unknown kind {kind!r}")
        entries[path] = Entry(
            kind=kind,  # type: ignore[arg-type]
            content=content,
            size_bytes=int(size),
            executable=kind == "file" and bool(int(mode, 8) & 0o111),
            owner=owner,
        )
    return entries


def compare(root: Path, entries: Mapping[str, Entry]) -> Iterator[str]:
    """Yield one line for each difference between ``entries`` and what lies under ``root``; reads every file."""
    for path, entry in entries.items():
        trouble = _damage(root / path, entry)
        if trouble:
            yield f"{path}: {trouble}"
    for path in _walk(root):
        if path not in entries:
            yield f"{path}: does not belong here"


def _damage(place: Path, entry: Entry) -> str | None:
    try:
        found = place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    if place.is_symlink() != (entry.kind == "link") or (entry.kind == "dir") != (
        place.is_dir() and not place.is_symlink()
    ):
        return f"is no {entry.kind} any more"
    if entry.kind == "link":
        there = str(place.readlink())
        return None if there == entry.content else f"points to {there} instead of {entry.content}"
    if entry.kind == "file":
        if file_sha256(place) != entry.content:
            return "its content was changed"
        if found.st_mode & 0o777 != entry.mode:
            return f"has mode {found.st_mode & 0o777:o} instead of {entry.mode:o}"
    return None


def _walk(root: Path) -> Iterable[str]:
    for folder, folders, files in os.walk(root):
        base = Path(folder).relative_to(root)
        yield from (str(base / name) for name in (*folders, *files))


def file_sha256(path: Path) -> str:
    """The sha256 of a file's content in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_SMALL):
            digest.update(chunk)
    return digest.hexdigest()


def remove_tree(path: Path) -> None:
    """Delete a directory and all in it, also read-only directories; nothing when it is not there."""

    def retry(_function: object, name: str, _error: object) -> None:
        with contextlib.suppress(OSError):
            Path(name).parent.chmod(0o755)
            if Path(name).is_dir() and not Path(name).is_symlink():
                Path(name).chmod(0o755)
                shutil.rmtree(name)
            else:
                Path(name).unlink()

    shutil.rmtree(path, onerror=retry)
