"""Trees on disks that cannot hold them, and objects whose source fails half way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from jetsonx.errors import DownloadError
from jetsonx.store.tree import Entry, Objects, close_entries, lay_out, parse_manifest, render_manifest


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    (tmp_path / "scratch").mkdir()
    return Objects(tmp_path / "objects", tmp_path / "scratch")


def test_names_that_differ_in_case_on_a_disk_that_does_not_tell(
    tmp_path: Path, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link
    monkeypatch.setattr(os, "link", lambda source, place: link(source, place.lower()))
    sha256, _ = objects.put(b"x", executable=False)
    file = Entry(kind="file", content=sha256, size_bytes=1)
    with pytest.raises(DownloadError, match=r"inc/Xt\.h and inc/xt\.h differ only in case"):
        lay_out(tmp_path / "root", close_entries({"inc/Xt.h": file, "inc/xt.h": file}), objects)


def test_names_that_differ_in_case_are_two_files_elsewhere(tmp_path: Path, objects: Objects) -> None:
    sha256, _ = objects.put(b"x", executable=False)
    file = Entry(kind="file", content=sha256, size_bytes=1)
    lay_out(tmp_path / "root", close_entries({"inc/Xt.h": file, "inc/xt.h": file}), objects)
    assert {path.name for path in (tmp_path / "root/inc").iterdir()} == {"Xt.h", "xt.h"}


def test_a_name_longer_than_the_disk_takes(tmp_path: Path, objects: Objects) -> None:
    with pytest.raises(DownloadError, match="longer name than the disk takes"):
        lay_out(tmp_path / "root", close_entries({"a/" + "n" * 300: Entry(kind="dir")}), objects)


def test_nothing_is_left_of_a_content_that_fails(tmp_path: Path, objects: Objects) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise DownloadError("cut off")

    with pytest.raises(DownloadError, match="cut off"):
        objects.put_pieces(pieces(), executable=False)
    assert not list((tmp_path / "scratch").iterdir())
    assert not (tmp_path / "objects").exists()


def test_a_name_with_an_odd_line_end_survives_the_manifest() -> None:
    entries = {"a\x85b\u2028c": Entry(kind="dir")}
    assert parse_manifest(render_manifest(entries)) == entries
