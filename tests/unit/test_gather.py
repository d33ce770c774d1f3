"""From a listing to the files of a sysroot."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from jetsonx.catalog import Filter
from jetsonx.console import Console
from jetsonx.errors import HostError
from jetsonx.rootfs.gather import add_selection, choose, report_unreadable, wanted_paths
from jetsonx.rootfs.listing import Listing
from jetsonx.rootfs.tar import Member
from jetsonx.store.tree import Entry, Objects, TreeWriter

WANTED = Filter(keep=("usr/include/**", "usr/lib/**.so", "etc/apt/**"))


def listing(*members: Member) -> Listing:
    return Listing(members=members, stamps={})


def file(name: str, size: int = 1, mode: int = 0o644) -> Member:
    return Member(name, "file", size, mode, "")


def link(name: str, target: str) -> Member:
    return Member(name, "symlink", 0, 0o777, target)


def test_contents_are_asked_for_where_they_lie_there(tmp_path: Path) -> None:
    selection = choose(
        listing(
            file("lib/a.so", 3, 0o755),
            link("usr/lib/b.so", "/opt/x/b.so.1"),
            file("opt/x/b.so.1", 5),
            file("usr/bin/first"),
            Member("usr/include/second.h", "hardlink", 0, 0o644, "usr/bin/first"),
            file("usr/share/doc"),
            file("usr/include/new\nline.h"),
            file("usr/include/\udcff.h"),
            Member("usr/lib/pipe.so", "other", 0, 0o644, ""),
        ),
        WANTED,
        what="/mnt",
    )
    assert wanted_paths(selection) == ("lib/a.so", "opt/x/b.so.1", "usr/bin/first")
    writer = TreeWriter(Objects(tmp_path, tmp_path))
    add_selection(selection, {"lib/a.so": "aa", "opt/x/b.so.1": "bb"}, writer)
    assert writer.entries["usr/lib/a.so"] == Entry(kind="file", content="aa", size_bytes=3, executable=True)
    assert writer.entries["opt/x/b.so.1"] == Entry(kind="file", content="bb", size_bytes=5)
    assert writer.entries["usr/lib/b.so"] == Entry(kind="link", content="../../opt/x/b.so.1")
    assert writer.entries["lib"] == Entry(kind="link", content="usr/lib")
    assert "usr/include/second.h" not in writer.entries  # its content could not be read


def reported(*troubles: tuple[str, str], wanted: Filter | None = WANTED) -> str:
    out = io.StringIO()
    report_unreadable(troubles, wanted, what="jetson@host", console=Console(err=out))
    return out.getvalue()


def test_what_is_not_needed_is_only_reported() -> None:
    assert reported() == ""
    said = reported(("etc/apt/auth.conf.d/esm", "Permission denied"), ("usr/share/x", "Permission denied"))
    assert said == "jetson@host: left out, as this user may not read it: etc/apt/auth.conf.d/esm, usr/share/x\n"
    assert "and 2 more" in reported(*((f"usr/share/{n}", "Permission denied") for n in range(7)))
    assert "usr/lib/a.so" in reported(("usr/lib/a.so", "Permission denied"), wanted=None)


@pytest.mark.parametrize("path", ["usr/include/a.h", "lib/a.so"])
def test_what_is_needed_must_be_read(path: str) -> None:
    with pytest.raises(HostError, match=rf"jetson@host: {path} cannot be read: Cannot open: Permission denied"):
        reported(("usr/share/x", "Permission denied"), (path, "Cannot open: Permission denied"))
