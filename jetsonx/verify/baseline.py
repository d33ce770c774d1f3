"""Findings that were there when verify was taken into use: only what is new counts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from jetsonx.errors import ConfigError
from jetsonx.project.document import load_text
from jetsonx.project.kinds import Choice, Invalid, Many, Text
from jetsonx.project.record import Key, Record
from jetsonx.verify.finding import SEVERITIES, Finding, Severity, fingerprint, split_by_target
from jetsonx.verify.report import Gone, Report
from jetsonx.verify.waivers import EXPIRED, UNUSED

_SCHEMA = 1
_HINT = "write it anew: jetsonx verify … --write-baseline FILE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A finding of the baseline, for the targets it was found for. ``fingerprint`` is what it is known by."""

    fingerprint: Annotated[str, Key(Text("a fingerprint"), "")]
    rule: Annotated[str, Key(Text("a rule"), "")]
    severity: Annotated[Severity, Key(Choice(SEVERITIES), "")]
    path: Annotated[str, Key(Text("a path"), "")]
    detail: Annotated[str, Key(Text(), "")]
    targets: Annotated[tuple[str, ...], Key(Many(Text()), "")]


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    schema: Annotated[int, Key(Choice((_SCHEMA,)), "")]
    findings: Annotated[tuple[Known, ...], Key(Many(Record(Known), "findings"), "")]


def baseline_json(report: Report) -> dict[str, object]:
    """What a baseline file holds: the findings of a report, known ones too, waived ones not."""
    findings = sorted((*report.findings, *report.known), key=lambda x: (x.path, x.rule, x.detail, x.targets))
    return {
        "schema": _SCHEMA,
        "findings": [
            {
                "fingerprint": fingerprint(finding.rule, finding.path, finding.detail),
                "rule": finding.rule,
                "severity": finding.severity,
                "path": finding.path,
                "detail": finding.detail,
                "targets": list(finding.targets or report.targets),
            }
            for finding in findings
            if finding.rule not in {EXPIRED, UNUSED}
        ],
    }


def load_baseline(path: Path) -> tuple[Known, ...]:
    """What a baseline file holds. Raises ConfigError when it is not there or not one."""
    try:
        text = load_text(path)
    except FileNotFoundError:
        raise ConfigError(f"{path} is not there", hint=_HINT) from None
    return parse_baseline(text, path)


def parse_baseline(text: str, path: Path) -> tuple[Known, ...]:
    """The findings in a text. ``path`` is only named in errors. Raises ConfigError when it is no baseline."""
    try:
        return Record(_File).read(json.loads(text), "").findings
    except (ValueError, RecursionError):
        raise ConfigError(f"{path}: not JSON", hint=_HINT) from None
    except Invalid as invalid:
        raise ConfigError("\n".join(f"{path}: {problem}" for problem in invalid.args), hint=_HINT) from None


def apply_baseline(report: Report, baseline: Sequence[Known]) -> Report:
    """The report with known findings set aside, and with what is known and was not found again.

    A finding counts as new for targets that the baseline was not made for, and when it is worse than it was.
    """
    rank: dict[tuple[str, str], int] = {}
    for each in baseline:
        for name in each.targets:
            key = each.fingerprint, name
            rank[key] = min(rank.get(key, len(SEVERITIES)), SEVERITIES.index(each.severity))
    left: list[Finding] = []
    known: list[Finding] = []
    for finding in report.findings:
        inside, outside = _split(finding, report.targets, rank)
        known += [inside] if inside else []
        left += [outside] if outside else []
    still = {*_keys(report.findings), *_keys(each.finding for each in report.waived)}
    gone = tuple(
        Gone(rule=each.rule, path=each.path, detail=each.detail)
        for each in baseline
        if each.fingerprint not in still and set(each.targets) & set(report.targets)
    )
    return replace(report, findings=tuple(left), known=tuple(known), gone=gone)


def _split(
    finding: Finding, targets: Sequence[str], rank: dict[tuple[str, str], int]
) -> tuple[Finding | None, Finding | None]:
    own = fingerprint(finding.rule, finding.path, finding.detail)
    severity = SEVERITIES.index(finding.severity)
    return split_by_target(finding, targets, lambda name: severity >= rank.get((own, name), len(SEVERITIES)))


def _keys(findings: Iterable[Finding]) -> Iterable[str]:
    return (fingerprint(finding.rule, finding.path, finding.detail) for finding in findings)
