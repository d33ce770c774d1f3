"""The application layer: the build's outputs under ``/opt/NAME``, and the ld.so.cache that names every library."""

from __future__ import annotations

import difflib
import hashlib
import json
import posixpath
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from jetsonx.elf.load import is_elf
from jetsonx.errors import BuildError, ConfigError
from jetsonx.image import layer
from jetsonx.image.closure import Dynamic, read_dynamic
from jetsonx.image.layer import Entry
from jetsonx.image.ldcache import find_libraries, render_cache


@dataclass(frozen=True, slots=True, kw_only=True)
class AppFile:
    """One file of the application: ``path`` here, ``name`` there (relative to ``/opt/NAME``).

    ``sha256`` is hexadecimal, of its bytes. ``elf`` is None for anything but an ELF file. ``link`` is what ``path``
    holds when it is a symbolic link.
    """

    path: Path
    name: str
    sha256: str
    is_executable: bool = False
    elf: Dynamic | None = None
    link: str = ""

    @property
    def is_program(self) -> bool:
        """True when the minimal image can start it: there is no shell in it that could start a script."""
        return self.is_executable and self.elf is not None and self.elf.is_program

    @property
    def is_library(self) -> bool:
        """True for a shared library."""
        return self.elf is not None and not self.elf.is_program


def read_app_file(path: Path, name: str, *, read: Callable[[Path], Dynamic] = read_dynamic) -> AppFile:
    """Read what the image needs to know of a file. Raises BuildError when it cannot be read or is damaged."""
    try:
        elf = read(path) if is_elf(path) else None
        with path.open("rb") as stream:
            digest = hashlib.sha256()
            while chunk := stream.read(1 << 20):
                digest.update(chunk)
        executable = bool(path.stat().st_mode & 0o100)
        link = path.readlink().as_posix() if path.is_symlink() else ""
    except OSError as error:
        raise BuildError(f"cannot pack {path} into the image: {error.strerror}") from error
    return AppFile(path=path, name=name, sha256=digest.hexdigest(), is_executable=executable, elf=elf, link=link)


@dataclass(frozen=True, slots=True, kw_only=True)
class App:
    """The application as it lies in the image. ``links`` are (name, target), of files too that are links to others."""

    directory: str
    files: tuple[AppFile, ...]
    links: tuple[tuple[str, str], ...]
    library_dirs: tuple[str, ...]

    @property
    def key(self) -> str:
        """Hexadecimal digest of everything that decides the layer's bytes, other than the layers below."""
        facts = {**asdict(self), "files": [[file.name, file.sha256, file.is_executable] for file in self.files]}
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def plan_app(name: str, files: Sequence[AppFile]) -> App:
    """Place ``files`` under ``opt/NAME``, with a link for each soname that no file goes by.

    Raises ConfigError when two files would lie at one place, or one outside of the directory.
    """
    directory = f"opt/{name}"
    placed: dict[str, AppFile] = {}
    for file in files:
        if not file.name or any(step in ("", ".", "..") for step in file.name.split("/")):
            raise ConfigError(f"image: {file.name!r} cannot be placed in /{directory}: expected a path below it")
        if (other := placed.setdefault(file.name, file)) != file:
            raise ConfigError(f"image: {other.path} and {file.path} would both be /{directory}/{file.name}")
    links = {**_soname_links(placed), **_kept_links(placed)}
    libraries = {posixpath.dirname(file.name) for file in placed.values() if file.is_library}
    return App(
        directory=directory,
        files=tuple(placed[name] for name in sorted(placed)),
        links=tuple(sorted(links.items())),
        library_dirs=tuple(sorted(posixpath.join(directory, folder).rstrip("/") for folder in libraries)),
    )


def _soname_links(placed: Mapping[str, AppFile]) -> dict[str, str]:
    links: dict[str, str] = {}
    for name, file in placed.items():
        if file.is_library and file.elf is not None and file.elf.soname and "/" not in file.elf.soname:
            links[posixpath.join(posixpath.dirname(name), file.elf.soname)] = posixpath.basename(name)
    return {link: target for link, target in links.items() if link not in placed}


def _kept_links(placed: Mapping[str, AppFile]) -> dict[str, str]:
    """Files that stay links: those that lead to another of the files. Any other link becomes the file it leads to."""
    return {
        name: file.link
        for name, file in placed.items()
        if file.link and posixpath.normpath(posixpath.join(posixpath.dirname(name), file.link)) in placed
    }


def resolve_entrypoint(
    app: App, entrypoint: Sequence[str], *, key: str = "image.entrypoint", packaged: bool = False
) -> tuple[str, ...]:
    """The entrypoint with its program as a path of the image; with none given, the only program there is.

    A program is named as its output is, by its last part alone when that is clear, or by its path in the image; with
    packages in the image (``packaged``) that may be any path. ``key`` is what the words stand behind in jetsonx.toml.
    Raises ConfigError when the application has no such program.
    """
    programs = {file.name: f"/{app.directory}/{file.name}" for file in app.files if file.is_program}
    if not entrypoint:
        alone = [path for name, path in programs.items() if name not in dict(app.links)]
        return tuple(alone) if len(alone) == 1 else ()
    wanted, *arguments = entrypoint
    if packaged and wanted.startswith("/") and not wanted.startswith(f"/{app.directory}/"):
        return tuple(entrypoint)
    exact = [path for name, path in programs.items() if wanted in (name, path)]
    found = exact or [path for name, path in programs.items() if posixpath.basename(name) == wanted]
    if len(found) == 1:
        return (found[0], *arguments)
    if found:
        raise ConfigError(
            f"{key}: {wanted!r} is more than one program: {', '.join(found)}",
            hint="name it by its whole path",
        )
    if any(wanted in (file.name, posixpath.basename(file.name)) for file in app.files):
        raise ConfigError(
            f"{key}: {wanted!r} is no AArch64 program: a minimal image has no shell to start a script with",
            hint=_known(programs),
        )
    near = difflib.get_close_matches(wanted, programs, n=1)
    raise ConfigError(
        f"{key}: {wanted!r} is none of the outputs" + (f"; did you mean {near[0]!r}?" if near else ""),
        hint=_known(programs),
    )


def app_entries(app: App, below: Iterable[str], system_dirs: Sequence[str]) -> tuple[Entry, ...]:
    """The layer's entries. ``below`` lists the paths of the layers under it, for the ld.so.cache over everything.

    ``system_dirs`` are the directories ld.so searches after the application's own, in order.
    """
    entries = [layer.directory(app.directory)]
    for file in app.files:
        if file.name in dict(app.links):
            continue
        mode = 0o755 if file.is_executable else 0o644
        entries.append(layer.file(f"{app.directory}/{file.name}", file.path, mode))
    entries += [layer.symlink(f"{app.directory}/{link}", target) for link, target in app.links]
    if app.library_dirs:
        entries.append(layer.file("etc/ld.so.conf.d/00-jetsonx.conf", "".join(f"/{x}\n" for x in app.library_dirs)))
    libraries = find_libraries([*below, *(entry.path for entry in entries)], (*app.library_dirs, *system_dirs))
    entries.append(layer.file("etc/ld.so.cache", render_cache(libraries)))
    return layer.order_entries(entries)


def _known(programs: Mapping[str, str]) -> str:
    return f"programs among the outputs: {', '.join(programs) or 'none'}"
