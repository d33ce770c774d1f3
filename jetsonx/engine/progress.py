"""BuildKit's progress, read from the lines of ``--progress plain``: what is shown of it, and what failed.

A line is ``#NUMBER TEXT``; the first of a number names the step, ``[build 2/5] RUN make``; then come what the step
prints with the seconds since it began, and DONE, CACHED, CANCELED or ERROR.
Source: moby/buildkit, util/progress/progressui/printer.go.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

_LINE = re.compile(r"#(\d+) (.+)")
_PRINTED = re.compile(r"\d+\.\d+ (.*)")
_STEP = re.compile(r"\[(?:linux/\S+ )?(?:(?P<stage>\S+) +)?\d+/\d+\] (?P<command>.*)")
_DONE = re.compile(r"DONE (\d+\.\d+)s")
_FAILED = re.compile(r"^(?:ERROR|error): (?:failed to build: )?(?:failed to solve: )?(.*)")
_STATUS = re.compile(r"exit code: (\d+)$")
_LOG_LINES = 10_000  # searched for known failures
_MOUNT = re.compile(r" --mount=\S+")
_WORDS = 100
_WORTH_TELLING_S = 1.0
_SHOWN_LINES = 40


@dataclass(slots=True)
class Step:
    """One step of a build. ``name`` is BuildKit's: ``[build 2/5] RUN make``; ``log``: what it printed."""

    name: str
    log: deque[str] = field(default_factory=lambda: deque(maxlen=_LOG_LINES))
    is_shown: bool = False

    @property
    def stage(self) -> str:
        """The stage of the Dockerfile it belongs to, "" when it belongs to none."""
        match = _STEP.fullmatch(self.name)
        return (match["stage"] or "") if match else ""

    @property
    def command(self) -> str:
        """The instruction, or the name as it is."""
        match = _STEP.fullmatch(self.name)
        return match["command"] if match else self.name

    @property
    def short(self) -> str:
        """The name on one line of a terminal."""
        text = " ".join(_MOUNT.sub("", self.name).split())
        return text if len(text) <= _WORDS else f"{text[: _WORDS - 1]}…"

    @property
    def is_internal(self) -> bool:
        """True for BuildKit's own errands, which say nothing to a reader."""
        return self.name.startswith("[internal]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a build failed: ``reason`` in BuildKit's words; ``step`` the one that failed, when it was one.

    ``status`` is the exit status of its command, None when no command failed.
    """

    reason: str
    step: Step | None
    status: int | None

    @property
    def details(self) -> str:
        """The last lines that the failing command printed."""
        return "\n".join(list(self.step.log)[-_SHOWN_LINES:]) if self.step else ""


class Progress:
    """Takes the lines of a build one by one."""

    def __init__(self) -> None:
        self._steps: dict[str, Step] = {}
        self._failed: Step | None = None
        self._reason = ""
        self._sentence = ""
        self._log: deque[str] = deque(maxlen=_LOG_LINES)

    @property
    def log(self) -> str:
        """The last lines of it all, as BuildKit wrote them."""
        return "\n".join(self._log)

    def take(self, line: str) -> Iterator[str]:
        """Read a line; yields what a person wants to see of it: steps that are at work, and how long they took."""
        self._log.append(line)
        match = _LINE.fullmatch(line)
        if match is None or match[1] == "0":  # number 0 is buildx, saying which builder it takes
            if sentence := _FAILED.match(line):
                self._sentence = sentence[1]
            return
        number, text = match.groups()
        step = self._steps.get(number)
        if step is None:
            self._steps[number] = Step(text)
            return
        if text == "CACHED" or (step.is_internal and not text.startswith("ERROR: ")):
            return
        if done := _DONE.fullmatch(text):
            if float(done[1]) >= _WORTH_TELLING_S:
                yield f"{float(done[1]):6.1f} s  {step.short}"
            return
        if not step.is_shown:
            step.is_shown = True
            yield f"          {step.short}"
        if text.startswith("ERROR: "):
            self._failed, self._reason = step, text.removeprefix("ERROR: ")
        elif printed := _PRINTED.fullmatch(text):
            step.log.append(printed[1])

    def failure(self) -> Failure:
        """What to say of a build that failed."""
        reason = self._reason or self._sentence or "the builder said no reason"
        status = _STATUS.search(reason)
        return Failure(reason=reason, step=self._failed, status=int(status[1]) if status else None)
