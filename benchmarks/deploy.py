"""A new release to a device behind a cable of 20 and of 1 Mbit/s: jetsonx deploy against what people type today.

All bring the same images: a base of 195 MB and an app's layer of 60 MB, of which one file of 3 MB changes (A: it was
built again; B: it is all new and random). Bytes are counted on the cable, headers and ssh included.

    python -m benchmarks.deploy --only releases     # or: engines, many
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.chart import Bars, render_bars
from benchmarks.deploy_images import Maker, Version, new_bytes, rebuilt
from benchmarks.deploy_ways import Cost, Scene
from tests.integration.arm64 import serve_arm64
from tests.integration.device_net import serve_device
from tests.integration.docker_engine import Engine, Generation, serve_engine

ROOT = Path(__file__).parents[1]
CHART = ROOT / "docs/deploy-bytes.svg"
NAME = "A new release to a device: jetsonx deploy"
ROUNDS = 3
GOALS = (
    "Goals: A costs at most 0.01 of the bytes of a thin archive with gzip, and at most 1.5 times the wall time of zstd "
    "--patch-from with the load; B at most 1.05 times what its file takes compressed, and 100 KB; a layer of 50,000 "
    "files is encoded in 10 s and 500 MB; a deployment of what runs there takes 1.5 s; the switch is without a running "
    "release for at most 1 s."
)
LEFT_OUT = (
    "Left out at 1 Mbit/s: whole images and thin archives, which take minutes. Left out at all: a pull from a registry "
    "through ssh -R, as the engines of these devices run outside of the cable's network. The rows of rsync and zstd "
    "bring the layer's tar and load it, and do not switch; the old tar lies on the device for them."
)
FULL_GZIP, FULL_ZSTD = "docker save \\| gzip \\| ssh docker load", "docker save \\| zstd -3 \\| ssh docker load"
THIN, OURS_THIN = "thin archive \\| gzip \\| ssh docker load", "jetsonx deploy --method thin"
RSYNC, PATCH, OURS = "rsync -z of the layer's tar, thin load", "zstd -3 --patch-from, thin load", "jetsonx deploy"
NOTHING = "jetsonx deploy, nothing new"


@dataclass(kw_only=True)
class Table:
    """What was measured, by (case, rate in Mbit/s, way)."""

    costs: dict[tuple[str, int, str], list[Cost]] = field(default_factory=dict)

    def add(self, case: str, rate: int, way: str, cost: Cost) -> None:
        """Note and print it."""
        self.costs.setdefault((case, rate, way), []).append(cost)
        print(f"{case}, {rate} Mbit/s, {way}: {cost}", flush=True)

    def median(self, case: str, rate: int, way: str, what: str) -> float:
        """Of one field of the costs."""
        return float(statistics.median(getattr(cost, what) for cost in self.costs[case, rate, way]))

    def lines(self) -> Iterator[str]:
        """As a table for a person."""
        yield "| case | Mbit/s | way | bytes | wall time (min-max) | of it until loaded | host's processors | rounds |"
        yield "|---|---|---|---|---|---|---|---|"
        for (case, rate, way), costs in self.costs.items():
            walls = [cost.wall_s for cost in costs]
            sent, loaded = self.median(case, rate, way, "wire_bytes"), self.median(case, rate, way, "loaded_s")
            yield (
                f"| {case} | {rate} | {way} | {sent:,.0f} | {statistics.median(walls):.1f} s ({min(walls):.1f}-"
                f"{max(walls):.1f}) | {loaded:.1f} s | {self.median(case, rate, way, 'cpu_s'):.1f} s | {len(costs)} |"
            )


def run(work: Path, *, only: str = "") -> str:
    """Measure all parts, or one of them, and write the chart when it shows something new."""
    parts: dict[str, Callable[[Path], list[str]]] = {"releases": releases, "engines": engines, "many": many}
    lines = [f"### {NAME}", "", GOALS, ""]
    load_before = os.getloadavg()[0]
    with serve_arm64(shutil.which("qemu-aarch64-static") or "qemu-aarch64-static"):
        for name, part in parts.items():
            if not only or only == name:
                (work / name).mkdir()
                lines += [*part(work / name), ""]
    after = os.getloadavg()[0]
    lines.append(f"Load average of this machine, {os.cpu_count()} cores: {load_before:.1f} before, {after:.1f} after.")
    text = "\n".join(lines)
    print(text, end="\n\n", flush=True)
    return text


@contextmanager
def scene_on(work: Path, generation: Generation, *, desk: Engine | None = None) -> Iterator[Scene]:
    """A device with an engine of a generation."""
    with ExitStack() as stack:
        engine = stack.enter_context(serve_engine(generation))
        path = f"{engine.folder}/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"  # no shims of whoever measures
        device = stack.enter_context(serve_device(work / "device", engine=engine, environ={"PATH": path}))
        yield Scene(work=work / "scene", device=device, engine=engine, desk=desk)


# ---- one file of a release changes -----------------------------------------------------------------------------------


def releases(work: Path) -> list[str]:
    """Each way in turn, over releases that follow one another."""
    maker = Maker(work / "images")
    table = Table()
    with serve_engine("26.1") as desk, scene_on(work, "26.1", desk=desk) as scene:
        changed, now = maker.changed, maker.version(maker.changed)
        first = scene.deploy(now)
        for number in range(ROUNDS):
            changed = rebuilt(changed, number)
            now = follow(scene, table, "A", now, maker.version(changed), 20, is_first=number == 0)
        for number in range(ROUNDS):
            now = follow(scene, table, "B", now, maker.version(new_bytes(number)), 20)
        thin = maker.version(rebuilt(changed, 90))
        scene.device.rate(20)
        table.add("A", 20, OURS_THIN, scene.deploy(thin, "--method", "thin"))
        now = follow(scene, table, "A", thin, maker.version(rebuilt(changed, 91)), 1)
        now = follow(scene, table, "B", now, maker.version(new_bytes(92)), 1)
    CHART.write_text(render_bars(charts(table)))
    return [
        f"Docker 26.1 with overlay2. The first deployment, unshaped: {first.wire_bytes:,} bytes.",
        "",
        *table.lines(),
        "",
        *judged(table),
        "",
        *disks(table),
        "",
        LEFT_OUT,
    ]


def follow(
    scene: Scene, table: Table, case: str, old: Version, new: Version, rate: int, *, is_first: bool = False
) -> Version:
    """Bring ``new`` to a device that has ``old`` by each way; in the end it runs there."""
    scene.device.rate(rate)
    if is_first:
        layout = subprocess.run(["tar", "-cC", str(new.layout), "."], capture_output=True, check=True).stdout
        assert scene.desk is not None
        scene.desk.docker("load", stdin=layout)
        table.add(case, rate, FULL_GZIP, scene.piped(new, "gzip"))
        table.add(case, rate, FULL_ZSTD, scene.piped(new, "zstd -q -3"))
        table.add(case, rate, THIN, scene.thin(new))
    table.add(case, rate, PATCH, scene.patched(old, new))
    table.add(case, rate, RSYNC, scene.rsync(old, new))
    table.add(case, rate, OURS, scene.deploy(new))
    table.add("C", rate, NOTHING, scene.deploy(new))
    scene.device.rate(None)
    return new


def judged(table: Table) -> Iterator[str]:
    """The goals, met or not."""

    def median(case: str, way: str, what: str) -> float:
        return table.median(case, 20, way, what)

    sent = median("A", OURS, "wire_bytes")
    ratio = sent / median("A", THIN, "wire_bytes")
    yield f"* A, bytes: {ratio:.4f} of the thin archive's with gzip; {said(ratio <= 0.01)}."
    limit = median("A", PATCH, "wall_s")
    loaded, whole = median("A", OURS, "loaded_s") / limit, median("A", OURS, "wall_s") / limit
    cpu = median("A", OURS, "cpu_s") - median("A", PATCH, "cpu_s")
    yield (
        f"* A, wall time: {loaded:.2f} times that of zstd --patch-from with the load until the image is loaded; "
        f"{said(loaded <= 1.5)}. With the switch and the health check, which the other lacks: {whole:.2f}. On the host "
        f"it takes {cpu:.1f} s more of a processor, for the checks of the image and for the recipe."
    )
    room = 1.05 * len(zlib.compress(new_bytes(0), 6)) + 100_000
    sent = median("B", OURS, "wire_bytes")
    yield f"* B, bytes: {sent:,.0f} of {room:,.0f}; {said(sent <= room)}."
    nothing_s = median("C", NOTHING, "wall_s")
    yield f"* Nothing new: {nothing_s:.2f} s; {said(nothing_s <= 1.5)}."
    down = [cost.downtime_s for (_, _, way), costs in table.costs.items() if way == OURS for cost in costs]
    downs = sorted(each for each in down if each is not None)
    spread = f"{statistics.median(downs):.2f} s ({downs[0]:.2f}-{downs[-1]:.2f})"
    yield f"* Without a running release: {spread}; {said(statistics.median(downs) <= 1)}."


def said(is_met: bool) -> str:
    """Of a goal."""
    return "met" if is_met else "**not met**"


def disks(table: Table) -> Iterator[str]:
    """What the device's disk takes."""
    yield "| the device's disk, A | at most | in the end |"
    yield "|---|---|---|"
    for way in (FULL_GZIP, THIN, PATCH, OURS):
        cost = table.costs["A", 20, way][0]  # later on, what a deployment brings replaces what an earlier one did
        yield f"| {way} | +{cost.peak_bytes / 1e6:,.0f} MB | +{cost.kept_bytes / 1e6:,.0f} MB |"


def charts(table: Table) -> Sequence[Bars]:
    """Kilobytes by way."""
    ways = {
        OURS: "jetsonx deploy",
        PATCH: "zstd --patch-from",
        RSYNC: "rsync -z",
        THIN: "new layer, gzip",
        FULL_GZIP: "docker save | gzip",
    }
    return [
        Bars(
            title=title,
            unit="kB",
            values=tuple(
                (label, table.median(case, 20, way, "wire_bytes") / 1000)
                for way, label in ways.items()
                if (case, 20, way) in table.costs
            ),
        )
        for case, title in (("A", "One file of 3 MB built again"), ("B", "One file of 3 MB all new"))
    ]


# ---- other engines ---------------------------------------------------------------------------------------------------


def engines(work: Path) -> list[str]:
    """The same release to other engines."""
    maker = Maker(work / "images")
    old, new = maker.version(maker.changed), maker.version(rebuilt(maker.changed, 1))
    lines = [
        "| engine, A at 20 Mbit/s | method | bytes | wall time | without a running release |",
        "|---|---|---|---|---|",
    ]
    generations: tuple[Generation, ...] = ("20.10", "26.1-containerd")
    for generation in generations:
        (work / generation).mkdir()
        with scene_on(work / generation, generation) as scene:
            scene.deploy(old)
            scene.device.rate(20)
            cost = scene.deploy(new)
            method = scene.told["devices"][0]["plan"]["transfer"]["method"]
            lines.append(
                f"| {generation} | {method} | {cost.wire_bytes:,} | {cost.wall_s:.1f} s | {cost.downtime_s:.2f} s |"
            )
            print(lines[-1], flush=True)
    return lines


# ---- many files ------------------------------------------------------------------------------------------------------


def many(work: Path) -> list[str]:
    """A layer of 50,000 files and 800 MB: encoded alone, and deployed."""
    old, new = Maker(work / "images").many()
    words = [sys.executable, "-m", "benchmarks.deploy_encode", str(old.layout), str(new.layout), str(work / "cache")]
    encoded = json.loads(subprocess.run(words, cwd=ROOT, check=True, capture_output=True).stdout)
    print(encoded, flush=True)
    with scene_on(work, "26.1") as scene:
        first = scene.deploy(old)
        second = scene.deploy(new)
    seconds, peak_kib = encoded["wall_s"], encoded["peak_kib"]
    here_kib, there_kib = (
        max(getattr(each, what) for each in (first, second)) for what in ("memory_kib", "helper_kib")
    )
    size = f"{new.tar.stat().st_size / 1e6:,.0f} MB"
    what = (
        f"A layer of 50,000 files, {size}: all times changed, 16 bytes in each third file, 300 edits in one of 13.8 MB."
    )
    points = (
        f"encoded in {seconds:.1f} s, processors {encoded['cpu_s']:.1f} s; {said(seconds <= 10)}",
        f"peak memory of that {peak_kib / 1024:.0f} MiB; {said(peak_kib * 1024 <= 500e6)}",
        f"jetsonx deploy, unshaped: {second.wire_bytes:,} bytes, {second.wall_s:.1f} s",
        f"the first deployment, all of the image: {first.wire_bytes:,} bytes, {first.wall_s:.1f} s",
        f"peak memory of both: {here_kib / 1024:.0f} MiB on the workstation, {there_kib / 1024:.0f} MiB the helper",
        f"the device's disk: +{second.peak_bytes / 1e6:,.0f} MB at most, {second.kept_bytes / 1e6:+,.0f} MB in the end",
    )
    return [what, "", *(f"* {point}." for point in points)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", choices=("", "releases", "engines", "many"), help="one part")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="jetsonx-bench-") as name:
        run(Path(name), only=parser.parse_args().only)
