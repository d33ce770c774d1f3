"""The glibc rule: a program linked against an older C library starts on a newer one, never the other way round.

So what programs are linked against must not be newer than the device's (:func:`rank_suites`), and what they run on in
an image must not be older (:func:`rank_runtime_suites`): the driver's libraries, built for the device, run there too.
"""

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


def rank_runtime_suites(
    suites: tuple[Suite, ...], glibc: str, glibcxx: str, distribution: str | None = None
) -> tuple[Suite, ...]:
    """The suites whose glibc and GLIBCXX are both at least these, the oldest first; else like :func:`rank_suites`."""
    fit = [
        suite for suite in suites if distribution in (None, suite.distribution) and is_runtime(suite, glibc, glibcxx)
    ]
    return tuple(sorted(fit, key=_newness))


def is_runtime(suite: Suite, glibc: str, glibcxx: str) -> bool:
    """True when what was built for this glibc and GLIBCXX finds them in the suite."""
    return parse_version(suite.glibc) >= parse_version(glibc) and parse_version(suite.glibcxx) >= parse_version(glibcxx)


def _newness(suite: Suite) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return parse_version(suite.glibc), parse_version(suite.glibcxx)
