"""What a virtual Jetson costs: made from the image that is there, started until it lets us in and until Docker answers.

python -m benchmarks.vm --rounds 1
python -m benchmarks.vm --cold      # makes the image anew too, in a cache of its own: minutes
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Took, children_s, process_s, status_kib

NAME = "Virtual Jetsons: created, started, and what they take"
GOALS = "Goals, on an idle machine: warm create at most 1 s; start until ssh at most 30 s without KVM."
_LIMIT_S = "1800"


def run(work: Path, *, rounds: int = 3, is_cold: bool = False) -> str:
    """Measure in machines of its own below ``work``; they are removed in the end."""
    environ = {**os.environ, "JETSONX_VMS": str(work / "vms")}
    rows: dict[str, list[Took]] = {}
    memory_mib = []
    if is_cold:
        rows["cold create"] = [_watch(("create", "cold"), {**environ, "JETSONX_CACHE": str(work / "cache")})]
        _vm(("remove", "cold"), environ)
    _vm(("create", "first"), environ)  # makes the image where there is none
    _vm(("remove", "first"), environ)
    for number in range(rounds):
        name = f"bench{number}"
        rows.setdefault("warm create", []).append(_watch(("create", name, "--memory", "1536"), environ))
        try:
            start = ("start", name, "--timeout", _LIMIT_S)
            rows.setdefault("first start until ssh", []).append(_watch(start, environ, name=name))
            _vm(("stop", name, "--timeout", _LIMIT_S), environ)
            rows.setdefault("later start until Docker", []).append(_watch((*start, "--docker"), environ, name=name))
            memory_mib.append(status_kib(find_qemu(name), "VmRSS") / 1024)
        finally:
            _vm(("remove", name), environ)
    text = _report(rows, memory_mib)
    print(text, end="\n\n", flush=True)
    return text


def _vm(words: tuple[str, ...], environ: dict[str, str]) -> None:
    call = [sys.executable, "-m", "jetsonx", "-q", "vm", *words]
    subprocess.run(call, env=environ, check=True, stdout=subprocess.DEVNULL)


def _watch(words: tuple[str, ...], environ: dict[str, str], *, name: str = "") -> Took:
    before, started = children_s(), time.monotonic()
    _vm(words, environ)
    wall_s = time.monotonic() - started
    qemu_s = process_s(find_qemu(name)) if name else 0.0  # it stays
    return Took(wall_s=wall_s, cpu_s=children_s() - before + qemu_s)


def find_qemu(name: str) -> int:
    """The number of the process of the machine's QEMU."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if f"jetsonx-{name}".encode() in words:
            return int(path.name)
    raise RuntimeError(f"no QEMU of {name} runs")


def _report(rows: dict[str, list[Took]], memory_mib: list[float]) -> str:
    lines = [f"### {NAME}", "", GOALS, "", "| what | median wall time (min-max) | processor time |", "|---|---|---|"]
    for what, took in rows.items():
        wall = [each.wall_s for each in took]
        spread = f"{statistics.median(wall):.1f} s ({min(wall):.1f}-{max(wall):.1f})"
        lines.append(f"| {what} | {spread} | {statistics.median(each.cpu_s for each in took):.1f} s |")
    rounds, load = len(rows["warm create"]), os.getloadavg()[0]
    lines += ["", f"Memory of a machine of 1536 MiB once Docker answers: {statistics.median(memory_mib):.0f} MiB."]
    lines += [f"{rounds} rounds; {os.cpu_count()} cores with a load of {load:.0f} at the end."]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cold", action="store_true", help="make the image anew, too")
    asked = parser.parse_args()
    # Short paths: that of the socket to the guest's engine may have no more than 107 bytes.
    with tempfile.TemporaryDirectory(prefix="jetsonx-bench-") as name:
        run(Path(name), rounds=asked.rounds, is_cold=asked.cold)


if __name__ == "__main__":
    main()
