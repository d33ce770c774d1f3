"""Archives are unpacked as they arrive; the tree does not depend on which was done first."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from jetsonx.console import Console
from jetsonx.sysroot.apt import _Landing
from jetsonx.sysroot.package import Package
from jetsonx.sysroot.store import Store
from jetsonx.sysroot.tree import TreeWriter
from jetsonx.sysroot.unpack import unpacking


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache", Console(-1))


def test_later_places_win_whichever_is_done_first(store: Store) -> None:
    second_is_done = threading.Event()

    def slow(writer: TreeWriter) -> None:
        second_is_done.wait(10)
        writer.add_file("etc/same", b"first")

    def quick(writer: TreeWriter) -> None:
        writer.add_file("etc/same", b"second")
        second_is_done.set()

    def fill(writer: TreeWriter) -> None:
        with unpacking(writer) as start:
            start(0, slow)
            start(1, quick)

    tree = store.create("test", "key", fill, info={})
    assert (tree.path / "etc/same").read_bytes() == b"second"


def test_a_job_that_fails_fails_the_tree(store: Store) -> None:
    def fail(writer: TreeWriter) -> None:
        raise ValueError("damaged")

    def fill(writer: TreeWriter) -> None:
        with unpacking(writer) as start:
            start(0, fail)

    with pytest.raises(ValueError, match="damaged"):
        store.create("test", "key", fill, info={})
    assert store.trees() == ()


def test_a_fetch_that_fails_is_what_is_reported(store: Store) -> None:
    def fail(writer: TreeWriter) -> None:
        raise ValueError("half a file")

    def fill(writer: TreeWriter) -> None:
        with unpacking(writer) as start:
            start(0, fail)
            raise ConnectionError("the mirror went away")

    with pytest.raises(ConnectionError, match="went away"):
        store.create("test", "key", fill, info={})


def test_packages_are_handed_on_once_each_as_they_land(tmp_path: Path) -> None:
    expected = [
        Package(name=name, version="1", filename=f"{name}_1_arm64.deb", sha256=name * 64) for name in ("a", "b")
    ]
    arrived: list[tuple[str, Path]] = []
    landing = _Landing(tmp_path, expected, lambda package, path: arrived.append((package.name, path)))
    landing.look()
    assert arrived == []
    (tmp_path / "b_1_arm64.deb").touch()
    (tmp_path / "lock").touch()
    landing.look()
    landing.look()
    assert arrived == [("b", tmp_path / "b_1_arm64.deb")]
    (tmp_path / "a_1_arm64.deb").touch()
    landing.look()
    assert [name for name, _ in arrived] == ["b", "a"]
