"""What goes and what stays: decided on values, then done in a real store."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from filelock import FileLock

from jetsonx.console import Console
from jetsonx.store import prune as module
from jetsonx.store.items import Item, load_items, made_of, needed_by
from jetsonx.store.prune import PrunePlan, drop_sdks, plan_prune, prune
from jetsonx.store.store import Project, Store, Tree
from jetsonx.store.tree import TreeWriter
from jetsonx.store.usage import Usage, load_contents, load_usage, measure_usage

INF = float("inf")


def item(name: str, used_s: float, *contents: str, needed_by: Path | None = None, kind: str = "sysroot") -> Item:
    held = {(content, "444"): 100 for content in contents}
    return Item(kind=kind, name=name, paths=(Path(name),), used_s=used_s, contents=held, needed_by=needed_by)


def names(plan: PrunePlan) -> list[str]:
    return [each.name for each in plan.remove]


def test_by_age_what_was_used_since_stays() -> None:
    plan = plan_prune([item("new", 30, "a"), item("old", 10, "b"), item("older", 5, "c")], before_s=20)
    assert names(plan) == ["older", "old"]
    assert (plan.freed_bytes, plan.left_bytes) == (200, 100)


def test_what_is_shared_is_freed_with_its_last_holder() -> None:
    items = [item("1", 1, "a", "own"), item("2", 2, "a"), item("3", 3, "a", "b")]
    assert plan_prune(items, before_s=2).freed_bytes == 100
    assert plan_prune(items, before_s=3).freed_bytes == 100
    assert plan_prune(items, before_s=4).freed_bytes == 300


def test_to_a_budget_the_longest_unused_goes_first_and_no_more_than_needed() -> None:
    items = [item("3", 3, "a", "b"), item("1", 1, "c"), item("2", 2, "d", "e")]
    assert names(plan_prune(items, budget_bytes=500)) == []
    assert names(plan_prune(items, budget_bytes=499)) == ["1"]
    assert names(plan_prune(items, budget_bytes=399)) == ["1", "2"]
    assert names(plan_prune(items, budget_bytes=0)) == ["1", "2", "3"]


def test_what_a_lock_file_needs_stays_unless_told() -> None:
    lock = Path("/p/jetsonx.lock")
    items = [item("1", 1, "a", needed_by=lock), item("2", 2, "b"), item("3", 3, "c", needed_by=lock)]
    plan = plan_prune(items, budget_bytes=0)
    assert names(plan) == ["2"]
    assert [(each.name, why) for each, why in plan.keep] == [
        ("1", "/p/jetsonx.lock needs it"),
        ("3", "/p/jetsonx.lock needs it"),
    ]
    assert plan.left_bytes == 200
    assert names(plan_prune(items, before_s=INF, even_locked=True)) == ["1", "2", "3"]


def test_what_another_process_may_be_using_stays() -> None:
    plan = plan_prune([item("1", 1, "a"), item("2", 100, "b")], before_s=INF, busy_since_s=50)
    assert names(plan) == ["1"]
    assert "another jetsonx" in plan.keep[0][1]


def test_made_of() -> None:
    digits = {name: name * 64 for name in "abcdef"}
    info = {
        "packages": [{"name": "p", "sha256": digits["a"]}],
        "wheels": [{"sha256": digits["b"]}],
        "archives": [{"sha256": digits["c"]}],
        "base": f"sha256:{digits['d']}",
        "image": {"digest": "sha256:…", "layers": [{"digest": f"sha256:{digits['e']}", "size_bytes": 1}]},
    }
    assert made_of(info) == {digits[name] for name in "abcde"}


@pytest.mark.parametrize(
    "info",
    [
        {},
        {"wheels": ["nvidia-nvvm 13.2.78"], "packages": [{"sha256": "a" * 64}]},  # as a first jetsonx noted tools
        {"packages": [{"name": "p"}]},
        {"image": {"layers": [7]}},
        {"packages": None, "base": 5},
    ],
)
def test_made_of_what_is_not_known(info: dict[str, object]) -> None:
    assert made_of(info) == frozenset()


def test_needed_by() -> None:
    a, b, c = ("a" * 64, "b" * 64, "c" * 64)
    project = Project(file=Path("/p/jetsonx.lock"), trees=frozenset({"sysroot-1"}), hashes=frozenset({a, b}))
    assert needed_by("sysroot-1", frozenset(), c, [project]) == project.file
    assert needed_by("sysroot-2", frozenset({a, b}), c, [project]) == project.file
    assert needed_by("sysroot-2", frozenset(), f"sha256:{a}", [project]) == project.file
    assert needed_by("sysroot-2", frozenset({a, c}), c, [project]) is None
    assert needed_by("sysroot-2", frozenset(), c, [project]) is None  # made of nothing that is known
    assert needed_by("sysroot-2", frozenset({a}), c, []) is None


# ---- in a store ------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache", Console(-1))


def make(store: Store, key: str, files: dict[str, bytes], kind: str = "sysroot", **info: object) -> Tree:
    def fill(writer: TreeWriter) -> None:
        for path, data in files.items():
            writer.add_file(path, data)

    return store.create(kind, key, fill, info=info)


def age(path: Path, days: float) -> None:
    then = time.time() - days * 86_400
    os.utime(path, (then, then))


def age_tree(tree: Tree, days: float) -> None:
    age(tree.path.parent / "info.json", days)


def run(store: Store, *, days: float | None = None, budget: int | None = None, even_locked: bool = False) -> PrunePlan:
    before_s = None if days is None else time.time() - days * 86_400
    plan = plan_prune(load_items(store), before_s=before_s, budget_bytes=budget, even_locked=even_locked)
    prune(store, plan)
    return plan


def keep(store: Store, name: str, data: bytes, digits: str) -> Path:
    with store.scratch() as scratch:
        (scratch / name).write_bytes(data)
        return store.keep_download(scratch / name, digits * 64)


def test_old_trees_go_with_what_only_they_held(store: Store) -> None:
    old = make(store, "old", {"a": b"shared", "b": b"old" * 1000})
    new = make(store, "new", {"a": b"shared"})
    age_tree(old, 40)
    plan = run(store, days=30)
    assert names(plan) == [old.name]
    assert plan.freed_bytes == 3000
    assert store.find("sysroot", "old") is None
    assert store.find("sysroot", "new") == new
    assert store.verify(new) == ()
    assert len(list((store.root / "objects").glob("*/*"))) == 1
    assert list((store.root / "tmp").iterdir()) == []


def test_prune_says_the_bytes_it_freed(store: Store) -> None:
    make(store, "1", {"a": bytes(1000)})
    keep(store, "x.deb", bytes(500), "d")
    (store.root / "objects" / "00").mkdir(exist_ok=True)
    (store.root / "objects" / "00" / ("f" * 62)).write_bytes(bytes(70))  # what a killed pull left
    plan = plan_prune(load_items(store), before_s=INF)
    assert plan.freed_bytes == 1500
    assert prune(store, plan, everything=True) == 1570
    assert store.trees() == ()
    assert load_items(store) == ()
    assert list((store.root / "refs").glob("*/*")) == []


def test_nothing_to_prune(store: Store) -> None:
    assert load_items(store) == ()
    assert prune(store, plan_prune((), before_s=INF)) == 0
    assert not store.root.exists()


def test_a_locked_tree_stays_while_its_lock_file_is_there(store: Store, tmp_path: Path) -> None:
    lock = tmp_path / "p" / "jetsonx.lock"
    lock.parent.mkdir()
    packages = [{"name": "p", "sha256": "a" * 64}]
    pinned = make(store, "pinned", {"a": b"1"}, packages=packages)
    tool = make(store, "tool", {"a": b"2"}, "tool", wheels=[{"name": "zig", "sha256": "b" * 64}])
    device = make(store, "device", {"a": b"3"}, source="device")
    named = make(store, "named", {"a": b"4"}, source="directory")
    other = make(store, "other", {"a": b"5"}, packages=[*packages, {"name": "q", "sha256": "c" * 64}])
    download = keep(store, "p.deb", b"package", "a")
    lock.write_text(f'package = [{{ sha256 = "{"a" * 64}" }}]\ntool = "{"b" * 64}"\nbase = "{device.digest}"\n')
    store.protect(lock, [named.name])
    for tree in store.trees():
        age_tree(tree, 400)
    age(download.parent, 400)
    assert names(run(store, days=30)) == [other.name]
    assert {tree.name for tree in store.trees()} == {pinned.name, tool.name, device.name, named.name}
    assert store.find("sysroot", "pinned") == pinned  # its reference is there, too
    age_tree(pinned, 400)
    assert len(names(run(store, days=30, even_locked=True))) == 5
    assert store.trees() == ()
    gone = make(store, "pinned", {"a": b"1"}, packages=packages)
    age_tree(gone, 400)
    lock.unlink()
    assert names(run(store, days=30)) == [gone.name]
    assert list((store.root / "refs" / "project").iterdir()) == []


def test_downloads_only(store: Store) -> None:
    tree = make(store, "1", {"a": b"1"})
    keep(store, "x.deb", bytes(500), "d")
    plan = plan_prune(load_items(store, downloads_only=True), before_s=INF)
    assert [each.name for each in plan.remove] == ["x.deb"]
    assert prune(store, plan) == 500
    assert store.download("d" * 64) is None
    assert store.verify(tree) == ()


def test_a_download_that_is_used_is_not_old(store: Store) -> None:
    path = keep(store, "x.deb", b"x", "d")
    age(path.parent, 90)
    assert store.download("d" * 64) == path
    assert names(run(store, days=30)) == []


def test_what_was_downloaded_in_part_goes_by_when_it_last_grew(store: Store) -> None:
    for name, days in (("old", 60), ("growing", 1)):
        folder = store.folder(f"partial/{name}")
        (folder / f"{name}.tar.xz").write_bytes(bytes(10))
        age(folder / f"{name}.tar.xz", days)
        age(folder, 60)
    assert names(run(store, days=30)) == ["part of old.tar.xz"]
    assert (store.root / "partial/growing/growing.tar.xz").is_file()


def test_references_that_are_all_there_is_stay(store: Store) -> None:
    make(store, "1", {"a": b"1"})
    for kind, text in (("redist", '{"tree": "gone", "path": "/gone"}'), ("wheels", "[]"), ("layer", "no JSON")):
        store.remember(kind, "key", text)
    store.remember("sysroot", "gone", '{"tree": "sysroot-gone", "digest": "", "info": {}}')
    run(store, days=30)
    assert all(store.recall(kind, "key") for kind in ("redist", "wheels", "layer"))
    assert store.recall("sysroot", "gone") is None
    assert store.find("sysroot", "1")


def test_layers_of_images_go_with_their_records(store: Store) -> None:
    layers = store.folder("layers")
    for name in ("abc.tar.gz", "abc.json", ".part-x"):
        (layers / name).write_bytes(bytes(10))
    plan = run(store, days=-1)
    assert names(plan) == ["image layer abc"]
    assert [path.name for path in layers.iterdir()] == [".part-x"]


def test_package_lists_go_by_when_they_were_read(store: Store) -> None:
    old, new = store.folder("apt/old"), store.folder("apt/new")
    for folder in (old, new):
        (folder / "apt.conf").write_text("x")
        age(folder / "apt.conf", 60 if folder is old else 1)
        age(folder, 60)
    assert names(run(store, days=30)) == ["package lists old"]
    assert new.is_dir()


def make_sdk(store: Store, name: str, *trees: Tree) -> Path:
    sdk = store.folder(f"sdk/{name}")
    (sdk / "share").mkdir()
    first, *others = trees
    (sdk / "share" / "config.sh").write_text(f"exec {first.path}/zig\n")
    for tree in others:
        (sdk / tree.name).symlink_to(tree.path)
    store.remember("sdk", name, json.dumps({"path": str(sdk)}))
    return sdk


def test_a_tool_that_is_used_through_an_sdk_is_in_use(store: Store) -> None:
    zig, sysroot = make(store, "zig", {"zig": b"z"}, "tool"), make(store, "s", {"a": b"s"})
    sdk = make_sdk(store, "one", zig, sysroot)
    for tree in (zig, sysroot):
        age_tree(tree, 90)
    assert names(run(store, days=30)) == []
    [ref] = (store.root / "refs" / "sdk").iterdir()
    age(ref, 60)
    assert store.recall("sdk", "one")  # a build took the SDK as it is
    assert names(run(store, days=30)) == []
    age(ref, 60)
    assert set(names(run(store, days=30))) == {zig.name, sysroot.name}
    assert not sdk.exists()
    assert store.recall("sdk", "one") is None


def test_sdks_of_other_trees_stay(store: Store) -> None:
    first, second = make(store, "1", {"a": b"1"}), make(store, "2", {"a": b"2"})
    gone, stays = make_sdk(store, "gone", first), make_sdk(store, "stays", second)
    drop_sdks(store, {first.name})
    assert not gone.exists()
    assert stays.is_dir()


def test_killed_while_it_removes_it_leaves_whole_trees(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = make(store, "1", {"a": b"1"})

    def killed(path: Path) -> None:
        raise KeyboardInterrupt(str(path))

    monkeypatch.setattr(module, "remove_tree", killed)
    with pytest.raises(KeyboardInterrupt):
        prune(store, plan_prune(load_items(store), before_s=INF))
    monkeypatch.undo()
    assert store.trees() == ()  # out of the way in one step, so nothing takes the half of it for a tree
    assert store.find("sysroot", "1") is None
    assert store.verify(make(store, "1", {"a": b"1"})) == ()
    assert tree.name == store.trees()[0].name


def test_while_another_process_is_at_work_no_object_is_removed(store: Store) -> None:
    make(store, "1", {"a": b"1"})
    with FileLock(store.root / "tmp" / "1-another.lock"):
        assert store.others_at_work()
        run(store, days=-1)
        assert store.trees() == ()
        assert len(list((store.root / "objects").glob("*/*"))) == 1
    assert not store.others_at_work()


def test_a_dead_process_is_not_at_work(store: Store) -> None:
    make(store, "1", {"a": b"1"})
    (store.root / "tmp" / "1-dead.lock").touch()
    assert not store.others_at_work()


# ---- usage -----------------------------------------------------------------------------------------------------------


def test_usage_counts_a_content_once() -> None:
    used = measure_usage({"1": {("a", "444"): 10, ("b", "444"): 5}, "2": {("a", "444"): 10}, "3": {}})
    assert used == {
        "1": Usage(size_bytes=15, own_bytes=5),
        "2": Usage(size_bytes=10, own_bytes=0),
        "3": Usage(size_bytes=0, own_bytes=0),
    }
    assert used["1"].shared_bytes == 10
    assert str(used["1"]) == "15 B, of which 10 B are shared with what was there"
    assert str(Usage(size_bytes=15, own_bytes=15)) == "15 B"


def test_usage_of_a_store(store: Store) -> None:
    first = make(store, "1", {"a": b"12345", "again": b"12345", "b": b"123"})
    tool = make(store, "2", {"x": b"12345"}, "tool")
    assert load_usage(store) == {
        first.name: Usage(size_bytes=8, own_bytes=3),
        tool.name: Usage(size_bytes=5, own_bytes=0),
    }
    (tool.path.parent / "manifest").write_text("file\tx\n")
    assert load_contents(tool) == {}
    (tool.path.parent / "manifest").unlink()
    assert load_usage(store)[first.name].own_bytes == 8
