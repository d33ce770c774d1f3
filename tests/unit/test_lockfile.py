"""Which pins hold for a build."""

from __future__ import annotations

from pathlib import Path

import pytest

from jetsonx.build.lockfile import find_pins, request_key
from jetsonx.catalog import Target, load_catalog, resolve_target
from jetsonx.errors import ConfigError
from jetsonx.project import Project, parse_project
from jetsonx.project.lock import Lock, LockedPackage, LockedSysroot

SHA = "0" * 64


def project(packages: str = "[]") -> Project:
    text = (
        '[project]\nname = "x"\n[target]\nmodules = ["orin-nano"]\nl4t = "39.2"\n[build]\nsystem = "cuda"\n'
        f"[sysroot]\npackages = {packages}\n"
    )
    return parse_project(text, Path("jetsonx.toml"))


@pytest.fixture
def target() -> Target:
    return resolve_target(load_catalog(), "orin-nano@39.2")


def lock(key: str) -> Lock:
    package = LockedPackage(name="libc6", version="2.36", sha256=SHA, size_bytes=1, filename="pool/libc6.deb")
    return Lock(schema=1, sysroot=(LockedSysroot(release="39.2.0", key=key, suite="bookworm", package=(package,)),))


def pins(lock: Lock | None, project: Project, target: Target, *, locked: bool = False, refresh: bool = False) -> object:
    return find_pins(lock, project, target, request_key(project, target), locked=locked, refresh=refresh)


def test_a_lock_for_the_same_request_holds(target: Target) -> None:
    found = find_pins(
        lock(request_key(project(), target)),
        project(),
        target,
        request_key(project(), target),
        locked=False,
        refresh=False,
    )
    assert found is not None
    assert found.suite == "bookworm"
    assert [package.sha256 for package in found.packages] == [SHA]


def test_a_lock_for_another_request_or_release_does_not(target: Target) -> None:
    made = lock(request_key(project(), target))
    assert pins(made, project('["libopencv-dev"]'), target) is None
    assert pins(None, project(), target) is None
    assert pins(made, project(), resolve_target(load_catalog(), "orin-nano@36.4.3")) is None


def test_refresh_passes_the_lock_over(target: Target) -> None:
    assert pins(lock(request_key(project(), target)), project(), target, refresh=True) is None


@pytest.mark.parametrize("made", [None, lock("another request")])
def test_locked_without_a_lock_that_holds_is_refused(made: Lock | None, target: Target) -> None:
    with pytest.raises(ConfigError, match=r"jetsonx\.lock"):
        pins(made, project(), target, locked=True)


def test_the_order_of_packages_does_not_matter(target: Target) -> None:
    assert request_key(project('["a-dev", "b-dev"]'), target) == request_key(project('["b-dev", "a-dev"]'), target)
