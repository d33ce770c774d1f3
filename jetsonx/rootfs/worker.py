"""A process that unpacks layers: ``python -m jetsonx.rootfs.worker DIRECTORY``.

Decompression and hashing take all that a core has, and Python runs them side by side only in processes. ``jobs.json``
in the directory says what is to be done; a worker takes the next job that nobody has, until none is left:

    jobs.json     see :class:`Jobs`; when it is gone, workers give up (a full disk lets files be removed, not made)
    N.claim       job N was taken
    N.events      written by the parent, a line each: path FILE, restart, done
    N.index       what the layer holds, when it was read to its end

A worker follows a file that is still being downloaded. It ends when its parent ends, at the next piece it reads.
Standard output says ``N BYTES`` now and then, and at last ``N ended`` with a JSON object: empty, or what went wrong,
as message and hint; as errno and file name; or as "damaged", when the hash is wrong.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jetsonx.catalog.filters import Filter
from jetsonx.errors import DownloadError
from jetsonx.rootfs.layer import Bound, read_layer, render_item
from jetsonx.store.tree import Objects

_POLL_S = 0.005
_REPORT_BYTES = 1 << 22


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One layer to unpack. ``sha256`` is checked when it is given; ``only`` are the members wanted, None for all."""

    name: str
    size_bytes: int
    sha256: str = ""
    only: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """What workers are told: ``objects`` is the store's directory of contents, ``parent`` the process they serve."""

    parent: int
    objects: str
    filter: Filter | None
    ratio: int
    jobs: tuple[Job, ...]

    def save(self, folder: Path) -> None:
        """Write ``jobs.json``."""
        (folder / "jobs.json").write_text(json.dumps(asdict(self)))


def load_jobs(folder: Path) -> Jobs:
    """Read ``jobs.json``."""
    value = json.loads((folder / "jobs.json").read_text())
    jobs = tuple(Job(**{**job, "only": None if job["only"] is None else tuple(job["only"])}) for job in value["jobs"])
    chosen = value["filter"]
    chosen = chosen and Filter(keep=tuple(chosen["keep"]), drop=tuple(chosen["drop"]))
    return Jobs(**{**value, "filter": chosen, "jobs": jobs})


def main(argv: list[str]) -> None:
    """Do the jobs in the directory that is named."""
    folder = Path(argv[0])
    jobs = load_jobs(folder)
    scratch = folder / f"scratch-{os.getpid()}"
    scratch.mkdir()
    objects = Objects(Path(jobs.objects), scratch)
    for number, job in enumerate(jobs.jobs):
        if not _claim(folder / f"{number}.claim"):
            continue
        try:
            error = _run(folder, number, job, jobs, objects)
        except _StoppedError:
            return
        _say(f"{number} ended {json.dumps(error)}")


def _claim(path: Path) -> bool:
    try:
        path.open("x").close()
    except FileExistsError:
        return False
    return True


def _run(folder: Path, number: int, job: Job, jobs: Jobs, objects: Objects) -> Mapping[str, Any]:
    while True:
        events = _Events(folder / f"{number}.events", jobs.parent)
        with _Follower(events, number, is_hashed=bool(job.sha256)) as follower:
            try:
                error = _unpack(folder / f"{number}.index", job, jobs, objects, follower.read)
                if job.sha256:
                    follower.read_to_end()
                    if follower.sha256() != job.sha256:
                        error = {"damaged": True}
            except _RestartedError:
                continue
        if error and events.wait_for_end() == "restart":
            continue
        return error


def _unpack(index: Path, job: Job, jobs: Jobs, objects: Objects, read: Callable[[int], bytes]) -> Mapping[str, Any]:
    # What the filter drops is stored as well: libpython.a, for one, lies among Python's modules and is linked to from
    # where libraries are. A second look into the layer would cost more.
    keeps = jobs.filter.may_keep if jobs.filter else None
    only = None if job.only is None else frozenset(job.only)
    bound = Bound(job.name, job.size_bytes, jobs.ratio)
    try:
        with index.open("w", encoding="utf-8", newline="\n") as out:
            for item in read_layer(read, objects, keeps, name=job.name, bound=bound, only=only):
                out.write(render_item(item))
    except DownloadError as error:
        return {"message": error.message, "hint": error.hint}
    except OSError as error:
        return {"errno": error.errno, "filename": str(error.filename or objects)}
    return {}


# ---- a file that grows -----------------------------------------------------------------------------------------------


class _StoppedError(Exception):
    pass


class _RestartedError(Exception):
    pass


class _Events:
    """What the parent says about a job, from the last restart on."""

    def __init__(self, path: Path, parent: int) -> None:
        self._path = path
        self._jobs = path.parent / "jobs.json"
        self._parent = parent
        self._restarts = self._lines().count("restart")

    def _lines(self) -> list[str]:
        try:
            return self._path.read_text().splitlines()
        except FileNotFoundError:
            return []

    def check(self) -> bool:
        """True when nothing more will come. Raises when the job is to be given up, or begun again."""
        lines = self._lines()
        if not os.access(self._jobs, os.F_OK) or os.getppid() != self._parent:
            raise _StoppedError
        if lines.count("restart") > self._restarts:
            raise _RestartedError
        return lines[-1:] == ["done"]

    def wait_for_path(self) -> str:
        while True:
            self.check()
            for line in self._lines():
                if line.startswith("path "):
                    return line.removeprefix("path ")
            time.sleep(_POLL_S)

    def wait_for_end(self) -> str:
        """``"done"``, or ``"restart"`` when the file that gave an error was begun anew."""
        try:
            while not self.check():
                time.sleep(_POLL_S)
        except _RestartedError:
            return "restart"
        return "done"


class _Follower:
    """Reads a file to the end that the parent says it has."""

    def __init__(self, events: _Events, number: int, *, is_hashed: bool) -> None:
        self._events = events
        self._number = number
        self._hash = hashlib.sha256() if is_hashed else None
        self._file = -1
        self._read = self._reported = 0

    def __enter__(self) -> _Follower:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._file >= 0:
            os.close(self._file)

    def read(self, count: int) -> bytes:
        if self._file < 0 and not self._open():
            return b""
        while True:
            is_done = self._events.check()  # before the read: what was there when it was said to be done is all
            data = os.read(self._file, count)
            if data:
                self._count(data)
                return data
            if is_done:
                return b""
            time.sleep(_POLL_S)

    def _open(self) -> bool:
        while self._file < 0:
            with contextlib.suppress(FileNotFoundError):  # announced, and not there yet
                self._file = os.open(self._events.wait_for_path(), os.O_RDONLY | os.O_CLOEXEC)
                return True
            if self._events.check():
                return False
            time.sleep(_POLL_S)
        return True

    def _count(self, data: bytes) -> None:
        self._read += len(data)
        if self._hash is not None:
            self._hash.update(data)
        if self._read - self._reported >= _REPORT_BYTES:
            _say(f"{self._number} {self._read - self._reported}")
            self._reported = self._read

    def read_to_end(self) -> None:
        while self.read(_REPORT_BYTES):
            pass

    def sha256(self) -> str:
        return self._hash.hexdigest() if self._hash is not None else ""


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
