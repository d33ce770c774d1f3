"""Layers read by worker processes, so that several are read at a time: reading takes all that a core has."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import jetsonx
from jetsonx.artifact.layers import LayerReader
from jetsonx.elf.load import Options
from jetsonx.runner import Command

_WORTH_BYTES = 1 << 24  # a process takes longer to start than a few megabytes to read


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLayer:
    """A layer in a file, as it is stored: ``digest`` is ``sha256:…``."""

    path: Path
    digest: str
    size_bytes: int


def read_ahead(layers: Sequence[StoredLayer], reader: LayerReader) -> None:
    """Have all ``layers`` that are not known read into the store, where that is faster than one after the other.

    Says nothing of what goes wrong: who needs the layer reads it, and sees. No worker is left afterwards.
    """
    unknown = [x for x in dict.fromkeys(layers) if x.size_bytes >= _WORTH_BYTES and not reader.is_known(x.digest)]
    cores = len(os.sched_getaffinity(0))
    if len(unknown) < 2 or cores < 2:
        return
    unknown.sort(key=lambda x: x.size_bytes, reverse=True)  # so that none is left for the end
    folder = reader.scratch / "workers"
    folder.mkdir()
    _save_jobs(folder, unknown, reader)
    pool = ThreadPoolExecutor(cores, thread_name_prefix="read-layer")
    try:
        jobs = [pool.submit(reader.effects.runner.run, _command(folder, number)) for number in range(len(unknown))]
        for job in jobs:
            job.result()
    finally:
        shutil.rmtree(folder)  # a worker that is still there ends within a moment
        pool.shutdown(cancel_futures=True)


def _command(folder: Path, number: int) -> Command:
    above = str(Path(jetsonx.__file__).parents[1])
    paths = [above, *filter(None, [os.environ.get("PYTHONPATH")])]
    return Command(
        argv=(sys.executable, "-m", "jetsonx.artifact.worker", str(folder), str(number)),
        cwd=folder,  # Python looks for modules where it is started: not among the user's files
        env={"PYTHONPATH": os.pathsep.join(paths)},
    )


def _save_jobs(folder: Path, layers: Sequence[StoredLayer], reader: LayerReader) -> None:
    rows = [(str(x.path.absolute()), x.digest, x.size_bytes) for x in layers]
    value = {"store": str(reader.effects.store.root), "options": asdict(reader.options), "layers": rows}
    (folder / "jobs.json").write_text(json.dumps(value))


def load_jobs(folder: Path) -> tuple[Path, Options, list[StoredLayer]]:
    """The store's directory, what to read, and the layers."""
    value = json.loads((folder / "jobs.json").read_text())
    options = Options(**{**value["options"], "host_prefixes": tuple(value["options"]["host_prefixes"])})
    rows = value["layers"]
    return Path(value["store"]), options, [StoredLayer(path=Path(x), digest=y, size_bytes=z) for x, y, z in rows]
