"""Run commands for their time and their memory."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_SAMPLE_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Wall-clock seconds of each run, and the largest peak memory of any."""

    seconds: tuple[float, ...]
    peak_kib: int

    @property
    def median_s(self) -> float:
        return statistics.median(self.seconds)

    def __str__(self) -> str:
        return f"{self.median_s:.3f} s ({min(self.seconds):.3f}-{max(self.seconds):.3f})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """Wall-clock and processor seconds. The second say more where the machine has other work."""

    wall_s: float
    cpu_s: float

    def __str__(self) -> str:
        return f"{self.wall_s:.1f} s, processors {self.cpu_s:.1f} s"


def nothing() -> None:
    """What has to be done before a run: nothing."""


def measure(argv: list[str], before: Callable[[], None]) -> float:
    before()
    started = time.perf_counter()
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    _, words = process.communicate()
    elapsed = time.perf_counter() - started
    if process.returncode != 0:
        sys.exit(f"{argv} failed:\n{words}")
    return elapsed


def watch(call: list[str], change: Callable[[], None], pid: int) -> Took:
    """What a command takes, with what the process ``pid``, which is no child of ours, does meanwhile."""
    before = children_s() + process_s(pid)
    wall_s = measure(call, change)
    return Took(wall_s=wall_s, cpu_s=children_s() + process_s(pid) - before)


def children_s() -> float:
    """Processor seconds of all processes that this one waited for."""
    ours = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ours.ru_utime + ours.ru_stime


def process_s(pid: int) -> float:
    """Processor seconds of a process and of those that it waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")  # utime, stime, cutime, cstime: proc(5)


def status_kib(pid: int | str, what: str) -> int:
    """KiB that the kernel says of a process (or "self"): VmRSS, or VmHWM, its peak.

    What getrusage and wait4 say of a peak begins with the memory of the process that started it.
    """
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{what}:")).split()[1])


def peak_memory(argv: list[str], before: Callable[[], None]) -> int:
    """Peak resident KiB of a command, from the kernel's accounting of a child's children."""
    before()
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, "
        "stderr=subprocess.DEVNULL); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    return int(subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, check=True).stdout)


def peak_memory_of_all(argv: list[str], before: Callable[[], None]) -> int:
    """Peak KiB of a command and all processes it started, together: their PSS summed, looked at every 20 ms.

    PSS, so that pages which several of them share count once. Every descendant is found by a word in its environment.
    """
    before()
    word = f"JETSONX_BENCH_RUN={os.getpid()}-{time.monotonic_ns()}"
    name, _, value = word.partition("=")
    with tempfile.TemporaryFile() as words:
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=words, env={**os.environ, name: value})
        peak = 0
        while process.poll() is None:
            peak = max(peak, sum(_pss_kib(entry) for entry in _marked(word.encode())))
            time.sleep(_SAMPLE_S)
        words.seek(0)
        if process.returncode != 0:
            sys.exit(f"{argv} failed:\n{words.read().decode(errors='replace')}")
    return peak


def _marked(word: bytes) -> list[Path]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # gone, or another user's
                if word in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(entry)
    return found


def _pss_kib(entry: Path) -> int:
    with suppress(OSError):
        for line in (entry / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0
