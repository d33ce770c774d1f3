"""Measure jetsonx against what people type today, side by side in one run; write benchmarks/RESULTS.md.

Each comparison alternates its two commands (A B A B …) and reports the ratio of their medians, so that a machine whose
speed drifts does not favour one of them. Run it on an idle machine: `make bench`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from benchmarks import deploy, docker_build, image_pull, verify, vm, vm_builds
from benchmarks.measure import Timing, measure, nothing, peak_memory
from jetsonx.packages.mirrors import load_host, resolve_sources

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/RESULTS.md"
JETSONX = str(Path(sys.executable).with_name("jetsonx"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One comparison: what is measured, against what, and the goal for the ratio or for seconds."""

    name: str
    ours: list[str]
    theirs: list[str] | None
    before: Callable[[], None] = nothing
    goal: str
    runs: int = 7
    shown_ours: str
    shown_theirs: str = ""


def run(case: Case) -> str:
    measure(case.ours, case.before)
    if case.theirs:
        measure(case.theirs, case.before)
    ours, theirs = [], []
    for _ in range(case.runs):
        ours.append(measure(case.ours, case.before))
        if case.theirs:
            theirs.append(measure(case.theirs, case.before))
    mine = Timing(seconds=tuple(ours), peak_kib=peak_memory(case.ours, case.before))
    lines = [
        f"### {case.name}",
        "",
        f"Goal: {case.goal}",
        "",
        "| command | median (min-max) | peak memory |",
        "|---|---|---|",
    ]
    lines.append(f"| `{case.shown_ours}` | {mine} | {mine.peak_kib / 1024:.0f} MiB |")
    if case.theirs:
        other = Timing(seconds=tuple(theirs), peak_kib=peak_memory(case.theirs, case.before))
        lines.append(f"| `{case.shown_theirs}` | {other} | {other.peak_kib / 1024:.0f} MiB |")
        lines += ["", f"**Ratio {mine.median_s / other.median_s:.2f}**, {case.runs} runs each, in turn."]
    else:
        lines += ["", f"**{mine.median_s:.3f} s**, {case.runs} runs."]
    text = "\n".join(lines)
    print(text, end="\n\n", flush=True)
    return text


def cases(work: Path) -> list[Case]:
    project = work / "vector-add"
    shutil.copytree(ROOT / "samples/vector-add", project)
    subprocess.run([JETSONX, "-q", "build", str(project)], check=True, stdout=subprocess.DEVNULL)
    source = project / "vector_add.cu"
    text = source.read_text()
    count = iter(range(1_000_000))

    def touch() -> None:
        source.write_text(f"{text}\n__device__ int change_{next(count)};\n")

    exports = subprocess.run(
        [JETSONX, "env", "orin-nano@39.2", "--format", "json"], capture_output=True, text=True, check=True
    ).stdout
    nvcc = by_hand(exports, source, work)
    return [
        Case(
            name="A changed source, built: jetsonx build against nvcc typed by hand",
            ours=[JETSONX, "-q", "build", str(project)],
            theirs=nvcc,
            before=touch,
            goal="ratio at most 1.15. jetsonx also checks the result and packs the image; it gives idle cores to nvcc "
            "(--threads), which the typed command does not; without that the ratio here was 1.16",
            shown_ours="jetsonx build vector-add",
            shown_theirs="nvcc -ccbin clang++ -gencode … vector_add.cu -o vector-add",
        ),
        Case(
            name="An unchanged project",
            ours=[JETSONX, "-q", "build", str(project)],
            theirs=None,
            goal="at most 0.25 s",
            runs=15,
            shown_ours="jetsonx build vector-add",
        ),
        Case(
            name="Start-up",
            ours=[JETSONX, "--version"],
            theirs=[sys.executable, "-c", "import click"],
            goal="ratio at most 2",
            runs=15,
            shown_ours="jetsonx --version",
            shown_theirs='python -c "import click"',
        ),
        sysroot_case(work),
    ]


def by_hand(described: str, source: Path, work: Path) -> list[str]:
    """The nvcc call a person would type for the same two modules, without any of jetsonx's scripts in it.

    It drives the same compilers directly: the real nvcc, and a plain clang++ script with the cross flags.
    """
    environment = json.loads(described)
    config = Path(environment["cxx"]).parents[1] / "share/config.sh"
    line = next(line for line in config.read_text().splitlines() if line.startswith("jx_cxx()"))
    body = line.partition("exec ")[2].rpartition(' "$@"')[0].replace("$JX_CPU_FLAGS", environment["cpu_flags"])
    name = Path(environment["cxx"]).name
    compiler = work / name
    compiler.write_text(f'#!/bin/sh\nexec {body} "$@"\n')
    compiler.chmod(0o755)
    toolkit = Path(environment["nvcc"]).parents[1]
    plain = work / "toolkit"
    (plain / "bin").mkdir(parents=True)
    for entry in (toolkit / "libexec").iterdir():
        real = entry.resolve()
        if entry.name in {"cudafe++", "nvlink"}:  # scripts of ours: take what they start
            real = (toolkit / "libexec/ptxas").resolve().with_name(entry.name)
        (plain / "bin" / entry.name).symlink_to(real)
    (plain / "nvvm/bin").mkdir(parents=True)
    (plain / "nvvm/bin/cicc").symlink_to((toolkit / "libexec/ptxas").resolve().parents[1] / "nvvm/bin/cicc")
    (plain / "nvvm/libdevice").symlink_to((toolkit / "nvvm/libdevice").resolve())
    (plain / "targets").symlink_to(toolkit / "targets")
    codes = ["-gencode=arch=compute_87,code=sm_87", "-gencode=arch=compute_110,code=[sm_110,compute_110]"]
    return [str(plain / "bin/nvcc"), "-ccbin", str(compiler), "-O3", *codes, str(source), "-o", str(work / "by-hand")]


# Packages alone: mmdebstrap knows nothing of CUDA.
PACKAGES_ONLY = ("orin-nano@36.4", "--from", "apt", "--no-cuda")


def sysroot_case(work: Path) -> Case:
    """A cold pull against mmdebstrap's extraction of the same packages."""
    subprocess.run([JETSONX, "-q", "sysroot", "pull", *PACKAGES_ONLY], check=True, stdout=subprocess.DEVNULL)
    shown = json.loads(
        subprocess.run(
            [JETSONX, "-q", "sysroot", "show", PACKAGES_ONLY[0], "--json"], capture_output=True, text=True, check=True
        ).stdout
    )
    packages = ",".join(package["name"] for package in shown["packages"])
    mirror = [f"deb {source} {shown['suite']} main" for source in host_mirrors()]
    script = work / "cold.sh"
    script.write_text(
        f"#!/bin/sh\nJETSONX_CACHE=$(mktemp -d -p {work}) exec {JETSONX} -q sysroot pull {' '.join(PACKAGES_ONLY)}\n"
    )
    other = work / "mmdebstrap.tar"
    extract = ["mmdebstrap", "--quiet", "--variant=extract", "--architectures=arm64", f"--include={packages}"]
    return Case(
        name="A cold sysroot: jetsonx sysroot pull against mmdebstrap --variant=extract of the same packages",
        ours=["sh", str(script)],
        theirs=[*extract, shown["suite"], str(other), *mirror],
        goal="ratio below 1",
        runs=7,
        shown_ours=f"jetsonx sysroot pull {' '.join(PACKAGES_ONLY)}",
        shown_theirs=f"mmdebstrap --variant=extract --architectures=arm64 --include=… {shown['suite']} x.tar",
    )


def host_mirrors() -> list[str]:
    """The mirror of this host's own suite, so that both sides fetch from one place."""
    sources = resolve_sources(load_host(), "bullseye")
    return [uri for source in sources[:1] for uri in source.uris[:1]]


def machine() -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    release = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    return f"{os.cpu_count()} cores of {model}, {release}, Python {platform.python_version()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="run the cases whose name contains this")
    only = parser.parse_args().only
    os.environ["CCACHE_DISABLE"] = "1"  # compilers are compared, not caches
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # containers set it; people's machines keep compiled modules
    with tempfile.TemporaryDirectory(prefix="jetsonx-bench-") as name:
        work = Path(name)
        large = [module for module in (image_pull, docker_build, verify, deploy, vm, vm_builds) if only in module.NAME]
        texts = [] if only and large else [run(case) for case in cases(work) if only in case.name]
        texts += [module.run(work) for module in large]
    if not only:
        head = f"# Results of `make bench`\n\n{date.today().isoformat()}, on {machine()}.\n"
        RESULTS.write_text("\n".join([head, *(f"{text}\n" for text in texts)]))


if __name__ == "__main__":
    main()
