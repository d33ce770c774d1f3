"""The base image ``minimal``: the run-time files of exactly the packages a program needs, and what runtimes expect.

What the nvidia container runtime wants to find: /etc/ld.so.conf.d and a valid /etc/ld.so.cache (older container
toolkits fail at start without them: NVIDIA/nvidia-container-toolkit#71, #1326, #1471), directories to mount the driver
libraries into, /tmp, and the video and render groups. There is no shell and no program in it.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from jetsonx.errors import ConfigError
from jetsonx.image import layer
from jetsonx.image.layer import Entry
from jetsonx.image.ldcache import find_libraries, render_cache
from jetsonx.packages.deb import iter_deb
from jetsonx.packages.dpkg import installed_stanza, parse_stanza
from jetsonx.packages.links import MERGED, clean_path, merge_usr, relative_link

RUNTIME = ("libc6", "libgcc-s1", "libstdc++6")
"""What the driver's libraries, which are mounted from the device, run on beside the program."""
ALWAYS = ("ca-certificates", *RUNTIME)
"""Packages in every minimal image: programs load libgcc_s when they cancel a thread, and talk TLS."""

CERTIFICATES = "etc/ssl/certs/ca-certificates.crt"
SYSTEM_DIRS = ("usr/lib/aarch64-linux-gnu", "usr/lib")
"""Where ld.so for AArch64 looks by default in a Debian or Ubuntu root with merged /usr."""

_RECIPE = 1  # raise it when the same packages make other entries
_LIBRARY = re.compile(r"usr/lib/.+\.so(\.[^/]+)?")
_LIBRARY_NAME = re.compile(r"\.so(\.[^/]+)?$")
_COPYRIGHT = re.compile(r"usr/share/doc/[^/]+/copyright")
_DOC_LINK = re.compile(r"usr/share/doc/[^/]+")
_CHARSETS = re.compile(r"usr/lib/[^/]+/gconv/.*")  # 12 MB of character sets that only iconv(3) opens

_DIRECTORIES = {
    "dev": 0o755,
    "etc": 0o755,
    "opt": 0o755,
    "proc": 0o555,
    "root": 0o700,
    "run": 0o755,
    "sys": 0o555,
    "tmp": 0o1777,
    "usr/bin": 0o755,
    "usr/lib": 0o755,
    "usr/sbin": 0o755,
    "var/tmp": 0o1777,
}

# The number of the render group differs between devices: a deployment passes the device's own with --group-add.
_FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/usr/sbin/nologin\n"
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "etc/group": "root:x:0:\nvideo:x:44:\nrender:x:104:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "etc/ld.so.conf": "include /etc/ld.so.conf.d/*.conf\n",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Deb:
    """A Debian package at hand. ``sha256`` is hexadecimal, of the .deb at ``path``."""

    name: str
    version: str
    sha256: str
    path: Path


class Origin(Protocol):
    """The distribution the packages are of, in os-release(5)'s words; scanners choose their database by it."""

    @property
    def distribution(self) -> str:
        """``debian`` or ``ubuntu``."""

    @property
    def codename(self) -> str:
        """Such as ``bookworm``."""

    @property
    def version(self) -> str:
        """Such as ``12``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What the base layer is made of. ``driver_dirs`` are mount points for the driver's libraries, from the root."""

    debs: tuple[Deb, ...]
    origin: Origin
    driver_dirs: tuple[str, ...]

    @property
    def key(self) -> str:
        """Hexadecimal digest of everything that decides the layer's bytes."""
        facts = {
            "recipe": _RECIPE,
            "debs": [[deb.name, deb.version, deb.sha256] for deb in self.debs],
            "origin": [self.origin.distribution, self.origin.codename, self.origin.version],
            "driver_dirs": self.driver_dirs,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def is_always(name: str) -> bool:
    """True for a package in every minimal image: :data:`ALWAYS`, and gcc's, whose copyright file the libraries link."""
    return name in ALWAYS or is_gcc_base(name)


def is_gcc_base(name: str) -> bool:
    """True for the package that holds GCC's copyright file."""
    return re.fullmatch(r"gcc-[0-9]+-base", name) is not None


def over_runtime(
    debs: Mapping[str, Deb], runtime: Mapping[str, Deb], wanted: Iterable[str], *, read_control: Callable[[Path], str]
) -> dict[str, Deb]:
    """The sysroot's ``debs`` with another suite's ``runtime`` in place of their own.

    Of the sysroot's gcc-N-base only what one of the ``wanted`` packages still needs stays (libgomp1 has its copyright
    file there).
    """
    if not runtime:
        return dict(debs)
    others = [debs[name].path for name in wanted if name in debs and name not in runtime]
    needs = {word for path in others for word in parse_stanza(read_control(path)).get("depends", "").split()}
    kept = {name: deb for name, deb in debs.items() if name in needs or not is_gcc_base(name)}
    return {**kept, **runtime}


def plan_base(packages: Iterable[str], debs: Mapping[str, Deb], *, origin: Origin, driver_dirs: Sequence[str]) -> Base:
    """Choose the packages: those named, and those in every image.

    Without any ``debs`` the base holds none: for a sysroot that is not made of packages, see :func:`system_files`.
    Raises ConfigError when a package is not among ``debs``.
    """
    if not debs:
        return Base(debs=(), origin=origin, driver_dirs=tuple(driver_dirs))
    wanted = {*packages, *ALWAYS} | {name for name in debs if is_always(name)}
    if absent := sorted(wanted - debs.keys()):
        raise ConfigError(
            f'image.base: "minimal" is made from packages, and the sysroot has no {", ".join(absent)}',
            hint='pull the sysroot from packages (jetsonx sysroot pull), or name an image: base = "repository:tag"',
        )
    return Base(debs=tuple(debs[name] for name in sorted(wanted)), origin=origin, driver_dirs=tuple(driver_dirs))


def base_entries(base: Base, scratch: Path, *, read_control: Callable[[Path], str]) -> tuple[Entry, ...]:
    """Unpack what the base needs from its packages into ``scratch`` and return the layer's entries.

    ``read_control`` returns a .deb's control file. Raises DownloadError for a damaged or hostile package.
    """
    entries: dict[str, Entry] = {}
    for number, deb in enumerate(base.debs):
        folder = scratch / str(number)
        folder.mkdir()
        for entry in unpack_entries(deb, folder, is_wanted):
            entries.setdefault(entry.path, entry)
        status = f"var/lib/dpkg/status.d/{deb.name}"
        entries[status] = layer.file(status, installed_stanza(read_control(deb.path)))
    entries |= {entry.path: entry for entry in _own_entries(base, entries)}
    libraries = find_libraries(entries, SYSTEM_DIRS)
    entries["etc/ld.so.cache"] = layer.file("etc/ld.so.cache", render_cache(libraries))
    return layer.order_entries(entries.values())


SYSTEM_LIBRARIES = ("libc.so.6", "libgcc_s.so.1", "libstdc++.so.6", "libnss_dns.so.2", "libnss_files.so.2")
"""What stands for :data:`ALWAYS` where there are no packages; glibc opens the last two by name before 2.34."""


def system_files(sysroot: Path) -> tuple[str, ...]:
    """The files of a root file system that an image needs beside libraries: the loader's name, certificates."""
    loader = "usr/lib/ld-linux-aarch64.so.1"
    return tuple(path for path in (loader, CERTIFICATES) if (sysroot / path).exists())


@dataclass(frozen=True, slots=True, kw_only=True)
class Libraries:
    """The layer of libraries that no package brings, mostly CUDA's: large, and seldom changed.

    ``paths`` are files and links of the sysroot, whose ``digest`` stands for their content.
    """

    sysroot: Path
    digest: str
    paths: tuple[str, ...]

    @property
    def directories(self) -> tuple[str, ...]:
        """Where they lie, other than in the system's own directories."""
        places = {posixpath.dirname(path) for path in self.paths if _LIBRARY_NAME.search(path)}
        return tuple(sorted(places - set(SYSTEM_DIRS)))

    @property
    def key(self) -> str:
        """Hexadecimal digest of everything that decides the layer's bytes."""
        return hashlib.sha256(json.dumps([_RECIPE, self.digest, self.paths]).encode()).hexdigest()


def library_entries(libraries: Libraries) -> tuple[Entry, ...]:
    """The layer's entries, with the configuration that makes ldconfig look where they lie."""
    entries = []
    for path in libraries.paths:
        place = libraries.sysroot / path
        is_link = place.is_symlink()
        entries.append(layer.symlink(path, place.readlink().as_posix()) if is_link else layer.file(path, place))
    if libraries.directories:
        text = "".join(f"/{path}\n" for path in libraries.directories)
        entries.append(layer.file("etc/ld.so.conf.d/10-cuda.conf", text))
    return layer.order_entries(entries)


def is_wanted(path: str) -> bool:
    """True for a package's file that a running program may need: libraries, configuration, certificates, licences."""
    return (
        path.startswith(("etc/", "usr/share/ca-certificates/"))
        or (_LIBRARY.fullmatch(path) is not None and _CHARSETS.fullmatch(path) is None)
        or _COPYRIGHT.fullmatch(path) is not None
    )


def unpack_entries(
    deb: Deb, folder: Path, keeps: Callable[[str], bool], *, directories: bool = False
) -> Iterator[Entry]:
    """The files and links of a package that ``keeps`` says yes to; their content is put into ``folder``.

    Other directories than those on the way to them come with ``directories``.
    """
    hardlinks: list[tuple[str, str]] = []
    files: set[str] = set()
    for info, content in iter_deb(deb.path):
        original = clean_path(info.name, source=deb.path.name)
        path = merge_usr(original)
        if info.issym() and (keeps(path) or _DOC_LINK.fullmatch(path)):
            yield layer.symlink(path, relative_link(original, info.linkname))
        elif info.islnk() and keeps(path):
            hardlinks.append((path, merge_usr(clean_path(info.linkname, source=deb.path.name))))
        elif info.isdir() and directories and path and keeps(path):
            yield layer.directory(path, info.mode & 0o1777)
        elif content is not None and keeps(path):
            files.add(path)
            yield layer.file(path, _spool(content, folder / str(len(files))), _mode(info))
    yield from (layer.hardlink(path, target) for path, target in hardlinks if target in files)


def _mode(info: tarfile.TarInfo) -> int:
    return 0o755 if info.mode & 0o100 else 0o644


def _spool(content: IO[bytes], path: Path) -> Path:
    with path.open("wb") as stream:
        while chunk := content.read(1 << 20):
            stream.write(chunk)
    return path


def _own_entries(base: Base, packaged: Mapping[str, Entry]) -> Iterator[Entry]:
    yield from (layer.symlink(link, target) for link, target in MERGED.items())
    yield from (layer.directory(path, mode) for path, mode in _DIRECTORIES.items())
    yield from (layer.directory(path) for path in base.driver_dirs)
    yield from (layer.file(path, text) for path, text in _FILES.items())
    yield layer.file("etc/ld.so.conf.d/nvidia-tegra.conf", "".join(f"/{path}\n" for path in base.driver_dirs))
    yield from _identity(base.origin)
    yield from certificate_bundle(packaged)


def certificate_bundle(packaged: Mapping[str, Entry]) -> Iterator[Entry]:
    """All certificates in one file, where programs look for them: a maintainer script would have made it."""
    certificates = sorted(path for path in packaged if posixpath.splitext(path)[1] == ".crt")
    if certificates:
        yield layer.file(CERTIFICATES, b"".join(_content(packaged[path]) for path in certificates))


def _content(entry: Entry) -> bytes:
    data = entry.data if isinstance(entry.data, bytes) else entry.data.read_bytes()
    return data if data.endswith(b"\n") else data + b"\n"


def _identity(origin: Origin) -> Iterator[Entry]:
    names = {"debian": "Debian GNU/Linux", "ubuntu": "Ubuntu"}
    name = names.get(origin.distribution, origin.distribution)
    text = (
        f'PRETTY_NAME="jetsonx minimal, of {name} {origin.version} packages"\nNAME="{name}"\n'
        f'ID={origin.distribution}\nVERSION_ID="{origin.version}"\nVERSION_CODENAME={origin.codename}\n'
    )
    yield layer.file("usr/lib/os-release", text)
    yield layer.symlink("etc/os-release", "../usr/lib/os-release")
    if origin.distribution == "debian":  # where scanners look for Debian's release
        yield layer.file("etc/debian_version", f"{origin.version}\n")
