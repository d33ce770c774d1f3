"""What changed between two trees."""

from __future__ import annotations

import json
from dataclasses import replace

from jetsonx.artifact.tree import Config, Layer, Node, Tree
from jetsonx.elf.facts import FileFacts, Import
from jetsonx.verify.diff import diff_trees
from jetsonx.verify.formats.difference import diff_json, render_diff
from tests.unit.golden import check_golden
from tests.unit.report_values import CODE, ELF


def file(path: str, sha: str = "1", *, mode: int = 0o644, size: int = 100, facts: FileFacts | None = None) -> Node:
    facts = replace(facts or FileFacts(path=path, kind="other"), path=path, sha256=sha)
    return Node(path=path, kind="file", mode=mode, size_bytes=size, facts=facts)


def tree(*nodes: Node, name: str = "a", config: Config | None = None, layers: tuple[Layer, ...] = ()) -> Tree:
    nodes_by_path = {node.path: node for node in nodes}
    return Tree(name=name, kind="oci" if layers else "directory", nodes=nodes_by_path, config=config, layers=layers)


OLD_APP = FileFacts(path="", kind="elf", elf=replace(ELF, imports=(Import("puts", "GLIBC_2.17"),)), fatbins=(CODE,))
NEW_ELF = replace(
    ELF,
    needed=("libc.so.6", "libx.so.2"),
    runpath="$ORIGIN",
    version_needs=(),
    imports=(Import("puts", "GLIBC_2.17"), Import("x_run")),
)
NEW_APP = FileFacts(path="", kind="elf", elf=NEW_ELF, fatbins=(replace(CODE, entries=CODE.entries[1:]),))
LAYERS = tuple(Layer(digest="sha256:" + x * 64, size_bytes=1000) for x in "abc")
BEFORE = tree(
    file("usr/bin/app", "1", mode=0o755, size=1000, facts=OLD_APP),
    file("usr/share/\x1b[1mold", size=7),
    Node(path="usr/lib/libx.so", kind="symlink", target="libx.so.1"),
    file("etc/same"),
    Node(path="opt", kind="dir"),
    config=Config(entrypoint=("app",), env={"A": "1", "B": "2"}),
    layers=LAYERS[:2],
    name="app:1",
)
AFTER = tree(
    file("usr/bin/app", "2", mode=0o750, size=900, facts=NEW_APP),
    file("usr/lib/libx.so.2", size=50),
    Node(path="usr/lib/libx.so", kind="symlink", target="libx.so.2"),
    file("etc/same"),
    config=Config(entrypoint=("app",), env={"A": "1", "B": "3"}, user="me"),
    layers=(LAYERS[0], LAYERS[2]),
    name="app:2",
)


def test_everything_that_changed_is_said() -> None:
    diff = diff_trees(BEFORE, AFTER)
    check_golden("verify/diff.txt", "\n".join(render_diff(diff)) + "\n")
    check_golden("verify/diff.json", json.dumps(diff_json(diff), indent=2) + "\n")


def test_the_same_files_are_equal_however_they_are_packed() -> None:
    again = replace(BEFORE, layers=LAYERS[2:], name="app:1-again", digest="sha256:0")
    diff = diff_trees(BEFORE, again)
    assert diff.is_equal
    assert render_diff(diff)[-1] == "equal: the same files"


def test_content_alone_makes_a_difference() -> None:
    (change,) = diff_trees(tree(file("a", "1")), tree(file("a", "2"))).changed
    assert change.what == ("content",)


def test_a_file_that_became_a_link_is_one_change() -> None:
    diff = diff_trees(tree(file("a")), tree(Node(path="a", kind="symlink", target="b")))
    assert [change.what for change in diff.changed] == [("file -> symlink",)]


def test_directories_do_not_count() -> None:
    assert diff_trees(tree(Node(path="a", kind="dir"), file("a/b")), tree(file("a/b"))).is_equal


def test_two_single_files_are_compared_under_any_name() -> None:
    one = Tree(name="old/app-1", kind="file", nodes={"app-1": file("app-1", "1", facts=OLD_APP)})
    two = Tree(name="new/app-2", kind="file", nodes={"app-2": file("app-2", "2", facts=NEW_APP)})
    diff = diff_trees(one, two)
    assert (diff.added, diff.removed) == ((), ())
    assert [change.path for change in diff.changed] == ["app-2"]


def test_long_lists_are_cut_unless_everything_is_wanted() -> None:
    many = tree(*(file(f"f{number:03}") for number in range(100)))
    short, whole = (render_diff(diff_trees(tree(), many), everything=each) for each in (False, True))
    assert any("… and 80 more" in line for line in short)
    assert "  + f099 (100 B)" in whole
