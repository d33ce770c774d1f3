"""The glibc rule: a program linked against an older C library starts on a newer one, never the other way round."""

from __future__ import annotations

from jetsonx.catalog.values import Suite
from jetsonx.catalog.versions import parse_version


def rank_suites(
    suites: tuple[Suite, ...], glibc: str, glibcxx: str, distribution: str | None = None
) -> tuple[Suite, ...]:
    """The suites whose glibc and GLIBCXX are not newer than these ceilings, the closest match first.

    ``distribution`` keeps one distribution only; suites that match equally well stay in their order. Empty when every
    suite is too new.
    """
    fit = [
        suite
        for suite in suites
        if distribution in (None, suite.distribution)
        and parse_version(suite.glibc) <= parse_version(glibc)
        and parse_version(suite.glibcxx) <= parse_version(glibcxx)
    ]
    return tuple(sorted(fit, key=_newness, reverse=True))


def _newness(suite: Suite) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return parse_version(suite.glibc), parse_version(suite.glibcxx)
