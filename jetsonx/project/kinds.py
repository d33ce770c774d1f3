"""What a value in a TOML file may be. A kind names itself for people, and turns raw TOML into a checked value.

Every ``read`` collects all problems below it and raises them together as one :class:`Invalid`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Generic, Protocol, TypeVar

from jetsonx.project.document import toml_key, toml_text

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Pairs = tuple[tuple[str, str], ...]
"""A table of strings as a frozen value: (name, value) sorted by name; ``dict(pairs)`` makes a table again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing wrong: the dotted path of the key, what is wrong, and what would be right when that is known."""

    path: str
    message: str
    fix: str = ""
    is_unknown_key: bool = False

    def __str__(self) -> str:
        """``build.sytem: unknown key; did you mean system?``."""
        return f"{self.path}: {self.message}" + (f"; {self.fix}" if self.fix else "")


class Invalid(Exception):  # noqa: N818 - never leaves this package: callers see a ConfigError
    """Everything that is wrong with a value: its arguments are the problems."""

    args: tuple[Problem, ...]


class Kind(Protocol[T_co]):
    """A sort of value. ``what`` completes the sentence "expected …"."""

    @property
    def what(self) -> str:
        """The kind in a person's words, with its article."""

    def read(self, value: object, at: str) -> T_co:
        """The checked value; ``at`` is its dotted path. Raises Invalid."""


def dotted(at: str, name: str) -> str:
    """The path of a key in a table: ``dotted("build", "jobs")`` is ``build.jobs``; odd names are quoted as in TOML."""
    return f"{at}.{toml_key(name)}" if at else toml_key(name)


def nearest(word: str, known: tuple[str, ...]) -> str | None:
    """The known word that ``word`` most likely meant: case and the choice of ``-`` or ``_`` do not count."""
    plain = {_plain(name): name for name in known}
    close = get_close_matches(_plain(word), plain, n=1, cutoff=0.6)
    return plain[close[0]] if close else None


def _plain(word: str) -> str:
    return word.lower().replace("-", "_")


def describe(value: object) -> str:
    """What was found, in a person's words: ``describe("4")`` is ``the string "4"``."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            digits = f"{value:.6g}" if isinstance(value, float) or abs(value) > 10**12 else str(value)
            return f"the number {digits}"
        case str():
            return f"the string {_shortened(toml_text(value))}"
        case list():
            return "a list" if value else "an empty list"
        case dict():
            return "a table"
        case _:
            return "a date or time"


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:56]}…{text[-1]}"


def mismatch(kind: Kind[object], value: object, at: str, fix: str = "") -> Invalid:
    """The error for a value that is not of ``kind``."""
    return Invalid(Problem(path=at, message=f"expected {kind.what}, found {describe(value)}", fix=fix))


def like(pattern: str) -> Callable[[str], bool]:
    """A test that holds for strings that match ``pattern`` from end to end."""
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


_ANYTHING = like(r"[\s\S]*")


@dataclass(frozen=True, slots=True)
class Text:
    """A string for which ``accepts`` holds. ``suggest`` may offer the nearest valid spelling of one that is not."""

    what: str = "a string"
    accepts: Callable[[str], bool] = _ANYTHING
    suggest: Callable[[str], str] | None = None

    def read(self, value: object, at: str) -> str:
        """The string; one with a NUL is refused, for no program can be given it. Raises Invalid."""
        if not isinstance(value, str):
            raise mismatch(self, value, at, "" if isinstance(value, list | dict) else "write it in quotes")
        if "\0" in value or not self.accepts(value):
            raise mismatch(self, value, at, f"did you mean {toml_text(self.suggest(value))}?" if self.suggest else "")
        return value


@dataclass(frozen=True, slots=True)
class Choice(Generic[T]):
    """One of a few values."""

    options: tuple[T, ...]

    @property
    def what(self) -> str:
        """The options as a sentence."""
        words = [toml_text(option) for option in self.options]
        return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)

    def read(self, value: object, at: str) -> T:
        """The option. Raises Invalid."""
        for option in self.options:
            if option == value:
                return option
        close = nearest(value, tuple(str(option) for option in self.options)) if isinstance(value, str) else None
        raise mismatch(self, value, at, f"did you mean {toml_text(close)}?" if close else "")


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    what: str = "true or false"

    def read(self, value: object, at: str) -> bool:
        """The boolean. Raises Invalid."""
        if isinstance(value, bool):
            return value
        raise mismatch(self, value, at, "write it without quotes" if value in ("true", "false") else "")


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number between two bounds, both allowed."""

    minimum: int
    maximum: int

    @property
    def what(self) -> str:
        """The bounds as a phrase."""
        return f"a whole number from {self.minimum} to {self.maximum}"

    def read(self, value: object, at: str) -> int:
        """The number. Raises Invalid."""
        if isinstance(value, int) and not isinstance(value, bool) and self.minimum <= value <= self.maximum:
            return value
        raise mismatch(
            self, value, at, "write it without quotes" if isinstance(value, str) and value.isdecimal() else ""
        )


@dataclass(frozen=True, slots=True)
class Port:
    """A port: ``8080``, ``"8080"`` or ``"8080/udp"``; read as an OCI image configuration writes it, ``8080/tcp``."""

    what: str = 'a port such as 8080 or "8080/udp"'

    def read(self, value: object, at: str) -> str:
        """The port with its protocol. Raises Invalid."""
        if isinstance(value, int | str) and not isinstance(value, bool):
            match = re.fullmatch(r"([0-9]{1,5})(?:/(tcp|udp))?", str(value), re.ASCII)
            if match and 1 <= int(match[1]) <= 65535:
                return f"{int(match[1])}/{match[2] or 'tcp'}"
        raise mismatch(self, value, at)


@dataclass(frozen=True, slots=True)
class Many(Generic[T]):
    """A list; no value may be in it twice when ``unique``. ``plural`` says what of: ``a list of …``."""

    item: Kind[T]
    plural: str = "strings"
    unique: bool = False
    at_least: int = 0

    @property
    def what(self) -> str:
        """The list and what it holds."""
        return f"a list of {self.plural}" + (f", at least {self.at_least}" if self.at_least else "")

    def read(self, value: object, at: str) -> tuple[T, ...]:
        """The items in the order of the file. Raises Invalid with the problems of all items."""
        if not isinstance(value, list) or len(value) < self.at_least:
            raise mismatch(self, value, at, f"write [{toml_text(value)}]" if isinstance(value, str) else "")
        items: list[T] = []
        problems: list[Problem] = []
        for position, raw in enumerate(value):
            where = f"{at}[{position}]"
            try:
                item = self.item.read(raw, where)
            except Invalid as invalid:
                problems += invalid.args
                continue
            if self.unique and item in items:
                problems.append(Problem(path=where, message=f"{describe(raw)} stands in the list twice"))
            items.append(item)
        if problems:
            raise Invalid(*problems)
        return tuple(items)


@dataclass(frozen=True, slots=True)
class Table:
    """A table of strings with names that the user chooses."""

    name: Text
    what: str = "a table of strings"

    def read(self, value: object, at: str) -> Pairs:
        """The pairs, sorted by name. Raises Invalid with the problems of all of them."""
        if not isinstance(value, Mapping):
            raise mismatch(self, value, at)
        pairs: list[tuple[str, str]] = []
        problems: list[Problem] = []
        for raw_name, raw in value.items():
            where = dotted(at, raw_name)
            try:
                pairs.append((self.name.read(raw_name, where), Text().read(raw, where)))
            except Invalid as invalid:
                problems += invalid.args
        if problems:
            raise Invalid(*problems)
        return tuple(sorted(pairs))
