"""The formats of a report: whole outputs held still, and what each format's readers insist on."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jetsonx.verify.finding import Finding, fingerprint
from jetsonx.verify.formats.render import FORMATS, Format, render
from jetsonx.verify.report import Input, Report
from tests.unit.golden import check_golden
from tests.unit.report_values import CLEAN, FINDINGS, HOSTILE, NEWER, ORIN, REPORT, RULES

SUFFIXES = {"text": "txt", "json": "json", "sarif": "sarif", "junit": "xml", "markdown": "md", "html": "html"}


@pytest.mark.parametrize("style", FORMATS)
def test_every_format_is_as_it_was(style: Format) -> None:
    check_golden(f"verify/report.{SUFFIXES[style]}", _unversioned(render(REPORT, style)) + "\n")


@pytest.mark.parametrize("style", FORMATS)
def test_a_clean_report_is_as_it_was(style: Format) -> None:
    check_golden(f"verify/clean.{SUFFIXES[style]}", _unversioned(render(CLEAN, style)) + "\n")


def _unversioned(text: str) -> str:
    from jetsonx import __version__

    return text.replace(__version__, "VERSION")


@pytest.mark.parametrize("style", FORMATS)
def test_no_format_lets_a_name_move_the_cursor(style: Format) -> None:
    text = render(REPORT, style)
    assert "\x1b" not in text
    if style not in {"json", "sarif"}:  # those escape it, or leave it to the program that reads them
        assert "\u202e" not in text


@given(name=st.text(max_size=40), message=st.text(max_size=40))
@settings(max_examples=25, deadline=None)
def test_any_name_is_only_text(name: str, message: str) -> None:
    finding = replace(NEWER, path=name, message=message, fix=message, detail=name, artifact=name)
    report = replace(REPORT, findings=(finding,), waived=(replace(REPORT.waived[0], finding=finding, reason=message),))
    assert json.loads(render(report, "json"))["findings"][0]["path"] == name
    assert len(json.loads(render(report, "sarif"))["runs"][0]["results"]) == 3
    assert len(list(ElementTree.fromstring(render(report, "junit")))) == len(RULES)
    page = Page()
    page.feed(render(report, "html"))
    assert (page.open, page.links, page.tags.count("svg")) == ([], [], 2)
    for style in ("text", "markdown", "html", "junit"):
        assert all(line.isprintable() or line.strip("\n") == "" for line in render(report, style).split("\n"))


def test_colour_only_when_asked_for() -> None:
    assert "\x1b[1;31merror JX201" in render(REPORT, "text", colour=True)


def test_text_shows_the_first_of_many_unless_everything_is_wanted() -> None:
    many = tuple(replace(NEWER, path=f"usr/bin/app{number}") for number in range(20))
    report = replace(REPORT, findings=many)
    short, whole = render(report, "text"), render(report, "text", everything=True)
    assert "… and 12 more" in short
    assert short.count("usr/bin/app") < whole.count("usr/bin/app1") + 20
    assert "usr/bin/app19" in whole
    assert whole.count("mend: ") == 1


def test_several_inputs_are_told_apart() -> None:
    second = Input(name="other.whl", kind="wheel", files=CLEAN.files)
    finding = replace(NEWER, artifact="other.whl")
    report = replace(REPORT, inputs=(*REPORT.inputs, second), findings=(finding,))
    assert "other.whl: usr/bin/app: needs" in render(report, "text")
    files = json.loads(render(report, "json"))["files"]
    assert [file["artifact"] for file in files if file["path"] == "usr/bin/app"] == ["app:1.0", "other.whl"]
    names = [case.get("name") for case in ElementTree.fromstring(render(report, "junit")).iter("testcase")]
    assert {"app:1.0: usr/bin/app", "other.whl: usr/bin/app"} <= set(names)


def schema() -> dict[str, object]:
    text = resources.files("jetsonx.verify").joinpath("report.schema.json").read_text()
    value: dict[str, object] = json.loads(text)
    return value


def test_the_published_schema_holds_for_every_report() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    for report in (REPORT, CLEAN, replace(CLEAN, inputs=())):
        jsonschema.validate(json.loads(render(report, "json")), schema())


@pytest.mark.parametrize(
    "damage",
    [{"schema": 2}, {"verdict": "fine"}, {"findings": [{"rule": "JX201"}]}, {"targets": "orin"}],
)
def test_the_published_schema_refuses_other_things(damage: dict[str, object]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**json.loads(render(REPORT, "json")), **damage}, schema())


def test_the_schema_names_every_key_that_is_written() -> None:
    def keys(value: object) -> set[str]:
        if isinstance(value, dict):
            return {key for name, each in value.items() for key in (name, *keys(each))}
        return {key for each in value for key in keys(each)} if isinstance(value, list) else set()

    named = keys(schema())
    free = {"libc.so.6"}
    assert not keys(json.loads(render(REPORT, "json"))) - named - free


def test_sarif_satisfies_the_standards_schema_and_github() -> None:
    log = json.loads(render(REPORT, "sarif"))
    standard = json.loads((Path(__file__).parent.parent / "schemas/sarif-2.1.0.json").read_text())
    jsonschema.Draft4Validator(standard).validate(log)
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(set(rules)) == len(rules)
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        place = result["locations"][0]["physicalLocation"]
        assert place["region"]["startLine"] == 1
        assert place["artifactLocation"]["uri"].isascii()
        assert "primaryLocationLineHash" in result["partialFingerprints"]
    assert [rule.get("helpUri") for rule in run["tool"]["driver"]["rules"]][:3] == [
        "https://github.com/pypa/auditwheel/issues/36",
        None,
        "https://docs.nvidia.com/cuda/cuda-c-programming-guide/",
    ]


def test_sarif_knows_a_finding_again_when_it_is_worded_anew() -> None:
    def prints(finding: Finding) -> object:
        log = json.loads(render(replace(REPORT, findings=(finding,)), "sarif"))
        return log["runs"][0]["results"][0]["partialFingerprints"]

    assert prints(NEWER) == prints(replace(NEWER, message="said otherwise", severity="warning"))
    assert prints(NEWER) != prints(replace(NEWER, detail="libm.so.6 GLIBC_2.38"))


def test_a_rule_that_nobody_declared_still_makes_a_sarif_log() -> None:
    odd = Finding(rule="JX999", severity="note", path="a", message="m")
    run = json.loads(render(replace(REPORT, findings=(odd,)), "sarif"))["runs"][0]
    assert run["results"][0]["ruleIndex"] == len(RULES)


def test_junit_counts_passes() -> None:
    root = ElementTree.fromstring(render(REPORT, "junit"))
    suites = {str(suite.get("name")).partition(" ")[0]: suite for suite in root}
    assert list(suites) == [rule.id for rule in RULES]
    versions = suites["JX201"]
    assert (versions.get("tests"), versions.get("failures")) == ("4", "2")
    assert [case.get("name") for case in versions if case.find("failure") is None] == ["usr/lib/libx.so", "usr/bin/run"]
    assert suites["JX304"].get("failures") == "0"
    assert suites["JX801"].find("testcase/skipped") is not None
    assert root.get("tests") == str(sum(int(str(suite.get("tests"))) for suite in root))


def test_junit_fails_what_fails_the_command() -> None:
    root = ElementTree.fromstring(render(REPORT, "junit", fail_on="warning"))
    assert root.get("failures") == "3"


def test_markdown_stays_short_and_text() -> None:
    many = tuple(replace(NEWER, path=f"usr/bin/app{number}") for number in range(5000))
    text = render(replace(REPORT, findings=many), "markdown")
    assert len(text) < 100_000
    assert "and 4,950 more" in text
    whole = render(REPORT, "markdown")
    assert "<b>" not in whole
    assert "| error |" not in whole.replace("\\|", "")


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.links: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in {"meta", "rect"}:
            self.open.append(tag)
        self.links += [str(value) for name, value in attrs if name in {"src", "href", "xlink:href", "action"}]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "rect":
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_the_page_is_whole_and_asks_for_nothing() -> None:
    page = Page()
    page.feed(render(REPORT, "html"))
    assert page.open == []
    assert page.links == []
    assert not {"script", "link", "img", "iframe", "b"} & set(page.tags)
    assert page.tags.count("svg") == 2
    assert any("<b>a&b" in text for text in page.text)


def test_fingerprints_part_their_parts() -> None:
    assert fingerprint("a", "b", "c") != fingerprint("a", "bc", "")
    assert len(fingerprint("JX201", HOSTILE, "\udcff")) == 32


def test_formats_are_those_of_the_command_line() -> None:
    assert set(SUFFIXES) == set(get_args(Format))
    assert FINDINGS[0].targets == (ORIN,)


def test_a_report_without_inputs_can_be_shown() -> None:
    empty = Report(targets=(ORIN,), inputs=(), findings=())
    for style in FORMATS:
        assert render(empty, style)
