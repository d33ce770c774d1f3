"""docs/verify.md lists every rule, as rules.toml has it."""

from __future__ import annotations

import os
from pathlib import Path

from jetsonx.verify.context import Options
from jetsonx.verify.rulebook import load_rules

PAGE = Path(__file__).parents[2] / "docs/verify.md"
START, END = "<!-- rules: written by the tests, see CONTRIBUTING.md -->\n", "<!-- /rules -->\n"


def test_the_page_lists_every_rule() -> None:
    rows = [
        f"| {rule.id if rule.is_default else f'({rule.id})'} | {rule.severity} | {rule.title} |"
        for rule in load_rules().values()
    ]
    table = "\n".join(["| rule | severity | what |", "| --- | --- | --- |", *rows]) + "\n"
    before, _, rest = PAGE.read_text().partition(START)
    listed, _, after = rest.partition(END)
    if os.environ.get("JETSONX_UPDATE_GOLDEN"):
        PAGE.write_text(before + START + table + END + after)
        return
    assert listed == table


def test_every_rule_can_be_asked_for_on_the_command_line() -> None:
    asked = Options(hardening=True, host_prefixes=("/home/me",))
    assert [rule for rule in load_rules() if not asked.wants(rule)] == []
