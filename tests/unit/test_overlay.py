"""Layers over one another: against a real file system on which the same layers are applied step by step."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jetsonx.errors import DownloadError
from jetsonx.rootfs.layer import Item
from jetsonx.rootfs.overlay import FileSystem, Folder, Leaf, Selection, merge_folders, select, walk
from jetsonx.store.tree import Entry, close_entries

Change = tuple[str, str, str]  # kind, path, target


def items(changes: Sequence[Change]) -> list[Item]:
    return [
        Item(kind, number, 0, False, target, path)  # type: ignore[arg-type]
        for number, (kind, path, target) in enumerate(changes)
    ]


def build(*layers: Sequence[Change]) -> Folder:
    system = FileSystem()
    for number, layer in enumerate(layers):
        system.apply(items(layer), layer=number, name=f"layer {number}")
    return system.root


def listing(root: Folder, prefix: str = "") -> dict[str, str]:
    found = {}
    for name, node in root.items():
        path = f"{prefix}{name}"
        if isinstance(node, dict):
            found[path] = "dir"
            found |= listing(node, f"{path}/")
        elif node.target is not None:
            found[path] = f"-> {Path(node.target)}"
        else:
            found[path] = f"file {node.layer}.{node.item.number}"
    return found


# ---- the real thing --------------------------------------------------------------------------------------------------


class CannotError(Exception):
    pass


def resolve(root: Path, path: str) -> str:
    """Where ``path`` is on the disk, links followed as under chroot; what is not there is taken as it is written."""
    done = ""
    left = [step for step in path.split("/") if step]
    hops = 0
    while left:
        step = left.pop(0)
        if step == ".":
            continue
        if step == "..":
            done = done.rpartition("/")[0]
            continue
        here = f"{done}/{step}" if done else step
        place = root / here
        if place.is_symlink():
            hops += 1
            if hops > 40:
                raise CannotError("too many links")
            target = str(place.readlink())
            done = "" if target.startswith("/") else done
            left = [each for each in target.split("/") if each] + left
            continue
        if place.exists() and not place.is_dir() and any(each != "." for each in left):
            raise CannotError("not a directory")
        done = here
    return done


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def apply_for_real(root: Path, layer: Sequence[Change], layer_number: int) -> None:
    for _, path, _ in layer:
        folder, name = os.path.split(path)
        if name.startswith(".wh."):
            with contextlib.suppress(CannotError):
                take_away(root / resolve(root, folder), name)
    for number, (kind, path, target) in enumerate(layer):
        folder, name = os.path.split(path)
        if name.startswith(".wh."):
            continue
        above = root / resolve(root, folder)
        try:
            above.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotError from error
        add(root, above / name, kind, target, f"file {layer_number}.{number}")


def take_away(folder: Path, name: str) -> None:
    if name == ".wh..wh..opq":
        for child in folder.iterdir() if folder.is_dir() else ():
            remove(child)
    elif folder.is_dir():
        remove(folder / name.removeprefix(".wh."))


def add(root: Path, place: Path, kind: str, target: str, content: str) -> None:
    if kind == "dir":
        if not place.is_dir() or place.is_symlink():
            remove(place)
            place.mkdir()
    elif kind == "symlink":
        remove(place)
        place.symlink_to(target)
    elif kind == "hardlink":
        if place.is_dir() and not place.is_symlink():
            remove(place)
        above, last = os.path.split(target)
        source = root / resolve(root, above) / last
        if not (source.is_symlink() or source.is_file()):
            raise CannotError("no such file to link to")
        if source != place:
            remove(place)
            os.link(source, place, follow_symlinks=False)
    else:
        remove(place)
        place.write_text(content)


def listing_for_real(root: Path) -> dict[str, str]:
    found = {}
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        else:
            found[name] = "dir" if path.is_dir() else path.read_text()
    return found


names = st.sampled_from(["a", "b", "c"])
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
targets = st.tuples(st.sampled_from(["", "/", "../", "../../", "./"]), paths).map("".join)
changes = st.one_of(
    st.tuples(st.just("file"), paths, st.just("")),
    st.tuples(st.just("dir"), paths, st.just("")),
    st.tuples(st.just("symlink"), paths, targets),
    st.tuples(st.just("hardlink"), paths, paths),
    st.tuples(
        st.just("file"), st.tuples(st.sampled_from(["", "a/", "b/", "a/b/"]), names).map(".wh.".join), st.just("")
    ),
    st.tuples(st.just("file"), st.sampled_from(["a/.wh..wh..opq", "b/a/.wh..wh..opq"]), st.just("")),
)
images = st.lists(st.lists(changes, max_size=8), min_size=1, max_size=4)


@settings(max_examples=200, deadline=None)
@given(image=images)
@example(image=[[("symlink", "a", "b"), ("file", "a/c", ""), ("file", "a/.wh.c", "")], [("file", "b/.wh.c", "")]])
@example(image=[[("symlink", "a", "/../b")], [("file", "a/c", ""), ("hardlink", "c", "a/c")]])
def test_the_same_tree_as_on_a_disk(image: list[list[Change]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        try:
            for number, layer in enumerate(image):
                apply_for_real(root, layer, number)
        except CannotError:
            with pytest.raises(DownloadError, match="refused"):
                build(*image)
        else:
            assert listing(build(*image)) == listing_for_real(root)


def lay_out(root: Path, chosen: Selection) -> None:
    """On a real disk, as the store does it, but with the name of the content in each file."""
    files = {
        path: Entry(kind="file", content=f"file {leaf.layer}.{leaf.item.number}") for path, leaf in chosen.files.items()
    }
    for path, entry in close_entries({**chosen.entries, **files}).items():
        if entry.kind == "dir":
            (root / path).mkdir()
        elif entry.kind == "link":
            (root / path).symlink_to(entry.content)
        else:
            (root / path).write_text(entry.content)


def kept_everything(path: str) -> bool:
    return True


FILTERS: list[Callable[[str], bool] | None] = [
    None,
    kept_everything,
    lambda path: path.startswith("a"),
    lambda path: not path.startswith("b"),
    lambda path: "c" in path,
]


@settings(max_examples=200, deadline=None)
@given(image=images, number=st.sampled_from(range(len(FILTERS))))
def test_links_of_the_selection_lead_where_they_led(image: list[list[Change]], number: int) -> None:
    keeps = FILTERS[number]
    try:
        tree = build(*image)
    except DownloadError:
        return
    chosen = select(tree, keeps)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        lay_out(root, chosen)
        for path, node in everything(tree):
            if isinstance(node, dict) or (keeps is not None and not keeps(path)):
                continue
            end, last = walk(tree, path, follow=True)
            if isinstance(last, Leaf):
                assert (root / path).read_text() == f"file {last.layer}.{last.item.number}"
                assert (root / path).resolve() == root / (end or "")
            elif last is not None and (root / path).is_symlink():
                assert (root / path).resolve(strict=True) == root / (end or "")
            elif last is None and keeps is not None:
                assert not (root / path).is_symlink()
        for place in root.rglob("*"):
            if place.is_symlink():
                assert not place.readlink().is_absolute()
                assert keeps is None or place.resolve(strict=True).is_relative_to(root)


def everything(root: Folder) -> Iterator[tuple[str, Folder | Leaf]]:
    left: list[tuple[str, Folder]] = [("", root)]
    while left:
        prefix, folder = left.pop()
        for name, node in folder.items():
            yield f"{prefix}{name}", node
            if isinstance(node, dict):
                left.append((f"{prefix}{name}/", node))


# ---- one by one ------------------------------------------------------------------------------------------------------


def file(path: str) -> Change:
    return "file", path, ""


def link(path: str, target: str) -> Change:
    return "symlink", path, target


def test_whiteouts_take_only_what_is_below() -> None:
    lower = [file("d/old"), file("d/both"), file("e/x")]
    upper = [file("d/new"), file("d/both"), file("d/.wh..wh..opq"), file(".wh.e"), file("e/y"), file("e/.wh.y")]
    assert set(listing(build(lower, upper))) == {"d", "d/new", "d/both", "e", "e/y"}


def test_a_directory_gives_way_to_a_file_and_back() -> None:
    assert listing(build([file("a/b")], [file("a")])) == {"a": "file 1.0"}
    assert listing(build([file("a")], [("dir", "a", ""), file("a/b")])) == {"a": "dir", "a/b": "file 1.1"}
    assert listing(build([link("a", "b"), file("b/x")], [("dir", "a", "")])) == {
        "a": "dir",
        "b": "dir",
        "b/x": "file 0.1",
    }


def test_writing_through_a_link_stays_inside() -> None:
    tree = build([link("a", "../../../../etc")], [file("a/passwd")])
    assert listing(tree) == {"a": "-> ../../../../etc", "etc": "dir", "etc/passwd": "file 1.0"}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ([file("a"), file("a/b")], "is no directory"),
        ([("hardlink", "a", "b")], "not there"),
        ([("dir", "b", ""), ("hardlink", "a", "b")], "a directory"),
        ([link("a", "a"), file("a/b")], "is no directory"),
        ([link("a", "x/" * 1000), link("b", "a/" + "y/" * 2000), ("file", "b/c", "")], "is no directory"),
    ],
)
def test_what_cannot_be(changes: list[Change], says: str) -> None:
    with pytest.raises(DownloadError, match=rf"layer 0: refused: .*{says}"):
        build(changes)


def chosen_links(changes: Iterable[Change], keeps: Callable[[str], bool] | None) -> dict[str, str]:
    tree = build(list(changes))
    merge_folders(tree)
    chosen = select(tree, keeps)
    return {path: entry.content for path, entry in chosen.entries.items() if entry.kind == "link"}


def in_usr_lib(path: str) -> bool:
    return path.startswith("usr/lib/")


def test_alternatives_are_collapsed_and_their_end_is_kept() -> None:
    changes = [
        link("usr/lib/libblas.so.3", "/etc/alternatives/libblas.so.3"),
        link("etc/alternatives/libblas.so.3", "/opt/blas/libblas.so.3.10"),
        file("opt/blas/libblas.so.3.10"),
        link("usr/lib/lost", "/etc/alternatives/lost"),
        link("usr/lib/out", "/opt/empty"),
        ("dir", "opt/empty", ""),
    ]
    tree = build(changes)
    chosen = select(tree, in_usr_lib)
    assert chosen.entries["usr/lib/libblas.so.3"].content == "../../opt/blas/libblas.so.3.10"
    assert set(chosen.files) == {"opt/blas/libblas.so.3.10"}
    assert not {"usr/lib/lost", "usr/lib/out", "etc"} & set(chosen.entries)


def test_chains_that_are_kept_stay_chains() -> None:
    changes = [
        link("usr/lib/liba.so", "liba.so.1"),
        link("usr/lib/liba.so.1", "liba.so.1.2"),
        file("usr/lib/liba.so.1.2"),
    ]
    found = chosen_links(changes, in_usr_lib)
    assert (found["usr/lib/liba.so"], found["usr/lib/liba.so.1"]) == ("liba.so.1", "liba.so.1.2")


def test_links_to_directories_that_hold_something() -> None:
    changes = [
        link("usr/local/cuda", "/etc/alternatives/cuda"),
        link("etc/alternatives/cuda", "/usr/local/cuda-12.6"),
        file("usr/local/cuda-12.6/include/cuda.h"),
    ]
    assert chosen_links(changes, lambda path: path.startswith("usr/local/"))["usr/local/cuda"] == "cuda-12.6"


def test_a_root_that_is_not_merged() -> None:
    changes = [
        file("lib/aarch64-linux-gnu/libc.so.6"),
        link("lib/ld-linux-aarch64.so.1", "aarch64-linux-gnu/ld.so"),
        file("lib/aarch64-linux-gnu/ld.so"),
        link("lib/up", "../etc/x"),
        file("etc/x"),
        link("usr/lib/aarch64-linux-gnu/libc.so.6", "/lib/aarch64-linux-gnu/libc.so.6"),
        file("usr/lib/other"),
        file("bin/sh"),
    ]
    tree = build(changes)
    merge_folders(tree)
    found = listing(tree)
    assert (found["lib"], found["bin"]) == ("-> usr/lib", "-> usr/bin")
    assert found["usr/lib/aarch64-linux-gnu/libc.so.6"] == "file 0.0"
    links = {path: entry.content for path, entry in select(tree, None).entries.items() if entry.kind == "link"}
    assert links["usr/lib/up"] == "../../etc/x"
    assert links["usr/lib/ld-linux-aarch64.so.1"] == "aarch64-linux-gnu/ld.so"
    assert links["lib"] == "usr/lib"


def test_a_deep_tree_is_no_trouble() -> None:
    deep = "lib/" + "d/" * 1500 + "f"
    tree = build([file(deep)])
    merge_folders(tree)
    assert set(select(tree, None).files) == {f"usr/{deep}"}


def test_devices_are_left_out_but_hide_what_was_there() -> None:
    tree = build([file("a")], [("other", "a", "")])
    assert select(tree, None) == Selection(entries={}, files={})


def test_everything_keeps_links_to_nothing_but_relative() -> None:
    assert chosen_links([link("etc/mtab", "/proc/mounts")], None) == {"etc/mtab": "../proc/mounts"}
