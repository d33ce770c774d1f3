"""Versions as tuples of integers, which compare as versions should: 36.10 is newer than 36.4."""

from __future__ import annotations

import re

_NUMBERS = re.compile(r"[0-9]+(?:\.[0-9]+)*")


def parse_version(text: str) -> tuple[int, ...]:
    """The first dotted number in ``text``: ``"13.2.75"`` is (13, 2, 75), ``"GLIBCXX_3.4.30"`` is (3, 4, 30).

    Raises ValueError when there is none.
    """
    found = _NUMBERS.search(text)
    if found is None:
        raise ValueError(f"no version number in {text!r}")
    return tuple(int(number) for number in found[0].split("."))


def short_l4t(l4t: str) -> str:
    """An L4T version as people write it: ``"39.2.0"`` is ``"r39.2"``, ``"36.4.3"`` is ``"r36.4.3"``."""
    return "r" + l4t.removesuffix(".0")
