"""The rules as data: what each looks for, why it matters and how to mend it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from jetsonx.toml import load_toml
from jetsonx.verify.finding import Rule

_FILE = Path(__file__).parent / "rules.toml"


@lru_cache(maxsize=1)
def load_rules() -> Mapping[str, Rule]:
    """Every rule by its id, in the order of ids. Read once per process."""
    rows = load_toml(_FILE.read_text(encoding="utf-8"))["rule"]
    return {row["id"]: Rule(**{**row, "sources": tuple(row["sources"])}) for row in rows}
