"""How a directory of sources is most likely built: what ``jetsonx init`` writes before the user corrects it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from jetsonx.project.model import System

# Build files in order of precedence, what they mean, and where they name the program they make.
_WORD = r"[A-Za-z0-9][A-Za-z0-9_.+-]*"
_MAKE = rf"^(?:TARGET|PROGRAM|PROG|BIN|EXE|EXECUTABLE)\s*[:?]?=\s*({_WORD})\s*$"
_SIGNS: tuple[tuple[str, System, str | None], ...] = (
    ("CMakeLists.txt", "cmake", rf"^\s*(?:cuda_)?add_executable\s*\(\s*({_WORD})"),
    ("meson.build", "meson", rf"\bexecutable\s*\(\s*'({_WORD})'"),
    ("GNUmakefile", "make", _MAKE),
    ("makefile", "make", _MAKE),
    ("Makefile", "make", _MAKE),
    ("*.cu", "cuda", None),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    """A guess: the build system, the file that says so (None: nothing did), and the program it makes, if it says."""

    system: System
    sign: Path | None = None
    program: str | None = None


def detect_build(directory: Path) -> Detected:
    """Read a directory's build files; ``system`` is "cuda" when there is none. An unreadable file says nothing."""
    for pattern, system, program in _SIGNS:
        for sign in sorted(directory.glob(pattern)):
            if sign.is_file():
                match = re.search(program, _text(sign), re.MULTILINE) if program else None
                return Detected(system=system, sign=sign, program=match[1] if match else None)
    return Detected(system="cuda")


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
