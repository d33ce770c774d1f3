"""JUnit XML: one suite for each rule, one case for each file, so that what passed counts too.

Source: the schema that Jenkins' xUnit plugin publishes (junit-10.xsd), which GitLab and others read as well.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from xml.sax.saxutils import escape, quoteattr

from jetsonx.verify.finding import SEVERITIES, Finding, Severity
from jetsonx.verify.formats.words import for_targets, plain, where
from jetsonx.verify.report import Report, Waived

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_junit(report: Report, *, fail_on: Severity = "error") -> list[str]:
    """The report as lines of XML.

    A finding at least as bad as ``fail_on`` fails its case, a milder one is told as its output, a waived or known one
    skips it. A rule that found nothing has a suite of passes.
    """
    found: dict[str, dict[str, list[Finding]]] = defaultdict(lambda: defaultdict(list))
    for finding in report.findings:
        found[finding.rule][where(report, finding)].append(finding)
    aside: dict[str, dict[str, list[Waived]]] = defaultdict(lambda: defaultdict(list))
    for each in (*report.waived, *(Waived(finding=x, reason="known in the baseline") for x in report.known)):
        aside[each.finding.rule][where(report, each.finding)].append(each)
    several = len(report.inputs) > 1
    paths = [f"{one.name}: {file.path}" if several else file.path for one in report.inputs for file in one.files]
    suites: list[str] = []
    tests = failures = skipped = 0
    for rule in dict.fromkeys([*(rule.id for rule in report.rules), *found, *aside]):
        suite = _Suite(report, rule, found[rule], aside[rule], _bad(fail_on))
        lines = list(suite.lines(paths))
        suites += lines
        tests, failures, skipped = tests + suite.tests, failures + suite.failures, skipped + suite.skipped
    counts = f'tests="{tests}" failures="{failures}" skipped="{skipped}"'
    head = f'<testsuites name="jetsonx verify" {counts} errors="0" time="0">'
    return ['<?xml version="1.0" encoding="UTF-8"?>', head, *suites, "</testsuites>"]


def _bad(fail_on: Severity) -> Sequence[Severity]:
    return SEVERITIES[: SEVERITIES.index(fail_on) + 1]


class _Suite:
    """The cases of one rule, counted while they are written."""

    def __init__(
        self,
        report: Report,
        rule: str,
        found: Mapping[str, list[Finding]],
        aside: Mapping[str, list[Waived]],
        bad: Sequence[Severity],
    ) -> None:
        self.tests = self.failures = self.skipped = 0
        self._report = report
        self._rule = rule
        self._found = found
        self._aside = aside
        self._bad = bad

    def lines(self, paths: Sequence[str]) -> Iterator[str]:
        """The suite; a case for each of ``paths``, and for what else has a finding."""
        cases = [line for path in dict.fromkeys([*paths, *self._found, *self._aside]) for line in self._case(path)]
        name = " ".join(part for part in (self._rule, self._report.rule(self._rule).title) if part)
        counts = f'tests="{self.tests}" failures="{self.failures}" skipped="{self.skipped}"'
        yield f'  <testsuite name={_attribute(name)} {counts} errors="0" time="0">'
        yield from cases
        yield "  </testsuite>"

    def _case(self, path: str) -> Iterator[str]:
        self.tests += 1
        start = f'    <testcase classname={_attribute(self._rule)} name={_attribute(path)} time="0"'
        findings = self._found.get(path, [])
        failing = [finding for finding in findings if finding.severity in self._bad]
        aside = self._aside.get(path, [])
        inner: list[str] = []
        if failing:
            self.failures += 1
            told = "\n".join(self._told(finding) for finding in findings)
            kind = _attribute(failing[0].severity)
            inner.append(f"<failure type={kind} message={_attribute(failing[0].message)}>{_text(told)}</failure>")
        elif aside and not findings:
            self.skipped += 1
            inner.append(f"<skipped message={_attribute(aside[0].reason)}/>")
        elif findings:
            told = "\n".join(self._told(finding) for finding in findings)
            inner.append(f"<system-out>{_text(told)}</system-out>")
        yield f"{start}>{''.join(inner)}</testcase>" if inner else f"{start}/>"

    def _told(self, finding: Finding) -> str:
        mend = f"\n  mend: {plain(finding.fix)}" if finding.fix else ""
        return f"{finding.severity} {plain(finding.message)}{for_targets(self._report, finding)}{mend}"


def _attribute(text: str) -> str:
    return quoteattr(_NO_XML.sub("\ufffd", plain(text)))


def _text(text: str) -> str:
    return escape(_NO_XML.sub("\ufffd", text))
