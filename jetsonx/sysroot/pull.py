"""The sysroot of a target: chosen, fetched, unpacked, completed and kept.

1. find      the same inputs gave a tree before: done, nothing is started
2. suite     the distribution release closest below the target's glibc and libstdc++ that the mirror has
3. packages  apt resolves and downloads, with a state of its own
4. wheels    pip resolves and downloads NVIDIA's CUDA for the target
5. tree      unpacked without scripts, links made relative, stubs written, laid out under its digest
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from jetsonx.catalog import Suite, Target, load_catalog, rank_suites
from jetsonx.console import Console
from jetsonx.errors import DownloadError
from jetsonx.runner import Runner
from jetsonx.sysroot.apt import Apt, fetch_lists, fetch_packages, fetch_ports_uri, resolve_packages
from jetsonx.sysroot.cuda import (
    compiler_place,
    finish_overlay,
    has_overlay,
    load_wheel_names,
    overlay_place,
    overlay_wheels,
    toolkit_constraints,
    toolkit_requirement,
)
from jetsonx.sysroot.mirrors import load_host, resolve_sources
from jetsonx.sysroot.package import Package, Pins, Wheel, package_from_json, to_json, wheel_from_json
from jetsonx.sysroot.store import Store, Tree
from jetsonx.sysroot.tree import TreeWriter
from jetsonx.sysroot.unpack import Job, link_like_scripts, unpack_all, unpack_deb
from jetsonx.sysroot.wheels import Platform, download_wheels, fetch_wheels, parse_metadata, unpack_wheel

# Part of every key: raise it when the same packages would be laid out differently.
_FORMAT = 3
_KIND = "sysroot"
_NAMED = 5  # packages that an error names
# A package unpacks to about this many times its size: enough to tell how much a full disk lacked.
_UNPACKED = 4


@dataclass(frozen=True, kw_only=True)
class Sysroot:
    """A target's headers and libraries at ``path``. ``cuda_dir`` is relative to it, None without a CUDA overlay."""

    digest: str
    path: Path
    packages: tuple[Package, ...]
    wheels: tuple[Wheel, ...]
    suite: Suite
    cuda_dir: str | None
    cuda_target: str
    tree: Tree
    why: str

    @cached_property
    def owners(self) -> Mapping[str, str]:
        """Which package or wheel each file came from, by path; read from the store when first asked for."""
        return {path: entry.owner for path, entry in self.tree.load_manifest().items() if entry.owner}

    @property
    def pins(self) -> Pins:
        """What a lock file must hold to have this very sysroot again."""
        return Pins(suite=self.suite.codename, packages=self.packages, wheels=self.wheels)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    target: Target
    packages: tuple[str, ...]
    wheels: tuple[str, ...]
    full: bool
    pins: Pins | None
    distribution: str

    @property
    def key(self) -> str:
        line, release = self.target.line, self.target.release
        value: dict[str, Any] = {"format": _FORMAT, "full": self.full, "filter": repr(line.filter)}
        value |= {"cuda": self.target.cuda_dir if has_overlay(self.target) else None, "layout": line.cuda_target}
        if self.pins is not None:
            value |= {"suite": self.pins.suite, "sha256": self.pins.hashes}
        else:
            value |= {"packages": sorted(set(self.packages)), "wheels": sorted(set(self.wheels))}
            value |= {"base": line.packages, "glibc": line.glibc, "glibcxx": line.glibcxx, "from": self.distribution}
            value |= {"toolkit": release.cuda_toolkit, "cudnn": release.cudnn}
        return json.dumps(value, sort_keys=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tools:
    store: Store
    runner: Runner
    console: Console
    offline: bool


def pull_sysroot(
    target: Target,
    *,
    packages: Sequence[str] = (),
    wheels: Sequence[str] = (),
    full: bool = False,
    store: Store,
    runner: Runner,
    console: Console,
    offline: bool = False,
    pins: Pins | None = None,
    refresh: bool = False,
) -> Sysroot:
    """The sysroot of ``target`` with these extra ``packages`` (Debian names) and ``wheels`` (NVIDIA's, or short names).

    ``full`` keeps every file of the packages. ``offline`` starts no network tool. ``pins`` (from a lock file) takes
    exactly these packages and wheels instead of resolving. ``refresh`` resolves anew although the store has an answer.

    Raises ConfigError for names that do not exist, DownloadError when something cannot be had, HostError when the disk
    is full or the cache directory cannot be written.
    """
    names = load_wheel_names()
    request = _Request(
        target=target,
        packages=tuple(packages),
        wheels=overlay_wheels(target, wheels, names),
        full=full,
        pins=pins,
        distribution="" if pins or _mirror() else load_host().distribution,
    )
    key = request.key
    if not refresh and (tree := store.find(_KIND, key)):
        return _sysroot(tree)
    tools = _Tools(store=store, runner=runner, console=console, offline=offline)
    with store.lock(f"sysroot for L4T {target.release.l4t}"):
        if not refresh and (tree := store.find(_KIND, key)):  # another process made it meanwhile
            return _sysroot(tree)
        sysroot = _sysroot(_make(request, key, tools, refresh=refresh))
        if pins is None:  # the lock file written now will ask for the same tree by its pins
            store.remember_tree(replace(request, pins=sysroot.pins).key, sysroot.tree)
        return sysroot


def fetch_debs(
    sysroot: Sysroot, target: Target, *, store: Store, runner: Runner, console: Console, offline: bool = False
) -> Mapping[str, Path]:
    """The .deb of each of a sysroot's packages, by package name; fetched again where the cache has lost one."""
    tools = _Tools(store=store, runner=runner, console=console, offline=offline)
    paths = _pinned_debs(target, sysroot.suite, sysroot.packages, tools)
    return {package.name: paths[package.sha256] for package in sysroot.packages}


def fetch_constraints(
    target: Target, *, store: Store, runner: Runner, console: Console, offline: bool = False, refresh: bool = False
) -> tuple[str, ...]:
    """Constraint lines that hold every CUDA wheel, for device or workstation, to the target's release."""
    names = load_wheel_names()
    [(_, toolkit)] = fetch_wheels(
        [toolkit_requirement(target.release, names)],
        platform="x86_64",
        dependencies=False,
        store=store,
        runner=runner,
        console=console,
        offline=offline,
        refresh=refresh,
    )
    return toolkit_constraints(_requires(toolkit), target.release, names)


def _make(request: _Request, key: str, tools: _Tools, *, refresh: bool) -> Tree:
    before = None if refresh else tools.store.find(_KIND, key, even_damaged=True)
    if before is not None:
        tools.console.warn(f"the sysroot at {before.path} is damaged: making it anew from what it was made of")
        found = _sysroot(before)
        suite, debs, wheels = found.suite, found.packages, found.wheels
    elif request.pins is not None:
        suite, debs, wheels = _suite(request.pins.suite), request.pins.packages, request.pins.wheels
    else:
        if tools.offline:
            raise _not_cached(request, tools.store)
        suite, apt, debs = _resolve_debs(request, tools)
        paths = fetch_packages(apt, debs, store=tools.store, runner=tools.runner, console=tools.console)
        return _build(request, key, tools, suite, debs, paths, _resolve_wheels(request, tools, refresh=refresh))
    paths = _pinned_debs(request.target, suite, debs, tools)
    files = download_wheels(
        wheels, store=tools.store, runner=tools.runner, console=tools.console, offline=tools.offline
    )
    return _build(request, key, tools, suite, debs, paths, files)


# ---- packages --------------------------------------------------------------------------------------------------------


def _resolve_debs(request: _Request, tools: _Tools) -> tuple[Suite, Apt, tuple[Package, ...]]:
    target = request.target
    catalog = load_catalog()
    suites = rank_suites(catalog.suites, target.glibc, target.glibcxx, request.distribution or None)
    if not suites:
        raise DownloadError(
            f"{target.name} has glibc {target.glibc} and {target.glibcxx}: every {request.distribution} release that "
            "jetsonx knows is newer, and what is linked against it would not start there",
            hint=f"set JETSONX_APT_MIRROR to an archive that has {target.line.ubuntu} for {target.debian_arch}, "
            "or choose a newer L4T release",
        )
    passed: list[Apt] = []
    for suite in suites:
        apt = _lists(suite, target, tools)
        if not apt.missing:
            tools.console.say(_why(suite, target, passed))
            wanted = (*target.line.base_packages(suite.gcc), *request.packages)
            debs = resolve_packages(apt, wanted, store=tools.store, runner=tools.runner)
            return suite, apt, debs
        passed.append(apt)
    raise DownloadError(
        f"no suite for {target.name} (glibc {target.glibc} or older): " + "; ".join(apt.missing for apt in passed),
        details=passed[-1].details,
        hint=f"set JETSONX_APT_MIRROR to an archive that has {target.debian_arch} packages of "
        + " or ".join(suite.codename for suite in suites),
    )


def _lists(suite: Suite, target: Target, tools: _Tools) -> Apt:
    host, override = load_host(), _mirror()
    if host.distribution == "ubuntu" and not host.ports_uri and not override:
        host = replace(host, ports_uri=fetch_ports_uri(store=tools.store, runner=tools.runner))
    sources = resolve_sources(host, suite.codename, override)
    return fetch_lists(
        sources,
        suite.codename,
        debian_arch=target.debian_arch,
        store=tools.store,
        runner=tools.runner,
        console=tools.console,
    )


def _mirror() -> str:
    """The archive the user names instead of the host's own; then any distribution's suites are looked for there."""
    return os.environ.get("JETSONX_APT_MIRROR", "")


def _why(suite: Suite, target: Target, passed: Sequence[Apt]) -> str:
    closer = "".join(f"; {apt.missing}" for apt in passed)
    return _fit(suite, target) + closer


def _fit(suite: Suite, target: Target) -> str:
    return (
        f"{suite.distribution.capitalize()} {suite.codename} (glibc {suite.glibc}, {suite.glibcxx}), the closest not "
        f"newer than L4T {target.release.l4t} ({target.glibc}, {target.glibcxx})"
    )


def _suite(codename: str) -> Suite:
    for suite in load_catalog().suites:
        if suite.codename == codename:
            return suite
    raise DownloadError(f"jetsonx.lock names the suite {codename!r}, which this version of jetsonx does not know")


def _pinned_debs(target: Target, suite: Suite, debs: Sequence[Package], tools: _Tools) -> dict[str, Path]:
    paths = {deb.sha256: path for deb in debs if (path := tools.store.download(deb.sha256)) is not None}
    lacking = [deb for deb in debs if deb.sha256 not in paths]
    if not lacking:
        return paths
    if tools.offline:
        raise DownloadError(
            f"offline, and the cache lacks {len(lacking)} of the {len(debs)} packages that the sysroot is made of: "
            + ", ".join(f"{deb.name} {deb.version}" for deb in lacking[:_NAMED])
            + (" …" if len(lacking) > _NAMED else ""),
            hint=f"run it once with a network; the cache is {tools.store.root}",
        )
    apt = _lists(suite, target, tools)
    if apt.missing:
        raise DownloadError(f"jetsonx.lock pins packages of {suite.codename}: {apt.missing}", details=apt.details)
    wanted = [f"{deb.name}={deb.version}" for deb in debs]
    there = {deb.name: deb for deb in resolve_packages(apt, wanted, store=tools.store, runner=tools.runner)}
    changed = [deb.name for deb in debs if deb.name not in there or there[deb.name].sha256 != deb.sha256]
    if changed:
        raise DownloadError(
            f"the mirror's {suite.codename} has other files than jetsonx.lock pins for {', '.join(changed)}",
            hint="build once without --locked to take the versions of today into jetsonx.lock",
        )
    found = [there[deb.name] for deb in debs]
    return fetch_packages(apt, found, store=tools.store, runner=tools.runner, console=tools.console)


# ---- wheels ----------------------------------------------------------------------------------------------------------

_Files = tuple[tuple[Wheel, Path], ...]


def _resolve_wheels(request: _Request, tools: _Tools, *, refresh: bool) -> _Files:
    if not request.wheels:
        return ()
    names = load_wheel_names()
    constraints = fetch_constraints(
        request.target, store=tools.store, runner=tools.runner, console=tools.console, refresh=refresh
    )

    def fetch(wanted: Sequence[str], platform: Platform, *, alone: bool) -> _Files:
        return fetch_wheels(
            wanted,
            platform=platform,
            constraints=constraints,
            glibc=request.target.glibc,
            dependencies=not alone,
            store=tools.store,
            runner=tools.runner,
            console=tools.console,
            refresh=refresh,
        )

    return (
        *fetch(request.wheels, "aarch64", alone=False),
        *fetch([names.compiler], "x86_64", alone=True),
    )


def _requires(wheel: Path) -> list[str]:
    import zipfile

    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return list(parse_metadata(archive.read(name).decode()).get("Requires-Dist", []))


# ---- the tree --------------------------------------------------------------------------------------------------------


def _build(
    request: _Request,
    key: str,
    tools: _Tools,
    suite: Suite,
    debs: Sequence[Package],
    paths: Mapping[str, Path],
    wheels: _Files,
) -> Tree:
    target, line = request.target, request.target.line
    names = load_wheel_names()
    cuda_dir = target.cuda_dir if wheels else None

    def add_wheel(item: tuple[Wheel, Path], writer: TreeWriter) -> None:
        wheel, path = item
        if wheel.name == names.compiler:
            place = compiler_place(target.cuda_dir, line.cuda_target, names)
        else:
            place = overlay_place(target.cuda_dir, line.cuda_target, wheel.name)
        unpack_wheel(path, writer, place, owner=wheel.name)

    def add_deb(deb: Package, writer: TreeWriter) -> None:
        keeps = _everything if request.full else line.filter.keeps
        data = paths[deb.sha256].read_bytes()  # read once: hashed, then unpacked from memory
        if hashlib.sha256(data).hexdigest() != deb.sha256:
            tools.store.drop_download(deb.sha256)
            raise DownloadError(
                f"{deb.filename} was damaged in the cache: its sha256 is not {deb.sha256}",
                hint="it is removed; run the same command again to fetch it anew",
            )
        unpack_deb(data, writer, keeps, name=deb.filename, owner=deb.name)

    def fill(writer: TreeWriter) -> None:
        jobs: list[tuple[int, Job]] = [(deb.size_bytes, partial(add_deb, deb)) for deb in debs]
        jobs += [(item[1].stat().st_size, partial(add_wheel, item)) for item in wheels]
        unpack_all(jobs, writer)
        link_like_scripts(writer)
        if cuda_dir is not None:
            finish_overlay(writer, cuda_dir, line.cuda_target)

    info = {
        "suite": suite.codename,
        "packages": [to_json(deb) for deb in debs],
        "wheels": [to_json(wheel) for wheel, _ in wheels],
        "cuda_dir": cuda_dir,
        "cuda_target": line.cuda_target,
        "full": request.full,
        "why": f"sysroot: {_fit(suite, target)}",
    }
    tools.console.say(f"unpacking {len(debs)} packages and {len(wheels)} wheels")
    needed = sum(deb.size_bytes * _UNPACKED for deb in debs) + sum(path.stat().st_size * 2 for _, path in wheels)
    return tools.store.create(_KIND, key, fill, info=info, needed_bytes=needed)


def _everything(_path: str) -> bool:
    return True


def _sysroot(tree: Tree) -> Sysroot:
    info = tree.info
    return Sysroot(
        digest=tree.digest,
        path=tree.path,
        packages=tuple(package_from_json(item) for item in info["packages"]),
        wheels=tuple(wheel_from_json(item) for item in info["wheels"]),
        suite=_suite(info["suite"]),
        cuda_dir=info["cuda_dir"],
        cuda_target=info["cuda_target"],
        tree=tree,
        why=info["why"],
    )


def _not_cached(request: _Request, store: Store) -> DownloadError:
    needed = [*request.target.line.packages, *request.packages, *request.wheels]
    held = [f"{tree.name} ({tree.info.get('suite', '')})" for tree in store.trees() if tree.kind == _KIND]
    return DownloadError(
        f"offline, and no sysroot for {request.target.name} with {', '.join(needed)} is in the cache",
        details=f"{store.root} holds: {', '.join(held) or 'no sysroot'}",
        hint=f"run it once with a network: jetsonx sysroot pull {request.target.name}",
    )
