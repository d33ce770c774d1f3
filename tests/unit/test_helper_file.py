"""What is sent to run on the device."""

from __future__ import annotations

import ast
import io
import os
import sys
import zipfile
from pathlib import Path

import pytest
import vermin  # type: ignore[import-untyped]

from jetsonx.deploy import helper_file
from jetsonx.deploy.helper.__main__ import VERBS, main

FOLDER = Path(helper_file.__file__).with_name("helper")
MODULES = sorted(FOLDER.glob("*.py"))
OLDEST = (3, 6)


def needed_python(source: str) -> tuple[int, ...]:
    config = vermin.Config()
    config.set_eval_annotations(True)
    versions = vermin.visit(source, config).minimum_versions()
    return max((version for version in versions if version), default=(3, 0))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_the_helper_runs_on_old_pythons(path: Path) -> None:
    assert needed_python(path.read_text()) <= OLDEST


@pytest.mark.parametrize(
    "source", ["if (y := 3): pass", "def f(a: list[int]): pass", "import dataclasses", "print(f'{x=}')"]
)
def test_what_old_pythons_do_not_know_would_be_seen(source: str) -> None:
    assert needed_python(source) > OLDEST


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_the_helper_needs_nothing_but_python(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            assert name.startswith("jetsonx.deploy.helper") or name.partition(".")[0] in sys.stdlib_module_names


def test_the_helper_is_the_same_bytes_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    first = helper_file.helper()
    helper_file.helper.cache_clear()
    monkeypatch.setitem(os.environ, "SOURCE_DATE_EPOCH", "1")
    assert helper_file.helper() == first
    assert first.name == f"helper-{first.sha256}.pyz"


def test_the_helper_holds_its_modules_and_no_more() -> None:
    with zipfile.ZipFile(io.BytesIO(helper_file.helper().data)) as archive:
        names = {name.removeprefix("jetsonx/deploy/helper/") for name in archive.namelist()}
    assert names == {path.name for path in MODULES} | {
        "__main__.py",
        "jetsonx/__init__.py",
        "jetsonx/deploy/__init__.py",
    }


def test_verbs_are_modules() -> None:
    assert {f"{verb}.py" for verb in VERBS} <= {path.name for path in MODULES}


def test_an_unknown_verb_says_which_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reboot"]) == 64
    assert "receive" in capsys.readouterr().err
