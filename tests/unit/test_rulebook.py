"""The rules as data."""

from __future__ import annotations

import re

import pytest

from jetsonx.verify.context import Options
from jetsonx.verify.finding import SEVERITIES
from jetsonx.verify.judge import UNCHECKED, applied_rules
from jetsonx.verify.rulebook import load_rules

RULES = load_rules()


@pytest.mark.parametrize("name", RULES)
def test_every_rule_says_what_why_and_where_from(name: str) -> None:
    rule = RULES[name]
    assert re.fullmatch(r"JX\d{3}", rule.id)
    assert rule.severity in SEVERITIES
    assert rule.title
    assert rule.title[0].islower() or rule.title.split()[0].isupper() or rule.title.startswith(("DT_", "Thor"))
    assert len(rule.why) > 40
    assert rule.family


def test_rules_are_in_order_and_every_one_of_the_reference_is_there() -> None:
    assert list(RULES) == sorted(RULES)
    hundreds = {1: (0, 4), 2: (1, 3), 3: (1, 4), 4: (1, 3), 5: (1, 8), 6: (1, 2), 7: (1, 11), 8: (1, 1)}
    expected = {f"JX{100 * h + n}" for h, (first, last) in hundreds.items() for n in range(first, last + 1)}
    assert expected <= set(RULES)


def test_what_is_off_unless_asked_for() -> None:
    off = {"JX402", "JX403", "JX502", "JX503", "JX504", "JX505"}
    assert set(RULES) - {rule.id for rule in applied_rules(Options())} == off
    asked = applied_rules(Options(hardening=True, host_prefixes=("/work",)))
    assert {rule.id for rule in asked} == set(RULES)
    assert [rule.id for rule in applied_rules(Options(only=frozenset({"JX402"})))] == ["JX402"]
    assert "JX701" not in {rule.id for rule in applied_rules(Options(ignore=frozenset({"device"})))}


def test_the_limits_are_said() -> None:
    assert any("TensorRT" in limit for limit in UNCHECKED)
