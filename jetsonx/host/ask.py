"""Questions to other programs and to the file system that come back soon, or without an answer."""

from __future__ import annotations

import grp
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from jetsonx.errors import HostError
from jetsonx.runner import Command, Completed, Runner

PATIENCE_S = 1.5
"""How long a program may take to say what it is: a local engine needs a fiftieth of it."""
REMOTE_PATIENCE_S = 8.0
"""How long another machine may take: logging in to a small one by ssh alone can be a second or two."""
_SILENT = 124  # how timeout(1) says that it ended the program


@dataclass(frozen=True, slots=True)
class Ask:
    """Calls a program in the C locale, under timeout(1) of the coreutils: it ends what the program started, too.

    ``env`` is changed in its environment, as in :class:`jetsonx.runner.Command`.
    """

    runner: Runner
    env: Mapping[str, str | None] = field(default_factory=dict)

    def __call__(self, *argv: str, patience_s: float = PATIENCE_S) -> Completed | None:
        """How the program ended; None when it is not there or there is no timeout(1) on this host."""
        try:
            words = ("timeout", "--kill-after=0.2", str(patience_s), *argv)
            return self.runner.run(Command(argv=words, env={**self.env, "LC_ALL": "C"}))
        except HostError:
            return None


def is_silent(said: Completed | None) -> bool:
    """True when a program did not come to an end in time."""
    return said is not None and said.status in (_SILENT, 128 + 9, -9)


def find_version(said: Completed | None) -> str:
    """The first version number in what a program said, on either stream: one with a dot, else any; "" for none."""
    text = said.tail if said is not None and said.ok else ""
    match = re.search(r"\d+(?:\.\d+)+", text) or re.search(r"\d+", text)
    return match[0] if match else ""


def free_bytes(place: str | Path) -> int | None:
    """Bytes free for this user on the file system of ``place``; None where it cannot be asked."""
    try:
        status = os.statvfs(place)
    except OSError:
        return None
    return status.f_bavail * status.f_frsize


def group_of(path: str | Path) -> str:
    """The name of the group that a file belongs to; its number when it has no name, "" when there is no file."""
    try:
        number = Path(path).stat().st_gid
    except OSError:
        return ""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
