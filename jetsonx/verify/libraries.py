"""Where the libraries of a profile come from: the symbol lists that are shipped, and a sysroot. Each is read when asked
for."""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from jetsonx.elf.facts import ElfFacts, UnreadableElfError
from jetsonx.elf.load import PLAIN, read_elf
from jetsonx.verify.profile import Libraries, Library
from jetsonx.verify.versions import version_number

_DATA = Path(__file__).parent / "profiles"
_MULTIARCH = "usr/lib/aarch64-linux-gnu"
_MARKS = ("etc/os-release", "usr/lib/os-release", "etc/nv_tegra_release")
"""Files that only a sysroot taken from an image or a device has: its libraries are the device's own."""


class Chain:
    """Several collections of libraries as one; the first that has a name gives it."""

    def __init__(self, parts: Iterable[Libraries]) -> None:
        self._parts = tuple(parts)

    def get(self, name: str, /) -> Library | None:
        """The library called ``name``, None when none of them has it."""
        return next((found for part in self._parts if (found := part.get(name)) is not None), None)


@lru_cache(maxsize=4)
def load_suite(codename: str, *, glibc: str, glibcxx: str) -> Libraries:
    """The libraries of a suite's shipped list without the symbol versions that this glibc and libstdc++ lack.

    ``glibc`` is "2.35", ``glibcxx`` "GLIBCXX_3.4.30".
    """
    return _Suite(codename, {"GLIBC": glibc, "GLIBCXX": glibcxx.removeprefix("GLIBCXX_")})


class _Suite:
    def __init__(self, codename: str, ceilings: Mapping[str, str]) -> None:
        self._codename = codename
        self._ceilings = {family: tuple(map(int, number.split("."))) for family, number in ceilings.items()}
        self._found: dict[str, Library] = {}

    def get(self, name: str, /) -> Library | None:
        row = _load_lists(self._codename).get(name)
        if row is not None and name not in self._found:
            self._found[name] = Library(
                soname=name,
                versions=frozenset(x for x in row["versions"] if self._has(x)),
                exports=frozenset(self._exports(row["exports"])),
                needed=tuple(row["needed"]),
                source=f"{row['package']} of Debian {self._codename}",
            )
        return self._found.get(name)

    def _has(self, version: str) -> bool:
        for family, ceiling in self._ceilings.items():
            number = version_number(version, family)
            if number is not None:
                return number <= ceiling
        return version != "GLIBC_PRIVATE"

    def _exports(self, listed: Iterable[str]) -> Iterator[str]:
        """``name@@VERSION`` in the list is the default version: it answers to the bare name too.

        Where the default version is too new, an older one of that name was the default before.
        """
        has = {"": True}
        lost: set[str] = set()
        kept: set[str] = set()
        for text in listed:
            name, mark, version = text.partition("@")
            is_default = version.startswith("@") or not mark
            version = version.lstrip("@")
            if version not in has:
                has[version] = self._has(version)
            if not has[version]:
                lost.update([name] if is_default else [])
                continue
            kept.add(name)
            if mark:
                yield f"{name}@{version}"
            if is_default:
                yield name
        yield from lost & kept


@lru_cache(maxsize=4)
def _load_lists(codename: str) -> Mapping[str, Any]:
    libraries: Mapping[str, Any] = json.loads(lzma.decompress((_DATA / f"{codename}.json.xz").read_bytes()))[
        "libraries"
    ]
    return libraries


class SysrootLibraries:
    """The libraries of a sysroot, as the loader of the target will see them; those that are damaged are not there."""

    def __init__(self, path: Path, cuda_dir: str) -> None:
        self._path = path
        self._cuda_dir = cuda_dir
        self._found: dict[str, Library | None] = {}
        self.is_device = any((path / mark).exists() for mark in _MARKS)

    def get(self, name: str, /) -> Library | None:
        """The library called ``name``, None when it is not there."""
        if name not in self._found:
            self._found[name] = self._read(name)
        return self._found[name]

    def _read(self, name: str) -> Library | None:
        path = self._find(name)
        if path is None:
            return None
        try:
            facts = read_elf(path, options=PLAIN)
        except (UnreadableElfError, OSError):
            return None
        return _library(name, facts, f"{path.relative_to(self._path)} of the sysroot")

    def _find(self, name: str) -> Path | None:
        """Where the loader looks, then CUDA, then one below the multiarch directory: libblas.so.3 and its kind lie
        there, and the link that leads to them is made on the device, by the package's own script.
        """
        if not name or "\0" in name or PurePosixPath(name).name != name:
            return None
        system = (_MULTIARCH, "lib/aarch64-linux-gnu", "usr/lib", "lib")
        cuda = (f"{self._cuda_dir}/{x}" for x in ("targets/sbsa-linux/lib", "targets/aarch64-linux/lib", "lib64"))
        for directory in (*system, *cuda):
            candidate = self._path / directory / name
            if candidate.is_file():
                return candidate
        below = sorted((self._path / _MULTIARCH).glob("*/*.so*"))
        return next((path for path in below if path.name == name), None)


def _library(name: str, facts: ElfFacts, source: str) -> Library:
    return Library(
        soname=name,
        versions=frozenset(facts.version_definitions),
        exports=facts.exports or None,
        needed=facts.needed,
        source=source,
    )


def open_sysroot(path: Path, cuda_dir: str) -> SysrootLibraries:
    """The libraries of the sysroot at ``path``; ``cuda_dir`` is the CUDA directory in it ("usr/local/cuda-13.2")."""
    return SysrootLibraries(path, cuda_dir)
