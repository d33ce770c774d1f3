"""Between jetsonx.lock and the values that the sysroot takes: which pins hold for a build, and what to write back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any, TypeVar

from jetsonx.catalog import Target
from jetsonx.dockerfile import Dockerfile
from jetsonx.dockerfile.pins import NO_PINS, AptPins
from jetsonx.errors import ConfigError
from jetsonx.packages.package import Archive, ImagePin, LayerPin, Package, Pins, Wheel
from jetsonx.project import Project
from jetsonx.project.lock import (
    EMPTY_LOCK,
    FILE_NAME,
    Lock,
    LockedArchive,
    LockedImage,
    LockedLayer,
    LockedPackage,
    LockedRuntime,
    LockedSysroot,
    LockedWheel,
)

_T = TypeVar("_T")


def request_key(project: Project, target: Target) -> str:
    """Names what a project asks of a sysroot; a lock made for another request does not hold."""
    section = project.sysroot
    parts = [target.release.l4t, sorted(section.packages), sorted(section.wheels), section.full]
    # What came later counts only where it is used: a lock file from before still holds.
    later = [section.source, sorted(section.cuda), project.target.cuda]
    parts += [later] if later != ["auto", [], None] else []
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def find_pins(
    lock: Lock | None, project: Project, target: Target, request: str, *, locked: bool, refresh: bool
) -> Pins | None:
    """The pins that hold for this build; None when it is free to choose.

    Raises ConfigError under ``--locked`` when there are none, or when they were made for another request.
    """
    entry = lock.sysroot_of(target.release.l4t) if lock else None
    if entry is not None and entry.key == request and not refresh:
        return _pins(entry)
    if locked:
        reason = "has nothing for" if entry is None else "was made for other packages or wheels than jetsonx.toml asks"
        raise ConfigError(
            f"--locked: {project.root / FILE_NAME} {reason} L4T {target.release.l4t}",
            hint="run `jetsonx build` once without --locked and commit jetsonx.lock",
        )
    return None


def image_key(project: Project, target: Target, sysroot: Pins, runtime: str = "") -> str:
    """Names what a project asks of an image's packages, and of which distribution; like :func:`request_key`.

    ``runtime``: codename of the suite that the image's C library is of, "" for the sysroot's.
    """
    origin = sysroot.origin if sysroot.source == "image" else ""  # paths are each machine's own
    parts = [target.release.l4t, sorted(project.image.packages), sysroot.source, sysroot.suite, origin]
    parts += [runtime] if runtime else []
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def find_image_pins(
    lock: Lock | None, project: Project, target: Target, key: str, *, locked: bool, refresh: bool
) -> tuple[Package, ...] | None:
    """The packages locked for the image; None when it is free to choose. Raises ConfigError like :func:`find_pins`."""
    entry = lock.image_of(target.release.l4t) if lock else None
    if entry is not None and entry.key == key and not refresh:
        return tuple(_as(Package, each) for each in entry.package)
    if locked:
        reason = "has nothing" if entry is None else "was made for other packages than jetsonx.toml asks"
        raise ConfigError(
            f"--locked: {project.root / FILE_NAME} {reason} for the image of L4T {target.release.l4t}",
            hint="run `jetsonx build` once without --locked and commit jetsonx.lock",
        )
    return None


def apt_pins(lock: Lock | None, project: Project, target: Target) -> AptPins:
    """What a lock holds for the package sources of the release's image, by which a Dockerfile installs.

    Nothing unless the locked sysroot came from that image: packages of another suite have other versions.
    """
    pins = find_pins(lock, project, target, request_key(project, target), locked=False, refresh=False)
    image = target.release.image
    if pins is None or image is None or (pins.source, pins.origin) != ("image", image.reference):
        return NO_PINS
    key = image_key(project, target, pins)
    held = find_image_pins(lock, project, target, key, locked=False, refresh=False) if project.image.packages else None
    return AptPins(target=_versions(pins.packages), image=None if held is None else _versions(held))


def _versions(packages: Iterable[Package]) -> tuple[str, ...]:
    return tuple(sorted(f"{each.name}={each.version}" for each in packages))


def refuse_unlocked(lock: Lock | None, project: Project, target: Target, dockerfile: Dockerfile) -> None:
    """Raise ConfigError for ``--locked`` unless all that goes into the image is as the lock says.

    Compilers do not go into it: they are what the toolchain's image and its package sources hold.
    """
    pins = find_pins(lock, project, target, request_key(project, target), locked=True, refresh=False)
    where, image = f"--locked: {project.root / FILE_NAME}", target.release.image
    if dockerfile.is_for_workstation:
        raise ConfigError(f"{where} holds nothing for {dockerfile.machine.platform}", hint="leave --locked out for it")
    is_of_image = pins is not None and image is not None and pins.origin == image.reference
    if not is_of_image and not dockerfile.context:
        raise ConfigError(
            f"{where} holds another sysroot than the image of L4T {target.release.l4t}, which a build in Docker takes",
            hint='set [sysroot] source = "image", run `jetsonx build --engine local` once and commit jetsonx.lock',
        )
    if dockerfile.unpinned:
        raise ConfigError(
            f"{where} does not say which {', '.join(dockerfile.unpinned)}",
            hint='name image.base with its digest; image.packages are locked for the base "minimal" without scripts',
        )


def lock_image(lock: Lock, target: Target, key: str, packages: Iterable[Package]) -> Lock:
    """The lock with the packages of the image; with the key "" the image asks for none."""
    rows = tuple(_as(LockedPackage, each) for each in packages)
    release = target.release.l4t
    return lock.with_image(release, LockedImage(release=release, key=key, package=rows) if key else None)


def find_runtime_pins(lock: Lock | None, target: Target, *, refresh: bool) -> tuple[str, tuple[Package, ...]] | None:
    """The suite and the packages locked for the image's C and C++ libraries; None when there are none."""
    entry = lock.runtime_of(target.release.l4t) if lock and not refresh else None
    return (entry.suite, tuple(_as(Package, each) for each in entry.package)) if entry else None


def lock_runtime(lock: Lock, target: Target, suite: str, packages: Iterable[Package]) -> Lock:
    """The lock with the image's C and C++ libraries; with the suite "" they are the sysroot's own."""
    rows = tuple(_as(LockedPackage, each) for each in packages)
    release = target.release.l4t
    return lock.with_runtime(release, LockedRuntime(release=release, suite=suite, package=rows) if suite else None)


def _pins(entry: LockedSysroot) -> Pins:
    image = ImagePin(
        reference=entry.origin, digest=entry.manifest, layers=tuple(_as(LayerPin, each) for each in entry.layer)
    )
    return Pins(
        suite=entry.suite,
        packages=tuple(_as(Package, each) for each in entry.package),
        wheels=tuple(_as(Wheel, each) for each in entry.wheel),
        archives=tuple(_as(Archive, each) for each in entry.archive),
        source=entry.source,
        origin=entry.origin,
        image=image if entry.manifest else None,
        base=entry.base,
    )


def tool_pins(lock: Lock | None) -> tuple[tuple[Wheel, ...], tuple[Archive, ...]]:
    """The wheels and archives of the toolchain that a lock holds."""
    if lock is None:
        return (), ()
    return tuple(_as(Wheel, each) for each in lock.tool), tuple(_as(Archive, each) for each in lock.tool_archive)


def lock_build(
    lock: Lock | None,
    target: Target,
    request: str,
    pins: Pins,
    tools: Iterable[Wheel],
    archives: Iterable[Archive] = (),
    *,
    refresh: bool,
) -> Lock:
    """The lock with what this build's sysroot (its ``pins``) and tools are made of.

    Tools that other machines or releases needed stay in it, until ``refresh``.
    """
    entry = LockedSysroot(
        release=target.release.l4t,
        key=request,
        source=pins.source,  # type: ignore[arg-type]  # a Source's kind, never "auto" once it was pulled
        suite=pins.suite,
        origin=pins.origin if pins.source in ("image", "device") else "",  # paths are each machine's own
        base=pins.base,
        manifest=pins.image.digest if pins.image else "",
        layer=tuple(_as(LockedLayer, each) for each in pins.image.layers) if pins.image else (),
        package=tuple(_as(LockedPackage, each) for each in pins.packages),
        wheel=tuple(_as(LockedWheel, each) for each in pins.wheels),
        archive=tuple(_as(LockedArchive, each) for each in pins.archives),
    )
    before = lock or EMPTY_LOCK
    wheels = {*(() if refresh else before.tool), *(_as(LockedWheel, each) for each in tools)}
    kept = {*(() if refresh else before.tool_archive), *(_as(LockedArchive, each) for each in archives)}
    return replace(before, tool=tuple(wheels), tool_archive=tuple(kept)).with_sysroot(entry)


def _as(cls: type[_T], value: Any) -> _T:
    """The value as another dataclass: the fields that both have."""
    names = {field.name for field in fields(cls)} & {field.name for field in fields(value)}  # type: ignore[arg-type]
    return cls(**{name: getattr(value, name) for name in names})
