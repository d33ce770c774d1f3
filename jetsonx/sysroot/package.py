"""What a sysroot is made of: Debian packages and NVIDIA wheels, as values that a lock file can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A .deb: ``version`` as Debian writes it, ``sha256`` in hex, ``url`` where it was found ("" from a lock file)."""

    name: str
    version: str
    filename: str
    sha256: str
    size_bytes: int = 0
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """A .whl: ``name`` normalised, ``sha256`` in hex, ``size_bytes`` 0 while it is not known."""

    name: str
    version: str
    filename: str
    sha256: str
    size_bytes: int = 0
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pins:
    """The part of a lock file that fixes a sysroot: the suite's codename, and every package and wheel."""

    suite: str
    packages: tuple[Package, ...]
    wheels: tuple[Wheel, ...] = ()

    @property
    def hashes(self) -> list[str]:
        """The sha256 of everything pinned, sorted: the same hashes give the same sysroot."""
        return sorted([*(item.sha256 for item in self.packages), *(item.sha256 for item in self.wheels)])


def to_json(item: Package | Wheel) -> dict[str, Any]:
    """A package or wheel as JSON takes it."""
    return asdict(item)


def package_from_json(value: Mapping[str, Any]) -> Package:
    """The inverse of :func:`to_json` for a package."""
    return Package(**value)


def wheel_from_json(value: Mapping[str, Any]) -> Wheel:
    """The inverse of :func:`to_json` for a wheel."""
    return Wheel(**value)
