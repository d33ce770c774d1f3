"""The same project by every way to build it: cross and emulated in Docker, and by the local engine without Docker.

Cold: every source is new to the compiler caches; what all projects share (base images, the compilers in the toolchain
stage, the sysroot) is there, as on any workstation from its second project on. One file: one source has changed.
Nothing: nothing has.

    python -m benchmarks.docker_build --only thrust --rounds 1
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from benchmarks.chart import Bars, render_bars
from benchmarks.measure import Took, measure, nothing, watch
from benchmarks.thrust_project import FILES, change_everything, change_one, write_project
from tests.integration.arm64 import serve_arm64
from tests.integration.docker_engine import serve_engine
from tests.integration.l4t import serve_devel_image

ROOT = Path(__file__).parents[1]
JETSONX = str(Path(sys.executable).with_name("jetsonx"))
NAME = "The same project in Docker, cross and emulated, and without Docker"
CHART = ROOT / "docs/build-speed.svg"
WAYS = {
    "cross in Docker": ("--engine", "docker", "--strategy", "cross"),
    "without Docker": ("--engine", "local"),
    "emulated in Docker": ("--engine", "docker", "--strategy", "emulate"),
}
STATES = ("cold", "one file", "nothing")
GOALS = (
    "Goals: cold, emulated takes at least 10 times as long as cross in Docker, which takes at most 1.3 times as long "
    "as without Docker; one changed file costs at most 0.25 of cold."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A project that is built; ``all_new`` and ``one_new`` change its sources so that no cache has seen them.

    ``rounds``: how often each way is measured, by way; emulation is slow enough to be seen at once.
    ``has_own_sysroot``: it asks for more than the shared project, so that its first build pulls a sysroot.
    """

    name: str
    folder: Path
    all_new: Callable[[int], None]
    one_new: Callable[[int], None]
    rounds: Mapping[str, int]
    has_own_sysroot: bool
    took: dict[tuple[str, str], list[Took]] = field(default_factory=dict)

    def median(self, way: str, state: str) -> float:
        return statistics.median(each.wall_s for each in self.took[way, state])

    def median_cpu(self, way: str, state: str) -> float:
        return statistics.median(each.cpu_s for each in self.took[way, state])


def run(work: Path, *, only: str = "", rounds: int = 9) -> str:
    """Measure the projects whose name holds ``only``, each way at most ``rounds`` times."""
    made = (saxpy(work), thrusts(work))
    subjects = tuple(
        replace(each, rounds={way: min(rounds, count) for way, count in each.rounds.items()})
        for each in made
        if only.casefold() in each.name.casefold()
    )
    with ExitStack() as stack:
        stack.enter_context(serve_arm64(shutil.which("qemu-aarch64-static") or "qemu-aarch64-static"))
        engine = stack.enter_context(serve_engine("26.1"))
        registry = stack.enter_context(serve_devel_image(work / "registry"))
        environment = {**engine.env, "JETSONX_MIRRORS": f"nvcr.io={registry.url}", "CCACHE_DIR": str(work / "ccache")}
        shared = write_empty(work / "shared")
        for call in calls(shared, environment, work).values():
            measure(call, nothing)
        daemon = int((engine.folder / "docker.pid").read_text())
        for subject in subjects:
            measure_subject(subject, environment, work, daemon)
    if not only:
        CHART.write_text(render_bars(charts(subjects)))
    text = report(subjects)
    print(text, end="\n\n", flush=True)
    return text


def saxpy(work: Path) -> Subject:
    folder = work / "saxpy-cmake"
    shutil.copytree(ROOT / "samples/saxpy-cmake", folder)
    header, source = folder / "include/saxpy/saxpy.hpp", folder / "src/saxpy.cu"
    texts = {path: path.read_text() for path in (header, source)}

    def change(path: Path, count: int) -> None:
        path.write_text(f"{texts[path]}\ninline int {path.stem}_{path.suffix[1:]}_{count}() {{ return {count}; }}\n")

    rounds = {"cross in Docker": 5, "without Docker": 5, "emulated in Docker": 1}
    return Subject(
        name="saxpy-cmake",
        folder=folder,
        all_new=partial(change, header),
        one_new=partial(change, source),
        rounds=rounds,
        has_own_sysroot=True,
    )


def thrusts(work: Path) -> Subject:
    folder = write_project(work / "thrusts")
    rounds = {"cross in Docker": 3, "without Docker": 3, "emulated in Docker": 1}
    return Subject(
        name="9 files with Thrust",
        folder=folder,
        all_new=partial(change_everything, folder),
        one_new=partial(change_one, folder),
        rounds=rounds,
        has_own_sysroot=False,
    )


def write_empty(folder: Path) -> Path:
    """A CMake project of one line of C: what it takes to build is what all projects share."""
    folder.mkdir()
    (folder / "jetsonx.toml").write_text(
        '[project]\nname = "empty"\n[target]\nmodules = ["orin-nano"]\nl4t = "39.2"\n'
        '[build]\nsystem = "cmake"\noutputs = ["empty"]\n'
    )
    (folder / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.18)\nproject(empty LANGUAGES C)\nadd_executable(empty main.c)\n"
    )
    (folder / "main.c").write_text("int main(void) { return 0; }\n")
    return folder


def calls(folder: Path, environment: Mapping[str, str], work: Path) -> dict[str, list[str]]:
    """The command line of each way."""
    prefix = ["env", "-u", "CCACHE_DISABLE", *(f"{name}={value}" for name, value in environment.items())]
    build = [*prefix, JETSONX, "-q", "build", str(folder), "-t", "orin-nano@39.2"]
    return {way: [*build, "-o", f"{work}/out/{folder.name}/{way}", *words] for way, words in WAYS.items()}


def measure_subject(subject: Subject, environment: Mapping[str, str], work: Path, daemon: int) -> None:
    """Each way in turn, with sources that are new each time, as nothing is cold twice."""
    commands = calls(subject.folder, environment, work)
    if subject.has_own_sysroot:
        measure(commands["without Docker"], nothing)
    count = 1
    for number in range(max(subject.rounds.values())):
        for way, call in commands.items():
            if number < subject.rounds[way]:
                changes: list[Callable[[], None]] = [
                    partial(subject.all_new, count),
                    partial(subject.one_new, count),
                    nothing,
                ]
                for state, change in zip(STATES, changes, strict=True):
                    took = watch(call, change, daemon)
                    subject.took.setdefault((way, state), []).append(took)
                    print(f"{subject.name}, {way}, {state}: {took}", flush=True)
                count += 1


def report(subjects: tuple[Subject, ...]) -> str:
    lines = [f"### {NAME}", "", GOALS, ""]
    lines += ["| project | way | cold | one file | nothing | rounds |", "|---|---|---|---|---|---|"]
    for subject in subjects:
        for way in WAYS:
            times = " | ".join(_spread(subject.took[way, state]) for state in STATES)
            lines.append(f"| {subject.name} | {way} | {times} | {subject.rounds[way]} |")
    lines.append("")
    for subject in subjects:
        cross, local = subject.median("cross in Docker", "cold"), subject.median("without Docker", "cold")
        emulated, one = subject.median("emulated in Docker", "cold"), subject.median("cross in Docker", "one file")
        cpu = subject.median_cpu("emulated in Docker", "cold") / subject.median_cpu("cross in Docker", "cold")
        lines.append(
            f"**{subject.name}: emulated / cross {emulated / cross:.1f}, in processor time {cpu:.1f}; cross in Docker "
            f"/ without Docker {cross / local:.2f}; one file / cold {one / cross:.2f}.**"
        )
    lines += ["", "Median (min-max) and, in brackets, processor time. Ratios of medians, in turn."]
    lines += [
        f"Stand-ins for NVIDIA's images; QEMU's user emulation from the host; {os.cpu_count()} cores, on which one"
    ]
    lines += [f"of {FILES} equal files takes {(os.cpu_count() or 1) / FILES:.2f} of cold by itself."]
    return "\n".join(lines)


def _spread(took: list[Took]) -> str:
    seconds = [each.wall_s for each in took]
    cpu_s = statistics.median(each.cpu_s for each in took)
    return f"{statistics.median(seconds):.1f} s ({min(seconds):.1f}-{max(seconds):.1f}) [{cpu_s:.1f} s]"


def charts(subjects: tuple[Subject, ...]) -> tuple[Bars, ...]:
    return tuple(
        Bars(
            title=f"{subject.name}, {state}",
            unit="s",
            values=tuple((way, subject.median(way, state)) for way in WAYS),
        )
        for subject in subjects
        for state in STATES[:2]
    )


if __name__ == "__main__":
    import tempfile

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="only projects whose name holds this word")
    parser.add_argument("--rounds", type=int, default=9, help="each way at most so often")
    asked = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="jetsonx-bench-") as name:
        run(Path(name), only=asked.only, rounds=asked.rounds)
