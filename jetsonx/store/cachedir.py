"""The user's cache directory, as ground that several jetsonx processes stand on at once.

CACHEDIR.TAG       tells backup programs to pass by (bford.info/cachedir)
format             the number of the layout; a newer one is left alone
tmp/<process>/     half-made things; a lock tells whether their maker still lives
locks/
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jetsonx.console import Console, amount
from jetsonx.errors import HostError
from jetsonx.store.tree import remove_tree

FORMAT = 1
"""Raise it when an older jetsonx would misread, or damage, what this one writes."""

_TAG = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# This directory holds what jetsonx fetched. It can be deleted; JETSONX_CACHE moves it.\n"
)
_FULL_BYTES = 1 << 16


def default_root(environ: Mapping[str, str]) -> Path:
    """Where the cache lies: ``JETSONX_CACHE``, else ``jetsonx`` in the user's cache directory."""
    if chosen := environ.get("JETSONX_CACHE"):
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("jetsonx")


def state_root(environ: Mapping[str, str]) -> Path:
    """Where what is to be remembered lies, which nobody can fetch again: ``JETSONX_STATE``, else ``jetsonx`` in the
    user's directory for that.
    """
    if chosen := environ.get("JETSONX_STATE"):
        return Path(chosen).expanduser().absolute()
    from platformdirs import user_state_path

    return user_state_path("jetsonx")


class CacheDir:
    """The cache directory at ``root``. Nothing is created before something is to be written.

    Raises HostError when a newer jetsonx wrote it.
    """

    def __init__(self, root: Path, console: Console) -> None:
        self.root = root
        self._console = console
        self._locks: dict[str, Any] = {}
        self._check_format()

    def _check_format(self) -> str:
        try:
            found = (self.root / "format").read_text().strip()
        except (OSError, UnicodeDecodeError):
            return ""
        if found and found not in map(str, range(1, FORMAT + 1)):
            raise HostError(
                f"the cache directory {self.root} was written by a newer jetsonx: its format is {found[:20]}, this one "
                f"knows {FORMAT}",
                hint="upgrade jetsonx, or give this one a cache of its own: JETSONX_CACHE=/another/directory",
            )
        return found

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

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A directory of this process for half-made things, gone afterwards; also removes what dead processes left."""
        from filelock import FileLock

        is_marked = bool(self._check_format())
        with self.guard("making room for temporary files"):
            tmp = self.folder("tmp")
            path = tmp / f"{os.getpid()}-{secrets.token_hex(4)}"
            with self._newcomers_wait():
                self._sweep(tmp)
                mine = FileLock(path.with_suffix(".lock"))
                mine.acquire(timeout=0)
                path.mkdir()
            if not is_marked:
                (path / "format").write_text(f"{FORMAT}\n")
                (path / "format").rename(self.root / "format")
        try:
            yield path
        finally:
            remove_tree(path)
            mine.release()
            path.with_suffix(".lock").unlink(missing_ok=True)

    @contextlib.contextmanager
    def _newcomers_wait(self) -> Iterator[None]:
        """Nobody makes a scratch directory meanwhile: between its lock file and its lock it would look dead."""
        from filelock import FileLock

        with FileLock(self.folder("locks") / "tmp.lock"):
            yield

    def _sweep(self, tmp: Path) -> None:
        for lock_file in tmp.glob("*.lock"):
            if not _is_held(lock_file):
                remove_tree(lock_file.with_suffix(""))
                lock_file.unlink(missing_ok=True)

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        """Yield True when no other process has a scratch directory, and keep it so until the block ends.

        To be used inside :meth:`scratch`: what its own process makes meanwhile does not count.
        """
        with self._newcomers_wait():
            yield not self.others_at_work()

    def others_at_work(self) -> bool:
        """True when another process is writing to the cache just now."""
        own = f"{os.getpid()}-"
        return any(_is_held(path) for path in (self.root / "tmp").glob("*.lock") if not path.name.startswith(own))

    def folder(self, name: str) -> Path:
        """A directory of the cache, made when it is not there."""
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
        """Bytes free for this user on the file system of the cache (or of what will be its parent)."""
        place = self.root
        while not place.exists() and place != place.parent:
            place = place.parent
        free = os.statvfs(place)
        return free.f_bavail * free.f_frsize

    def is_full(self, words: str, *, needed_bytes: int = 0) -> bool:
        """True when a program that failed with these last words failed for want of disk space."""
        return os.strerror(errno.ENOSPC) in words or self.free_bytes() < max(needed_bytes, _FULL_BYTES)

    def disk_full(self, doing: str, *, needed_bytes: int = 0) -> HostError:
        """The error for a full disk under the cache."""
        needed = f"about {amount(needed_bytes)} were needed and " if needed_bytes else ""
        return HostError(
            f"the disk is full: {doing} in {self.root}: {needed}{amount(self.free_bytes())} are free",
            hint="free some space (jetsonx sysroot prune), or set JETSONX_CACHE to a directory on a larger disk",
        )


def _is_held(lock_file: Path) -> bool:
    from filelock import FileLock, Timeout

    lock = FileLock(lock_file)
    try:
        lock.acquire(timeout=0)
    except (Timeout, PermissionError):  # or the cache is another user's
        return True
    lock.release()
    return False
