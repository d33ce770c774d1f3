"""The C and C++ libraries of the image, where the sysroot's are older than the device's.

A sysroot is of a suite that is never newer than the device, so that what is linked against it starts there. In the
image the driver's libraries run too: the nvidia runtime mounts them from the device, and they were built for its glibc
and libstdc++. So these two come from the oldest suite that has at least the device's. A C library runs what was built
for an older one, so everything else stays the sysroot's. What is made of a root file system has the device's own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jetsonx.build import lockfile
from jetsonx.catalog import Suite, Target, is_runtime, load_catalog, rank_runtime_suites
from jetsonx.effects import Effects
from jetsonx.errors import DownloadError
from jetsonx.packages.apt import fetch_packages, resolve_packages
from jetsonx.packages.debs import fetch_pinned, find_suite, suite_distribution, suite_lists
from jetsonx.packages.package import Package, package_from_json, to_json
from jetsonx.project.lock import Lock
from jetsonx.sysroot.pull import Sysroot

if TYPE_CHECKING:
    from jetsonx.image.minimal import Deb

_KIND = "image-runtime"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRuntime:
    """``packages`` of ``suite`` in place of the sysroot's; with None the image has the sysroot's own.

    ``lacking`` says why it does although these are older than the device's, ``why`` which ones were chosen.
    """

    suite: Suite | None = None
    packages: tuple[Package, ...] = ()
    why: tuple[str, ...] = ()
    lacking: str = ""

    @property
    def codename(self) -> str:
        """The suite's, "" for none."""
        return self.suite.codename if self.suite else ""


SYSROOTS_OWN = ImageRuntime()


def resolve(
    target: Target, sysroot: Sysroot, effects: Effects, *, lock: Lock | None, locked: bool, refresh: bool
) -> ImageRuntime:
    """What the image's C and C++ libraries are: as the lock says, as it was found before, else by apt.

    Where no suite serves, or ``--locked`` meets a lock that pins none, the sysroot's are taken, with a warning. Raises
    DownloadError when they cannot be had.
    """
    own = sysroot.suite
    if not sysroot.is_packaged or own is None or is_runtime(own, target.glibc, target.glibcxx):
        return SYSROOTS_OWN
    suites = rank_runtime_suites(load_catalog().suites, target.glibc, target.glibcxx, own.distribution)
    found = _pinned(lock, target, suites, refresh=refresh)
    if found is None and locked:
        found = ImageRuntime(lacking="jetsonx.lock pins no newer ones; `jetsonx build` without --locked looks for them")
    found = found or _find(target, own, suites, effects, refresh=refresh)
    if found.suite is None:
        effects.console.warn(
            f"the image has {own.codename}'s C and C++ libraries ({own.glibc}, {own.glibcxx}), older than those of L4T "
            f"{target.release.l4t} ({target.glibc}, {target.glibcxx}): the driver's libraries may need more (JX203). "
            f"{found.lacking}"
        )
    return found


def _pinned(lock: Lock | None, target: Target, suites: tuple[Suite, ...], *, refresh: bool) -> ImageRuntime | None:
    codename, packages = lockfile.find_runtime_pins(lock, target, refresh=refresh) or ("", ())
    suite = next((suite for suite in suites if suite.codename == codename), None)
    return _chosen(suite, packages, target) if suite is not None else None


def _chosen(suite: Suite, packages: tuple[Package, ...], target: Target) -> ImageRuntime:
    why = (
        f"image: libc and libstdc++ of {suite.distribution.capitalize()} {suite.codename} (glibc {suite.glibc}, "
        f"{suite.glibcxx}), the oldest not older than L4T {target.release.l4t}'s"
    )
    return ImageRuntime(suite=suite, packages=packages, why=(why,))


def _find(target: Target, own: Suite, suites: tuple[Suite, ...], effects: Effects, *, refresh: bool) -> ImageRuntime:
    memory = json.dumps([target.glibc, target.glibcxx, target.debian_arch, own.codename, suite_distribution()])
    known = None if refresh else _recalled(memory, target, effects)
    if known is not None:
        return known
    if effects.offline:
        raise DownloadError(
            f"offline, and the C and C++ libraries for images of L4T {target.release.l4t} are not in the cache: "
            f"{own.codename}'s are older than the device's",
            hint="run it once with a network, without --offline",
        )
    with effects.store.lock(f"sysroot for L4T {target.release.l4t}"):  # who else uses the same apt
        found = _ask_apt(target, own, suites, effects)
    rows = [to_json(each) for each in found.packages]
    effects.store.remember(_KIND, memory, json.dumps([found.codename, rows, found.lacking]))
    return found


def _recalled(memory: str, target: Target, effects: Effects) -> ImageRuntime | None:
    try:
        codename, rows, lacking = json.loads(effects.store.recall(_KIND, memory) or "null")
        suite = find_suite(codename)
        packages = tuple(package_from_json(each) for each in rows)
    except (ValueError, TypeError):
        return None
    return _chosen(suite, packages, target) if suite else ImageRuntime(lacking=str(lacking))


def _ask_apt(target: Target, own: Suite, suites: tuple[Suite, ...], effects: Effects) -> ImageRuntime:
    from jetsonx.image.minimal import RUNTIME, is_always

    missing = []
    for suite in suites:
        apt = suite_lists(suite, target, effects)
        if apt.missing:
            missing.append(apt.missing)
            continue
        resolved = resolve_packages(apt, RUNTIME, store=effects.store, runner=effects.runner)
        # Not where it was found: the lock does not say it either, and a build by the lock is to be the same build.
        packages = tuple(replace(each, url="") for each in resolved if is_always(each.name))
        fetch_packages(apt, packages, store=effects.store, runner=effects.runner, console=effects.console)
        return _chosen(suite, packages, target)
    known = "; ".join(missing) or f"jetsonx knows no {own.distribution.capitalize()} release that is not older"
    return ImageRuntime(lacking=f"{known}: JETSONX_APT_MIRROR names another archive, and --refresh looks again")


def fetch(runtime: ImageRuntime, target: Target, effects: Effects) -> dict[str, Deb]:
    """The packages' files, by name: from the store, else from the mirror in exactly these versions.

    Raises DownloadError when they cannot be had.
    """
    from jetsonx.image.minimal import Deb

    if runtime.suite is None:
        return {}
    paths = fetch_pinned(target, runtime.suite, runtime.packages, effects)
    return {
        each.name: Deb(name=each.name, version=each.version, sha256=each.sha256, path=paths[each.sha256])
        for each in runtime.packages
    }
