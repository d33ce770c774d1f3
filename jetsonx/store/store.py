"""The store: what was fetched and unpacked, kept by content in the user's cache directory.

    downloads/<sha256>/<file name>   packages, wheels, archives and image layers as they came
    objects/ab/cdef…[x]              file contents, each once; trees hold hard links to them
    trees/<kind>-<12 digits>/        root/ (the tree itself), manifest (every path), info.json (what it was made of)
    refs/<kind>/<key>                the tree that these inputs gave, and from what
    refs/project/<key>               a lock file, and trees it needs

What is used gets the time of its use: a tree's info.json, a reference, a download's directory. A tree appears by one
rename, so whoever is killed leaves nothing or a whole tree. The ground it stands on is :mod:`jetsonx.store.cachedir`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jetsonx.store.cachedir import CacheDir, default_root
from jetsonx.store.tree import (
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

__all__ = ["Project", "Store", "Tree", "default_root"]

_SHA256 = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")


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
        # As bytes: in text mode a carriage return in a name would become the end of a line.
        return parse_manifest((self.path.parent / "manifest").read_bytes().decode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A lock file that was used with the store: the names of trees it needs, and every sha256 (in hex) in its text."""

    file: Path
    trees: frozenset[str]
    hashes: frozenset[str]


class Store(CacheDir):
    """The trees, references and downloads in the cache directory."""

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
        _use(ref)
        self.use(tree)
        return tree

    def use(self, tree: Tree) -> None:
        """Take note that a tree is in use, for :meth:`last_used`."""
        _use(tree.path.parent / "info.json")

    def last_used(self, tree: Tree) -> float:
        """When a tree was last found, or made, in seconds since 1970; 0 when it is gone."""
        try:
            return (tree.path.parent / "info.json").stat().st_mtime
        except OSError:
            return 0.0

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

    def requests(self, kind: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The name of the tree that each remembered request of a kind gave, and what was noted for that request.

        One tree may have been the answer to several, such as those for two L4T releases.
        """
        for ref in self._refs(kind):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                record = json.loads(ref.read_text())
                if isinstance(record["tree"], str) and isinstance(record["info"], dict):
                    yield record["tree"], record["info"]

    def _refs(self, kind: str) -> list[Path]:
        try:
            return sorted((self.root / "refs" / kind).iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    # ---- making --------------------------------------------------------------------------------------------------

    def create(
        self,
        kind: str,
        key: str,
        fill: Callable[[TreeWriter], Mapping[str, object] | None],
        *,
        info: Mapping[str, object],
        needed_bytes: int = 0,
    ) -> Tree:
        """Make a tree with ``fill``, remember it under ``key``, and return it; under the lock of its key.

        ``info`` tells what the tree is made of; what ``fill`` returns, because only it can know, is added to that.

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
            info = {**info, **(fill(writer) or {})}
            entries = close_entries(writer.entries)
            digest = manifest_digest(entries)
            name = f"{kind}-{digest.partition(':')[2][:12]}"
            there = self._load(name)
            if there is None or there.damaged:
                made = scratch / "tree"
                made.mkdir()
                lay_out(made / "root", entries, objects)
                (made / "manifest").write_bytes(render_manifest(entries).encode())
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
            text = self._ref(kind, key).read_text()
        except OSError:
            return None
        _use(self._ref(kind, key))
        return text

    # ---- projects ------------------------------------------------------------------------------------------------

    def protect(self, project_file: Path, names: Iterable[str] = ()) -> None:
        """Keep what a lock file needs from being pruned, as long as the file is there.

        That is every tree whose digest, or everything it was made of, the file names by sha256; and those in
        ``names``, which take the place of the names given for this file before.
        """
        file = str(project_file.absolute())
        text = json.dumps({"file": file, "trees": sorted(set(names))})
        if self.recall("project", file) != text:  # every build says so, and nearly always what it said before
            self.remember("project", file, text)

    def projects(self) -> tuple[Project, ...]:
        """The lock files that were used with this store and are still there."""
        found = []
        for ref in self._refs("project"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                record = json.loads(ref.read_text())
                file = Path(record["file"])
                hashes = frozenset(_SHA256.findall(file.read_text()))
                found.append(Project(file=file, trees=frozenset(record["trees"]), hashes=hashes))
        return tuple(found)

    # ---- downloads -----------------------------------------------------------------------------------------------

    def download(self, sha256: str) -> Path | None:
        """The downloaded file with this sha256 (in hex), or None. Its content is the reader's to check."""
        folder = self.root / "downloads" / sha256
        try:
            path = next(folder.iterdir(), None)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if path is not None:
            _use(folder)
        return path

    def partial(self, sha256: str, name: str) -> Path:
        """Where a download called ``name`` grows; what a killed process leaves there is gone on from."""
        folder = self.folder("partial") / sha256
        folder.mkdir(exist_ok=True)
        return folder / name

    def keep_download(self, path: Path, sha256: str) -> Path:
        """Move a file that was just fetched and checked into the store; returns where it lies now."""
        with self.guard(f"keeping {path.name}"):
            folder = self.folder("downloads") / sha256
            folder.mkdir(exist_ok=True)
            path.chmod(0o644)
            kept = path.rename(folder / path.name)
            with contextlib.suppress(OSError):  # it came from elsewhere, or something else is growing there
                (self.root / "partial" / sha256).rmdir()
            return kept

    def drop_download(self, sha256: str) -> None:
        """Forget a downloaded file, because its content is not what its name says."""
        remove_tree(self.root / "downloads" / sha256)

    # ---- keeping in order ----------------------------------------------------------------------------------------

    def verify(self, tree: Tree) -> tuple[str, ...]:
        """Read every file of a tree again; one line per damaged, missing or foreign file, none when it is whole.

        A damaged tree is marked, and its damaged contents are taken out of the store, so that the next pull makes
        both anew; trees that share such a content are marked too.
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
                _mark(tree)
                self._mark_sharers(self._drop_damaged(entries))
        return tuple(troubles)

    def _drop_damaged(self, entries: Mapping[str, Entry]) -> set[str]:
        objects = Objects(self.root / "objects", self.root)
        dropped = set()
        for entry in entries.values():
            if entry.kind == "file":
                path = objects.path(entry.content, executable=entry.executable)
                if path.exists() and (file_sha256(path) != entry.content or path.stat().st_mode & 0o777 != entry.mode):
                    path.unlink()
                    dropped.add(entry.content)
        return dropped

    def _mark_sharers(self, contents: set[str]) -> None:
        for tree in self.trees() if contents else ():
            with contextlib.suppress(OSError, ValueError):
                if any(entry.content in contents for entry in tree.load_manifest().values()):
                    _mark(tree)


def _use(path: Path) -> None:
    with contextlib.suppress(OSError):  # a read-only cache still serves
        os.utime(path)


def _mark(tree: Tree) -> None:
    (tree.path.parent / "damaged").touch()
