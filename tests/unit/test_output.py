"""Whose directory is it?"""

from __future__ import annotations

from pathlib import Path

import pytest

from jetsonx.build.docker import render_ignore
from jetsonx.build.output import claim_output
from jetsonx.errors import ConfigError, HostError


def test_a_new_and_an_empty_directory_are_claimed_and_stay_ours(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("new/deep", "empty"):
        claim_output(tmp_path / name)
        (tmp_path / name / "build").mkdir()
        claim_output(tmp_path / name)
        assert "*" in (tmp_path / name / ".gitignore").read_text().splitlines()


@pytest.mark.parametrize("name", ["build/CMakeCache.txt", "thesis.txt", ".gitignore"])
def test_somebody_elses_files_are_left_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("*\n")
    with pytest.raises(ConfigError, match="did not make"):
        claim_output(tmp_path)
    assert (tmp_path / name).read_text() == "*\n"


def test_a_place_that_cannot_be_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((HostError, ConfigError)) as error:
        claim_output(tmp_path / "file/out")
    assert str(tmp_path / "file/out") in error.value.message


def test_the_build_context_leaves_out_what_is_made(tmp_path: Path) -> None:
    assert render_ignore(tmp_path, tmp_path / "out").splitlines() == ["/out", ".git", ".hg", ".svn", ".venv"]
    (tmp_path / ".dockerignore").write_text("# mine\nmodels\n")
    assert render_ignore(tmp_path, tmp_path / "a/[b]*").splitlines()[:3] == ["# mine", "models", "/a/\\[b]\\*"]
    assert "/" not in render_ignore(tmp_path, tmp_path.parent / "elsewhere").replace("models", "")
