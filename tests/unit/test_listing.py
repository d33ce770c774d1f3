"""What `tar -vv` says, read back; and the same of a directory here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jetsonx.catalog import Filter, load_catalog
from jetsonx.rootfs.listing import list_directory, parse_listing, parse_troubles, plan_places
from jetsonx.rootfs.tar import Member

# As GNU tar 1.34 prints them.
LINES = r"""
drwxr-xr-x 0/0               0 2026-11-25 01:09:02.34927295 "usr/"
-rwsr-xr-x 0/42            971 2022-02-02 21:33:23 "./usr/bin/su"
-rw-r--r-- 1000/1000 123456789012 2026-11-25 01:09:02.34927295  "usr/lib/a -> b"
lrwxrwxrwx 0/0               0 2026-11-25 01:09:02.35327295  "usr/lib/hl" -> "a -> b"
hrw-r--r-- 0/0               0 2026-11-25 01:09:02.34927295  "usr/lib/hard" link to "usr/lib/a -> b"
crw-rw-rw- 0/0             1,3 2026-11-25 01:09:02 "dev/null"
prw-r--r-- 0/0               0 2026-11-25 01:09:02 "usr/lib/p"
-rw-r--r-- 0/0               1 2026-11-25 01:09:02 "usr/lib/n\nl \"q\" \\ \303\251 \377"
tar: Removing leading `/' from member names
""".splitlines()


def test_every_kind_of_line() -> None:
    members, stamps = parse_listing(LINES)
    assert members == [
        Member("usr", "dir", 0, 0o755, ""),
        Member("usr/bin/su", "file", 971, 0o755, ""),
        Member("usr/lib/a -> b", "file", 123456789012, 0o644, ""),
        Member("usr/lib/hl", "symlink", 0, 0o755, "a -> b"),
        Member("usr/lib/hard", "hardlink", 0, 0o644, "usr/lib/a -> b"),
        Member("dev/null", "other", 0, 0o644, ""),
        Member("usr/lib/p", "other", 0, 0o644, ""),
        Member('usr/lib/n\nl "q" \\ é \udcff', "file", 1, 0o644, ""),
    ]
    assert stamps["usr/lib/a -> b"] == "123456789012 2026-11-25 01:09:02.34927295"
    assert set(stamps) == {member.name for member in members if member.kind == "file"}


@pytest.mark.parametrize("line", ["", "usr/lib/a", "-rw-r--r-- root root 1 Jan 1 usr/a", '-rw-r--r-- 0/0 1 2026 "a'])
def test_other_lines_are_no_members(line: str) -> None:
    assert parse_listing([line]) == ([], {})


def test_troubles() -> None:
    said = [
        'tar: "./etc/ssl/private": Cannot open: Permission denied',
        'tar: "lib64": Cannot stat: No such file or directory',
        "tar: Exiting with failure status due to previous errors",
    ]
    assert list(parse_troubles(said)) == [
        ("etc/ssl/private", "Cannot open: Permission denied"),
        ("lib64", "Cannot stat: No such file or directory"),
    ]


def test_places_are_top_directories_and_named_files() -> None:
    keep = ("usr/include/**", "{lib,usr/lib}/**.so", "var/lib/dpkg/status", "etc/ld.so.conf", "etc/ld.so.conf.d/**")
    assert plan_places(Filter(keep=keep)) == ("etc", "lib", "opt", "usr", "var/lib/dpkg/status")
    assert plan_places(Filter(keep=("usr/a", "**.h"))) == (".",)
    assert plan_places(None) == (".",)


def test_the_catalog_names_the_places_it_wants() -> None:
    for line in load_catalog().lines.values():
        assert plan_places(line.image_filter) == ("etc", "lib", "opt", "usr", "var/lib/dpkg/status")


def test_a_directory(tmp_path: Path) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/a").write_text("text")
    (tmp_path / "usr/lib/run").write_text("")
    (tmp_path / "usr/lib/run").chmod(0o755)
    (tmp_path / "usr/lib/link").symlink_to("./..//lib/a")
    (tmp_path / "home").mkdir()
    os.mkfifo(tmp_path / "usr/pipe")
    found = list_directory(tmp_path, ["lib64", "usr"])
    assert [(member.name, member.kind) for member in found.members] == [
        ("usr", "dir"),
        ("usr/lib", "dir"),
        ("usr/lib/a", "file"),
        ("usr/lib/link", "symlink"),
        ("usr/lib/run", "file"),
        ("usr/pipe", "other"),
    ]
    by_name = {member.name: member for member in found.members}
    assert by_name["usr/lib/link"].target == "./..//lib/a"
    assert by_name["usr/lib/a"].size_bytes == 4
    assert by_name["usr/lib/run"].mode & 0o111
    assert found.unreadable == ()
    assert [member.name for member in list_directory(tmp_path, ["."]).members][:2] == ["home", "usr"]


def test_a_changed_file_has_another_stamp(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    before = list_directory(tmp_path, ["."]).stamps["a"]
    os.utime(tmp_path / "a", ns=(1, 1))
    assert list_directory(tmp_path, ["."]).stamps["a"] != before
