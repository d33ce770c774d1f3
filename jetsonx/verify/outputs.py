"""Check what a build left: read the files and the libraries around them, and have them judged."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from jetsonx.elf.facts import ElfFacts, UnreadableElfError
from jetsonx.elf.load import load_file, read_elf
from jetsonx.verify.check import Libraries, Target, judge
from jetsonx.verify.report import Report

_RUNTIMES = ("libstdc++.so.6", "libgcc_s.so.1")
"""Libraries whose symbol versions are compared one by one, since the catalog has no ceiling for CXXABI and GCC."""


def check_outputs(
    paths: Sequence[Path],
    *,
    root: Path,
    targets: Sequence[Target],
    sysroot_path: Path,
    cuda_dir: str,
    driver_globs: Sequence[str],
    jit: bool = False,
) -> Report:
    """Read the built files at ``paths`` and judge them against every target.

    ``root`` is the directory that file names in the report are relative to. Directories in ``paths`` are walked; a
    symbolic link to another of the files is not checked twice. ``cuda_dir`` is the CUDA directory inside the sysroot
    ("usr/local/cuda-13.2"); ``driver_globs`` match the libraries that the driver brings at run time ("libcuda.so*").

    Damaged and missing files are findings; only a fault of ours raises.
    """
    sysroot = _Sysroot(sysroot_path, cuda_dir)
    runtimes = ((name, sysroot.facts(name)) for name in _RUNTIMES)
    defined = {name: frozenset(facts.version_definitions) for name, facts in runtimes if facts is not None}

    all_paths = _expand(paths)
    files = [load_file(path, _name(path, root)) for path in _distinct(all_paths)]
    elves = [file.elf for file in files if file.elf is not None]
    names = {*(path.name for path in all_paths), *(elf.soname for elf in elves if elf.soname)}
    libraries = _find_libraries(elves, names, sysroot, driver_globs)
    return judge(
        files,
        targets,
        libraries=replace(libraries, defined=defined),
        host_dirs=(str(root.absolute()), str(sysroot_path.absolute()), str(Path.cwd())),
        jit=jit,
    )


def _expand(paths: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += (Path(top, name) for top, _, names in os.walk(path) for name in names)
        else:
            found.append(path)
    return found


def _distinct(paths: Iterable[Path]) -> Iterator[Path]:
    """Every file once, in a fixed order; links after what they point at, so that the real name is the one reported."""
    seen: set[str] = set()
    for path in sorted(paths, key=lambda x: (x.is_symlink(), x)):
        real = os.path.realpath(path)
        if real not in seen:
            seen.add(real)
            yield path


def _name(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)


@dataclass(frozen=True, slots=True)
class _Sysroot:
    """The sysroot as the loader of the target will see it."""

    path: Path
    cuda_dir: str

    def find(self, name: str, run_paths: Iterable[str] = ()) -> Path | None:
        """The library called ``name``: run paths first, then the directories of ld.so and of CUDA.

        Last come directories one below the multiarch one: libblas.so.3 and its kind lie there, and the link that leads
        to them is made on the device, by the package's own script.
        """
        if not name or "\0" in name or PurePosixPath(name).name != name:
            return None
        multiarch = "usr/lib/aarch64-linux-gnu"
        system = (multiarch, "lib/aarch64-linux-gnu", "usr/lib", "lib")
        cuda = (f"{self.cuda_dir}/{x}" for x in ("targets/sbsa-linux/lib", "targets/aarch64-linux/lib", "lib64"))
        for directory in (*run_paths, *system, *cuda):
            candidate = self.path / directory.lstrip("/") / name
            if candidate.is_file():
                return candidate
        return next((x for x in sorted((self.path / multiarch).glob("*/*.so*")) if x.name == name), None)

    def facts(self, name: str, run_paths: Iterable[str] = ()) -> ElfFacts | None:
        """Facts of the library called ``name``; None when it is not there or damaged, which another check tells."""
        path = self.find(name, run_paths)
        try:
            return read_elf(path) if path is not None else None
        except (UnreadableElfError, OSError):
            return None


def _find_libraries(
    elves: Sequence[ElfFacts], outputs: Iterable[str], sysroot: _Sysroot, globs: Sequence[str]
) -> Libraries:
    """Find every library that ``elves`` need, and what those need in turn. What the driver needs is its own matter."""
    found = dict.fromkeys(outputs, "outputs")
    needed: dict[str, tuple[str, ...]] = {}
    queue = [(name, elf.runpath or elf.rpath or "") for elf in elves for name in elf.needed]
    for name, run_path in queue:  # grows while it is walked
        if name in found:
            continue
        if any(fnmatchcase(name, PurePosixPath(glob).name) for glob in globs):
            found[name] = "driver"
            continue
        facts = sysroot.facts(name, (x for x in run_path.split(":") if x.startswith("/")))
        if facts is not None:
            found[name] = "sysroot"
            needed[name] = facts.needed
            queue += ((x, "") for x in facts.needed)
    return Libraries(found=found, needed=needed)
