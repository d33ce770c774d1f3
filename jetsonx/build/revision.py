"""Which revision of the source is built, and when it was made: for the image's label and for reproducible dates."""

from __future__ import annotations

import os
from pathlib import Path

from jetsonx.errors import HostError
from jetsonx.runner import Command, Runner

_EPOCH_S = 315_532_800
"""1980-01-01, the oldest date that every archive format can hold: for a source without a revision."""


def load_epoch() -> int:
    """SOURCE_DATE_EPOCH in seconds: the user's own, else the same for every build of a source."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    return int(given) if given.isdigit() else _EPOCH_S


def load_revision(source: Path, runner: Runner) -> str | None:
    """The source's git revision, with "-dirty" behind it when files were changed; None outside git."""
    try:
        done = runner.run(
            Command(argv=("git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"))
        )
    except HostError:
        return None
    return done.stdout.strip() if done.ok else None
