"""The sysroot of a target: chosen, fetched, unpacked, completed and kept.

1. find      the same inputs gave a tree before: done, nothing is started
2. base      a suite's packages (the closest below the target's glibc and libstdc++), or the root file system of an
             image, a device, a tarball or a directory
3. packages  what was asked for on top of a root file system, by its own apt sources
4. CUDA      NVIDIA's wheels or archives for the target, where the base does not hold it
5. tree      links made relative, stubs written, laid out under its digest
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from jetsonx.catalog import Suite, Target
from jetsonx.effects import Effects
from jetsonx.errors import DownloadError
from jetsonx.net.faults import UnreachableError
from jetsonx.packages.apt import fetch_packages
from jetsonx.packages.debs import deb_jobs, fetch_pinned, find_suite, fit, resolve_debs, suite_distribution
from jetsonx.packages.package import (
    Archive,
    Package,
    Pins,
    Wheel,
    archive_from_json,
    image_from_json,
    package_from_json,
    to_json,
    wheel_from_json,
)
from jetsonx.packages.unpack import link_like_scripts, unpack_all
from jetsonx.store.store import Store, Tree
from jetsonx.store.tree import TreeWriter
from jetsonx.sysroot import bases, completion
from jetsonx.sysroot.cuda import Toolkit, finish_overlay
from jetsonx.sysroot.cuda_parts import CudaParts, default_toolkit, fetch_parts, pinned_parts
from jetsonx.sysroot.request import Request, resolve_source

# Part of every key: raise it when the same inputs would be laid out differently.
_FORMAT = 4
_KIND = "sysroot"
# A package unpacks to about this many times its size: enough to tell how much a full disk lacked.
_UNPACKED = 4


@dataclass(frozen=True, kw_only=True)
class Sysroot:
    """A target's headers and libraries at ``path``.

    ``suite``: the distribution release it is made of, None when that is not one the catalog knows. ``gcc``: major of
    the GCC whose libstdc++ headers it holds. ``cuda_dir`` is relative to ``path``, None without CUDA in it.
    """

    digest: str
    path: Path
    packages: tuple[Package, ...]
    wheels: tuple[Wheel, ...]
    archives: tuple[Archive, ...] = ()
    suite: Suite | None
    gcc: int
    cuda_dir: str | None
    cuda_target: str
    tree: Tree
    why: str

    @cached_property
    def owners(self) -> Mapping[str, str]:
        """Which package or wheel each file came from, by path; read from the store when first asked for."""
        return {path: entry.owner for path, entry in self.tree.load_manifest().items() if entry.owner}

    @property
    def is_packaged(self) -> bool:
        """True when every file in it came from a package, wheel or archive that is at hand."""
        return bool(self.tree.info.get("source", "apt") == "apt")

    @property
    def pins(self) -> Pins:
        """What a lock file must hold to have this very sysroot again."""
        info = self.tree.info
        source = info.get("source", "apt")
        return Pins(
            suite=self.suite.codename if self.suite else "",
            packages=self.packages,
            wheels=self.wheels,
            archives=self.archives,
            source=source,
            origin=info.get("origin", "") if source != "apt" else "",
            image=image_from_json(info["image"]) if info.get("image") else None,
            base=info.get("base") or (self.digest if source in ("device", "directory") else ""),
        )


def pull_sysroot(
    target: Target, request: Request, effects: Effects, *, pins: Pins | None = None, refresh: bool = False
) -> Sysroot:
    """The sysroot of ``target``: from the store when the same was asked before, else made.

    ``pins`` (from a lock file) takes exactly what they name instead of resolving. ``refresh`` resolves anew although
    the store has an answer.

    Raises ConfigError for names that do not exist, DownloadError when something cannot be had, HostError when the disk
    is full or the cache directory cannot be written.
    """
    store = effects.store
    request = replace(request, source=resolve_source(request.source, target, store, pins))
    key = _key(target, request, pins)
    if not refresh and (tree := store.find(_KIND, key)):
        return load_sysroot(_note_release(tree, target, store))
    with store.lock(f"sysroot for L4T {target.release.l4t}"):
        if not refresh and (tree := store.find(_KIND, key)):  # another process made it meanwhile
            return load_sysroot(_note_release(tree, target, store))
        try:
            tree = _make(target, request, key, effects, pins, refresh=refresh)
        except _NoCudaError as error:
            effects.console.warn(f"the sysroot gets no CUDA: {error.args[0]}")
            without = Toolkit(source="none", version=target.cuda_version)
            return pull_sysroot(target, replace(request, toolkit=without), effects, refresh=refresh)
        sysroot = load_sysroot(tree)
        if pins is not None and request.source.kind in ("device", "directory") and pins.base != tree.digest:
            raise DownloadError(
                f"what {request.source} holds has changed: it gives {tree.digest}, jetsonx.lock pins {pins.base}",
                hint="`jetsonx build --refresh` takes it as it is today",
            )
        if pins is None:  # the lock file written now will ask for the same tree by its pins
            store.remember_tree(_key(target, request, sysroot.pins), tree)
        return sysroot


def _note_release(tree: Tree, target: Target, store: Store) -> Tree:
    """The tree, which was made for another release with the same packages, under the name of this one too."""
    release = target.release.l4t
    key = f"{tree.name} for {release}"
    if tree.info["release"] != release and store.recall(_KIND, key) is None:
        store.remember_tree(key, replace(tree, info={**tree.info, "release": release}))
    return tree


def fetch_debs(sysroot: Sysroot, target: Target, effects: Effects) -> Mapping[str, Path]:
    """The .deb of each of a sysroot's packages, by package name; fetched again where the cache has lost one."""
    if sysroot.suite is None or not sysroot.is_packaged:
        return {}
    paths = fetch_pinned(target, sysroot.suite, sysroot.packages, effects)
    return {package.name: paths[package.sha256] for package in sysroot.packages}


def _key(target: Target, request: Request, pins: Pins | None) -> str:
    line, release, source = target.line, target.release, request.source
    value: dict[str, Any] = {"format": _FORMAT, "full": request.full, "source": str(source)}
    value |= {"filter": repr(bases.source_filter(line, source)), "cuda_dir": target.cuda_dir}
    value |= {"layout": line.cuda_target, "l4t": release.l4t if source.kind != "apt" else None}
    if pins is not None:
        return json.dumps({**value, "suite": pins.suite, "pins": pins.hashes}, sort_keys=True)
    toolkit = request.toolkit
    value |= {"packages": sorted(set(request.packages)), "wheels": sorted(set(request.wheels))}
    value |= {"cuda": sorted(set(request.cuda)), "toolkit": [toolkit.source, toolkit.redist] if toolkit else None}
    value |= {"base": line.packages, "glibc": line.glibc, "glibcxx": line.glibcxx}
    value |= {"release": [release.cuda_toolkit, release.cudnn]}
    if source.kind == "apt":
        value["from"] = suite_distribution()
    if source.kind == "tarball":
        value["file"] = bases.file_stamp(Path(source.origin))
    return json.dumps(value, sort_keys=True)


def _make(target: Target, request: Request, key: str, effects: Effects, pins: Pins | None, *, refresh: bool) -> Tree:
    before = None if refresh else effects.store.find(_KIND, key, even_damaged=True)
    if before is not None:
        effects.console.warn(f"the sysroot at {before.path} is damaged: making it anew from what it was made of")
        pins = load_sysroot(before).pins
    elif pins is None and effects.offline:
        raise _not_cached(target, request, effects.store)
    if request.source.kind == "apt":
        return _make_from_suite(target, request, key, effects, pins, refresh=refresh)
    return _make_from_rootfs(target, request, key, effects, pins, refresh=refresh)


def _make_from_suite(
    target: Target, request: Request, key: str, effects: Effects, pins: Pins | None, *, refresh: bool
) -> Tree:
    if pins is None:
        suite, apt, debs = resolve_debs(target, request.packages, suite_distribution(), effects)
        paths = fetch_packages(apt, debs, store=effects.store, runner=effects.runner, console=effects.console)
        parts = _parts(target, request, request.cuda, effects, held=False, refresh=refresh)
    else:
        suite, debs = _known_suite(pins.suite), pins.packages
        paths = fetch_pinned(target, suite, debs, effects)
        parts = pinned_parts(pins, effects)
    keeps = _everything if request.full else target.line.filter.keeps

    def fill(writer: TreeWriter) -> None:
        unpack_all([*deb_jobs(debs, paths, keeps, effects), *parts.jobs(target)], writer)
        _finish(writer, target, has_cuda=bool(parts))

    info = _info(target, request, parts, debs) | {
        "origin": suite.codename,
        "suite": suite.codename,
        "gcc": suite.gcc,
        "cuda_dir": target.cuda_dir if parts else None,
        "why": f"sysroot: {fit(suite, target)}",
    }
    effects.console.say(f"unpacking {len(debs)} packages and {len(parts)} parts of CUDA")
    needed = sum(deb.size_bytes * _UNPACKED for deb in debs) + parts.size_bytes * 2
    return effects.store.create(_KIND, key, fill, info=info, needed_bytes=needed)


def _make_from_rootfs(
    target: Target, request: Request, key: str, effects: Effects, pins: Pins | None, *, refresh: bool
) -> Tree:
    base = bases.resolve_base(request.source, target, effects, pins)
    kept = None if request.full else bases.source_filter(target.line, request.source)

    def fill(writer: TreeWriter) -> Mapping[str, object]:
        identity = base.fill(writer, kept)
        debs = completion.complete(
            writer,
            request.packages,
            target,
            what=base.what,
            keeps=kept.keeps if kept else _everything,
            pinned=pins.packages if pins else None,
            effects=effects,
        )
        held = completion.holds_cuda(writer, target)
        if pins is not None:
            parts = pinned_parts(pins, effects)
        else:
            lacking = [name for name in request.cuda if not (held and completion.holds_library(writer, name))]
            parts = _parts(target, request, lacking, effects, held=held, refresh=refresh)
        unpack_all(parts.jobs(target), writer)
        _finish(writer, target, has_cuda=held or bool(parts))
        suite = completion.read_suite(writer)
        return _info(target, request, parts, debs) | {
            "base": identity,
            "suite": suite.codename if suite else None,
            "gcc": completion.check_root(writer, target, what=base.what, effects=effects),
            "cuda_dir": target.cuda_dir if held or parts else None,
        }

    info = {
        "origin": request.source.origin,
        "image": to_json(base.image) if base.image else None,
        "why": f"sysroot: {base.what}",
    }
    return effects.store.create(_KIND, key, fill, info=info, needed_bytes=base.needed_bytes)


def _parts(
    target: Target, request: Request, cuda: Sequence[str], effects: Effects, *, held: bool, refresh: bool
) -> CudaParts:
    toolkit = request.toolkit or default_toolkit(target)
    try:
        return fetch_parts(
            target, toolkit, wheels=request.wheels, cuda=cuda, held=held, effects=effects, refresh=refresh
        )
    except UnreachableError as error:
        if cuda or request.wheels:
            raise
        raise _NoCudaError(error.message) from error


class _NoCudaError(Exception):
    """NVIDIA's archives cannot be reached, and nothing of them was asked for by name."""


def _finish(writer: TreeWriter, target: Target, *, has_cuda: bool) -> None:
    link_like_scripts(writer)
    if has_cuda:
        finish_overlay(writer, target.cuda_dir, target.cuda_target)


def _info(target: Target, request: Request, parts: CudaParts, debs: Sequence[Package]) -> dict[str, object]:
    return {
        "source": request.source.kind,
        "release": target.release.l4t,
        "line": target.line.id,
        "packages": [to_json(deb) for deb in debs],
        "wheels": [to_json(wheel) for wheel, _ in parts.wheels],
        "archives": [to_json(archive) for archive, _ in parts.archives],
        "cuda_target": target.cuda_target,
        "full": request.full,
    }


def _everything(_path: str) -> bool:
    return True


def _known_suite(codename: str) -> Suite:
    suite = find_suite(codename)
    if suite is None:
        raise DownloadError(f"jetsonx.lock names the suite {codename!r}, which this version of jetsonx does not know")
    return suite


def load_sysroot(tree: Tree) -> Sysroot:
    """The sysroot that a tree of the store is. Raises KeyError for a tree of an older format."""
    info = tree.info
    return Sysroot(
        digest=tree.digest,
        path=tree.path,
        packages=tuple(package_from_json(item) for item in info["packages"]),
        wheels=tuple(wheel_from_json(item) for item in info["wheels"]),
        archives=tuple(archive_from_json(item) for item in info["archives"]),
        suite=find_suite(info["suite"]) if info["suite"] else None,
        gcc=info["gcc"],
        cuda_dir=info["cuda_dir"],
        cuda_target=info["cuda_target"],
        tree=tree,
        why=info["why"],
    )


def _not_cached(target: Target, request: Request, store: Store) -> DownloadError:
    needed = [*target.line.packages, *request.packages, *request.wheels, *request.cuda]
    held = [f"{tree.name} ({tree.info.get('origin', '')})" for tree in store.trees() if tree.kind == _KIND]
    return DownloadError(
        f"offline, and no sysroot for {target.name} from {request.source} with {', '.join(needed)} is in the cache",
        details=f"{store.root} holds: {', '.join(held) or 'no sysroot'}",
        hint=f"run it once with a network: jetsonx sysroot pull {target.name}",
    )
