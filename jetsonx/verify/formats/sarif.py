"""SARIF 2.1.0, as GitHub's code scanning takes it.

Source: the OASIS standard "Static Analysis Results Interchange Format (SARIF) Version 2.1.0", and GitHub's
documentation "SARIF support for code scanning": every result needs a physicalLocation, though binaries have no lines
(so line 1), and alerts are matched from run to run by the fingerprint called primaryLocationLineHash.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from jetsonx import __version__
from jetsonx.verify.finding import Finding, Rule, fingerprint
from jetsonx.verify.formats.words import for_targets, where
from jetsonx.verify.report import Report

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_THREAD = re.compile(r"\b([\w.-]+/[\w.-]+)#(\d+)\b")


def report_sarif(report: Report) -> dict[str, object]:
    """The report as a SARIF log of one run. Waived findings are suppressed results, known ones "unchanged"."""
    rules = _rules(report)
    index = {rule.id: number for number, rule in enumerate(rules)}
    results = [_result(report, finding, index) for finding in report.findings]
    results += [{**_result(report, finding, index), "baselineState": "unchanged"} for finding in report.known]
    results += [
        {
            **_result(report, each.finding, index),
            "suppressions": [{"kind": "external", "status": "accepted", "justification": each.reason}],
        }
        for each in report.waived
    ]
    driver = {"name": "jetsonx verify", "version": __version__, "rules": [_rule(rule) for rule in rules]}
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": driver},
                "automationDetails": {"id": f"jetsonx-verify/{'+'.join(report.targets)}"},
                "invocations": [{"executionSuccessful": True}],
                "columnKind": "unicodeCodePoints",
                "properties": {
                    "targets": list(report.targets),
                    "inputs": [{"name": each.name, "digest": each.digest} for each in report.inputs],
                    "unchecked": list(report.unchecked),
                },
                "results": results,
            }
        ],
    }


def _rules(report: Report) -> list[Rule]:
    """The rules that were applied, and those that a finding names beside them, each once."""
    named = [*report.findings, *report.known, *(each.finding for each in report.waived)]
    return list({rule.id: rule for rule in (*report.rules, *(report.rule(x.rule) for x in named))}.values())


def _rule(rule: Rule) -> dict[str, object]:
    value: dict[str, object] = {
        "id": rule.id,
        "shortDescription": {"text": rule.title or rule.id},
        "fullDescription": {"text": rule.why or rule.title or rule.id},
        "help": {"text": rule.mend or rule.why or rule.title or rule.id},
        "defaultConfiguration": {"level": rule.severity, "enabled": rule.is_default},
        "properties": {"tags": [tag for tag in ("jetson", rule.family) if tag]},
    }
    address = next((address for source in rule.sources if (address := _address(source))), "")
    return value | ({"helpUri": address} if address else {})


def _address(source: str) -> str:
    """Where a source can be read: it may be an address, or a thread like "owner/repository#12"."""
    thread = _THREAD.search(source)
    if thread:
        return f"https://github.com/{thread[1]}/issues/{thread[2]}"
    found = re.search(r"https://[^\s()<>]+", source)
    return found[0] if found else ""


def _result(report: Report, finding: Finding, index: Mapping[str, int]) -> dict[str, object]:
    same = fingerprint(finding.rule, finding.path, finding.detail)
    several = len(report.inputs) > 1 and finding.artifact
    origin = f"{finding.artifact}: " if several else ""
    text = f"{origin}{finding.message}{for_targets(report, finding)}"
    location = {"artifactLocation": {"uri": _uri(report, finding)}, "region": {"startLine": 1}}
    return {
        "ruleId": finding.rule,
        "ruleIndex": index[finding.rule],
        "level": finding.severity,
        "message": {"text": f"{text}. Mend: {finding.fix}" if finding.fix else text},
        "locations": [{"physicalLocation": location}],
        "partialFingerprints": {"primaryLocationLineHash": f"{same}:1", "jetsonx/v1": same},
        "properties": {"targets": list(finding.targets or report.targets), "layer": finding.layer},
    }


def _uri(report: Report, finding: Finding) -> str:
    """A relative reference: GitHub takes it for a path in the repository."""
    text = finding.path or where(report, finding) or "."
    return quote(text.lstrip("/") or ".", errors="backslashreplace")
