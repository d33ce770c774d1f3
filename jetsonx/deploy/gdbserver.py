"""gdbserver for a container, whatever its image holds: the distribution's, with all that it needs and its own loader.

It is started by that loader, which looks for libraries beside it, so that neither its C library nor its C++ library has
to be the image's. libthread_db reads the threads of the program, whose C library it has to fit: so the suite is the one
that the image's libraries are of, where there is one.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import posixpath
import re
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from jetsonx.catalog import Suite, load_catalog
from jetsonx.effects import Effects
from jetsonx.elf.load import read_elf
from jetsonx.errors import DownloadError
from jetsonx.packages.apt import fetch_packages, resolve_packages
from jetsonx.packages.deb import iter_deb
from jetsonx.packages.debs import arch_lists, fetch_exactly, find_suite, suite_distribution
from jetsonx.packages.package import Package, package_from_json, to_json

PLACE = "/jetsonx-debug"
"""Where it lies in the container."""
_NAME = "gdbserver"
_OPENED = ("libthread_db.so.1",)
_OPTIONS = ("--once", "--no-startup-with-shell", "--no-disable-randomization")
_KIND = "gdbserver"
_WANTED = re.compile(r"(?:\./)?(?:usr/bin/gdbserver|(?:usr/)?lib(?:64)?/(?:[^/]+/)?[^/]+\.so(?:\.[^/]+)?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """gdbserver of ``suite`` as a gzip'ed tar of files beside each other; ``loader`` is the one that starts it."""

    suite: str
    version: str
    loader: str
    archive: bytes

    @property
    def key(self) -> str:
        """The archive's sha256, in hexadecimal."""
        return hashlib.sha256(self.archive).hexdigest()

    def words(self, program: Iterable[str]) -> tuple[str, ...]:
        """What follows the loader to have ``program`` started, and stopped before its first instruction.

        Minimal images have no shell to start it with. Docker's own seccomp profile forbids to switch off the
        randomization of addresses, which gdb can do without.
        """
        own = ("--library-path", PLACE, f"{PLACE}/{_NAME}", *_OPTIONS, "-")
        return (*own, *program)


def load_tools(codenames: Iterable[str], debian_arch: str, effects: Effects) -> Tools:
    """gdbserver of the first of these suites that the mirror has, else of any that it has.

    Raises DownloadError when there is none.
    """
    suite, packages = _find(codenames, debian_arch, effects)
    paths = fetch_exactly(packages, lambda: arch_lists(suite, debian_arch, effects), effects)
    with effects.store.scratch() as scratch:
        _unpack([paths[each.sha256] for each in packages], scratch)
        loader, names = _closure(scratch)
        archive = _pack({name: scratch / name for name in names})
    version = next(each.version for each in packages if each.name == _NAME)
    return Tools(suite=suite.codename, version=version, loader=loader, archive=archive)


def _find(codenames: Iterable[str], debian_arch: str, effects: Effects) -> tuple[Suite, tuple[Package, ...]]:
    memory = json.dumps([sorted(codenames), debian_arch, suite_distribution()])
    known = _recalled(memory, effects)
    if known is not None:
        return known
    if effects.offline:
        raise DownloadError("offline, and gdbserver is not in the cache", hint="run it once with a network")
    distribution = suite_distribution()
    wanted = [suite for name in codenames if (suite := find_suite(name)) is not None]
    others = [each for each in load_catalog().suites if not distribution or each.distribution == distribution]
    missing = []
    for suite in dict.fromkeys((*wanted, *others)):
        apt = arch_lists(suite, debian_arch, effects)
        if apt.missing:
            missing.append(apt.missing)
            continue
        packages = resolve_packages(apt, [_NAME], store=effects.store, runner=effects.runner)
        fetch_packages(apt, packages, store=effects.store, runner=effects.runner, console=effects.console)
        effects.store.remember(_KIND, memory, json.dumps([suite.codename, [to_json(each) for each in packages]]))
        return suite, packages
    raise DownloadError(
        f"no gdbserver for {debian_arch}: {'; '.join(missing)}",
        hint="set JETSONX_APT_MIRROR to an archive that has packages for that architecture",
    )


def _recalled(memory: str, effects: Effects) -> tuple[Suite, tuple[Package, ...]] | None:
    try:
        codename, rows = json.loads(effects.store.recall(_KIND, memory) or "null")
        suite = find_suite(codename)
        packages = tuple(package_from_json(each) for each in rows)
    except (ValueError, TypeError):
        return None
    return (suite, packages) if suite else None


def _unpack(debs: Iterable[Path], folder: Path) -> None:
    """gdbserver and all libraries, by their names alone; of links the files that they lead to."""
    links: dict[str, str] = {}
    for deb in debs:
        for info, content in iter_deb(deb):
            name = posixpath.basename(info.name)
            if not _WANTED.fullmatch(info.name):
                continue
            if info.issym() or info.islnk():
                links[name] = posixpath.basename(info.linkname)
            elif content is not None:
                (folder / name).write_bytes(content.read())
    for name in links:
        target = name
        for _ in links:
            target = links.get(target, target)
        if (folder / target).is_file() and not (folder / name).exists():
            (folder / name).write_bytes((folder / target).read_bytes())


def _closure(folder: Path) -> tuple[str, list[str]]:
    """The loader's name, and those of all files that gdbserver needs."""
    loader = posixpath.basename(read_elf(folder / _NAME).interpreter or "")
    names, queue = set[str](), [_NAME, loader, *_OPENED]
    while queue:
        name = queue.pop()
        if name in names:
            continue
        if not name or not (folder / name).is_file():
            raise DownloadError(f"the packages of gdbserver lack {name or 'a loader'}", hint="try another mirror")
        names.add(name)
        queue.extend(read_elf(folder / name).needed)
    return loader, sorted(names)


def _pack(files: Mapping[str, Path]) -> bytes:
    """The same bytes for the same files."""
    made = io.BytesIO()
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=made, compresslevel=6, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for name, path in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = path.stat().st_size, 0o755
            with path.open("rb") as stream:
                tar.addfile(info, stream)
    return made.getvalue()
