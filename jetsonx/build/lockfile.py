"""Between jetsonx.lock and the values that the sysroot takes: which pins hold for a build, and what to write back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace

from jetsonx.catalog import Target
from jetsonx.errors import ConfigError
from jetsonx.project import Project
from jetsonx.project.lock import EMPTY_LOCK, FILE_NAME, Lock, LockedPackage, LockedSysroot, LockedWheel
from jetsonx.sysroot.package import Package, Pins, Wheel
from jetsonx.sysroot.pull import Sysroot


def request_key(project: Project, target: Target) -> str:
    """Names what a project asks of a sysroot; a lock made for another request does not hold."""
    parts = [target.release.l4t, sorted(project.sysroot.packages), sorted(project.sysroot.wheels), project.sysroot.full]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def find_pins(
    lock: Lock | None, project: Project, target: Target, request: str, *, locked: bool, refresh: bool
) -> Pins | None:
    """The pins that hold for this build; None when it is free to choose.

    Raises ConfigError under ``--locked`` when there are none, or when they were made for another request.
    """
    entry = lock.sysroot_of(target.release.l4t) if lock else None
    if entry is not None and entry.key == request and not refresh:
        return Pins(
            suite=entry.suite,
            packages=tuple(
                Package(
                    name=each.name,
                    version=each.version,
                    filename=each.filename,
                    sha256=each.sha256,
                    size_bytes=each.size_bytes,
                )
                for each in entry.package
            ),
            wheels=tuple(_wheel(each) for each in entry.wheel),
        )
    if locked:
        reason = "has nothing for" if entry is None else "was made for other packages or wheels than jetsonx.toml asks"
        raise ConfigError(
            f"--locked: {project.root / FILE_NAME} {reason} L4T {target.release.l4t}",
            hint="run `jetsonx build` once without --locked and commit jetsonx.lock",
        )
    return None


def tool_pins(lock: Lock | None) -> tuple[Wheel, ...]:
    """The wheels of the toolchain that a lock holds."""
    return tuple(_wheel(each) for each in lock.tool) if lock else ()


def lock_build(
    lock: Lock | None, target: Target, request: str, sysroot: Sysroot, tools: Iterable[Wheel], *, refresh: bool
) -> Lock:
    """The lock with what this build's sysroot and tools are made of.

    Tools that other machines or releases needed stay in it, until ``refresh``.
    """
    entry = LockedSysroot(
        release=target.release.l4t,
        key=request,
        suite=sysroot.suite.codename,
        package=tuple(
            LockedPackage(
                name=each.name,
                version=each.version,
                sha256=each.sha256,
                size_bytes=each.size_bytes,
                filename=each.filename,
            )
            for each in sysroot.packages
        ),
        wheel=tuple(_locked(each) for each in sysroot.wheels),
    )
    before = lock or EMPTY_LOCK
    kept = () if refresh else before.tool
    return replace(before, tool=tuple({*kept, *map(_locked, tools)})).with_sysroot(entry)


def _wheel(locked: LockedWheel) -> Wheel:
    return Wheel(name=locked.name, version=locked.version, filename=locked.filename, sha256=locked.sha256)


def _locked(wheel: Wheel) -> LockedWheel:
    return LockedWheel(name=wheel.name, version=wheel.version, sha256=wheel.sha256, filename=wheel.filename)
