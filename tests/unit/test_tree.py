"""Paths in a tree, followed as a container would follow them."""

from __future__ import annotations

import pytest

from jetsonx.artifact.tree import Node, Tree
from jetsonx.elf.facts import FileFacts


def tree(*nodes: Node) -> Tree:
    return Tree(name="x", kind="directory", nodes={node.path: node for node in nodes})


ROOT = tree(
    Node("lib", "symlink", target="usr/lib"),
    Node("usr", "dir"),
    Node("usr/lib", "dir"),
    Node("usr/lib/libx.so.1", "symlink", target="libx.so.1.2"),
    Node("usr/lib/libx.so.1.2", "file", facts=FileFacts(path="usr/lib/libx.so.1.2", kind="other")),
    Node("usr/lib/away", "symlink", target="../../../../usr/lib/libx.so.1"),
    Node("usr/lib/whole", "symlink", target="/lib"),
    Node("usr/lib/loop", "symlink", target="loop"),
    Node("usr/lib/dangling", "symlink", target="/nowhere/x"),
)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("usr/lib/libx.so.1", "usr/lib/libx.so.1.2"),
        ("/lib/libx.so.1", "usr/lib/libx.so.1.2"),
        ("lib/../lib/./libx.so.1", "usr/lib/libx.so.1.2"),
        ("usr/lib/away", "usr/lib/libx.so.1.2"),
        ("usr/lib/whole/whole/libx.so.1.2", "usr/lib/libx.so.1.2"),
        ("../../lib", "usr/lib"),
        ("usr/lib/loop", None),
        ("usr/lib/dangling", None),
        ("usr/lib/libx.so.1.2/x", None),
        ("usr/lib/libx.so.1.2/..", None),
        ("", None),
    ],
)
def test_paths_lead_through_links_and_never_out(path: str, found: str | None) -> None:
    node = ROOT.resolve(path)
    assert (node.path if node else None) == found


def test_forty_links_are_followed_and_no_more() -> None:
    chain = [Node(f"l{i}", "symlink", target=f"l{i + 1}") for i in range(41)]
    assert tree(*chain, Node("l41", "file")).resolve("l0") is None
    assert tree(*chain, Node("l41", "file")).resolve("l1") is not None


def test_files_with_facts_come_sorted_and_folders_know_their_names() -> None:
    assert [node.path for node in ROOT.iter_files()] == ["usr/lib/libx.so.1.2"]
    assert ROOT.folders[""] == ("lib", "usr")
    assert ROOT.folders["usr"] == ("lib",)
