"""Which files of a package belong into a sysroot: globs over paths."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_PARTS = re.compile(r"\*\*/|\*\*|\*|\?|\[[^]/]+\]|[{},]|[^*?{},\[]+|\[")
_WILDCARDS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
_BRACES = {"{": "(?:", ",": "|", "}": ")"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A file stays when its path matches one of ``keep`` and none of ``drop``.

    In a glob ``*`` and ``?`` stay within one directory level, ``**`` spans any number of them, ``{a,b}`` are
    alternatives and ``[0-9]`` is a set of characters.
    """

    keep: tuple[str, ...]
    drop: tuple[str, ...] = ()

    def keeps(self, path: str) -> bool:
        """Judge a path relative to the sysroot: ``"usr/include/stdio.h"``."""
        return _pattern(self.keep).fullmatch(path) is not None and _pattern(self.drop).fullmatch(path) is None

    def may_keep(self, path: str) -> bool:
        """True also for a file that ``drop`` takes out again: a link that is kept may lead to it."""
        return _pattern(self.keep).fullmatch(path) is not None


@lru_cache
def _pattern(globs: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(_regex(glob) for glob in globs) or r"(?!)")


def _regex(glob: str) -> str:
    parts: list[str] = []
    depth = 0
    for part in _PARTS.findall(glob):
        depth += {"{": 1, "}": -1}.get(part, 0)
        if part in "{,}" and (depth or part == "}"):
            parts.append(_BRACES[part])
        elif part[0] == "[" and len(part) > 1:
            parts.append(part)
        else:
            parts.append(_WILDCARDS.get(part) or re.escape(part))
    if depth:
        raise ValueError(f"unbalanced brace in the glob {glob!r}")
    return "".join(parts)
