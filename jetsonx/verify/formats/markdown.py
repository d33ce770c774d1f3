"""Markdown for the summary page of a CI run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from jetsonx.verify.finding import Finding
from jetsonx.verify.formats.words import (
    Group,
    describe_gone,
    describe_input,
    for_targets,
    group_findings,
    plain,
    total,
    where,
)
from jetsonx.verify.report import Report

_ROWS_MAX = 50
"""Of each group: GitHub drops a summary of more than 1 MiB, and nobody reads one."""
_SIGNS = {"ok": "✅", "note": "🔹", "warning": "⚠️", "error": "❌"}
_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~<>&@])")


def render_markdown(report: Report) -> list[str]:
    """The report as lines of GitHub's Markdown: a verdict, a table for each group of findings, and the rest folded."""
    targets = ", ".join(report.targets)
    lines = [f"### {_SIGNS[report.verdict]} jetsonx verify for {_text(targets)}: {total(report)}", ""]
    lines += [f"- {_text(describe_input(each))}" for each in report.inputs if each.name]
    lines += [f"- {_text(target)}: {_text(source)}" for target, source in report.profiles]
    for group in group_findings(report, report.findings):
        lines += _group(report, group)
    lines += _folded(
        f"{len(report.waived)} waived",
        [
            f"- {each.finding.rule} {_where(report, each.finding)}: {_text(each.reason)}"
            + (f" (until {each.expiry})" if each.expiry else "")
            for each in report.waived
        ],
    )
    lines += _folded(
        f"{len(report.known)} known in the baseline",
        [f"- {x.rule} {_where(report, x)}: {_text(x.message)}" for x in report.known],
    )
    lines += _folded(
        f"{len(report.gone)} gone from the baseline", [f"- {_text(describe_gone(x))}" for x in report.gone]
    )
    return [*lines, *_folded("Not checked", [f"- {_text(each)}" for each in report.unchecked])]


def _group(report: Report, group: Group) -> Iterator[str]:
    yield ""
    title = f": {_text(group.title)}" if group.title else ""
    yield f"#### {_SIGNS[group.severity]} {group.severity} {group.rule}{title}"
    yield ""
    yield "| file | what |"
    yield "| --- | --- |"
    for finding in group.findings[:_ROWS_MAX]:
        yield f"| {_where(report, finding)} | {_text(finding.message + for_targets(report, finding))} |"
    if len(group.findings) > _ROWS_MAX:
        yield f"| … | and {len(group.findings) - _ROWS_MAX:,} more |"
    if group.fix:
        yield ""
        yield f"**Mend:** {_text(group.fix)}"


def _folded(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield from ("", f"<details><summary>{title}</summary>", "", *lines[:_ROWS_MAX])
        if len(lines) > _ROWS_MAX:
            yield f"- … and {len(lines) - _ROWS_MAX:,} more"
        yield from ("", "</details>")


def _where(report: Report, finding: Finding) -> str:
    return f"<code>{_text(where(report, finding))}</code>"


def _text(text: str) -> str:
    """``text`` as it stands: nothing in it is markup, a link or a mention."""
    return _SPECIAL.sub(lambda found: f"&#{ord(found[1])};" if found[1] in "<>&|@" else f"\\{found[1]}", plain(text))
