"""Findings that somebody decided to live with: a TOML file of rule, path, reason and how long."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from jetsonx.errors import ConfigError
from jetsonx.project.document import load_text, parse_document
from jetsonx.project.kinds import Invalid, Many, Problem, Text, like, mismatch, nearest
from jetsonx.project.record import Key, Record
from jetsonx.verify.finding import Finding, sort_findings, split_by_target
from jetsonx.verify.report import Report, Waived

UNUSED = "JX901"
EXPIRED = "JX902"
_HINT = 'a waiver is [[waiver]] with rule = "JX301", path = "usr/lib/*", reason = "…"; see docs/verify.md'
_GLOB = Text("a pattern such as usr/lib/*", like(r"[^\n]+"))


class _Day:
    """A date, as TOML has it or in quotes."""

    what = "a date such as 2026-12-31"

    def read(self, value: object, at: str) -> date:
        """The date; of a date with a time, the day. Raises Invalid."""
        if isinstance(value, datetime):
            return value.date()
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(value if isinstance(value, str) else "")
        except ValueError:
            raise mismatch(self, value, at) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """``path``, ``target`` and ``detail`` are patterns in which ``*`` stands for anything, slashes included.

    It holds up to and on the day ``expires``.
    """

    rule: Annotated[str, Key(Text("a rule such as JX301", like(r"JX\d+")), "", '"JX301"')]
    path: Annotated[str, Key(_GLOB, "", '"usr/lib/*"')]
    reason: Annotated[str, Key(Text("a reason", like(r"\s*\S[\s\S]*")), "", '"loaded on demand, and there by then"')]
    target: Annotated[str, Key(_GLOB, "", '"orin-nano@36.4.3"')] = "*"
    detail: Annotated[str, Key(_GLOB, "", '"libfoo.so.1"')] = "*"
    expires: Annotated[date | None, Key(_Day(), "", "2026-12-31")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    waiver: Annotated[tuple[Waiver, ...], Key(Many(Record(Waiver), "waivers"), "")] = ()


def load_waivers(path: Path, rules: Collection[str]) -> tuple[Waiver, ...]:
    """The waivers in a file; ``rules`` are the ids that there are.

    Raises ConfigError when it is not there, or with everything that is wrong in it.
    """
    try:
        text = load_text(path)
    except FileNotFoundError:
        raise ConfigError(f"{path} is not there", hint=_HINT) from None
    return parse_waivers(text, path, rules)


def parse_waivers(text: str, path: Path, rules: Collection[str]) -> tuple[Waiver, ...]:
    """The waivers in a text. ``path`` is only named in errors. Raises ConfigError with all that is wrong."""
    try:
        waivers = Record(_File).read(parse_document(text, path), "").waiver
        unknown = [
            Problem(path=f"waiver[{number}].rule", message=f"there is no rule {waiver.rule}", fix=_near(waiver, rules))
            for number, waiver in enumerate(waivers)
            if waiver.rule not in rules
        ]
        if unknown:
            raise Invalid(*unknown)
    except Invalid as invalid:
        raise ConfigError("\n".join(f"{path}: {problem}" for problem in invalid.args), hint=_HINT) from None
    return waivers


def _near(waiver: Waiver, rules: Collection[str]) -> str:
    close = nearest(waiver.rule, tuple(rules))
    return f"did you mean {close}?" if close else "`jetsonx verify --rules` lists them"


def apply_waivers(report: Report, waivers: Sequence[Waiver], *, path: Path, today: date) -> Report:
    """The report with the findings that a waiver is for set aside, and a finding about each waiver that is of no use.

    ``path`` is the file they are from, for these findings. A waiver for other targets, or for a rule that was not
    applied, is neither used nor unused.
    """
    left = list(report.findings)
    waived: list[Waived] = []
    about: list[Finding] = []
    applied = {rule.id for rule in report.rules}
    for waiver in waivers:
        if not any(fnmatchcase(name, waiver.target) for name in report.targets) or waiver.rule not in applied:
            continue
        taken, rest = _take(waiver, left, report.targets)
        if not taken:
            about.append(_about(waiver, path, UNUSED, "found nothing to waive"))
        elif waiver.expires is not None and waiver.expires < today:
            about.append(_about(waiver, path, EXPIRED, f"expired on {waiver.expires} and does not hold any more"))
        else:
            left = rest
            expiry = waiver.expires.isoformat() if waiver.expires else ""
            waived += (Waived(finding=finding, reason=waiver.reason, expiry=expiry) for finding in taken)
    return replace(report, findings=sort_findings([*left, *about]), waived=(*report.waived, *waived))


def _take(waiver: Waiver, findings: Sequence[Finding], targets: Sequence[str]) -> tuple[list[Finding], list[Finding]]:
    taken: list[Finding] = []
    rest: list[Finding] = []
    for finding in findings:
        inside, outside = _split(waiver, finding, targets)
        taken += [inside] if inside else []
        rest += [outside] if outside else []
    return taken, rest


def _split(waiver: Waiver, finding: Finding, targets: Sequence[str]) -> tuple[Finding | None, Finding | None]:
    is_for = _is_for(waiver, finding)
    return split_by_target(finding, targets, lambda name: is_for and fnmatchcase(name, waiver.target))


def _is_for(waiver: Waiver, finding: Finding) -> bool:
    return (
        finding.rule == waiver.rule
        and fnmatchcase(finding.path, waiver.path.lstrip("/"))
        and fnmatchcase(finding.detail, waiver.detail)
    )


def _about(waiver: Waiver, path: Path, rule: str, what: str) -> Finding:
    of = f"the waiver of {waiver.rule} for {waiver.path}" + (f" ({waiver.detail})" if waiver.detail != "*" else "")
    fix = "mend what it was for, or decide anew until when" if rule == EXPIRED else "delete it"
    return Finding(
        rule=rule,
        severity="warning" if rule == EXPIRED else "note",
        path=str(path),
        message=f"{of} {what}: {waiver.reason}",
        fix=fix,
        detail=f"{waiver.rule} {waiver.path} {waiver.detail}",
    )
