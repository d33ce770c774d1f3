"""Texts that tests hold still. After a wanted change: JETSONX_UPDATE_GOLDEN=1 pytest <file>, then read the diff."""

from __future__ import annotations

import os
from pathlib import Path

_DIRECTORY = Path(__file__).parent.parent / "golden"


def check_golden(name: str, text: str) -> None:
    """Fail when ``text`` is not what tests/golden/``name`` holds."""
    path = _DIRECTORY / name
    if os.environ.get("JETSONX_UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()
