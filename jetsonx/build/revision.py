"""Which revision of the source is built, and when it was made: for the image's label and for reproducible dates."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from jetsonx.errors import HostError
from jetsonx.runner import Command, Runner

_EPOCH_S = 315_532_800
"""1980-01-01, the oldest date that every archive format can hold."""


def load_epoch() -> int:
    """SOURCE_DATE_EPOCH in seconds: the user's own, else the same for every build of a source."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    return int(given) if given.isdigit() else _EPOCH_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A source's git commit, with "-dirty" behind it when files were changed, and the commit's time (seconds)."""

    name: str
    committed_s: int


def load_revision(source: Path, runner: Runner) -> Revision | None:
    """The revision of a source directory; None outside git."""
    git = ("git", "-C", str(source))
    try:
        name = runner.run(Command(argv=(*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")))
        time = runner.run(Command(argv=(*git, "log", "-1", "--format=%ct")))
    except HostError:
        return None
    committed = time.stdout.strip()
    if not (name.ok and time.ok and committed.isdigit()):
        return None
    return Revision(name=name.stdout.strip(), committed_s=int(committed))
