"""The store: same content, same digest, same bytes; what is damaged is found and made anew."""

from __future__ import annotations

import errno
import io
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jetsonx.console import Console
from jetsonx.errors import DownloadError, HostError
from jetsonx.store.store import Store, Tree, default_root
from jetsonx.store.tree import (
    FIXED_TIME_S,
    Entry,
    TreeWriter,
    manifest_digest,
    parse_manifest,
    render_manifest,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache", Console(-1))


def fill(writer: TreeWriter) -> None:
    writer.add_file("usr/lib/liba.so.1", b"library", owner="liba")
    writer.add_file("usr/bin/tool", io.BytesIO(b"#!" + bytes(3_000_000)), mode=0o755, owner="tool")
    writer.add_symlink("usr/lib/liba.so", "liba.so.1")
    writer.add_hardlink("usr/lib/libb.so.1", "usr/lib/liba.so.1", owner="liba")
    writer.add_dir("etc/empty")


def make(store: Store, key: str = "key") -> Tree:
    return store.create("sysroot", key, fill, info={"of": "tests"})


def test_a_tree_is_found_again(store: Store) -> None:
    made = make(store)
    assert store.find("sysroot", "key") == made
    assert store.find("sysroot", "other") is None
    assert store.find("tool", "key") is None
    assert (made.path / "usr/lib/liba.so").read_bytes() == b"library"
    assert (made.path / "etc/empty").is_dir()
    assert made.load_manifest()["usr/bin/tool"].owner == "tool"
    assert store.verify(made) == ()


def test_same_content_same_digest_same_bytes_in_another_place(store: Store, tmp_path: Path) -> None:
    other = Store(tmp_path / "other", Console(-1))
    first, second = make(store), make(other)
    assert first.digest == second.digest

    def look(tree: Tree) -> list[tuple[str, int, int]]:
        found = [tree.path, *tree.path.rglob("*")]
        return sorted((str(p.relative_to(tree.path)), p.lstat().st_mode, int(p.lstat().st_mtime)) for p in found)

    assert look(first) == look(second)
    assert {time for _, _, time in look(first)} == {FIXED_TIME_S}


def test_equal_files_of_two_trees_are_one_file(store: Store) -> None:
    first = make(store)
    second = store.create("sysroot", "2", lambda writer: writer.add_file("x", b"library"), info={})
    assert (first.path / "usr/lib/liba.so.1").samefile(second.path / "x")
    assert first.digest != second.digest


def test_an_executable_file_is_another_object(store: Store) -> None:
    def both(writer: TreeWriter) -> None:
        writer.add_file("plain", b"same")
        writer.add_file("tool", b"same", mode=0o755)

    tree = store.create("tool", "k", both, info={})
    assert [(tree.path / name).stat().st_mode & 0o777 for name in ("plain", "tool")] == [0o444, 0o555]


def test_the_cache_is_marked_and_nothing_temporary_stays(store: Store) -> None:
    make(store)
    assert (store.root / "CACHEDIR.TAG").read_text().startswith("Signature: 8a477f597d28d172789f06886806bc55")
    assert list((store.root / "tmp").iterdir()) == []


def test_looking_creates_nothing(store: Store) -> None:
    assert store.find("sysroot", "key") is None
    assert store.trees() == ()
    assert not store.root.exists()


def test_a_failed_fill_leaves_no_tree(store: Store) -> None:
    def broken(writer: TreeWriter) -> None:
        fill(writer)
        raise DownloadError("gone")

    with pytest.raises(DownloadError):
        store.create("sysroot", "key", broken, info={})
    assert store.trees() == ()
    assert list((store.root / "tmp").iterdir()) == []


def damage_content(tree: Tree) -> None:
    path = tree.path / "usr/lib/liba.so.1"
    path.chmod(0o644)
    path.write_bytes(b"Library")


def damage_missing(tree: Tree) -> None:
    (tree.path / "usr/lib/liba.so.1").unlink()


def damage_foreign(tree: Tree) -> None:
    (tree.path / "usr/lib/new").write_text("x")


def damage_link(tree: Tree) -> None:
    (tree.path / "usr/lib/liba.so").unlink()
    (tree.path / "usr/lib/liba.so").symlink_to("/etc")


def damage_kind(tree: Tree) -> None:
    (tree.path / "usr/lib/liba.so.1").unlink()
    (tree.path / "usr/lib/liba.so.1").mkdir()


def damage_manifest(tree: Tree) -> None:
    (tree.path.parent / "manifest").write_text("nonsense\n")


def damage_mode(tree: Tree) -> None:
    (tree.path / "usr/bin/tool").chmod(0o777)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (damage_content, "usr/lib/liba.so.1: its content was changed"),
        (damage_missing, "usr/lib/liba.so.1: missing"),
        (damage_foreign, "usr/lib/new: does not belong here"),
        (damage_link, "usr/lib/liba.so: points to /etc instead of liba.so.1"),
        (damage_kind, "usr/lib/liba.so.1: is no file any more"),
        (damage_mode, "usr/bin/tool: has mode 777 instead of 555"),
        (damage_manifest, "manifest: cannot be read"),
    ],
)
def test_damage_is_found_and_made_good(store: Store, damage: Callable[[Tree], None], says: str) -> None:
    tree = make(store)
    damage(tree)
    assert any(trouble.startswith(says) for trouble in store.verify(tree))
    assert store.find("sysroot", "key") is None
    damaged = store.find("sysroot", "key", even_damaged=True)
    assert damaged is not None
    assert damaged.damaged
    again = make(store)
    assert again.digest == tree.digest
    assert store.verify(again) == ()
    assert store.find("sysroot", "key") == again


def test_records_damaged_by_hand_are_as_good_as_not_there(store: Store) -> None:
    make(store)
    [ref] = (store.root / "refs" / "sysroot").iterdir()
    for text in ("", "{", '"x"', "[]", json.dumps({"tree": "nowhere", "digest": "", "info": {}})):
        ref.write_text(text)
        assert store.find("sysroot", "key") is None
    for path in store.root.glob("trees/*/info.json"):
        path.write_text("[1]")
    assert store.trees() == ()


def test_what_dead_processes_left_is_removed(store: Store) -> None:
    make(store)
    left = store.root / "tmp" / "1-dead"
    left.mkdir()
    (left / "half").write_text("x")
    left.with_suffix(".lock").touch()
    with store.scratch() as scratch:
        assert sorted(path.name for path in (store.root / "tmp").iterdir()) == [scratch.name, f"{scratch.name}.lock"]


def test_what_the_living_use_stays(store: Store, tmp_path: Path) -> None:
    other = Store(store.root, Console(-1))
    with store.scratch() as mine:
        with other.scratch():
            assert mine.is_dir()
        assert mine.is_dir()


def test_the_second_waits_and_says_so(store: Store) -> None:
    err = io.StringIO()
    other = Store(store.root, Console(err=err))
    waits = threading.Event()
    got = threading.Event()

    def second() -> None:
        waits.set()
        with other.lock("the sysroot"):
            got.set()

    with store.lock("the sysroot"):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(5)
        assert not got.wait(0.3)
    assert got.wait(5)
    thread.join()
    assert "waiting for another jetsonx (the sysroot)" in err.getvalue()


def test_the_lock_nests(store: Store) -> None:
    with store.lock("a"), store.lock("a"):
        pass
    with Store(store.root, Console(-1)).lock("a"):
        pass


def test_no_hard_links(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: object, place: object) -> None:
        raise OSError(errno.EMLINK, "Too many links")

    monkeypatch.setattr(os, "link", refuse)
    tree = make(store)
    assert store.verify(tree) == ()
    assert (tree.path / "usr/bin/tool").stat().st_mode & 0o777 == 0o555


def test_disk_full_says_how_much_and_where(store: Store) -> None:
    def full(writer: TreeWriter) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(HostError, match="the disk is full") as caught:
        store.create("sysroot", "key", full, info={}, needed_bytes=123_000_000)
    assert "about 123.0 MB were needed" in caught.value.message
    assert str(store.root) in caught.value.message
    assert "JETSONX_CACHE" in (caught.value.hint or "")


def test_a_cache_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    store = Store(tmp_path / "cache" / "x", Console(-1))
    assert store.find("sysroot", "k") is None
    with pytest.raises(HostError, match="cannot be written") as caught:
        make(store)
    assert str(store.root) in caught.value.message
    assert "JETSONX_CACHE" in (caught.value.hint or "")


def test_default_root() -> None:
    assert default_root({"JETSONX_CACHE": "/there"}) == Path("/there")
    assert default_root({}).name == "jetsonx"


def test_manifest_round_trip() -> None:
    entries = {
        "a": Entry(kind="dir"),
        "a/f": Entry(kind="file", content="00" * 32, size_bytes=7, executable=True, owner="pkg"),
        "a/l": Entry(kind="link", content="../ä b"),
    }
    assert parse_manifest(render_manifest(entries)) == entries
    owned_by_another = {**entries, "a/f": Entry(kind="file", content="00" * 32, size_bytes=7, executable=True)}
    assert manifest_digest(entries) == manifest_digest(owned_by_another)
    assert manifest_digest(entries) != manifest_digest({**entries, "a/f": Entry(kind="file", content="00" * 32)})


@pytest.mark.parametrize("text", ["x\n", "file\t444\t1\tx\to\n", "what\t444\t1\tx\to\tp\n", "file\t9\t1\tx\to\tp\n"])
def test_a_manifest_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_manifest(text)


def test_parts_merge_in_order(store: Store) -> None:
    def overlay(writer: TreeWriter) -> None:
        first, second = writer.part(), writer.part()
        second.add_file("f", b"second")
        second.add_dir("d")
        first.add_file("f", b"first")
        first.add_symlink("d", "f")
        writer.merge(first)
        writer.merge(second)

    tree = store.create("sysroot", "k", overlay, info={})
    assert (tree.path / "f").read_bytes() == b"second"
    assert (tree.path / "d").is_symlink()


# ---- what the store remembers ----------------------------------------------------------------------------------------


def age(store: Store, tree: Tree, days: float) -> None:
    """Let a tree look as if it was last used so long ago."""
    then = time.time() - days * 86_400
    os.utime(tree.path.parent / "info.json", (then, then))


def test_finding_a_tree_is_using_it(store: Store) -> None:
    tree = make(store)
    age(store, tree, 40)
    assert time.time() - store.last_used(tree) > 39 * 86_400
    store.find("sysroot", "key")
    assert time.time() - store.last_used(tree) < 60


def test_one_tree_for_several_requests(store: Store) -> None:
    tree = make(store)
    store.create("sysroot", "other", fill, info={"release": "36.4.4"})
    (store.root / "refs" / "sysroot" / "broken").write_text("{")
    (store.root / "refs" / "sysroot" / "odd").write_text('{"tree": 1, "info": []}')
    assert sorted(store.requests("sysroot"), key=str) == [
        (tree.name, {"of": "tests"}),
        (tree.name, {"release": "36.4.4"}),
    ]
    assert list(store.requests("nothing")) == []


def test_a_project_is_known_while_its_lock_file_is_there(store: Store, tmp_path: Path) -> None:
    lock = tmp_path / "jetsonx.lock"
    lock.write_text(f"x = '{'a' * 64}'\ndigest = 'sha256:{'b' * 64}'\nlonger = '{'c' * 65}'\n")
    store.protect(lock, ["sysroot-1"])
    store.protect(lock, ["sysroot-2"])
    [project] = store.projects()
    assert project.file == lock
    assert project.trees == {"sysroot-2"}
    assert project.hashes == {"a" * 64, "b" * 64}
    lock.unlink()
    assert store.projects() == ()


def test_damage_marks_the_trees_that_share_it(store: Store) -> None:
    first = make(store)
    sharer = store.create("sysroot", "2", lambda writer: writer.add_file("x", b"library"), info={})
    other = store.create("sysroot", "3", lambda writer: writer.add_file("x", b"own"), info={})
    damage_content(first)
    assert store.verify(first)
    assert store.find("sysroot", "2") is None
    assert store.find("sysroot", "3") == other
    assert store.verify(sharer) == ("x: its content was changed",)


@pytest.mark.parametrize("text", ["2\n", "999", "1.1", "v2", "-1", "jetsonx 7: trees are packs"])
def test_a_cache_of_a_newer_jetsonx_is_left_alone(store: Store, text: str) -> None:
    make(store)
    (store.root / "format").write_text(text)
    before = sorted(store.root.rglob("*"))
    with pytest.raises(HostError, match="written by a newer jetsonx") as caught:
        Store(store.root, Console(-1))
    assert "upgrade jetsonx" in (caught.value.hint or "")
    assert "JETSONX_CACHE" in (caught.value.hint or "")
    with pytest.raises(HostError, match="newer"):  # upgraded by another process while this one was at work
        make(store, "again")
    after = [path for path in sorted(store.root.rglob("*")) if path.parent.name != "locks"]
    assert after == [path for path in before if path.parent.name != "locks"]


def test_a_cache_without_a_mark_is_marked_when_something_is_written(store: Store) -> None:
    make(store)
    assert (store.root / "format").read_text() == "1\n"
    for text in (None, ""):  # made before there was a mark; emptied by a crash of the machine
        (store.root / "format").unlink()
        if text is not None:
            (store.root / "format").write_text(text)
        make(Store(store.root, Console(-1)), f"{text}")
        assert (store.root / "format").read_text() == "1\n"
