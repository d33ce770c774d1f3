"""How an operation on a device ended: pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast, get_args

Ending = Literal["ok", "rolled-back", "failed", "busy", "unfinished"]

_SECONDS = re.compile(r"[0-9]{1,9}\.[0-9]{2}")
_MOST_LINES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How it ended.

    ``rolled-back``: the old release runs again. ``failed``: nothing was to go back to, or ``why`` says what went wrong
    with that. ``busy``: another operation is at it, ``fault`` says whose. ``unfinished``: the device's engine went
    away; the next operation goes on from the journal. ``step`` is where it failed. ``seconds`` of the whole, and
    ``downtime_s`` from the stop of the old release to the start of the new one, or of the old one again; None when
    nobody knows. ``log`` are the last lines of the release that failed, ``said`` what docker complained about.
    ``recovered``: how an earlier operation that was interrupted ended first. ``history``: lines for the history.
    ``items`` are what was, or would be, removed.
    """

    ending: Ending
    step: str = ""
    why: str = ""
    fault: str = ""
    seconds: float | None = None
    downtime_s: float | None = None
    log: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    recovered: str = ""
    history: tuple[str, ...] = ()
    items: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """True when all was done."""
        return self.ending == "ok"


def read_fields(text: str) -> Iterator[tuple[str, str]]:
    """The ``name=value`` lines of an answer; what no terminal should get becomes "?"."""
    for line in text.split("\n"):
        name, equals, value = line.partition("=")
        if equals:
            yield name, clean(value)


def clean(text: str) -> str:
    """Without what a terminal would obey."""
    return "".join(each if each.isprintable() or each == "\t" else "?" for each in text)


def parse_outcome(text: str) -> Outcome | None:
    """The result that tell() of common.sh wrote; None when it is not whole."""
    fields: dict[str, list[str]] = {}
    _, found, result = f"\n{text}".rpartition("\noutcome=")  # steps, and what a profile printed, come before
    for name, value in read_fields(f"outcome={result}" if found else ""):
        fields.setdefault(name, []).append(value)

    def one(name: str) -> str:
        return fields.get(name, [""])[0]

    if one("end") != "whole" or one("outcome") not in get_args(Ending):
        return None
    return Outcome(
        ending=cast(Ending, one("outcome")),
        step=one("step"),
        why=one("why"),
        fault=one("fault"),
        seconds=_seconds(one("seconds")),
        downtime_s=_seconds(one("downtime")),
        log=tuple(fields.get("log", ())[-_MOST_LINES:]),
        said=tuple(fields.get("said", ())[-_MOST_LINES:]),
        recovered=one("recovered"),
        history=tuple(fields.get("history", ())[:_MOST_LINES]),
        items=tuple((fields.get("would", []) + fields.get("removed", []))[:_MOST_LINES]),
    )


def _seconds(text: str) -> float | None:
    return float(text) if _SECONDS.fullmatch(text) else None
