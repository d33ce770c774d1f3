"""The command line's frame: help, exit statuses, errors. What the commands do is tested with them."""

from __future__ import annotations

import sys

import click
import pytest
from click.testing import CliRunner

from jetsonx import __version__, errors
from jetsonx.cli import COMMANDS, cli, main
from jetsonx.runner import Command


def test_exit_statuses_are_distinct_and_as_documented() -> None:
    classes = [errors.ConfigError, errors.HostError, errors.DownloadError, errors.BuildError, errors.DeviceError]
    assert [each.exit_code for each in classes] == [2, 3, 4, 5, 6]
    assert errors.JetsonxError.exit_code == 70


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str) -> None:
    shown = CliRunner().invoke(cli, [name, "--help"])
    assert shown.exit_code == 0
    assert "Usage: " in shown.output
    assert len(shown.output.splitlines()) > 6


def test_help_lists_every_command_in_a_narrow_terminal() -> None:
    shown = CliRunner().invoke(cli, ["--help"])
    for name in COMMANDS:
        assert f"  {name} " in shown.output
    assert max(map(len, shown.output.splitlines())) <= 80


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["jetsonx", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    assert isinstance(stop.value.code, int)
    return stop.value.code


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"jetsonx {__version__}\n"


def test_a_misspelt_command_names_the_nearest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "bild") == 2
    assert "did you mean 'build'?" in capsys.readouterr().err


def failing(error: BaseException) -> click.Command:
    @click.command()
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (
            errors.BuildError("it broke", details="cc: no\n", hint="mend it"),
            5,
            "cc: no\nError: it broke\nhint: mend it\n",
        ),
        (errors.ConfigError("wrong"), 2, "Error: wrong\n"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (OSError(28, "No space left on device", "/small/x"), 3, "Error: /small/x: No space left on device\n"),
        (ZeroDivisionError("oops"), 70, "this is a bug in jetsonx"),
    ],
)
def test_errors_become_words_and_a_status(
    error: BaseException,
    status: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(type(cli), "get_command", lambda *_: failing(error))
    assert run(monkeypatch, "build") == status
    assert words in capsys.readouterr().err


def test_a_command_prints_as_a_shell_takes_it() -> None:
    from pathlib import Path

    command = Command(argv=("nvcc", "a b.cu", "$x"), cwd=Path("/tmp/x y"), env={"A": "1 2", "B": None})
    assert str(command) == "cd '/tmp/x y' && env -u B A='1 2' nvcc 'a b.cu' '$x'"
