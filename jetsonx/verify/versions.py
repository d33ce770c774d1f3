"""Symbol versions as numbers: GLIBC_2.34, GLIBCXX_3.4.30."""

from __future__ import annotations

from collections.abc import Iterable


def version_number(version: str, family: str) -> tuple[int, ...] | None:
    """``GLIBC_2.34`` of family ``GLIBC`` is (2, 34); None for another family or when no number follows."""
    prefix, _, number = version.rpartition("_")
    parts = number.split(".")
    return tuple(map(int, parts)) if prefix == family and all(x.isdecimal() and len(x) < 9 for x in parts) else None


def newest(versions: Iterable[str], family: str) -> str:
    """The highest number of ``family`` among ``versions``, "2.34" for "GLIBC"; "" when there is none."""
    numbers = [number for version in versions if (number := version_number(version, family))]
    return ".".join(map(str, max(numbers))) if numbers else ""


def numbers(version: str) -> tuple[int, ...]:
    """(2, 34) for "2.34"."""
    return tuple(map(int, version.split(".")))
