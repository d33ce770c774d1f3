"""`jetsonx verify` against what else reads the same files: lief, pyelftools, cuobjdump, and bare decompression.

The files are a Debian arm64 root file system with NPP, cuSPARSE, cuRAND and nvJPEG in it. Wall time is held against
wall time, processor time against processor time. Readers are timed inside their processes, so that nobody's imports
count; commands are timed from the outside, with all that they start. Device code is listed in both ways, since
cuobjdump can only be timed from the outside.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measure import nothing, peak_memory, peak_memory_of_all
from tests.elf.real import CUOBJDUMP, PACKAGES, cuda_libraries, fetched, root_tar
from tests.images.layout import pack_layer, write_layout

NAME = "jetsonx verify: reading, and the whole rule set"
MANY = (*PACKAGES, "tzdata")  # small files, to have 7,000
LARGE = (*PACKAGES, "gcc", "g++", "libboost-all-dev", "libgtk-3-0", "libavcodec59", "git", "gdb-minimal")
ROUNDS = 5
LONG_ROUNDS = 3  # of what takes seconds
GOALS = (
    "Goals: architecture, NEEDED and versions at least 15 times as fast as lief and 30 times as pyelftools; device "
    "code of the largest library at least 100 times as fast as cuobjdump; the whole default rule set in at most 1 s, "
    "start-up included, on one core; an image of 2 GB in at most 1.2 times what its decompression takes; at most "
    "300 MiB."
)
_TARGET = "orin-nano@36.4"


class Spent(NamedTuple):
    """Seconds of one run: by the clock, and of all processors together."""

    wall: float
    cpu: float


_Way = Callable[[], Spent]
_Rows = dict[str, list[Spent]]


def run(work: Path) -> str:
    root = _directory(work)
    files = _files(root)
    elves = [path for path in map(Path, files) if path.open("rb").read(4) == b"\x7fELF"]
    layout, size = _image(work)
    rows, said = _readers(elves, work)
    whole = _verify(str(root), core="0")
    rows |= _alternated({f"jetsonx verify DIRECTORY -t {_TARGET}, one core, start-up included": partial(_spent, whole)})
    empty = partial(shutil.rmtree, work / "cache", ignore_errors=True)
    image = _verify(f"oci:{layout}", cache=work / "cache")
    cold, bare = "jetsonx verify oci:DIRECTORY, nothing remembered", "igzip -d of its layers, one after the other"
    pairs = {cold: partial(_spent, image, empty), bare: partial(_spent, _floor(layout))}
    rows |= _alternated(pairs, rounds=LONG_ROUNDS)
    rows |= _alternated({"jetsonx verify oci:DIRECTORY, all layers known": partial(_spent, image)})
    said += f"; an image takes {_times(rows, cold, bare)} of its decompression"
    peak = f"{peak_memory(whole, nothing) >> 10} MiB for the directory"
    peak += f", {peak_memory_of_all(image, empty) >> 10} MiB for the image with all processes that read it"
    lines = [
        f"### {NAME}\n\n{GOALS}\n",
        f"{len(files)} files, of which {len(elves)} are ELF files of {_megabytes(elves)} MiB; an image that unpacks to",
        f"{size >> 20} MiB. {ROUNDS} rounds, {LONG_ROUNDS} of what takes seconds, in turn.\n",
        "| what | median wall time (min-max) | processor time |\n|---|---|---|",
        *(f"| {name} | {_column(row, 0)} | {_column(row, 1)} |" for name, row in rows.items()),
        f"\n**Wall time, processor time in brackets: {said}.** Peak memory: {peak}.",
    ]
    text = "\n".join(lines)
    print(text, end="\n\n", flush=True)
    return text


def _readers(elves: Sequence[Path], work: Path) -> tuple[_Rows, str]:
    """The readers of headers over all files, those of device code over the largest library; and what the ratios are."""
    listing = work / "elves"
    listing.write_text("\n".join(map(str, elves)))
    largest = max(cuda_libraries(), key=lambda path: path.stat().st_size)
    cuobjdump = next(fetched(CUOBJDUMP, platform="x86_64").rglob("bin/cuobjdump"))
    cuobjdump.chmod(0o755)
    ours, lief, pyelftools = (f"machine, NEEDED, versions: {x}" for x in ("jetsonx", "lief", "pyelftools"))
    rows = _alternated({ours: partial(_reader, "ours", listing), lief: partial(_reader, "lief", listing)})
    rows |= _alternated({pyelftools: partial(_reader, "pyelftools", listing)})
    code = f"device code of {largest.name}"
    inside, outside, theirs = f"{code}: jetsonx, inside", f"{code}: jetsonx, with start-up", f"{code}: cuobjdump"
    rows |= _alternated(
        {
            inside: partial(_reader, "fatbins", largest),
            outside: partial(_spent, _reader_command("fatbins", largest)),
            theirs: partial(_spent, [str(cuobjdump), "--list-elf", "--list-ptx", str(largest)]),
        },
        rounds=LONG_ROUNDS,
    )
    said = f"lief takes {_times(rows, lief, ours)} and pyelftools {_times(rows, pyelftools, ours)} of jetsonx's reader"
    said += f"; cuobjdump {_times(rows, theirs, inside)} of the list, {_times(rows, theirs, outside)} with start-up"
    return rows, said


def _floor(layout: Path) -> list[str]:
    blobs = [str(path) for path in (layout / "blobs/sha256").iterdir() if path.stat().st_size > 1 << 20]
    return ["sh", "-ec", f"for blob in {' '.join(blobs)}; do igzip -d -c < $blob > /dev/null; done"]


def _alternated(ways: Mapping[str, _Way], *, rounds: int = ROUNDS) -> _Rows:
    """Each way in turn, after a run that fills the page cache."""
    found: _Rows = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            spent = way()
            found[name] += [spent] if number else []
    return found


def _column(row: Sequence[Spent], at: int) -> str:
    values = [spent[at] for spent in row]
    return f"{statistics.median(values):.3f} s ({min(values):.3f}-{max(values):.3f})"


def _times(rows: _Rows, what: str, base: str) -> str:
    wall, cpu = (
        statistics.median(x[at] for x in rows[what]) / statistics.median(x[at] for x in rows[base]) for at in (0, 1)
    )
    return f"{wall:.1f} ({cpu:.1f}) times the time"


def _spent(argv: list[str], before: Callable[[], None] = nothing) -> Spent:
    """What a command takes, with all that it starts and waits for."""
    before()
    earlier, started = os.times(), time.perf_counter()
    subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
    wall, later = time.perf_counter() - started, os.times()
    earlier_s, later_s = (x.children_user + x.children_system for x in (earlier, later))
    return Spent(wall, later_s - earlier_s)


def _reader_command(which: str, what: Path) -> list[str]:
    return [sys.executable, "-m", "benchmarks.verify", which, str(what)]


def _reader(which: str, what: Path) -> Spent:
    done = subprocess.run(_reader_command(which, what), capture_output=True, text=True, check=True)
    wall, cpu = map(float, done.stdout.split())
    return Spent(wall, cpu)


def _verify(what: str, *, core: str = "", cache: Path | None = None) -> list[str]:
    """The command line; findings, exit status 1, are no failure of the measurement."""
    setting = f"JETSONX_CACHE={cache} " if cache else ""
    pinned = f"taskset -c {core} " if core else ""
    return ["sh", "-c", f"{setting}{pinned}{sys.executable} -m jetsonx -q verify {what} -t {_TARGET} || test $? = 1"]


def _directory(work: Path) -> Path:
    root = work / "root"
    root.mkdir()
    argv = ["tar", "-C", str(root), "--no-same-owner", "--exclude=./dev", "-xf", str(root_tar("bookworm-many", MANY))]
    subprocess.run(argv, check=True)
    place = root / "usr/local/cuda/lib64"
    place.mkdir(parents=True)
    for path in cuda_libraries():
        shutil.copy2(path, place)
    return root


def _image(work: Path) -> tuple[Path, int]:
    """An image of 2 GB: a large root file system, a small one, and the libraries; and how much it unpacks to."""
    layers, size = [], 0
    for name, tar in (("large", root_tar("bookworm-large", LARGE)), ("small", root_tar("bookworm-many", MANY))):
        copy = work / f"{name}.tar"
        os.link(tar, copy) if tar.stat().st_dev == work.stat().st_dev else shutil.copy2(tar, copy)
        size += copy.stat().st_size
        layers.append(pack_layer(copy, "fast"))
    copy = work / "cuda.tar"
    subprocess.run(["tar", "-C", work / "root/usr/local", "-cf", copy, "cuda"], check=True)
    size += copy.stat().st_size
    layers.append(pack_layer(copy, "fast"))
    write_layout(work / "image", "x:latest", layers)
    return work / "image", size


def _files(root: Path) -> list[str]:
    names = (os.path.join(top, name) for top, _, found in os.walk(root) for name in found)  # noqa: PTH118
    return [name for name in names if os.path.isfile(name) and not os.path.islink(name)]  # noqa: PTH113, PTH114


def _megabytes(paths: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in paths) >> 20


# ---- the readers, each in a process of its own -----------------------------------------------------------------------


def _ours(paths: list[str]) -> None:
    from jetsonx.elf.load import read_elf

    for path in paths:
        read_elf(path)


def _lief(paths: list[str]) -> None:
    import lief

    config = lief.ELF.ParserConfig()
    for name in ("parse_relocations", "parse_symtab_symbols", "parse_notes", "parse_overlay"):
        setattr(config, name, False)
    for path in paths:
        elf = lief.ELF.parse(path, config)
        assert elf is not None
        _ = elf.header.machine_type, list(elf.libraries)
        _ = [[x.name for x in need.get_auxiliary_symbols()] for need in elf.symbols_version_requirement]


def _pyelftools(paths: list[str]) -> None:
    from elftools.elf.elffile import ELFFile

    for path in paths:
        with open(path, "rb") as file:  # noqa: PTH123
            elf: Any = ELFFile(file)
            _ = elf["e_machine"]
            if dynamic := elf.get_section_by_name(".dynamic"):
                _ = [tag.needed for tag in dynamic.iter_tags("DT_NEEDED")]
            if needs := elf.get_section_by_name(".gnu.version_r"):
                _ = [[aux.name for aux in auxes] for _, auxes in needs.iter_versions()]


def _fatbins(paths: list[str]) -> None:
    import mmap

    from jetsonx.elf.fatbin import read_fatbins
    from jetsonx.elf.load import parse_elf

    for path in paths:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:  # noqa: PTH123
            assert read_fatbins(data, parse_elf(data).sections)


def main() -> None:
    """Time one reader over the files named in a list, or over one library."""
    import importlib

    which, what = sys.argv[1:]
    for module in {"lief": ("lief",), "pyelftools": ("elftools.elf.elffile",)}.get(which, ("jetsonx.elf.load",)):
        importlib.import_module(module)
    paths = [what] if which == "fatbins" else Path(what).read_text().splitlines()
    readers = {"ours": _ours, "lief": _lief, "pyelftools": _pyelftools, "fatbins": _fatbins}
    started, processor = time.perf_counter(), time.process_time()
    readers[which](paths)
    print(time.perf_counter() - started, time.process_time() - processor)


if __name__ == "__main__":
    main()
