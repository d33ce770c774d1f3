"""What a build says when it is done: lines for a person, JSON for a program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jetsonx.build.result import Result
from jetsonx.console import amount


def summary_lines(result: Result) -> Iterator[str]:
    """A few lines: what was changed on the way, what the check found, where the results lie."""
    out = result.out
    yield from (f"note: {note}" for note in result.notes)
    if result.report is None:
        yield f"up to date: {out}"
        return
    from jetsonx.verify.formats.text import render_text

    if result.report.targets:
        yield from render_text(result.report)
    yield f"files:  {out / 'files'}"
    yield f"report: {out / 'report.json'}"
    if result.image is not None:
        yield f"image:  {out / 'image'}  {result.image.digest[:19]}  {amount(result.image.size_bytes)}"
    yield from (f"tag:    {tag}" for tag in result.tags)


def result_json(results: Sequence[Result]) -> dict[str, object]:
    """The answer of ``jetsonx build --json``.

    ``builds[]``: ``output`` (directory), ``engine`` (local or docker), ``why`` (what was chosen), ``tags``,
    ``targets``, ``up_to_date``, ``verdict`` (ok, note, warning or error), ``files``, ``image`` (digest or null),
    ``image_bytes``, ``device_code`` (by file), ``notes``, and ``report`` (path).
    """
    return {
        "schema": 1,
        "builds": [
            {
                "output": str(result.out),
                "engine": result.engine,
                "why": list(result.why),
                "tags": list(result.tags),
                "up_to_date": result.report is None,
                "notes": list(result.notes),
                "report": str(result.out / "report.json"),
                **{name: value for name, value in result.summary.items() if name != "key"},
            }
            for result in results
        ],
    }
