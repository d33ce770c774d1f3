"""Which C and C++ libraries an image gets: the sysroot's, or those of a suite that is not older than the device."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest

from jetsonx.build import image_runtime
from jetsonx.build.image_runtime import SYSROOTS_OWN, ImageRuntime
from jetsonx.build.lockfile import find_runtime_pins, image_key, lock_runtime
from jetsonx.catalog import Suite, Target, load_catalog, resolve_target
from jetsonx.console import Console
from jetsonx.effects import Effects
from jetsonx.errors import DownloadError
from jetsonx.packages.apt import Apt
from jetsonx.packages.package import Package
from jetsonx.project import parse_project
from jetsonx.project.lock import EMPTY_LOCK, Lock
from jetsonx.runner import Runner
from jetsonx.store.store import Store, Tree
from jetsonx.sysroot.pull import Sysroot

LIBC = Package(name="libc6", version="2.41-12", filename="libc6_2.41-12_arm64.deb", sha256="a" * 64, size_bytes=5)


def target(name: str = "orin-nano@39.2") -> Target:
    return resolve_target(load_catalog(), name)


def suite(codename: str) -> Suite:
    return next(suite for suite in load_catalog().suites if suite.codename == codename)


def sysroot(codename: str = "bookworm", source: str = "apt") -> Sysroot:
    return Sysroot(
        digest="sha256:0",
        path=Path("/s"),
        packages=(),
        wheels=(),
        suite=suite(codename),
        gcc=12,
        cuda_dir=None,
        cuda_target="sbsa-linux",
        tree=Tree(digest="sha256:0", path=Path("/s"), kind="sysroot", info={"source": source}),
        why="",
    )


class Place:
    """A store of its own, and what is said."""

    def __init__(self, path: Path) -> None:
        self.said = io.StringIO()
        console = Console(0, err=self.said)
        self.effects = Effects(store=Store(path, console), runner=Runner(), console=console, offline=True)

    def resolve(
        self,
        of: Sysroot,
        name: str = "orin-nano@39.2",
        lock: Lock | None = None,
        *,
        locked: bool = False,
        refresh: bool = False,
    ) -> ImageRuntime:
        return image_runtime.resolve(target(name), of, self.effects, lock=lock, locked=locked, refresh=refresh)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize(
    ("name", "codename", "source"),
    [
        ("agx-orin@35.4.1", "bullseye", "apt"),  # as old as the device's
        ("orin-nano@39.2", "noble", "apt"),
        ("orin-nano@36.4.3", "jammy", "image"),
        ("orin-nano@39.2", "bookworm", "device"),  # the device's own, whatever they are
    ],
)
def test_the_sysroots_own_where_they_are_not_older(place: Place, name: str, codename: str, source: str) -> None:
    lock = lock_runtime(EMPTY_LOCK, target(name), "trixie", [LIBC])
    assert place.resolve(sysroot(codename, source), name, lock) == SYSROOTS_OWN
    assert place.said.getvalue() == ""


def test_the_lock_says_which(place: Place) -> None:
    lock = lock_runtime(EMPTY_LOCK, target(), "trixie", [LIBC])
    found = place.resolve(sysroot(), lock=lock, locked=True)
    assert (found.codename, found.packages) == ("trixie", (LIBC,))
    assert "libc and libstdc++ of Debian trixie (glibc 2.41, GLIBCXX_3.4.33)" in found.why[0]
    assert place.said.getvalue() == ""
    assert find_runtime_pins(lock, target(), refresh=True) is None
    assert find_runtime_pins(lock, target("orin-nano@36.4.3"), refresh=False) is None
    assert lock_runtime(lock, target(), "", ()) == EMPTY_LOCK


@pytest.mark.parametrize("codename", ["", "bookworm", "noble"])
def test_a_lock_that_pins_none_that_serves_gives_the_image_of_before(place: Place, codename: str) -> None:
    """A lock file of an older jetsonx, above all: ``--locked`` makes the same image from it."""
    lock = lock_runtime(EMPTY_LOCK, target(), codename, [LIBC])
    found = place.resolve(sysroot(), lock=lock, locked=True)
    assert found.suite is None
    said = place.said.getvalue()
    assert "bookworm's C and C++ libraries (2.36, GLIBCXX_3.4.30), older than those of L4T 39.2.0 (2.39" in said
    assert "jetsonx.lock pins no newer ones" in said


def test_offline_nothing_can_be_found(place: Place) -> None:
    with pytest.raises(DownloadError, match=r"offline, and the C and C\+\+ libraries for images of L4T 39\.2\.0"):
        place.resolve(sysroot())


def test_a_mirror_without_the_suite_is_warned_about_and_remembered(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def lists(wanted: Suite, *_: object) -> Apt:
        asked.append(wanted.codename)
        return Apt(conf=Path("/c"), codename=wanted.codename, missing=f"the mirror has no {wanted.codename}")

    monkeypatch.setattr(image_runtime, "suite_lists", lists)
    place.effects = replace(place.effects, offline=False)
    for refresh, expected in ((False, 2), (False, 2), (True, 4)):
        assert place.resolve(sysroot("bullseye"), "orin-nano@36.4.3", refresh=refresh).suite is None
        assert len(asked) == expected
    assert asked[:2] == ["bookworm", "trixie"]  # a newer one serves too
    said = place.said.getvalue()
    assert said.count("the mirror has no bookworm; the mirror has no trixie: JETSONX_APT_MIRROR names") == 3


def test_packages_of_the_image_are_asked_for_anew_when_the_c_library_is_another() -> None:
    text = '[project]\nname = "x"\n[build]\nsystem = "cuda"\n[image]\npackages = ["libfoo1"]\n'
    project = parse_project(text, Path("jetsonx.toml"))
    pins = sysroot().pins
    assert image_key(project, target(), pins, "trixie") != image_key(project, target(), pins)
