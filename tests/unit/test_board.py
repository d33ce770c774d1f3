"""Several devices at once on a terminal and elsewhere."""

from __future__ import annotations

import io

from jetsonx.console import Console
from jetsonx.deploy.board import Board


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_elsewhere_there_are_lines_with_names_and_no_passing_progress() -> None:
    err = io.StringIO()
    board = Board(Console(err=err), ["one", "two"])
    row = board.row("two", host="a@two")
    row.say("a@two: reached")
    with row.bar("upload", 100) as bar:
        bar.reach(50)
        bar.advance(50)
    row.warn("its clock is wrong")
    assert [line.partition(" in ")[0] for line in err.getvalue().splitlines()] == [
        "two: reached",
        "two: upload: 100 B",
        "two: upload: done, 100 B",
        "warning: two: its clock is wrong",
    ]


def test_on_a_terminal_the_table_is_drawn_over_itself() -> None:
    err = Terminal()
    board = Board(Console(err=err), ["one", "three"])
    board.row("one").say("reached")
    board.row("three").say("off")
    first, second = err.getvalue().split("\033[J")[:2]
    assert first.replace("\033[K", "") == "one    reached\nthree  \n"
    assert second.replace("\033[K", "") == "\033[2Aone    reached\nthree  off\n"
    with board.row("one").bar("upload", 4_000_000) as bar:
        bar.reach(1_000_000)
    board.set("three", "still off")
    assert "upload 1.0 MB of 4.0 MB" in err.getvalue()


def test_quiet_is_quiet() -> None:
    err = Terminal()
    board = Board(Console(-1, err=err), ["one", "two"])
    board.row("one").say("reached")
    assert err.getvalue() == ""
    board.row("one").warn("its clock is wrong")
    assert err.getvalue() == "warning: one: its clock is wrong\n"
