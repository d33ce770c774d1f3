"""The project's source directory: what is in it, and a copy of it for build systems that write beside their sources."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from jetsonx.errors import ConfigError
from jetsonx.project import Project

_RECORD = "copied.json"
_MAKEFILES = ("[Mm]akefile*", "GNUmakefile", "make.*", "Make.*", "*.mk", "*.mak", "*.make")
_END = r"""(?=[/\s"'`:;,)}]|$)"""
_TOOLKIT = re.compile(r"(?<![\w.)}/-])/usr/local/cuda(?:-\d+(?:\.\d+)*)?" + _END, re.MULTILINE)
_PROGRAM = re.compile(r"(?<![\w.)}/-])/usr/bin/((?:g?cc|[gc]\+\+|clang(?:\+\+)?)(?:-\d+)?)" + _END, re.MULTILINE)
_SKIPPED_DIRECTORIES = {".git", ".hg", ".svn", ".venv", "__pycache__"}


def find_image_files(project: Project, *, exclude: Path) -> dict[str, Path]:
    """Files that ``image.files`` names, by their path relative to jetsonx.toml, without those under ``exclude``.

    Raises ConfigError for a glob that matches nothing.
    """
    root = project.root.resolve()
    found: dict[str, Path] = {}
    for glob in project.image.files:
        # Before Python 3.13 a glob that ends in ** finds directories only.
        matches = root.glob(f"{glob}/*" if glob.split("/")[-1] == "**" else glob)
        files = [path for path in sorted(matches) if path.is_file() and not path.is_relative_to(exclude)]
        if not files:
            raise ConfigError(
                f"{project.path}: image.files: nothing matches {glob!r}",
                hint="paths and globs are relative to jetsonx.toml; dir/** takes everything below a directory",
            )
        found |= {str(path.relative_to(root)): path for path in files}
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Synced:
    """How many files the copy gained or lost, and in which makefiles paths of this workstation were replaced."""

    copied: int
    removed: int
    redirected: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """What the absolute paths in makefiles are to mean: the CUDA toolkit, and the directory of the compilers.

    No search path reaches a makefile that starts ``/usr/local/cuda/bin/nvcc``: it would get this workstation's
    toolkit, or none.
    """

    toolkit: Path
    programs: Path


def source_directory(project: Project) -> Path:
    """The directory that ``build.source`` names. Raises ConfigError when it is not there."""
    directory = (project.root / project.build.source).resolve()
    if not directory.is_dir():
        raise ConfigError(
            f"{project.path}: build.source: {directory} is not a directory",
            hint="name the directory that holds the sources, relative to jetsonx.toml",
        )
    return directory


def find_sources(project: Project, directory: Path, *, exclude: Path) -> tuple[Path, ...]:
    """Files that the globs of ``build.sources`` match, sorted, without those under ``exclude``.

    Raises ConfigError when nothing matches.
    """
    found = {path for glob in project.build.sources for path in directory.glob(glob) if path.is_file()}
    sources = tuple(sorted(path for path in found if not path.is_relative_to(exclude)))
    if not sources:
        raise ConfigError(
            f"{project.path}: build.sources: nothing in {directory} matches {', '.join(project.build.sources)}",
            hint='name the files to compile, for example sources = ["src/**/*.cu"]',
        )
    return sources


def redirect_makefile(text: str, redirect: Redirect) -> str:
    """The makefile with ``/usr/local/cuda[-X.Y]`` and ``/usr/bin/g++`` (gcc, clang …) replaced by the SDK's."""
    text = _TOOLKIT.sub(lambda _: str(redirect.toolkit), text)
    return _PROGRAM.sub(lambda match: str(redirect.programs / match[1]), text)


def sync_source(source: Path, copy: Path, *, exclude: Path, redirect: Redirect | None = None) -> Synced:
    """Bring ``copy`` up to date with ``source``, keeping times so that make sees only what really changed.

    Files that a build made in the copy stay; files that left the source leave the copy. ``exclude`` (the output
    directory) and version control's own directories are not copied. ``redirect`` is applied to makefiles.
    """
    record = copy.parent / _RECORD
    before: dict[str, list[int]] = json.loads(record.read_text()) if record.is_file() else {}
    now: dict[str, list[int]] = {}
    copied = 0
    redirected = []
    for relative, path in _walk(source, exclude):
        status = path.lstat()
        now[relative] = [status.st_size, status.st_mtime_ns]
        place = copy / relative
        if before.get(relative) == now[relative] and os.path.lexists(place):
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink(missing_ok=True)
        shutil.copy2(path, place, follow_symlinks=False)
        copied += 1
        if redirect is not None and _redirect(place, redirect):
            redirected.append(relative)
    gone = before.keys() - now.keys()
    for relative in gone:
        (copy / relative).unlink(missing_ok=True)
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(now))
    return Synced(copied=copied, removed=len(gone), redirected=tuple(redirected))


def _redirect(path: Path, redirect: Redirect) -> bool:
    """Redirect a makefile in place, keeping its times; True when there was something to replace."""
    if path.is_symlink() or not any(fnmatchcase(path.name, glob) for glob in _MAKEFILES):
        return False
    # Any bytes survive this: makefiles are not always UTF-8.
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    changed = redirect_makefile(text, redirect)
    if changed == text:
        return False
    status = path.stat()
    path.chmod(status.st_mode | 0o200)
    path.write_bytes(changed.encode("utf-8", "surrogateescape"))
    path.chmod(status.st_mode)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return True


def find_outputs(directory: Path, names: Sequence[str], *, skip: Sequence[Path] = ()) -> dict[str, Path]:
    """The files that ``outputs`` names, by the path they get in the result.

    A name or glob is looked for from ``directory``; one that matches nothing there and has no slash is looked for in
    the directories below, where it must be unambiguous. A directory stands for every file in it.

    Raises ConfigError naming each output that is not there, with what is.
    """
    found: dict[str, Path] = {}
    missing = []
    for name in names:
        matches = _match(directory, name, skip)
        if not matches:
            missing.append(name)
        found |= matches
    if missing:
        near = sorted(path.name for path in _executables(directory, skip))[:8]
        raise ConfigError(
            f"build.outputs: the build in {directory} left no {', '.join(missing)}",
            hint=f"executables and libraries there: {', '.join(near)}" if near else "the build left no executable",
        )
    return found


def _match(directory: Path, name: str, skip: Sequence[Path]) -> dict[str, Path]:
    here = sorted(directory.glob(name))
    if not here and "/" not in name:
        below = [path for path in sorted(directory.rglob(name)) if "CMakeFiles" not in path.parts]
        here = below if len({path.name for path in below}) == len(below) else []
        return {path.name: path for path in here if path.is_file() and not _under(path, skip)}
    files: dict[str, Path] = {}
    for path in here:
        for each in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if each.is_file() and not _under(each, skip):
                files[str(each.relative_to(directory))] = each
    return files


def _executables(directory: Path, skip: Sequence[Path]) -> Iterator[Path]:
    for path in directory.rglob("*"):
        if path.is_file() and not _under(path, skip) and "CMakeFiles" not in path.parts:
            with path.open("rb") as file:
                head = file.read(18)
            if head[:4] == b"\x7fELF" and head[16:17] in {b"\x02", b"\x03"}:  # ET_EXEC, ET_DYN
                yield path


def _under(path: Path, directories: Sequence[Path]) -> bool:
    return any(path.is_relative_to(directory) for directory in directories)


def _walk(source: Path, exclude: Path) -> Iterator[tuple[str, Path]]:
    for directory, names, files in os.walk(source):
        base = Path(directory)
        names[:] = sorted(name for name in names if name not in _SKIPPED_DIRECTORIES and base / name != exclude)
        links = [name for name in names if (base / name).is_symlink()]
        for name in sorted([*files, *links]):
            path = base / name
            yield str(path.relative_to(source)), path
