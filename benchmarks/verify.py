"""`jetsonx verify` against what else reads the same files: lief, pyelftools, cuobjdump, and bare decompression.

The files are a Debian arm64 root file system with NPP, cuSPARSE, cuRAND and nvJPEG in it. Readers are timed inside
their processes, so that nobody's imports count; the whole command is timed from the outside, on one core.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import Timing, measure, nothing, peak_memory
from tests.elf.real import CUOBJDUMP, PACKAGES, cuda_libraries, fetched, root_tar
from tests.images.layout import pack_layer, write_layout

NAME = "jetsonx verify: reading, and the whole rule set"
LARGE = (*PACKAGES, "gcc", "g++", "libboost-all-dev", "libgtk-3-0", "libavcodec59", "git", "gdb-minimal")
ROUNDS = 5
GOALS = (
    "Goals: architecture, NEEDED and versions at least 15 times as fast as lief and 30 times as pyelftools; device "
    "code of the largest library at least 100 times as fast as cuobjdump; the whole default rule set in at most 1 s, "
    "start-up included, on one core; an image of 2 GB in at most 1.2 times what its decompression takes; at most "
    "300 MiB."
)
_TARGET = "orin-nano@36.4"


def run(work: Path) -> str:
    root = _directory(work)
    files = _files(root)
    elves = [path for path in map(Path, files) if path.open("rb").read(4) == b"\x7fELF"]
    layout, size = _image(work)
    readers, ratios = _readers(elves, work)
    whole = _verify(str(root), core="0")
    rows = readers | _alternated({f"jetsonx verify DIRECTORY -t {_TARGET}, one core": partial(measure, whole, nothing)})
    empty = partial(shutil.rmtree, work / "cache", ignore_errors=True)
    image = _verify(f"oci:{layout}", cache=work / "cache")
    pairs = _alternated(
        {
            "jetsonx verify oci:DIRECTORY, nothing remembered": partial(measure, image, empty),
            "igzip -d of its layers": partial(measure, _floor(layout), nothing),
        }
    )
    cold, bare = (row.median_s for row in pairs.values())
    rows |= pairs
    rows |= _alternated({"jetsonx verify oci:DIRECTORY, all layers known": partial(measure, image, nothing)})
    peaks = [peak_memory(argv, before) / 1024 for argv, before in ((whole, nothing), (image, empty))]
    peak = f"{peaks[0]:.0f} MiB for the directory, {peaks[1]:.0f} MiB for the image"
    lines = [
        f"### {NAME}\n\n{GOALS}\n",
        f"{len(files)} files, of which {len(elves)} are ELF files of {_megabytes(elves)} MiB; an image that unpacks to",
        f"{size >> 20} MiB. {ROUNDS} rounds, in turn.\n",
        "| what | median (min-max) |\n|---|---|",
        *(f"| {name} | {row} |" for name, row in rows.items()),
        f"\n**{ratios}; the image takes {cold / bare:.2f} times its decompression.** Peak memory: {peak}.",
    ]
    text = "\n".join(lines)
    print(text, end="\n\n", flush=True)
    return text


def _readers(elves: Sequence[Path], work: Path) -> tuple[dict[str, Timing], str]:
    """The readers of headers over all files, those of device code over the largest library; and what the ratios are."""
    listing = work / "elves"
    listing.write_text("\n".join(map(str, elves)))
    largest = max(cuda_libraries(), key=lambda path: path.stat().st_size)
    cuobjdump = next(fetched(CUOBJDUMP, platform="x86_64").rglob("bin/cuobjdump"))
    cuobjdump.chmod(0o755)
    listed = [str(cuobjdump), "--list-elf", "--list-ptx", str(largest)]
    rows = _alternated(
        {
            "ELF files, jetsonx": partial(_reader, "ours", listing),
            "ELF files, lief": partial(_reader, "lief", listing),
            "ELF files, pyelftools": partial(_reader, "pyelftools", listing),
            f"device code of {largest.name}, jetsonx": partial(_reader, "fatbins", largest),
            f"device code of {largest.name}, cuobjdump": partial(measure, listed, nothing),
        }
    )
    ours, lief, pyelftools, device, theirs = (row.median_s for row in rows.values())
    said = f"lief takes {lief / ours:.0f} times as long, pyelftools {pyelftools / ours:.0f}"
    return rows, f"{said}, cuobjdump {theirs / device:.0f}"


def _floor(layout: Path) -> list[str]:
    blobs = [str(path) for path in (layout / "blobs/sha256").iterdir() if path.stat().st_size > 1 << 20]
    return ["sh", "-ec", f"for blob in {' '.join(blobs)}; do igzip -d -c < $blob > /dev/null; done"]


def _alternated(ways: dict[str, Callable[[], float]]) -> dict[str, Timing]:
    for way in ways.values():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            seconds[name].append(way())
    return {name: Timing(seconds=tuple(found), peak_kib=0) for name, found in seconds.items()}


def _reader(which: str, what: Path) -> float:
    argv = [sys.executable, "-m", "benchmarks.verify", which, str(what)]
    return float(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)


def _verify(what: str, *, core: str = "", cache: Path | None = None) -> list[str]:
    """The command line; findings, exit status 1, are no failure of the measurement."""
    setting = f"JETSONX_CACHE={cache} " if cache else ""
    pinned = f"taskset -c {core} " if core else ""
    return ["sh", "-c", f"{setting}{pinned}{sys.executable} -m jetsonx -q verify {what} -t {_TARGET} || test $? = 1"]


def _directory(work: Path) -> Path:
    root = work / "root"
    root.mkdir()
    argv = ["tar", "-C", str(root), "--no-same-owner", "--exclude=./dev", "-xf", str(root_tar())]
    subprocess.run(argv, check=True)
    place = root / "usr/local/cuda/lib64"
    place.mkdir(parents=True)
    for path in cuda_libraries():
        shutil.copy2(path, place)
    return root


def _image(work: Path) -> tuple[Path, int]:
    """An image of 2 GB: a large root file system, a small one, and the libraries; and how much it unpacks to."""
    layers, size = [], 0
    for name, tar in (("large", root_tar("bookworm-large", LARGE)), ("small", root_tar())):
        copy = work / f"{name}.tar"
        os.link(tar, copy) if tar.stat().st_dev == work.stat().st_dev else shutil.copy2(tar, copy)
        size += copy.stat().st_size
        layers.append(pack_layer(copy, "gzip"))
    copy = work / "cuda.tar"
    subprocess.run(["tar", "-C", work / "root/usr/local", "-cf", copy, "cuda"], check=True)
    size += copy.stat().st_size
    layers.append(pack_layer(copy, "gzip"))
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
        read_elf(Path(path))


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
    from jetsonx.elf.load import PLAIN, load_file

    for path in paths:
        assert load_file(Path(path), "a", PLAIN).fatbins


def main() -> None:
    """Time one reader over the files named in a list, or over one library."""
    import importlib
    import time

    which, what = sys.argv[1:]
    for module in {"lief": ("lief",), "pyelftools": ("elftools.elf.elffile",)}.get(which, ("jetsonx.elf.load",)):
        importlib.import_module(module)
    paths = [what] if which == "fatbins" else Path(what).read_text().splitlines()
    readers = {"ours": _ours, "lief": _lief, "pyelftools": _pyelftools, "fatbins": _fatbins}
    started = time.perf_counter()
    readers[which](paths)
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main()
