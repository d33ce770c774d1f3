"""The only writer to the terminal: the answer goes to standard output, everything else to standard error."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol, TextIO


class Bar(Protocol):
    """A running count, of bytes unless said otherwise."""

    def advance(self, amount: int) -> None:
        """Count ``amount`` more."""

    def reach(self, amount: int) -> None:
        """Set the count to ``amount``."""


class Console:
    """Prints. ``verbosity``: -1 only answers and errors, 0 normal, 1 also every command that is run."""

    def __init__(self, verbosity: int = 0, *, out: TextIO | None = None, err: TextIO | None = None) -> None:
        self.verbosity = verbosity
        self._out = out or sys.stdout
        self._err = err or sys.stderr

    @property
    def is_terminal(self) -> bool:
        """True when a person watches standard error."""
        return self._err.isatty()

    @property
    def takes_colour(self) -> bool:
        """True when a person reads standard output on a terminal that knows colours, and NO_COLOR does not forbid."""
        return self._out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def out(self, text: str) -> None:
        """Print a line of the answer."""
        print(text, file=self._out, flush=True)

    def say(self, text: str) -> None:
        """Print a line of progress."""
        if self.verbosity >= 0:
            self.err(text)

    def warn(self, text: str) -> None:
        """Print a warning."""
        self.err(f"warning: {text}")

    def command(self, text: str) -> None:
        """Print a command line under ``-v``."""
        if self.verbosity > 0:
            self.err(text)

    def err(self, text: str) -> None:
        """Print a line to standard error, whatever the verbosity."""
        print(text, file=self._err, flush=True)

    def draw(self, lines: Sequence[str], *, over: int) -> None:
        """Draw lines on a terminal in the place of ``over`` lines that were drawn before; each is cut to its width."""
        width = max(1, shutil.get_terminal_size().columns - 1)
        up = f"\033[{over}A" if over else ""
        text = "".join(f"{line[:width]}\033[K\n" for line in lines)
        print(f"{up}{text}\033[J", end="", file=self._err, flush=True)

    @contextmanager
    def bar(self, what: str, total: int, *, unit: str = "B", done: int = 0) -> Iterator[Bar]:
        """Show progress towards ``total``: amount, rate and time left on a terminal, two plain lines elsewhere.

        ``done`` is what the count begins with: it is part of no rate.
        """
        if self.is_terminal and self.verbosity >= 0:
            yield from self._tqdm(what, total, unit, done)
        else:
            yield from self._lines(what, total, unit, done)

    def _tqdm(self, what: str, total: int, unit: str, done: int) -> Iterator[Bar]:
        from tqdm import tqdm  # imported late: most commands show no bar, and start-up time counts

        with tqdm(
            total=total,
            initial=done,
            desc=what,
            unit=unit,
            unit_scale=True,
            file=self._err,
            dynamic_ncols=True,
            leave=False,
        ) as bar:
            yield _TqdmBar(bar)
        self._lines_done(what, int(bar.n) - done, unit, bar.format_dict["elapsed"])

    def _lines(self, what: str, total: int, unit: str, done: int) -> Iterator[Bar]:
        self.say(f"{what}: {amount(total - done, unit)}")
        started = time.monotonic()
        count = _Count()
        count.n = done
        yield count
        self._lines_done(what, count.n - done, unit, time.monotonic() - started)

    def _lines_done(self, what: str, n: int, unit: str, elapsed_s: float) -> None:
        rate = f", {amount(int(n / elapsed_s), unit)}/s" if elapsed_s >= 0.1 else ""
        self.say(f"{what}: done, {amount(n, unit)} in {elapsed_s:.1f} s{rate}")


class _Count:
    def __init__(self) -> None:
        self.n = 0

    def advance(self, amount: int) -> None:
        self.n += amount

    def reach(self, amount: int) -> None:
        self.n = amount


class _TqdmBar:
    def __init__(self, bar: object) -> None:
        self._bar = bar

    def advance(self, amount: int) -> None:
        self._bar.update(amount)  # type: ignore[attr-defined]

    def reach(self, amount: int) -> None:
        self._bar.update(amount - self._bar.n)  # type: ignore[attr-defined]


def amount(n: int, unit: str = "B") -> str:
    """``n`` as a person writes it: ``amount(23_968_660)`` is ``"24.0 MB"`` (decimal, as disks and networks count)."""
    if unit != "B":
        return f"{n} {unit}"
    value = float(n)
    for prefix in ("", "k", "M", "G"):
        if value < 1000 or prefix == "G":
            return f"{value:.0f} B" if prefix == "" else f"{value:.1f} {prefix}B"
        value /= 1000
    raise AssertionError  # pragma: no cover - the loop always returns
