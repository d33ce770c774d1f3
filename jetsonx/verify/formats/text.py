"""The report for a person: worst first, what has the same mend together, and the mend once."""

from __future__ import annotations

from collections.abc import Iterator

from jetsonx.verify.finding import Severity
from jetsonx.verify.formats.words import (
    Group,
    counted,
    describe_file,
    describe_gone,
    describe_input,
    for_targets,
    group_findings,
    plain,
    total,
    where,
)
from jetsonx.verify.report import Report

_FILES_DESCRIBED = 12
_SHOWN: dict[Severity, int] = {"error": 8, "warning": 8, "note": 3}
_ASIDE_SHOWN = 8
_COLOURS: dict[Severity, str] = {"error": "1;31", "warning": "1;33", "note": "1;36"}
_BOLD, _DIM, _GOOD = "1", "2", "1;32"


def render_text(report: Report, *, colour: bool = False, everything: bool = False) -> list[str]:
    """The report as lines.

    Of a group only the first few findings are shown, and files are described only while they are few, unless
    ``everything`` is asked for. ``colour`` adds the escape sequences of terminals.
    """
    paint = _paint if colour else _leave
    lines = [describe_input(each) for each in report.inputs if each.name]
    if report.profiles:
        lines += [f"{target}: {source}" for target, source in report.profiles]
    files = [file for file in report.files if file.kind not in {"other", "unreadable", "script"}]
    if everything or len(files) <= _FILES_DESCRIBED:
        lines += [f"{plain(file.path)}: {describe_file(file)}" for file in files]
    for group in group_findings(report, report.findings):
        lines += _group_lines(report, group, colour=colour, everything=everything)
    lines += _aside(report, everything=everything)
    checked = sum(file.kind != "other" for file in report.files)
    what = " for ".join(part for part in (f"checked {counted(checked, 'file')}", ", ".join(report.targets)) if part)
    verdict = report.verdict
    return [*lines, f"{what}: " + paint(total(report), _GOOD if verdict == "ok" else _COLOURS[verdict])]


def _group_lines(report: Report, group: Group, *, colour: bool, everything: bool) -> Iterator[str]:
    paint = _paint if colour else _leave
    findings = group.findings
    title = f": {group.title}" if group.title else ""
    count = f" ({len(findings):,})" if len(findings) > 1 else ""
    yield ""
    yield paint(f"{group.severity} {group.rule}", _COLOURS[group.severity]) + paint(f"{title}{count}", _BOLD)
    shown = len(findings) if everything else _SHOWN[group.severity]
    for finding in findings[:shown]:
        message = plain(finding.message) + for_targets(report, finding)
        yield f"  {plain(where(report, finding))}: {message}"
    if len(findings) > shown:
        yield paint(f"  … and {len(findings) - shown:,} more (jetsonx -v verify shows all)", _DIM)
    if group.fix:
        yield f"  mend: {plain(group.fix)}"


def _aside(report: Report, *, everything: bool) -> Iterator[str]:
    """What does not count, and what nobody looked at; a blank line before, and after all of it."""
    if not (report.findings or report.waived or report.gone or report.unchecked):
        return
    yield ""
    for waived in report.waived if everything else report.waived[:_ASIDE_SHOWN]:
        finding = waived.finding
        until = f" until {waived.expiry}" if waived.expiry else ""
        yield f"waived {finding.rule} {plain(where(report, finding))}{until}: {plain(waived.reason)}"
    if not everything and len(report.waived) > _ASIDE_SHOWN:
        yield f"… and {len(report.waived) - _ASIDE_SHOWN:,} more waived"
    for gone in report.gone if everything else report.gone[:_ASIDE_SHOWN]:
        yield f"gone from the baseline: {describe_gone(gone)}"
    if report.unchecked:
        yield "not checked: " + "; ".join(report.unchecked)


def _paint(text: str, code: str) -> str:
    return f"\x1b[{code}m{text}\x1b[0m"


def _leave(text: str, code: str) -> str:  # noqa: ARG001 - as _paint
    return text
