"""The waivers file: what it may say, and what it does to a report."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from jetsonx.errors import ConfigError
from jetsonx.verify.finding import Finding
from jetsonx.verify.report import Report
from jetsonx.verify.waivers import Waiver, apply_waivers, load_waivers, parse_waivers
from tests.unit.report_values import NEWER, ORIN, REPORT, RULES, THOR

FILE = Path("jetsonx-waivers.toml")
IDS = [rule.id for rule in RULES]
TODAY = date(2026, 11, 26)
FOR_ALL = replace(NEWER, targets=())


def parse(text: str) -> tuple[Waiver, ...]:
    return parse_waivers(text, FILE, IDS)


def waiver(**changes: object) -> Waiver:
    return replace(Waiver(rule="JX201", path="usr/bin/*", reason="known"), **changes)  # type: ignore[arg-type]


def apply(*waivers: Waiver, findings: tuple[Finding, ...] = (NEWER,)) -> Report:
    report = replace(REPORT, findings=findings, waived=(), known=(), gone=())
    return apply_waivers(report, waivers, path=FILE, today=TODAY)


def test_all_that_a_waiver_may_say() -> None:
    (found,) = parse(
        '[[waiver]]\nrule = "JX201"\npath = "usr/bin/app"\ntarget = "orin-*"\ndetail = "libc.so.6 *"\n'
        'reason = "loaded later"\nexpires = 2026-12-31\n'
    )
    assert found == Waiver(
        rule="JX201",
        path="usr/bin/app",
        target="orin-*",
        detail="libc.so.6 *",
        reason="loaded later",
        expires=date(2026, 12, 31),
    )


@pytest.mark.parametrize("written", ['"2026-12-31"', "2026-12-31", "2026-12-31T23:00:00Z"])
def test_a_date_in_any_of_its_forms(written: str) -> None:
    text = f'[[waiver]]\nrule = "JX201"\npath = "*"\nreason = "r"\nexpires = {written}\n'
    assert parse(text)[0].expires == date(2026, 12, 31)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[waiver]]\nrule = "JX201"\npath = "*"\n', "waiver[0].reason: missing"),
        ('[[waiver]]\nrule = "JX201"\npath = "*"\nreason = "  "\n', "expected a reason"),
        ('[[waiver]]\nrule = "JX201"\nreason = "r"\n', "waiver[0].path: missing"),
        ('[[waiver]]\nrule = "JX202"\npath = "*"\nreason = "r"\n', "there is no rule JX202; did you mean JX"),
        ('[[waiver]]\nrule = "libs"\npath = "*"\nreason = "r"\n', "expected a rule such as JX301"),
        ('[[waiver]]\nrule = "JX201"\npath = "*"\nreason = "r"\nexpires = "soon"\n', "expected a date"),
        ('[[waiver]]\nrule = "JX201"\npath = "*"\nreason = "r"\nexpire = 2026-12-31\n', "did you mean expires?"),
        ('[waiver]\nrule = "JX201"\n', "expected a list of waivers"),
        ("[[waivers]]\n", "did you mean waiver?"),
        ("[[waiver]\n", "not TOML"),
    ],
)
def test_mistakes_are_said_with_the_file_and_what_is_right(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert caught.value.message.startswith(f"{FILE}: ")
    assert words in caught.value.message


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not there"):
        load_waivers(tmp_path / "none.toml", IDS)


def test_a_waived_finding_does_not_count() -> None:
    report = apply(waiver(expires=TODAY))
    assert report.verdict == "ok"
    assert [(each.finding, each.reason, each.expiry) for each in report.waived] == [(NEWER, "known", "2026-11-26")]


@pytest.mark.parametrize("changes", [{"path": "opt/*"}, {"rule": "JX304"}, {"detail": "libm.so.6 *"}])
def test_a_waiver_for_something_else_is_told_of(changes: dict[str, object]) -> None:
    report = apply(waiver(**changes))
    assert [(x.rule, x.severity) for x in report.findings] == [("JX201", "error"), ("JX901", "note")]
    assert report.findings[1].path == str(FILE)


def test_an_expired_waiver_does_not_hold_and_is_told_of() -> None:
    report = apply(waiver(expires=date(2026, 11, 25)))
    assert [(x.rule, x.severity) for x in report.findings] == [("JX201", "error"), ("JX902", "warning")]
    assert "expired on 2026-11-25" in report.findings[1].message


def test_an_absolute_path_means_the_one_in_the_image() -> None:
    assert apply(waiver(path="/usr/bin/app")).verdict == "ok"


def test_a_waiver_for_one_target_leaves_the_others() -> None:
    report = apply(waiver(target=THOR), findings=(FOR_ALL,))
    assert [x.targets for x in report.findings] == [(ORIN,)]
    assert [x.finding.targets for x in report.waived] == [(THOR,)]


@pytest.mark.parametrize("changes", [{"target": "xavier-nx@*"}, {"rule": "JX505"}])
def test_a_waiver_for_what_was_not_looked_at_is_not_unused(changes: dict[str, object]) -> None:
    assert [x.rule for x in apply(waiver(**changes)).findings] == ["JX201"]


def test_two_waivers_may_share_a_finding_by_its_targets() -> None:
    report = apply(waiver(target=THOR), waiver(target=ORIN, reason="other"), findings=(FOR_ALL,))
    assert report.verdict == "ok"
    assert [each.reason for each in report.waived] == ["known", "other"]
