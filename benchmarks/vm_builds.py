"""One CUDA sample, built in a virtual Jetson, under QEMU's user emulation, and across.

Its source is new each time; base images, compilers and the toolchain stage are there, as on any workstation from its
second project on. The machine runs only while it is measured.

python -m benchmarks.vm_builds --rounds 1
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.chart import Bars, render_bars
from benchmarks.measure import Took, measure, nothing, watch
from benchmarks.vm import find_qemu
from tests.images.devel import LIGHT
from tests.integration.arm64 import serve_arm64
from tests.integration.docker_engine import Engine, serve_engine
from tests.integration.l4t import serve_devel_image
from tests.integration.registry import RunningRegistry
from tests.integration.vm import TARGET, boot

ROOT = Path(__file__).parents[1]
JETSONX = str(Path(sys.executable).with_name("jetsonx"))
NAME = "One CUDA sample: built in a virtual Jetson, emulated, and across"
CHART = ROOT / "docs/build-in-a-machine.svg"
SAMPLE = "vector-add"
ACROSS, EMULATED, IN_MACHINE = "across", "QEMU, user mode", "virtual Jetson"
WAYS = {ACROSS: "cross", EMULATED: "emulate", IN_MACHINE: "native"}
"""Ways to build, the quickest first: the strategy of `jetsonx build --engine docker`."""
MACHINE = "bench"
MEMORY_MIB = 2048


def run(work: Path, *, rounds: int = 3) -> str:
    """Measure each way ``rounds`` times; what is started for it is ended, and the machine removed."""
    took: dict[str, list[Took]] = {}
    with serve_engine("26.1") as engine, serve_devel_image(work / "light-registry", LIGHT) as registry:
        engine_pid = int((engine.folder / "docker.pid").read_text())
        environment = {**engine.env, "JETSONX_MIRRORS": f"nvcr.io={registry.url}"}
        with _machine(engine, registry) as (places, machine_pid):
            took[IN_MACHINE] = _measure(IN_MACHINE, {**environment, **places}, work, machine_pid, rounds)
        with serve_arm64(shutil.which("qemu-aarch64-static") or "qemu-aarch64-static"):
            for way in (ACROSS, EMULATED):
                took[way] = _measure(way, environment, work, engine_pid, rounds)
    CHART.write_text(render_bars(charts(took)))
    text = report(took)
    print(text, end="\n\n", flush=True)
    return text


@contextmanager
def _machine(engine: Engine, registry: RunningRegistry) -> Iterator[tuple[Mapping[str, str], int]]:
    """A virtual Jetson that the engine's client knows as a builder node: where jetsonx finds it, and QEMU's number."""
    with boot(MACHINE, memory_mib=MEMORY_MIB) as machine:
        machine.lend(urlsplit(registry.url).port or 0)
        add = [*_call({**engine.env, **machine.env}), "builder", "add", machine.device]
        measure(add, nothing)
        yield machine.env, find_qemu(MACHINE)


def _measure(way: str, environment: Mapping[str, str], work: Path, pid: int, rounds: int) -> list[Took]:
    """Build once to have all there, then with new sources. ``pid`` works for the build, and is no child of ours."""
    project = work / WAYS[way]
    shutil.copytree(ROOT / "samples" / SAMPLE, project)
    words = ("build", str(project), "--engine", "docker", "--strategy", WAYS[way], "-t", TARGET)
    call = [*_call(environment), *words]
    first = watch(call, nothing, pid)
    print(f"{way}, with its image and toolchain to be fetched: {first}", flush=True)
    took = []
    for change in _changes(project / "vector_add.cu", rounds):
        took.append(watch(call, change, pid))
        print(f"{way}: {took[-1]}", flush=True)
    return took


def _call(environment: Mapping[str, str]) -> list[str]:
    return ["env", "-u", "CCACHE_DISABLE", *(f"{name}={value}" for name, value in environment.items()), JETSONX, "-q"]


def _changes(source: Path, rounds: int) -> list[Callable[[], None]]:
    text = source.read_text()

    def change(number: int) -> None:
        source.write_text(f"{text}\n__device__ int change_{number}() {{ return {number}; }}\n")

    return [partial(change, number) for number in range(rounds)]


def report(took: Mapping[str, list[Took]]) -> str:
    lines = [f"### {NAME}", ""]
    lines += [f"`{SAMPLE}` for one module in Docker, its source new; images and toolchain stage are there.", ""]
    lines += ["| way | strategy | wall time (min-max) | processor time | wall, across = 1 | processor, across = 1 |"]
    lines += ["|---|---|---|---|---|---|"]
    wall, cpu = _medians(took)
    for way, strategy in WAYS.items():
        seconds = [each.wall_s for each in took[way]]
        lines.append(
            f"| {way} | {strategy} | {wall[way]:.1f} s ({min(seconds):.1f}-{max(seconds):.1f}) | {cpu[way]:.1f} s "
            f"| {wall[way] / wall[ACROSS]:.1f} | {cpu[way] / cpu[ACROSS]:.1f} |"
        )
    wall_ratio, cpu_ratio = wall[IN_MACHINE] / wall[EMULATED], cpu[IN_MACHINE] / cpu[EMULATED]
    said = (
        f"**The machine takes {wall_ratio:.1f} times as long as user mode, {cpu_ratio:.1f} times in processor time.**"
    )
    rounds, cores, load = len(took[IN_MACHINE]), os.cpu_count(), os.getloadavg()[0]
    lines += ["", said, "", f"Medians of {rounds}; {cores} cores with a load of {load:.0f} at the end. The machine has"]
    lines += [f"{MEMORY_MIB} MiB, two emulated processors (no KVM) and Docker 20.10, and all that its QEMU takes"]
    lines += ["meanwhile is counted; the others build in Docker 26.1 on the host. Images are stand-ins for"]
    lines += ["NVIDIA's (Debian 12, CUDA 13.2)."]
    return "\n".join(lines)


def charts(took: Mapping[str, list[Took]]) -> tuple[Bars, ...]:
    titles = ("wall time", "processor time")
    return tuple(
        Bars(title=f"{SAMPLE}, its source new: {title}", unit="s", values=tuple((way, values[way]) for way in WAYS))
        for title, values in zip(titles, _medians(took), strict=True)
    )


def _medians(took: Mapping[str, list[Took]]) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """Seconds by way: of the clock, of processors."""
    wall = {way: statistics.median(each.wall_s for each in took[way]) for way in WAYS}
    cpu = {way: statistics.median(each.cpu_s for each in took[way]) for way in WAYS}
    return wall, cpu


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="jetsonx-bench-") as name:
        run(Path(name), rounds=asked.rounds)
