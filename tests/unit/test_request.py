"""What a sysroot is asked for, and where it comes from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from jetsonx.build.pulling import default_source, merge_names
from jetsonx.catalog import Target, load_catalog, resolve_target
from jetsonx.console import Console
from jetsonx.effects import Effects
from jetsonx.errors import ConfigError
from jetsonx.packages.package import Pins
from jetsonx.project.edit import add_packages, with_packages
from jetsonx.runner import Runner
from jetsonx.store.store import Store
from jetsonx.sysroot.request import Request, load_asked, remember_asked, resolve_source
from jetsonx.sysroot.source import AUTO, Source, parse_source
from jetsonx.toml import load_toml


@pytest.fixture
def effects(tmp_path: Path) -> Effects:
    console = Console(-1)
    return Effects(store=Store(tmp_path / "cache", console), runner=Runner(), console=console)


def target(text: str) -> Target:
    return resolve_target(load_catalog(), text)


ORIN_6 = target("orin-nano@36.4.3")


@pytest.mark.parametrize(
    ("text", "origin", "expected"),
    [
        ("apt", "", Source(kind="apt")),
        ("packages", "", Source(kind="apt")),
        ("image", "", Source(kind="image")),
        ("image:nvcr.io/x/y:z", "", Source(kind="image", origin="nvcr.io/x/y:z")),
        ("image", "nvcr.io/x/y:z", Source(kind="image", origin="nvcr.io/x/y:z")),
        ("device", "jetson@host", Source(kind="device", origin="jetson@host")),
        ("device:jetson@host:/mnt", "", Source(kind="device", origin="jetson@host:/mnt")),
        ("dir:/mnt/a:b", "", Source(kind="directory", origin="/mnt/a:b")),
        ("Tarball", "x.tbz2", Source(kind="tarball", origin="x.tbz2")),
    ],
)
def test_sources_as_people_write_them(text: str, origin: str, expected: Source) -> None:
    assert parse_source(text, origin) == expected
    assert parse_source(str(expected)) == expected


@pytest.mark.parametrize("text", ["imge", "", "device", "tarball:", "dir", "apt:x", "auto:x"])
def test_what_is_no_source(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_source(text)


def test_the_releases_image_before_cuda_13_and_packages_after(effects: Effects) -> None:
    assert default_source(ORIN_6, effects).kind == "image"
    assert default_source(target("orin-nano@39.2"), effects).kind == "apt"
    assert default_source(target("nano@32.7.1"), effects).kind == "apt"  # its image has no CUDA
    assert default_source(ORIN_6, replace(effects, offline=True)).kind == "apt"


def test_a_build_takes_what_was_pulled_last_for_its_release(effects: Effects) -> None:
    store = effects.store
    assert resolve_source(AUTO, ORIN_6, store) == Source(kind="apt")
    device = Source(kind="device", origin="jetson@host")
    asked = Request(source=device, packages=("libpng-dev",), cuda=("libcublas",), full=True)
    remember_asked(asked, ORIN_6, store)
    assert load_asked(ORIN_6, store) == asked
    assert resolve_source(AUTO, ORIN_6, store) == device
    assert default_source(ORIN_6, effects) == device
    assert resolve_source(Source(kind="apt"), ORIN_6, store) == Source(kind="apt")
    assert resolve_source(AUTO, target("orin-nano@36.4.4"), store) == Source(kind="apt")


def test_the_lock_goes_before_what_was_pulled_and_a_file_may_lie_elsewhere(effects: Effects) -> None:
    remember_asked(Request(source=Source(kind="device", origin="x")), ORIN_6, effects.store)
    locked = Pins(suite="bullseye")
    assert resolve_source(AUTO, ORIN_6, effects.store, locked) == Source(kind="apt")
    tarball = Pins(suite="", source="tarball", base="0" * 64)
    here = Source(kind="tarball", origin="/mine/rootfs.tbz2")
    assert resolve_source(here, ORIN_6, effects.store, tarball) == here


def test_an_image_gets_its_reference_from_the_catalog(effects: Effects) -> None:
    found = resolve_source(Source(kind="image"), ORIN_6, effects.store)
    assert found.origin == "nvcr.io/nvidia/l4t-jetpack:r36.4.0"
    own = resolve_source(Source(kind="image", origin="nvidia/cuda:13.2.1-devel-ubuntu24.04"), ORIN_6, effects.store)
    assert own.origin == "docker.io/nvidia/cuda:13.2.1-devel-ubuntu24.04"
    with pytest.raises(ConfigError, match="no container image"):
        resolve_source(Source(kind="image"), target("nano@32.1"), effects.store)


TOML = """\
# mine
[project]
name = "x"   # short

[sysroot]   # of the target
packages = [
  "zlib1g-dev=1:1.2",  # pinned
]
"""


def test_packages_are_added_and_comments_stay() -> None:
    text = with_packages(TOML, ["libpng-dev", "zlib1g-dev"])
    assert load_toml(text)["sysroot"]["packages"] == ["zlib1g-dev", "libpng-dev"]
    for comment in ("# mine", "# short", "# of the target"):
        assert comment in text
    assert with_packages(text, ["libpng-dev"]) == text


def test_a_section_is_made_where_there_is_none() -> None:
    text = with_packages('[project]\nname = "x"\n', ["libpng-dev"])
    assert load_toml(text) == {"project": {"name": "x"}, "sysroot": {"packages": ["libpng-dev"]}}


@pytest.mark.parametrize("text", ["sysroot = 1\n", '[sysroot]\npackages = "x"\n'])
def test_what_cannot_be_added_to(text: str) -> None:
    with pytest.raises(ConfigError, match="packages"):
        with_packages(text, ["libpng-dev"])


def test_the_file_keeps_its_mode_and_is_left_alone_when_nothing_changes(tmp_path: Path) -> None:
    path = tmp_path / "jetsonx.toml"
    path.write_text(TOML)
    path.chmod(0o640)
    assert add_packages(path, ["libpng-dev"])
    assert path.stat().st_mode & 0o777 == 0o640
    assert not add_packages(path, ["libpng-dev"])
    assert list(tmp_path.iterdir()) == [path]


def test_names_merge_by_package() -> None:
    assert merge_names(["a=1", "b"], ["a", "c=2"]) == ("a", "b", "c=2")
