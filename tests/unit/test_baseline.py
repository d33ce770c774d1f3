"""The baseline: what was there before does not count, what is new or worse does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from jetsonx.errors import ConfigError
from jetsonx.verify.baseline import Known, apply_baseline, baseline_json, load_baseline, parse_baseline
from jetsonx.verify.finding import Finding
from jetsonx.verify.report import Gone, Report
from tests.unit.report_values import NEWER, ORIN, REPORT, THOR

FILE = Path("baseline.json")
BARE = replace(REPORT, waived=(), known=(), gone=())
NEWER = replace(NEWER, targets=(ORIN, THOR))


def written(report: Report) -> tuple[Known, ...]:
    return parse_baseline(json.dumps(baseline_json(report)), FILE)


def known(report: Report, *findings: Finding) -> Report:
    return apply_baseline(replace(report, findings=findings), written(report))


def test_what_was_written_is_known_again() -> None:
    report = apply_baseline(BARE, written(BARE))
    assert (report.verdict, report.gone) == ("ok", ())
    assert report.known == BARE.findings


def test_known_findings_stay_in_a_baseline_that_is_written_anew() -> None:
    assert written(apply_baseline(BARE, written(BARE))) == written(BARE)


def test_another_message_is_the_same_finding_and_another_detail_is_not() -> None:
    report = replace(BARE, findings=(NEWER,))
    assert known(report, replace(NEWER, message="said otherwise")).verdict == "ok"
    other = known(report, replace(NEWER, detail="libm.so.6 GLIBC_2.38"))
    assert other.verdict == "error"
    assert other.gone == (Gone(rule="JX201", path="usr/bin/app", detail="libc.so.6 GLIBC_2.38"),)


def test_a_finding_that_got_worse_counts() -> None:
    report = replace(BARE, findings=(replace(NEWER, severity="warning"),))
    assert known(report, NEWER).verdict == "error"
    assert known(replace(BARE, findings=(NEWER,)), replace(NEWER, severity="note")).verdict == "ok"


def test_another_target_was_not_in_it() -> None:
    old = replace(BARE, targets=(ORIN,), findings=(replace(NEWER, targets=(ORIN,)),))
    report = apply_baseline(replace(BARE, findings=(NEWER,)), written(old))
    assert [x.targets for x in report.findings] == [(THOR,)]
    assert [x.targets for x in report.known] == [(ORIN,)]


def test_what_was_known_for_other_targets_is_not_gone() -> None:
    old = replace(BARE, targets=("agx-xavier@35.4.1",), findings=(replace(NEWER, targets=("agx-xavier@35.4.1",)),))
    assert apply_baseline(replace(BARE, findings=()), written(old)).gone == ()


def test_findings_about_waivers_are_nobodys_past() -> None:
    about = Finding(rule="JX901", severity="note", path="jetsonx-waivers.toml", message="unused")
    assert written(replace(BARE, findings=(about,))) == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "expected a table"),
        ('{"schema": 2, "findings": []}', "schema"),
        ('{"schema": 1}', "findings: missing"),
        ('{"schema": 1, "findings": [{}]}', "findings[0].rule: missing"),
        ('{"schema": 1, "findings": [3]}', "findings[0]"),
    ],
)
def test_other_files_are_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_baseline(text, FILE)
    assert words in caught.value.message
    assert "--write-baseline" in str(caught.value.hint)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not there"):
        load_baseline(tmp_path / "none.json")
