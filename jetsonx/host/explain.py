"""Known failures of building for Jetson and of running there, found in a log by the lines they leave.

What is known is data (``failures.toml``). A pattern is specific enough to stand alone; what matches none of them is not
explained: there is no guessing.
"""

from __future__ import annotations

import codecs
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

from jetsonx.toml import load_toml

_BLOCK_BYTES = 1 << 20
_LONGEST_LINE = 1 << 20
_OVERLAP = 1 << 10
_SHOWN = 240
_WIDTH = 80
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One known failure. ``symptoms`` are searched in single lines; ``confidence`` is explained in failures.toml."""

    id: str
    symptoms: tuple[re.Pattern[str], ...]
    context: str
    cause: str
    fix: str
    threads: tuple[str, ...]
    confidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A failure and the first line it was known by: ``number`` counts from 1, ``line`` is fit to be printed."""

    failure: Failure
    number: int
    line: str


@lru_cache(maxsize=1)
def load_failures() -> tuple[Failure, ...]:
    """Every known failure, in the order of failures.toml. Read once per process."""
    rows = load_toml(Path(__file__).with_name("failures.toml").read_text(encoding="utf-8"))["failure"]
    return tuple(
        Failure(
            **{
                **row,
                "symptoms": tuple(re.compile(symptom, re.MULTILINE) for symptom in row["symptoms"]),
                "threads": tuple(row["threads"]),
            }
        )
        for row in rows
    )


def explain(text: str) -> tuple[Match, ...]:
    """The known failures in a log, each once, in the order of the lines they are known by."""
    return explain_blocks([text])


def explain_blocks(blocks: Iterable[str]) -> tuple[Match, ...]:
    """The same for a log that comes in pieces, which may be cut anywhere and need not fit into memory together."""
    found: dict[str, Match] = {}
    for first, text in _whole_lines(blocks):
        for failure in load_failures():
            if failure.id not in found and (match := _match(failure, first, text)) is not None:
                found[failure.id] = match
    return tuple(sorted(found.values(), key=lambda match: match.number))


def read_blocks(stream: BinaryIO) -> Iterator[str]:
    """The text in a stream of any bytes, piece by piece: what is not UTF-8 becomes U+FFFD."""
    yield from codecs.iterdecode(iter(lambda: stream.read(_BLOCK_BYTES), b""), "utf-8", errors="replace")


def _whole_lines(blocks: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Texts that end where a line ends, each with the number of its first line.

    A line without an end (binary data) comes in parts that overlap, so that nothing is lost at the cuts.
    """
    number, text = 1, ""
    for block in blocks:
        text += block
        cut = text.rfind("\n") + 1
        if cut == 0 and len(text) < _LONGEST_LINE:
            continue
        lines = text[:cut] or text
        yield number, _ESCAPES.sub("", lines)
        number += lines.count("\n")
        text = text[cut:] if cut else text[-_OVERLAP:]
    yield number, _ESCAPES.sub("", text)


def _match(failure: Failure, first: int, text: str) -> Match | None:
    hits = [hit for symptom in failure.symptoms if (hit := symptom.search(text)) is not None]
    if not hits:
        return None
    at = min(hit.start() for hit in hits)
    # A progress display overwrites its line with carriage returns; what was seen last of it is a line of its own.
    start = max(text.rfind("\n", 0, at), text.rfind("\r", 0, at)) + 1
    ends = [end for mark in "\n\r" if (end := text.find(mark, at)) >= 0]
    line = text[max(start, at - _SHOWN // 2) : min([*ends, at + _SHOWN])]
    printable = "".join(char if char.isprintable() else " " for char in line)
    return Match(failure=failure, number=first + text.count("\n", 0, at), line=printable.strip())


def render_matches(matches: Sequence[Match], *, numbered: bool = True) -> list[str]:
    """The explanations for a reader, 80 columns wide; ``numbered``: with the numbers of the lines."""
    lines: list[str] = []
    for match in matches:
        where = f"line {match.number}" if numbered else "log"
        lines += ["", *_paragraph(f"{where}: ", match.line), *render_failure(match.failure)]
    return lines[1:]


def render_failure(failure: Failure) -> list[str]:
    """One failure for a reader."""
    return [
        f"  {failure.id} ({failure.confidence})",
        *_paragraph("  when     ", failure.context),
        *_paragraph("  cause    ", failure.cause),
        *_paragraph("  fix      ", failure.fix),
        *_paragraph("  threads  ", ", ".join(failure.threads) or "none"),
    ]


def _paragraph(head: str, text: str) -> list[str]:
    indent = " " * len(head)
    return textwrap.wrap(text, _WIDTH, initial_indent=head, subsequent_indent=indent, break_on_hyphens=False) or [
        head.rstrip()
    ]


def match_json(match: Match) -> dict[str, object]:
    """A match for programs."""
    return {"line": match.number, "text": match.line, **failure_json(match.failure)}


def failure_json(failure: Failure) -> dict[str, object]:
    """A failure for programs."""
    return {
        "id": failure.id,
        "confidence": failure.confidence,
        "context": failure.context,
        "cause": failure.cause,
        "fix": failure.fix,
        "threads": list(failure.threads),
    }
