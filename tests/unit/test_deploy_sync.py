"""What a sync sends: what differs, and what runs there."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from jetsonx.deploy.outcome import Outcome
from jetsonx.deploy.sync import (
    Contents,
    SyncPlan,
    check_machine,
    check_sync,
    parse_contents,
    plan_sync,
    write_archive,
)
from jetsonx.errors import ConfigError, DeviceError
from jetsonx.image.app import AppFile, plan_app
from jetsonx.image.closure import Dynamic

A, B = "a" * 64, "b" * 64


def file(path: Path, name: str, digest: str = A, *, program: bool = False, library: bool = False) -> AppFile:
    elf = Dynamic(is_program=True) if program else Dynamic(soname="libx.so.1") if library else None
    return AppFile(path=path, name=name, sha256=digest, is_executable=program, elf=elf)


def contents(**files: str) -> Contents:
    return Contents(files=files, architecture="arm64", has_python=True)


def test_what_a_container_holds_is_read() -> None:
    said = f"platform=arm64\npython=/usr/bin/python3\nfile={A} demo/bin/run it\nfile={B} demo\nnoise\nend=whole\n"
    found = parse_contents(said, "opt/demo")
    assert found == Contents(files={"bin/run it": A, "demo": B}, architecture="arm64", has_python=True)
    assert parse_contents(said.replace("end=whole", ""), "opt/demo") is None
    empty = parse_contents("end=whole\n", "opt/demo")
    assert empty == Contents(files={}, architecture="", has_python=False)


def test_only_what_differs_is_sent() -> None:
    here = Path("/")
    app = plan_app("demo", [file(here, "same"), file(here, "other"), file(here, "new", B)])
    plan = plan_sync(app, contents(same=A, other=B, gone=A))
    assert [each.name for each in plan.changed] == ["new", "other"]
    assert plan.contents == {"new": B, "other": A, "same": A}
    assert plan.new_libraries == ()
    assert not plan_sync(app, contents(same=A, other=A, new=B)).changed


def test_a_library_that_the_loader_s_cache_does_not_name_is_told() -> None:
    app = plan_app("demo", [file(Path("/"), "libx.so.1.2", library=True)])
    assert plan_sync(app, contents(demo=A)).new_libraries == ("libx.so.1.2",)
    assert plan_sync(app, contents()).new_libraries == ()  # nothing is known of what is there
    assert plan_sync(app, contents(demo=A)).links == (("libx.so.1", "libx.so.1.2"),)


def test_the_archive_is_the_same_for_the_same_files(tmp_path: Path) -> None:
    (tmp_path / "run").write_bytes(b"program")
    (tmp_path / "words").write_bytes(b"")
    app = plan_app("demo", [file(tmp_path / "run", "bin/run", program=True), file(tmp_path / "words", "words")])
    plan = plan_sync(app, contents())
    first, second = (write_archive(plan, tmp_path / name) for name in ("1.tar.gz", "2.tar.gz"))
    assert (first.sha256, first.size) == (second.sha256, second.size)
    with tarfile.open(first.path) as tar:
        members = {each.name: each for each in tar}
        assert [*members] == ["opt/demo/bin", "opt/demo/bin/run", "opt/demo/words"]
        assert (members["opt/demo/bin/run"].mode, members["opt/demo/words"].mode) == (0o755, 0o644)
        assert (members["opt/demo/bin/run"].uid, members["opt/demo/bin/run"].uname) == (0, "")
        content = tar.extractfile("opt/demo/bin/run")
        assert content is not None
        assert content.read() == b"program"


def test_what_is_for_another_processor_is_refused(tmp_path: Path) -> None:
    damaged = tmp_path / "run"
    damaged.write_bytes(b"\x7fELF")
    plan = plan_sync(plan_app("demo", [file(damaged, "run", program=True)]), contents())
    with pytest.raises(ConfigError, match="run"):
        check_machine(plan, "arm64")
    check_machine(plan, "")  # it is not known what the image is for
    text = plan_sync(plan_app("demo", [file(damaged, "notes")]), contents())
    check_machine(text, "arm64")


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Outcome(ending="failed", step="gate", why="it ended"), "it is not well with them: it ended"),
        (Outcome(ending="failed", step="sync", why="no room"), "what it has of them is not certain"),
        (Outcome(ending="failed", step="begin", why="no release"), "nothing was changed"),
        (Outcome(ending="busy", fault="somebody"), "was refused: somebody"),
    ],
)
def test_how_it_ended_is_said(outcome: Outcome, words: str) -> None:
    with pytest.raises(DeviceError, match=words):
        check_sync(outcome, what="the sync")
    check_sync(Outcome(ending="ok"), what="the sync")


def test_nothing_is_planned_of_links_alone() -> None:
    linked = AppFile(path=Path("/"), name="b", sha256=A, link="a")
    plan = plan_sync(plan_app("demo", [file(Path("/"), "a"), linked]), contents(a=A))
    assert isinstance(plan, SyncPlan)
    assert plan.changed == ()
