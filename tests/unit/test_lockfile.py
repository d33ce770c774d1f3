"""Which pins hold for a build."""

from __future__ import annotations

from pathlib import Path

import pytest

from jetsonx.build.lockfile import (
    apt_pins,
    find_pins,
    image_key,
    lock_build,
    lock_image,
    refuse_unlocked,
    request_key,
    tool_pins,
)
from jetsonx.catalog import Target, load_catalog, resolve_target
from jetsonx.dockerfile import Dockerfile, load_toolchain_images, plan_dockerfile, render_dockerfile
from jetsonx.dockerfile.pins import AptPins
from jetsonx.errors import ConfigError, DownloadError
from jetsonx.packages.package import ImagePin, Package, Pins, Wheel
from jetsonx.project import Project, parse_project
from jetsonx.project.lock import Lock, LockedPackage, LockedSysroot
from jetsonx.store.store import Tree
from jetsonx.sysroot.pull import Sysroot
from jetsonx.toolchain.tools import check_pin, pin_requirement

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


def wheel(name: str, version: str, sha256: str = SHA) -> Wheel:
    return Wheel(name=name, version=version, filename=f"{name}-{version}.whl", sha256=sha256)


@pytest.fixture
def sysroot() -> Sysroot:
    package = Package(name="libc6", version="2.36", filename="libc6.deb", sha256=SHA, size_bytes=1, url="x")
    return Sysroot(
        digest="sha256:0",
        path=Path("/s"),
        packages=(package,),
        wheels=(wheel("nvidia-cublas", "13"),),
        suite=next(suite for suite in load_catalog().suites if suite.codename == "bookworm"),
        gcc=12,
        cuda_dir=None,
        cuda_target="sbsa-linux",
        tree=Tree(digest="sha256:0", path=Path("/s"), kind="sysroot", info={}),
        why="",
    )


def test_tools_of_other_machines_stay_until_a_refresh(target: Target, sysroot: Sysroot) -> None:
    first = lock_build(None, target, "k", sysroot.pins, [wheel("ziglang", "0.16.0")], refresh=False)
    second = lock_build(first, target, "k", sysroot.pins, [wheel("cmake", "3.31.10")], refresh=False)
    assert {pin.name for pin in tool_pins(second)[0]} == {"ziglang", "cmake"}
    third = lock_build(second, target, "k", sysroot.pins, [wheel("cmake", "3.31.11")], refresh=True)
    assert [(pin.name, pin.version) for pin in tool_pins(third)[0]] == [("cmake", "3.31.11")]


def test_what_was_locked_comes_back_as_pins(target: Target, sysroot: Sysroot) -> None:
    request = request_key(project(), target)
    found = find_pins(
        lock_build(None, target, request, sysroot.pins, [], refresh=False),
        project(),
        target,
        request,
        locked=True,
        refresh=False,
    )
    assert found is not None
    assert [(each.name, each.version, each.sha256) for each in found.packages] == [("libc6", "2.36", SHA)]
    assert [each.name for each in found.wheels] == ["nvidia-cublas"]


@pytest.mark.parametrize(
    ("requirement", "constraints", "narrowed"),
    [
        ("cmake==3.31.*", (), "cmake==3.31.10"),
        ("cmake==3.30.*", (), "cmake==3.30.*"),
        ("ninja>=1.11", (), "ninja>=1.11"),
        ("nvidia-cuda-nvcc", ("nvidia-cuda-nvcc==13.0.48.*",), "nvidia-cuda-nvcc==13.0.48"),
        ("nvidia-cuda-nvcc", ("nvidia-cuda-nvcc==13.2.*", "other==1"), "nvidia-cuda-nvcc==13.2.78"),
    ],
)
def test_a_pin_narrows_the_requirement_it_satisfies(
    requirement: str, constraints: tuple[str, ...], narrowed: str
) -> None:
    pins = (
        wheel("cmake", "3.31.10"),
        wheel("nvidia-cuda-nvcc", "13.0.48"),
        wheel("nvidia-cuda-nvcc", "13.2.78"),
    )
    assert pin_requirement(requirement, constraints, pins) == narrowed


def test_another_file_under_a_pinned_version_is_refused() -> None:
    pins = (wheel("cmake", "3.31.10", "1" * 64),)
    check_pin(wheel("cmake", "3.31.10", "1" * 64), pins)
    check_pin(wheel("cmake", "3.31.11", "2" * 64), pins)
    with pytest.raises(DownloadError, match=r"jetsonx\.lock pins"):
        check_pin(wheel("cmake", "3.31.10", "2" * 64), pins)


# ---- In a Dockerfile -------------------------------------------------------------------------------------------------


def deb(name: str, version: str) -> Package:
    return Package(name=name, version=version, filename=f"{name}.deb", sha256=SHA, size_bytes=1, url="x")


def shipped(image: str = 'packages = ["lz4"]') -> Project:
    text = (
        '[project]\nname = "x"\n[target]\nmodules = ["orin-nano"]\nl4t = "39.2"\n[build]\nsystem = "cuda"\n'
        f'[sysroot]\npackages = ["liblz4-dev"]\n[image]\n{image}\n'
    )
    return parse_project(text, Path("jetsonx.toml"))


def lock_of_image(of: Project, target: Target, source: str = "image") -> Lock:
    """A lock as the local engine writes it for a sysroot of the release's image."""
    assert target.release.image is not None
    reference = target.release.image.reference
    pins = Pins(
        suite="bookworm",
        packages=(deb("liblz4-dev", "1.9.4-1"), deb("liblz4-1", "1.9.4-1")),
        wheels=(),
        source=source,
        origin=reference if source == "image" else "",
        image=ImagePin(reference=reference, digest=f"sha256:{SHA}", layers=()) if source == "image" else None,
    )
    made = lock_build(None, target, request_key(of, target), pins, [], refresh=False)
    return lock_image(made, target, image_key(of, target, pins), [deb("lz4", "1.9.4-1"), deb("libc6", "2.36-9")])


def planned(of: Project, target: Target, lock: Lock | None, *, context: bool = False) -> Dockerfile:
    images = load_toolchain_images()
    pins = apt_pins(lock, of, target)
    return plan_dockerfile(of, [target], strategy="cross", toolchains=images, lock=lock, pins=pins, context=context)


def test_a_dockerfile_asks_apt_for_the_versions_that_were_locked(target: Target) -> None:
    made = planned(shipped(), target, lock_of_image(shipped(), target))
    assert made.unpinned == ()
    text = render_dockerfile(made)
    assert "--download-only liblz4-1=1.9.4-1 liblz4-dev=1.9.4-1 " in text
    assert "--download-only libc6=2.36-9 lz4=1.9.4-1 " in text
    refuse_unlocked(lock_of_image(shipped(), target), shipped(), target, made)


def test_versions_of_another_distribution_are_not_asked_for(target: Target) -> None:
    lock = lock_of_image(shipped(), target, source="apt")
    assert apt_pins(lock, shipped(), target) == AptPins()
    with pytest.raises(ConfigError, match="holds another sysroot than the image of L4T 39") as error:
        refuse_unlocked(lock, shipped(), target, planned(shipped(), target, lock))
    assert 'source = "image"' in (error.value.hint or "")


@pytest.mark.parametrize(
    ("image", "unpinned"),
    [
        ('packages = ["lz4"]\nbase = "debian:12"', "the image debian:12, image.packages lz4"),
        ('packages = ["lz4"]\nbase = "debian:12"\nscripts = true', "the image debian:12, image.packages lz4"),
        ('packages = ["lz4", "xz-utils"]', "image.packages lz4, image.packages xz-utils"),
    ],
)
def test_locked_names_what_the_lock_does_not_hold(image: str, unpinned: str, target: Target) -> None:
    lock = lock_of_image(shipped(), target)
    with pytest.raises(ConfigError, match=f"does not say which {unpinned}$"):
        refuse_unlocked(lock, shipped(image), target, planned(shipped(image), target, lock))


def test_a_sysroot_of_the_store_is_locked_by_itself(target: Target) -> None:
    of = shipped("")
    lock = lock_of_image(of, target, source="tarball")
    refuse_unlocked(lock, of, target, planned(of, target, lock, context=True))
    with pytest.raises(ConfigError, match=r"jetsonx\.lock"):
        refuse_unlocked(None, of, target, planned(of, target, None, context=True))
