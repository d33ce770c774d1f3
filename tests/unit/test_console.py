"""What the console prints where."""

from __future__ import annotations

import io

import pytest

from jetsonx.console import Console, amount


@pytest.mark.parametrize(
    ("n", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (23_968_660, "24.0 MB"),
        (5_200_000_000, "5.2 GB"),
        (10**13, "10000.0 GB"),
    ],
)
def test_amount(n: int, text: str) -> None:
    assert amount(n) == text


def test_answers_and_progress_go_to_different_streams() -> None:
    out, err = io.StringIO(), io.StringIO()
    console = Console(0, out=out, err=err)
    console.out("answer")
    console.say("progress")
    console.command("+ cc")
    console.warn("careful")
    assert out.getvalue() == "answer\n"
    assert err.getvalue() == "progress\nwarning: careful\n"


def test_quiet_keeps_warnings_and_verbose_shows_commands() -> None:
    quiet, loud = io.StringIO(), io.StringIO()
    for verbosity, err in ((-1, quiet), (1, loud)):
        console = Console(verbosity, out=io.StringIO(), err=err)
        console.say("progress")
        console.command("+ cc")
        console.warn("careful")
    assert quiet.getvalue() == "warning: careful\n"
    assert "+ cc" in loud.getvalue()


def test_a_bar_is_plain_lines_away_from_a_terminal() -> None:
    err = io.StringIO()
    with Console(0, out=io.StringIO(), err=err).bar("wheel", 2_000_000) as bar:
        bar.advance(500_000)
        bar.reach(2_000_000)
    first, last = err.getvalue().splitlines()
    assert first == "wheel: 2.0 MB"
    assert last.startswith("wheel: done, 2.0 MB in ")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_what_a_bar_begins_with_is_part_of_no_rate() -> None:
    err = io.StringIO()
    with Console(0, out=io.StringIO(), err=err).bar("upload", 3_000_000, done=2_000_000) as bar:
        bar.reach(3_000_000)
    first, last = err.getvalue().splitlines()
    assert first == "upload: 1.0 MB"
    assert last.startswith("upload: done, 1.0 MB in ")


def test_a_bar_shows_amount_and_rate_on_a_terminal() -> None:
    err = _Terminal()
    with Console(0, out=io.StringIO(), err=err).bar("wheel", 100) as bar:
        bar.advance(40)
        bar.reach(100)
    assert "wheel" in err.getvalue()
    assert "B/s" in err.getvalue()
    assert "done, 100 B" in err.getvalue()
