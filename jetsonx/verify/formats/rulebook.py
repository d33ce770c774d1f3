"""The rules themselves, for a person and for programs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from textwrap import wrap

from jetsonx.verify.finding import Rule

_WIDTH = 100


def render_rules(rules: Collection[Rule]) -> Iterator[str]:
    """A line for each rule."""
    for rule in rules:
        asked = "" if rule.is_default else " (only when asked for)"
        yield f"{rule.id}  {rule.severity:<7}  {rule.family:<12}  {rule.title}{asked}"


def render_rule(rule: Rule) -> Iterator[str]:
    """Everything about one rule."""
    yield f"{rule.id}: {rule.title}"
    yield f"{rule.severity}, {rule.family}" + ("" if rule.is_default else ", only when asked for")
    for title, text in (("why", rule.why), ("mend", rule.mend)):
        if text:
            yield ""
            yield from wrap(f"{title}: {text}", _WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    if rule.sources:
        yield ""
        yield from (f"source: {source}" for source in rule.sources)


def rule_json(rule: Rule) -> dict[str, object]:
    """One rule as JSON values."""
    return {
        "id": rule.id,
        "title": rule.title,
        "severity": rule.severity,
        "family": rule.family,
        "why": rule.why,
        "mend": rule.mend,
        "sources": list(rule.sources),
        "is_default": rule.is_default,
    }
