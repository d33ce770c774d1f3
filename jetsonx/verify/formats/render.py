"""Which module renders which format. Each is imported when it is asked for."""

from __future__ import annotations

import json
from typing import Literal, get_args

from jetsonx.verify.finding import Severity
from jetsonx.verify.report import Report

Format = Literal["text", "json", "sarif", "junit", "markdown", "html"]
FORMATS: tuple[Format, ...] = get_args(Format)


def render(
    report: Report,
    style: Format,
    *,
    fail_on: Severity = "error",
    colour: bool = False,
    everything: bool = False,
) -> str:
    """The report in one of the formats, without a line break at the end.

    ``fail_on`` is the mildest severity that fails a JUnit case; ``colour`` and ``everything`` are for text.
    """
    if style == "text":
        from jetsonx.verify.formats.text import render_text

        return "\n".join(render_text(report, colour=colour, everything=everything))
    if style == "json":
        from jetsonx.verify.formats.document import report_json

        return json.dumps(report_json(report), indent=2)
    if style == "sarif":
        from jetsonx.verify.formats.sarif import report_sarif

        return json.dumps(report_sarif(report), indent=2)
    if style == "junit":
        from jetsonx.verify.formats.junit import render_junit

        return "\n".join(render_junit(report, fail_on=fail_on))
    if style == "markdown":
        from jetsonx.verify.formats.markdown import render_markdown

        return "\n".join(render_markdown(report))
    from jetsonx.verify.formats.page import render_page

    return "\n".join(render_page(report))
