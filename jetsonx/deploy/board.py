"""What happens on several devices at once: a table that is drawn anew on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from jetsonx.console import Bar, Console, amount

_PAUSE_S = 0.1  # between two drawings


class Board:
    """A row for each name, with what was said of it last."""

    def __init__(self, console: Console, names: Sequence[str]) -> None:
        self._console = console
        self._rows = dict.fromkeys(names, "")
        self._width = max(map(len, names), default=0)
        self._lock = threading.Lock()
        self._is_live = console.is_terminal and console.verbosity >= 0
        self._height = 0
        self._drawn_s = 0.0

    def row(self, name: str, *, host: str = "") -> Console:
        """The console for what is done on one device; what it is told of ``host`` by name needs no name there."""
        return _Row(self, name, host, self._console.verbosity, is_live=self._is_live)

    def warn(self, name: str, text: str) -> None:
        """Warn of a device, also when only warnings are wanted."""
        if self._is_live:
            self.set(name, f"warning: {text}")
        else:
            self._console.warn(f"{name}: {text}")

    def set(self, name: str, text: str, *, is_passing: bool = False) -> None:
        """Say something of a device; what is ``is_passing``, such as progress, may be left out."""
        with self._lock:
            self._rows[name] = text
            if not self._is_live:
                if not is_passing:
                    self._console.say(f"{name}: {text}")
            elif not is_passing or time.monotonic() - self._drawn_s >= _PAUSE_S:
                self._draw()

    def _draw(self) -> None:
        lines = [f"{name.ljust(self._width)}  {text}" for name, text in self._rows.items()]
        self._console.draw(lines, over=self._height)
        self._height, self._drawn_s = len(lines), time.monotonic()


class _Row(Console):
    def __init__(self, board: Board, name: str, host: str, verbosity: int, *, is_live: bool) -> None:
        super().__init__(verbosity)
        self._board = board
        self._name = name
        self._called = f"{host}: "
        self._is_live = is_live

    @property
    def is_terminal(self) -> bool:
        """Never: a row has no room for bars."""
        return False

    def err(self, text: str) -> None:
        """Say it in the row."""
        self._board.set(self._name, text.removeprefix(self._called))

    def warn(self, text: str) -> None:
        """Warn in the row."""
        self._board.warn(self._name, text.removeprefix(self._called))

    @contextmanager
    def bar(self, what: str, total: int, *, unit: str = "B", done: int = 0) -> Iterator[Bar]:
        """Show progress in the row."""
        if not self._is_live:
            with super().bar(what, total, unit=unit, done=done) as bar:
                yield bar
            return
        yield _RowBar(self._board, self._name, total, done)


class _RowBar:
    def __init__(self, board: Board, name: str, total: int, done: int) -> None:
        self._board = board
        self._name = name
        self._total = total
        self._first = self._done = done
        self._started_s = time.monotonic()

    def advance(self, amount: int) -> None:
        self.reach(self._done + amount)

    def reach(self, amount_bytes: int) -> None:
        self._done = amount_bytes
        elapsed_s = time.monotonic() - self._started_s
        rate = (self._done - self._first) / elapsed_s if elapsed_s > 0 else 0.0
        left = f", {(self._total - self._done) / rate:.0f} s left" if rate > 0 and self._done < self._total else ""
        self._board.set(self._name, f"upload {amount(self._done)} of {amount(self._total)}{left}", is_passing=True)
