"""Layers unpacked by worker processes while they are downloaded; the other side of :mod:`jetsonx.rootfs.worker`."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import jetsonx
from jetsonx.catalog.filters import Filter
from jetsonx.console import Bar, Console
from jetsonx.errors import DownloadError, HostError, JetsonxError
from jetsonx.rootfs.layer import LayerSource
from jetsonx.rootfs.worker import Job, Jobs
from jetsonx.runner import Command, Runner
from jetsonx.store.store import Store

_POLL_S = 0.1
# Downloads beyond the layers that are being unpacked, so that no worker waits for the network while there is work.
_AHEAD = 2

# The members that are wanted of a layer, by its number in the image; None: what the filter keeps.
Wanted = Mapping[int, tuple[int, ...] | None]


class Unpacker:
    """Unpacks ``layers`` into the store's objects. ``scratch`` is a directory for this alone."""

    def __init__(
        self,
        layers: Sequence[LayerSource],
        *,
        filter: Filter | None,  # noqa: A002 - the word for it everywhere
        ratio: int,
        scratch: Path,
        store: Store,
        runner: Runner,
        console: Console,
    ) -> None:
        self._layers = layers
        self._filter = filter
        self._ratio = ratio
        self._scratch = scratch
        self._store = store
        self._runner = runner
        self._console = console
        self._passes = 0
        self.downloaded_bytes = 0

    def unpack(self, wanted: Wanted, *, what: str) -> dict[int, str]:
        """The index of each layer that is ``wanted``, its contents in the store.

        Raises what :func:`jetsonx.rootfs.layers.add_layers` says; no worker is left then.
        """
        if not wanted:
            return {}
        self._passes += 1
        folder = self._scratch / f"pass-{self._passes}"
        folder.mkdir()
        # Largest first, so that none is left for the end; the same order in every process, so that two processes that
        # wait for each other's layers cannot wait in a circle.
        order = sorted(wanted, key=lambda n: (_size_bytes(self._layers[n]), self._layers[n].digest), reverse=True)
        jobs = tuple(self._job(n, wanted[n]) for n in order)
        objects = str(self._store.folder("objects"))
        Jobs(parent=os.getpid(), objects=objects, filter=self._filter, ratio=self._ratio, jobs=jobs).save(folder)
        layers = [self._layers[n] for n in order]
        total = sum(map(_size_bytes, layers))
        with self._console.bar(what, total) as bar:
            work = _Pass(layers, folder, bar, self._store, self._console)
            work.run(self._runner)
        self.downloaded_bytes += work.downloaded_bytes
        return {n: (folder / f"{i}.index").read_text(encoding="utf-8") for i, n in enumerate(order)}

    def _job(self, n: int, only: tuple[int, ...] | None) -> Job:
        layer = self._layers[n]
        is_there = layer.path is None and layer.sha256 and self._store.download(layer.sha256) is not None
        return Job(
            name=layer.name,
            size_bytes=_size_bytes(layer),
            sha256=layer.sha256 if is_there else "",  # what was downloaded long ago is checked once more
            only=only,
        )


def _size_bytes(layer: LayerSource) -> int:
    if layer.size_bytes is None and layer.path is not None:
        return layer.path.stat().st_size
    return layer.size_bytes or 0


class _StoppedError(Exception):
    pass


class _Pass:
    """One run of workers over ``layers``; job N is the N-th of them."""

    def __init__(self, layers: Sequence[LayerSource], folder: Path, bar: Bar, store: Store, console: Console) -> None:
        self._layers = layers
        self._folder = folder
        self._bar = bar
        self._store = store
        self._console = console
        self._is_stopped = False
        self._ended = [threading.Event() for _ in layers]
        self._errors: list[dict[str, Any]] = [{} for _ in layers]
        self._counted = [0] * len(layers)
        self._guard = threading.Lock()
        self.downloaded_bytes = 0

    def run(self, runner: Runner) -> None:
        count = min(len(self._layers), (os.cpu_count() or 1) + 1)
        workers = ThreadPoolExecutor(count, thread_name_prefix="unpack")
        carriers = ThreadPoolExecutor(count + _AHEAD, thread_name_prefix="download")
        try:
            jobs: list[Future[None]] = [carriers.submit(self._deliver, n) for n in range(len(self._layers))]
            jobs += [workers.submit(self._work, runner) for _ in range(count)]
            wait(jobs, return_when=FIRST_EXCEPTION)
        finally:
            self._stop()
            workers.shutdown(wait=True)  # each ends within a moment of being told
            carriers.shutdown(wait=False, cancel_futures=True)
        ended = [job for job in jobs if job.done() and not job.cancelled()]  # a download may take a while to notice
        errors = [error for job in ended if (error := job.exception()) is not None]
        for error in sorted(errors, key=lambda error: isinstance(error, _StoppedError)):
            raise error

    def _stop(self) -> None:
        self._is_stopped = True
        (self._folder / "jobs.json").unlink(missing_ok=True)

    def _tell(self, n: int, event: str) -> None:
        with (self._folder / f"{n}.events").open("a") as file:
            file.write(f"{event}\n")

    # ---- one worker ----------------------------------------------------------------------------------------------

    def _work(self, runner: Runner) -> None:
        above = str(Path(jetsonx.__file__).parents[1])
        paths = [above, *filter(None, [os.environ.get("PYTHONPATH")])]
        command = Command(
            argv=(sys.executable, "-m", "jetsonx.rootfs.worker", str(self._folder)),
            cwd=self._folder,  # Python looks for modules where it is started: not among the user's files
            env={"PYTHONPATH": os.pathsep.join(paths)},
        )
        done = runner.run(command, on_line=self._hear)
        if done.ok or self._is_stopped:
            return
        if done.status < 0:
            raise HostError(
                f"a process that unpacks layers was killed (signal {-done.status})",
                hint="it needs about 60 MB of memory; look whether the system ran out of it",
            )
        raise JetsonxError(f"a process that unpacks layers failed (status {done.status})", details=done.tail)

    def _hear(self, line: str) -> None:
        number, _, news = line.partition(" ")
        if not number.isdigit() or int(number) >= len(self._layers):
            return
        if news.startswith("ended "):
            self._errors[int(number)] = json.loads(news.removeprefix("ended "))
            self._ended[int(number)].set()
        elif news.isdigit() and self._layers[int(number)].fetch is None:
            self._count(int(number), int(news))

    # ---- one layer -----------------------------------------------------------------------------------------------

    def _deliver(self, n: int) -> None:
        """Bring layer ``n`` to the worker that has it, and see it unpacked."""
        layer = self._layers[n]
        with ExitStack() as stack:
            if self._console.is_terminal and len(self._layers) > 1:
                bar = stack.enter_context(self._console.bar(layer.name, _size_bytes(layer)))
            else:
                bar = None
            if layer.path is not None:
                self._hand_over(n, layer.path)
            elif layer.digest:
                stack.enter_context(self._store.lock(layer.digest))
                self._bring(n, layer, bar)
            else:
                self._fetch(n, layer, self._folder / f"{n}.part", bar)

    def _bring(self, n: int, layer: LayerSource, bar: Bar | None) -> None:
        there = self._store.download(layer.sha256)
        if there is None:
            part = self._store.partial(layer.sha256, layer.sha256)
            self._fetch(n, layer, part, bar)
            self._store.keep_download(part, layer.sha256)
            return
        try:
            self._hand_over(n, there)
        except _DamagedError:
            self._store.drop_download(layer.sha256)
            raise DownloadError(
                f"{layer.name} was damaged in the cache: its sha256 is not {layer.sha256}",
                hint="it is removed; run the same command again to fetch it anew",
            ) from None

    def _hand_over(self, n: int, path: Path) -> None:
        self._tell(n, f"path {path}")
        self._tell(n, "done")
        self._wait(n)
        self._count(n, _size_bytes(self._layers[n]) - self._counted[n])

    def _fetch(self, n: int, layer: LayerSource, part: Path, bar: Bar | None) -> None:
        assert layer.fetch is not None, layer.name  # noqa: S101 - a layer without a path has it
        held = part.stat().st_size if part.exists() else 0

        def advance(amount: int) -> None:
            if self._is_stopped:
                raise _StoppedError
            if bar is not None:
                bar.advance(amount)
            self._count(n, amount)

        self._tell(n, f"path {part}")
        layer.fetch(part, advance, lambda: self._tell(n, "restart"))
        self._tell(n, "done")
        with self._guard:
            self.downloaded_bytes += max(0, part.stat().st_size - held)
        self._wait(n)

    def _count(self, n: int, amount: int) -> None:
        with self._guard:
            self._counted[n] += amount
            self._bar.advance(amount)

    def _wait(self, n: int) -> None:
        while not self._ended[n].wait(_POLL_S):
            if self._is_stopped:
                raise _StoppedError
        error = self._errors[n]
        if "damaged" in error:
            raise _DamagedError
        if "errno" in error:
            raise OSError(error["errno"], os.strerror(error["errno"]), error["filename"])
        if error:
            raise DownloadError(error["message"], hint=error["hint"])


class _DamagedError(Exception):
    pass
