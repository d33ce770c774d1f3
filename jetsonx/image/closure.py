"""What a program needs at run time: the NEEDED closure of its files, each library traced to what brings it."""

from __future__ import annotations

import fnmatch
import os
import posixpath
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jetsonx.elf.facts import UnreadableElfError
from jetsonx.elf.load import is_elf, read_elf
from jetsonx.errors import BuildError

_MAX_LINKS = 40  # as Linux

# Libraries that NVIDIA's open by name while they run, so that no NEEDED entry tells of them; they lie side by side.
# cuDNN 8 and 9 split their work over sub-libraries behind libcudnn.so (cuDNN API overview); NVRTC compiles with its
# built-in headers from libnvrtc-builtins (NVRTC user guide, "Installation").
_OPENED_AT_RUN_TIME: Mapping[str, str] = {
    "libcudnn.so.*": "libcudnn_*.so.*",
    "libnvrtc.so.*": "libnvrtc-builtins.so.*",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dynamic:
    """What one ELF file tells of itself: the libraries it names, its own name, and whether it can be started."""

    needed: tuple[str, ...] = ()
    soname: str | None = None
    is_program: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A library that nothing provides, and the file that names it."""

    name: str
    needed_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Closure:
    """The libraries a set of outputs needs. Paths are relative to the sysroot.

    ``packages`` own the ``files`` that come from a package; ``loose`` holds the files and symbolic links on the way
    that no package brings (NVIDIA's wheels, links of update-alternatives); ``driver`` the names that the device's
    driver provides at run time; ``missing`` those that nothing provides.
    """

    files: tuple[str, ...]
    packages: tuple[str, ...]
    loose: tuple[str, ...]
    driver: tuple[str, ...]
    missing: tuple[Missing, ...]


def read_dynamic(path: Path) -> Dynamic:
    """Read the facts of an ELF file. Raises BuildError when it is damaged."""
    try:
        facts = read_elf(path)
    except UnreadableElfError as error:
        raise BuildError(f"{path}: {error}", hint="build it again; for a library: jetsonx sysroot verify") from error
    is_program = facts.interpreter is not None or facts.type == "executable"
    return Dynamic(needed=facts.needed, soname=facts.soname, is_program=is_program)


def needed_closure(
    outputs: Sequence[Path],
    sysroot: Path,
    *,
    owners: Mapping[str, str],
    packages: Collection[str],
    library_dirs: Sequence[str],
    driver_libraries: Sequence[str],
    also: Sequence[str] = (),
    read: Callable[[Path], Dynamic] = read_dynamic,
) -> Closure:
    """Follow NEEDED from the ELF files among ``outputs`` through ``sysroot``.

    ``owners`` maps a sysroot path to the package or wheel that brought it and ``packages`` names the owners that are
    Debian packages at hand. ``library_dirs`` are searched in order, relative to the sysroot. Names that match one of
    the ``driver_libraries`` globs are never looked for. The outputs provide their own names and sonames. ``also`` names
    libraries that are wanted whether anything needs them or not; nothing is missing when there is no such file.
    """
    dynamics = {path: read(path) for path in outputs if is_elf(path)}
    provided = {path.name for path in outputs} | {facts.soname for facts in dynamics.values() if facts.soname}
    queue = [(name, path.name) for path, facts in dynamics.items() for name in facts.needed]
    queue += [(name, "") for name in also if _find(sysroot, library_dirs, name) is not None]
    seen = set(provided)
    files: set[str] = set()
    steps: set[str] = set()
    driver: set[str] = set()
    missing: list[Missing] = []
    while queue:
        name, needed_by = queue.pop()
        if name in seen:
            continue
        seen.add(name)
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in driver_libraries):
            driver.add(name)
        elif (trail := _find(sysroot, library_dirs, name)) is None:
            missing.append(Missing(name=name, needed_by=needed_by))
        else:
            file = trail[-1]
            files.add(file)
            steps.update(trail)
            queue += [(needed, name) for needed in read(sysroot / file).needed]
            queue += [(beside, name) for beside in _opened_beside(sysroot, posixpath.dirname(file), name)]
    return Closure(
        files=tuple(sorted(files)),
        packages=tuple(sorted({owners[path] for path in steps if owners.get(path) in packages})),
        loose=tuple(sorted(path for path in steps if owners.get(path) not in packages)),
        driver=tuple(sorted(driver)),
        missing=tuple(sorted(missing, key=lambda gap: gap.name)),
    )


def _find(sysroot: Path, directories: Sequence[str], name: str) -> tuple[str, ...] | None:
    if "/" in name:  # ld.so takes such a name as a path of its own; no directory is searched for it
        return None
    for directory in directories:
        trail = _follow(sysroot, posixpath.join(directory, name))
        if trail is not None:
            return trail
    return None


def _follow(sysroot: Path, path: str) -> tuple[str, ...] | None:
    """The links met at ``path`` and the file they end at, all inside the sysroot; None when they end at no file."""
    trail: list[str] = []
    for _ in range(_MAX_LINKS):
        folder = os.path.relpath((sysroot / path).parent.resolve(), sysroot.resolve())
        path = posixpath.normpath(posixpath.join(folder, posixpath.basename(path)))
        if path.startswith("../"):
            return None
        trail.append(path)
        here = sysroot / path
        if not here.is_symlink():
            return tuple(trail) if here.is_file() else None
        path = posixpath.join(posixpath.dirname(path), here.readlink().as_posix()).lstrip("/")
    return None


def _opened_beside(sysroot: Path, directory: str, name: str) -> Iterator[str]:
    for pattern, companions in _OPENED_AT_RUN_TIME.items():
        if fnmatch.fnmatchcase(name, pattern):
            yield from sorted(path.name for path in (sysroot / directory).glob(companions))
