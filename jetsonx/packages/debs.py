"""The packages of a sysroot that is made of a distribution's suite: chosen, fetched, unpacked."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from jetsonx.catalog import Suite, Target, load_catalog, rank_suites
from jetsonx.effects import Effects
from jetsonx.errors import DownloadError
from jetsonx.packages.apt import Apt, fetch_lists, fetch_packages, fetch_ports_uri, resolve_packages
from jetsonx.packages.mirrors import load_host, resolve_sources
from jetsonx.packages.package import Package
from jetsonx.packages.unpack import Job, unpack_deb
from jetsonx.store.tree import TreeWriter

_NAMED = 5  # packages that an error names

# apt_preferences(5). libc-bin, locales and their like want the very glibc they were built with, so they come with it.
_LIBC_OF = """\
Package: *
Pin: release n={codename}
Pin-Priority: -1

Package: src:glibc
Pin: release n={codename}
Pin-Priority: 990
"""


def resolve_debs(
    target: Target, packages: Sequence[str], distribution: str, effects: Effects
) -> tuple[Suite, Apt, tuple[Package, ...]]:
    """The suite closest below the target's glibc and libstdc++ that the mirror has; its base and these ``packages``.

    ``distribution``: only suites of this one; "" for any. Raises ConfigError for names that the suite does not have,
    DownloadError when there is no such suite.
    """
    suites = rank_suites(load_catalog().suites, target.glibc, target.glibcxx, distribution or None)
    if not suites:
        raise DownloadError(
            f"{target.name} has glibc {target.glibc} and {target.glibcxx}: every {distribution} release that "
            "jetsonx knows is newer, and what is linked against it would not start there",
            hint=f"set JETSONX_APT_MIRROR to an archive that has {target.line.ubuntu} for {target.debian_arch}, "
            "take another source (--from image, --from tarball), or choose a newer L4T release",
        )
    passed: list[Apt] = []
    for suite in suites:
        apt = suite_lists(suite, target, effects)
        if not apt.missing:
            effects.console.say("".join([fit(suite, target), *(f"; {closer.missing}" for closer in passed)]))
            wanted = (*target.line.base_packages(suite.gcc), *packages)
            return suite, apt, resolve_packages(apt, wanted, store=effects.store, runner=effects.runner)
        passed.append(apt)
    raise DownloadError(
        f"no suite for {target.name} (glibc {target.glibc} or older): " + "; ".join(apt.missing for apt in passed),
        details=passed[-1].details,
        hint=f"set JETSONX_APT_MIRROR to an archive that has {target.debian_arch} packages of "
        + " or ".join(suite.codename for suite in suites),
    )


def suite_distribution() -> str:
    """The distribution whose suites are looked for: this host's, or any ("") when the user names a mirror."""
    return "" if _mirror() else load_host().distribution


class _HasArch(Protocol):
    """What packages are for."""

    @property
    def debian_arch(self) -> str:
        """As Debian names it: "arm64"."""


def fit(suite: Suite, target: Target) -> str:
    """Why this suite serves that target, in a line."""
    return (
        f"{suite.distribution.capitalize()} {suite.codename} (glibc {suite.glibc}, {suite.glibcxx}), the closest not "
        f"newer than L4T {target.release.l4t} ({target.glibc}, {target.glibcxx})"
    )


def find_suite(codename: str) -> Suite | None:
    """The suite of that codename, None for one that the catalog does not know."""
    return next((suite for suite in load_catalog().suites if suite.codename == codename), None)


def fetch_pinned(target: Target, suite: Suite, debs: Sequence[Package], effects: Effects) -> dict[str, Path]:
    """The file of each of these packages by its sha256: from the store, else from the mirror in exactly this version.

    Raises DownloadError when one cannot be had, or is another file than the pins say.
    """
    return fetch_exactly(debs, lambda: suite_lists(suite, target, effects), effects)


def fetch_exactly(debs: Sequence[Package], lists: Callable[[], Apt], effects: Effects) -> dict[str, Path]:
    """The same through an apt of the caller's, which is only set up when the store lacks something."""
    store = effects.store
    paths = {deb.sha256: path for deb in debs if (path := store.download(deb.sha256)) is not None}
    lacking = [deb for deb in debs if deb.sha256 not in paths]
    if not lacking:
        return paths
    if effects.offline:
        raise DownloadError(
            f"offline, and the cache lacks {len(lacking)} of the {len(debs)} packages that are needed: "
            + ", ".join(f"{deb.name} {deb.version}" for deb in lacking[:_NAMED])
            + (" …" if len(lacking) > _NAMED else ""),
            hint=f"run it once with a network; the cache is {store.root}",
        )
    apt = lists()
    if apt.missing:
        raise DownloadError(f"jetsonx.lock pins packages of {apt.codename}: {apt.missing}", details=apt.details)
    wanted = [f"{deb.name}={deb.version}" for deb in debs]
    there = {deb.name: deb for deb in resolve_packages(apt, wanted, store=store, runner=effects.runner)}
    changed = [deb.name for deb in debs if deb.name not in there or there[deb.name].sha256 != deb.sha256]
    if changed:
        raise DownloadError(
            f"the mirror's {apt.codename} has other files than jetsonx.lock pins for {', '.join(changed)}",
            hint="build once without --locked to take the versions of today into jetsonx.lock",
        )
    found = [there[deb.name] for deb in debs]
    return fetch_packages(apt, found, store=store, runner=effects.runner, console=effects.console)


def deb_jobs(
    debs: Sequence[Package], paths: Mapping[str, Path], keeps: Callable[[str], bool], effects: Effects
) -> list[tuple[int, Job]]:
    """What :func:`jetsonx.packages.unpack.unpack_all` takes: each package checked against its hash and unpacked."""

    def add(deb: Package, writer: TreeWriter) -> None:
        unpack_deb(read_deb(deb, paths, effects), writer, keeps, name=deb.filename, owner=deb.name)

    return [(deb.size_bytes, partial(add, deb)) for deb in debs]


def read_deb(deb: Package, paths: Mapping[str, Path], effects: Effects) -> bytes:
    """A package's file, hashed. Raises DownloadError when the cache has damaged it; it is dropped then."""
    data = paths[deb.sha256].read_bytes()  # read once: hashed, then unpacked from memory
    if hashlib.sha256(data).hexdigest() != deb.sha256:
        effects.store.drop_download(deb.sha256)
        raise DownloadError(
            f"{deb.filename} was damaged in the cache: its sha256 is not {deb.sha256}",
            hint="it is removed; run the same command again to fetch it anew",
        )
    return data


def suite_lists(
    suite: Suite, target: _HasArch, effects: Effects, status: bytes = b"", *, libc_of: Suite | None = None
) -> Apt:
    """apt with the package lists of a suite; ``status`` is what dpkg says is installed already.

    ``libc_of``: a suite that everything made of glibc's source comes from instead, and nothing else does.
    """
    return arch_lists(suite, target.debian_arch, effects, status, libc_of=libc_of)


def arch_lists(
    suite: Suite, debian_arch: str, effects: Effects, status: bytes = b"", *, libc_of: Suite | None = None
) -> Apt:
    """The same for an architecture by dpkg's name of it."""
    host, override = load_host(), _mirror()
    if host.distribution == "ubuntu" and not host.ports_uri and not override:
        host = replace(host, ports_uri=fetch_ports_uri(store=effects.store, runner=effects.runner))
    sources = resolve_sources(host, suite.codename, override)
    if libc_of is not None:
        sources += resolve_sources(host, libc_of.codename, override)
    return fetch_lists(
        sources,
        suite.codename,
        debian_arch=debian_arch,
        store=effects.store,
        runner=effects.runner,
        console=effects.console,
        status=status,
        preferences=_LIBC_OF.format(codename=libc_of.codename) if libc_of is not None else "",
    )


def _mirror() -> str:
    """The archive the user names instead of the host's own; then any distribution's suites are looked for there."""
    return os.environ.get("JETSONX_APT_MIRROR", "")
