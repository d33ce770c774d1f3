"""The packages that a project asks for in its image: resolved by apt for the target, fetched, never run.

They come from where the sysroot's come from: its suite, or for a root file system that system's own apt sources. apt is
told what the minimal image holds anyway; what that needs in turn is left out of the telling, since the image does not
hold it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jetsonx.build import image_runtime, lockfile
from jetsonx.build.image_runtime import ImageRuntime
from jetsonx.catalog import Target
from jetsonx.effects import Effects
from jetsonx.errors import DownloadError
from jetsonx.packages import dpkg
from jetsonx.packages.additions import is_apts, system_lists
from jetsonx.packages.apt import Apt, fetch_packages, resolve_packages
from jetsonx.packages.deb import read_control
from jetsonx.packages.debs import fetch_exactly, suite_lists
from jetsonx.packages.package import Package, package_from_json, to_json
from jetsonx.project import Project
from jetsonx.project.lock import Lock
from jetsonx.sysroot.pull import Sysroot, fetch_debs

if TYPE_CHECKING:
    from jetsonx.image.minimal import Deb

_KIND = "image-packages"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePackages:
    """``packages`` as jetsonx.lock holds them under ``key``, which is "" when the project asks for none."""

    key: str = ""
    packages: tuple[Package, ...] = ()


def resolve(
    project: Project,
    target: Target,
    sysroot: Sysroot,
    runtime: ImageRuntime,
    effects: Effects,
    *,
    lock: Lock | None,
    locked: bool,
    refresh: bool,
) -> ImagePackages:
    """What ``image.packages`` come to: as the lock says, as it was found for this sysroot before, else by apt.

    Raises ConfigError for names that do not exist and under ``--locked`` when the lock has none, DownloadError when
    they cannot be had.
    """
    names = project.image.packages
    if not names:
        return ImagePackages()
    key = lockfile.image_key(project, target, sysroot.pins, runtime.codename)
    pinned = lockfile.find_image_pins(lock, project, target, key, locked=locked, refresh=refresh)
    if pinned is not None:
        return ImagePackages(key=key, packages=pinned)
    memory = json.dumps([key, sysroot.digest, *(each.sha256 for each in runtime.packages)])
    known = None if refresh else _recalled(memory, effects)
    if known is not None:
        return ImagePackages(key=key, packages=known)
    if effects.offline:
        raise DownloadError(
            f"offline, and what image.packages come to is not known yet: {', '.join(names)}",
            hint="run it once with a network, without --offline",
        )
    with effects.store.lock(f"sysroot for L4T {target.release.l4t}"):  # who else uses the same apt
        packages = _ask_apt(names, target, sysroot, runtime, effects)
    effects.store.remember(_KIND, memory, json.dumps([to_json(each) for each in packages]))
    return ImagePackages(key=key, packages=packages)


def _recalled(memory: str, effects: Effects) -> tuple[Package, ...] | None:
    try:
        return tuple(package_from_json(each) for each in json.loads(effects.store.recall(_KIND, memory) or "null"))
    except (ValueError, TypeError):
        return None


def fetch(
    image: ImagePackages, target: Target, sysroot: Sysroot, runtime: ImageRuntime, effects: Effects
) -> tuple[Deb, ...]:
    """The packages' files: from the store, else from the mirror in exactly these versions. Raises DownloadError."""
    from jetsonx.image.minimal import Deb

    names = tuple(each.name for each in image.packages)
    paths = fetch_exactly(image.packages, lambda: _lists(names, target, sysroot, runtime, effects)[0], effects)
    return tuple(
        Deb(name=each.name, version=each.version, sha256=each.sha256, path=paths[each.sha256])
        for each in image.packages
    )


def _ask_apt(
    names: tuple[str, ...], target: Target, sysroot: Sysroot, runtime: ImageRuntime, effects: Effects
) -> tuple[Package, ...]:
    apt, status = _lists(names, target, sysroot, runtime, effects)
    held = dpkg.parse_status(status)
    lacking = [name for name in names if not dpkg.is_installed(name, held)]
    if not lacking:
        return ()
    resolved = resolve_packages(apt, lacking, store=effects.store, runner=effects.runner)
    # What is held needs nothing, so to apt the archive's package of the same version is another, which it may take.
    packages = tuple(each for each in resolved if not dpkg.is_installed(f"{each.name}={each.version}", held))
    effects.console.say(f"image.packages: {len(packages)} packages of {apt.codename}")
    fetch_packages(apt, packages, store=effects.store, runner=effects.runner, console=effects.console)
    return packages


def _lists(
    asked: tuple[str, ...], target: Target, sysroot: Sysroot, runtime: ImageRuntime, effects: Effects
) -> tuple[Apt, str]:
    """apt as the image's packages are resolved by, and the dpkg status that it is told."""
    stanzas = list(dpkg.scripts_stanzas(asked))
    if sysroot.is_packaged and sysroot.suite is not None:
        from jetsonx.image.minimal import is_always, is_gcc_base

        newer = {name: deb.path for name, deb in image_runtime.fetch(runtime, target, effects).items()}
        held = {name: path for name, path in fetch_debs(sysroot, target, effects).items() if is_always(name)}
        if newer:  # the sysroot's gcc-N-base is then there only where something needs it
            held = {**{name: path for name, path in held.items() if not is_gcc_base(name)}, **newer}
        stanzas += [dpkg.held_stanza(read_control(path)) for _, path in sorted(held.items())]
        status = "\n".join(stanzas)
        return suite_lists(sysroot.suite, target, effects, status.encode(), libc_of=runtime.suite), status
    # Here the image holds libraries without their packages: these come as packages once more, over them.
    entries = sysroot.tree.load_manifest()
    files = {path: (sysroot.path / path).read_bytes() for path, entry in entries.items() if is_apts(path, entry)}
    status = "\n".join(stanzas)
    what = sysroot.why.removeprefix("sysroot: ")
    return system_lists(files, status, what=what, debian_arch=target.debian_arch, effects=effects), status
