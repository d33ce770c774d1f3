"""The store: what was fetched and unpacked, kept by content in the user's cache directory.

    CACHEDIR.TAG                     tells backup programs to pass by (bford.info/cachedir)
    downloads/<sha256>/<file name>   .deb and .whl files as they came
    objects/ab/cdef…[x]              file contents, each once; trees hold hard links to them
    trees/<kind>-<12 digits>/        root/ (the tree itself), manifest (every path), info.json (what it was made of)
    refs/<kind>/<key>                the tree that these inputs gave, and from what; its time says when it was last used
    tmp/<process>/                   half-made things; a lock tells whether their maker still lives
    locks/

A tree appears by one rename, so whoever is killed leaves nothing or a whole tree.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jetsonx.console import Console, amount
from jetsonx.errors import HostError
from jetsonx.sysroot.tree import (
    Entry,
    Objects,
    TreeWriter,
    close_entries,
    compare,
    file_sha256,
    lay_out,
    manifest_digest,
    parse_manifest,
    remove_tree,
    render_manifest,
)

_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This directory holds what jetsonx fetched. It can be deleted; JETSONX_CACHE moves it.\n"
)
_DAY_S = 86_400
_FULL_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A tree in the store: ``path`` is its root directory, ``info`` the JSON that tells what it was made of."""

    digest: str
    path: Path
    kind: str
    info: Mapping[str, Any]
    damaged: bool = False

    @property
    def name(self) -> str:
        """The name of its directory in the store: kind and the first 12 digits of the digest."""
        return self.path.parent.name

    def load_manifest(self) -> dict[str, Entry]:
        """Every path of the tree with its kind, content and owner (the package or wheel it came from)."""
        return parse_manifest((self.path.parent / "manifest").read_text())


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What :meth:`Store.prune` removed."""

    trees: tuple[str, ...]
    files: int
    size_bytes: int


def default_root(environ: Mapping[str, str]) -> Path:
    """Where the store lies: ``JETSONX_CACHE``, else ``jetsonx`` in the user's cache directory."""
    if chosen := environ.get("JETSONX_CACHE"):
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("jetsonx")


class Store:
    """The store at ``root``. Nothing is created before something is to be written."""

    def __init__(self, root: Path, console: Console) -> None:
        self.root = root
        self._console = console
        self._locks: dict[str, Any] = {}

    # ---- finding -------------------------------------------------------------------------------------------------

    def find(self, kind: str, key: str, *, even_damaged: bool = False) -> Tree | None:
        """The tree that ``key`` (any text naming its inputs) gave before, or None; no process, no large file read."""
        ref = self._ref(kind, key)
        try:
            record = json.loads(ref.read_text())
            tree = self._tree(record["tree"], record["digest"], kind, record["info"])
        except (OSError, ValueError, KeyError, TypeError):
            return None  # never there, or damaged by hand: as good as not there
        if not tree.path.parent.is_dir() or (tree.damaged and not even_damaged):
            return None
        with contextlib.suppress(OSError):  # a read-only cache still serves
            os.utime(ref)
        return tree

    def trees(self) -> tuple[Tree, ...]:
        """Every whole tree, sorted by name."""
        try:
            names = sorted(path.name for path in (self.root / "trees").iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return ()
        return tuple(tree for tree in map(self._load, names) if tree is not None)

    def _load(self, name: str) -> Tree | None:
        try:
            record = json.loads((self.root / "trees" / name / "info.json").read_text())
            return self._tree(name, record["digest"], record["kind"], record["info"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _tree(self, name: str, digest: str, kind: str, info: Mapping[str, Any]) -> Tree:
        path = self.root / "trees" / name
        damaged = (path / "damaged").exists() or not (path / "root").is_dir()
        return Tree(digest=digest, path=path / "root", kind=kind, info=info, damaged=damaged)

    def _ref(self, kind: str, key: str) -> Path:
        return self.root / "refs" / kind / hashlib.sha256(key.encode()).hexdigest()[:32]

    # ---- making --------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the lock ``name`` between processes; says so when another jetsonx has it. The same thread may nest."""
        from filelock import FileLock, Timeout

        with self.guard(f"locking {name}"):
            folder = self.folder("locks")
            file = folder / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.lock"
            lock = self._locks.setdefault(name, FileLock(file))
            try:
                lock.acquire(timeout=0)
            except Timeout:
                self._console.say(f"waiting for another jetsonx ({name})")
                lock.acquire(poll_interval=0.1)
        try:
            yield
        finally:
            lock.release()

    def create(
        self,
        kind: str,
        key: str,
        fill: Callable[[TreeWriter], None],
        *,
        info: Mapping[str, object],
        needed_bytes: int = 0,
    ) -> Tree:
        """Make a tree with ``fill``, remember it under ``key``, and return it; under the lock of its key.

        A tree of the same content that is there and whole is used instead. ``needed_bytes``, an estimate, is named when
        the disk is full. Raises HostError then, and when the cache directory cannot be written.
        """
        with (
            self.lock(f"{kind} {key}"),
            self.guard(f"unpacking a {kind}", needed_bytes=needed_bytes),
            self.scratch() as scratch,
        ):
            objects = Objects(self.folder("objects"), scratch)
            writer = TreeWriter(objects)
            fill(writer)
            entries = close_entries(writer.entries)
            digest = manifest_digest(entries)
            name = f"{kind}-{digest.partition(':')[2][:12]}"
            there = self._load(name)
            if there is None or there.damaged:
                made = scratch / "tree"
                made.mkdir()
                lay_out(made / "root", entries, objects)
                (made / "manifest").write_text(render_manifest(entries))
                (made / "info.json").write_text(json.dumps({"digest": digest, "kind": kind, "info": dict(info)}))
                self._place(made, self.folder("trees") / name, scratch / "replaced")
            tree = self._tree(name, digest, kind, dict(info))
            self.remember_tree(key, tree)
            return tree

    def _place(self, made: Path, place: Path, aside: Path) -> None:
        while True:
            with contextlib.suppress(FileNotFoundError):
                place.rename(aside)
            try:
                made.rename(place)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                remove_tree(aside)  # another key gave the same tree at the same moment
            else:
                return

    def remember_tree(self, key: str, tree: Tree) -> None:
        """Let :meth:`find` give ``tree`` for ``key`` too."""
        self.remember(tree.kind, key, json.dumps({"tree": tree.name, "digest": tree.digest, "info": dict(tree.info)}))

    def remember(self, kind: str, key: str, text: str) -> None:
        """Write a reference: any text a caller wants to find again by ``key``."""
        with self.guard(f"remembering a {kind}"), self.scratch() as scratch:
            ref = self._ref(kind, key)
            ref.parent.mkdir(parents=True, exist_ok=True)
            part = scratch / "ref"
            part.write_text(text)
            part.rename(ref)

    def recall(self, kind: str, key: str) -> str | None:
        """What :meth:`remember` wrote, or None."""
        try:
            return self._ref(kind, key).read_text()
        except OSError:
            return None

    # ---- downloads -----------------------------------------------------------------------------------------------

    def download(self, sha256: str) -> Path | None:
        """The downloaded file with this sha256 (in hex), or None. Its content is the reader's to check."""
        try:
            return next((path for path in (self.root / "downloads" / sha256).iterdir()), None)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def keep_download(self, path: Path, sha256: str) -> Path:
        """Move a file that was just fetched and checked into the store; returns where it lies now."""
        with self.guard(f"keeping {path.name}"):
            folder = self.folder("downloads") / sha256
            folder.mkdir(exist_ok=True)
            path.chmod(0o644)
            return path.rename(folder / path.name)

    def drop_download(self, sha256: str) -> None:
        """Forget a downloaded file, because its content is not what its name says."""
        remove_tree(self.root / "downloads" / sha256)

    # ---- keeping in order ----------------------------------------------------------------------------------------

    def verify(self, tree: Tree) -> tuple[str, ...]:
        """Read every file of a tree again; one line per damaged, missing or foreign file, none when it is whole.

        A damaged tree is marked, and its damaged contents are taken out of the store, so that the next pull makes
        both anew.
        """
        try:
            entries = tree.load_manifest()
        except (OSError, ValueError) as error:
            entries, troubles = {}, [f"manifest: cannot be read: {error}"]
        else:
            troubles = [] if manifest_digest(entries) == tree.digest else ["manifest: its content was changed"]
        troubles += compare(tree.path, entries) if tree.path.is_dir() else ["the tree itself is missing"]
        if troubles:
            with self.guard("marking a damaged tree"):
                (tree.path.parent / "damaged").touch()
                self._drop_damaged(entries)
        return tuple(troubles)

    def _drop_damaged(self, entries: Mapping[str, Entry]) -> None:
        objects = Objects(self.root / "objects", self.root)
        for entry in entries.values():
            if entry.kind == "file":
                path = objects.path(entry.content, executable=entry.executable)
                if path.exists() and (file_sha256(path) != entry.content or path.stat().st_mode & 0o777 != entry.mode):
                    path.unlink()

    def prune(self, *, days: float | None = None) -> Pruned:
        """Remove trees not used for ``days`` (None: all), downloads and image layers likewise, and what hangs on them.

        SDK directories are links into trees and are made again in a moment: they all go.
        """
        before = time.time() - days * _DAY_S if days is not None else float("inf")
        if not self.root.is_dir():
            return Pruned(trees=(), files=0, size_bytes=0)
        with self.guard("pruning"), self.scratch():
            used = self._drop_refs(before)
            gone = tuple(tree.name for tree in self.trees() if tree.name not in used)
            counts = [_delete(path) for path in self.folder("trees").iterdir() if path.name not in used]
            counts += [_delete(path) for path in self.folder("sdk").iterdir()]
            for name in ("downloads", "layers"):
                counts += [_delete(path) for path in self.folder(name).iterdir() if path.stat().st_mtime < before]
            if not self._others_at_work():
                counts += [_delete(path) for path in self.folder("objects").glob("*/*") if path.stat().st_nlink == 1]
        return Pruned(trees=gone, files=sum(n for n, _ in counts), size_bytes=sum(size for _, size in counts))

    def _drop_refs(self, before: float) -> set[str]:
        used = set()
        for ref in self.folder("refs").glob("*/*"):
            if ref.stat().st_mtime < before:
                ref.unlink()
            else:
                with contextlib.suppress(ValueError, KeyError, TypeError):  # not every reference names a tree
                    used.add(json.loads(ref.read_text())["tree"])
        return used

    # ---- the ground ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A directory of this process for half-made things, gone afterwards; also removes what dead processes left."""
        from filelock import FileLock

        with self.guard("making room for temporary files"):
            tmp = self.folder("tmp")
            path = tmp / f"{os.getpid()}-{secrets.token_hex(4)}"
            # One at a time: a newcomer between making its lock file and locking it would look dead to the next.
            with FileLock(self.folder("locks") / "tmp.lock"):
                self._sweep(tmp)
                mine = FileLock(path.with_suffix(".lock"))
                mine.acquire(timeout=0)
                path.mkdir()
        try:
            yield path
        finally:
            remove_tree(path)
            mine.release()
            path.with_suffix(".lock").unlink(missing_ok=True)

    def _sweep(self, tmp: Path) -> None:
        from filelock import FileLock, Timeout

        for lock_file in tmp.glob("*.lock"):
            lock = FileLock(lock_file)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue  # its maker lives
            remove_tree(lock_file.with_suffix(""))
            lock_file.unlink(missing_ok=True)
            lock.release()

    def _others_at_work(self) -> bool:
        return any(not path.name.startswith(f"{os.getpid()}-") for path in self.folder("tmp").glob("*.lock"))

    def folder(self, name: str) -> Path:
        """A directory of the store, made when it is not there."""
        path = self.root / name
        if not path.is_dir():
            path.mkdir(parents=True, exist_ok=True)
            tag = self.root / "CACHEDIR.TAG"
            if not tag.exists():
                tag.write_text(_TAG)
        return path

    @contextlib.contextmanager
    def guard(self, doing: str, *, needed_bytes: int = 0) -> Iterator[None]:
        """Turn what the file system says into a HostError that names the directory, the space and the way out."""
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise self.disk_full(doing, needed_bytes=needed_bytes) from error
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
                raise HostError(
                    f"the cache directory {self.root} cannot be written: {error.strerror} ({error.filename})",
                    hint="make it writable, or set JETSONX_CACHE to a directory that is",
                ) from error
            raise

    def free_bytes(self) -> int:
        """Bytes free for this user on the file system of the store (or of what will be its parent)."""
        place = self.root
        while not place.exists() and place != place.parent:
            place = place.parent
        free = os.statvfs(place)
        return free.f_bavail * free.f_frsize

    def is_full(self, words: str, *, needed_bytes: int = 0) -> bool:
        """True when a program that failed with these last words failed for want of disk space."""
        return os.strerror(errno.ENOSPC) in words or self.free_bytes() < max(needed_bytes, _FULL_BYTES)

    def disk_full(self, doing: str, *, needed_bytes: int = 0) -> HostError:
        """The error for a full disk under the store."""
        needed = f"about {amount(needed_bytes)} were needed and " if needed_bytes else ""
        return HostError(
            f"the disk is full: {doing} in {self.root}: {needed}{amount(self.free_bytes())} are free",
            hint="free some space (jetsonx sysroot prune), or set JETSONX_CACHE to a directory on a larger disk",
        )


def _delete(path: Path) -> tuple[int, int]:
    """Remove a file or directory; how many files and bytes were given back (a file with other names gives none)."""
    files = [path] if not path.is_dir() else [item for item in path.rglob("*") if not item.is_dir()]
    alone = [stat for stat in (item.lstat() for item in files) if stat.st_nlink == 1]
    if path.is_dir():
        remove_tree(path)
    else:
        path.unlink()
    return len(alone), sum(stat.st_size for stat in alone)
