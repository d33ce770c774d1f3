"""The report as one HTML file that asks for nothing else: no script, no font, no picture from outside.

Every text is escaped, and the page forbids itself to load anything, so that names out of somebody's archive stay text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from html import escape

from jetsonx import __version__
from jetsonx.console import amount
from jetsonx.verify.finding import Finding
from jetsonx.verify.formats.picture import Amount, render_bars
from jetsonx.verify.formats.words import (
    Group,
    describe_file,
    describe_gone,
    describe_input,
    for_targets,
    group_findings,
    plain,
    total,
    where,
)
from jetsonx.verify.report import Input, Report

_ROWS_MAX = 500
_STYLE = """
:root{color-scheme:light dark;--line:#8884;--error:#c62828;--warning:#b26a00;--note:#1565c0;--ok:#2e7d32}
body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}code,td.path{font-family:ui-monospace,monospace;font-size:.9em}
table{border-collapse:collapse;width:100%}td,th{border-top:1px solid var(--line);padding:.3rem .5rem;text-align:left;
vertical-align:top;overflow-wrap:anywhere}.path{width:38%}.number{text-align:right;white-space:nowrap}
.badge{color:#fff;border-radius:.3rem;padding:.1rem .5rem;font-size:.85em}.error{background:var(--error)}
.warning{background:var(--warning)}.note{background:var(--note)}.ok{background:var(--ok)}
.mend{border-left:3px solid var(--ok);padding-left:.7rem}details{margin:.8rem 0}summary{cursor:pointer}
svg.bars{width:100%;height:auto}svg text{font:13px system-ui,sans-serif;fill:currentColor}
"""


def render_page(report: Report) -> list[str]:
    """The report as lines of HTML."""
    title = f"jetsonx verify: {', '.join(report.targets)}"
    return [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body>",
        f'<h1><span class="badge {report.verdict}">{report.verdict}</span> {_text(title)}</h1>',
        f"<p>{_text(total(report))}</p>",
        *_list([describe_input(each) for each in report.inputs if each.name]),
        *_list([f"{target}: {source}" for target, source in report.profiles]),
        *(line for group in group_findings(report, report.findings) for line in _group(report, group)),
        *(line for each in report.inputs for line in _sizes(each, named=len(report.inputs) > 1)),
        *_aside(report),
        *_files(report),
        f"<p><small>jetsonx {_text(__version__)}</small></p></body></html>",
    ]


def _group(report: Report, group: Group) -> Iterator[str]:
    badge = f'<span class="badge {group.severity}">{group.severity} {_text(group.rule)}</span>'
    yield f"<h2>{badge} {_text(group.title)}</h2>"
    yield "<table>"
    yield from (_row(report, finding) for finding in group.findings[:_ROWS_MAX])
    yield "</table>"
    if len(group.findings) > _ROWS_MAX:
        yield f"<p>… and {len(group.findings) - _ROWS_MAX:,} more</p>"
    if why := report.rule(group.rule).why:
        yield f"<p>{_text(why)}</p>"
    if group.fix:
        yield f'<p class="mend">{_text(group.fix)}</p>'


def _row(report: Report, finding: Finding) -> str:
    what = f"{finding.message}{for_targets(report, finding)}"
    return f'<tr><td class="path">{_text(where(report, finding))}</td><td>{_text(what)}</td></tr>'


def _sizes(each: Input, *, named: bool) -> Iterator[str]:
    """Two pictures: what each architecture's device code takes, and what each layer does."""
    of = f" of {plain(each.name)}" if named else ""
    for title, amounts in (
        (f"Device code{of}, stored size", _by_sm(each)),
        (f"Layers{of}, stored size", _by_layer(each)),
    ):
        if bars := list(render_bars(title, amounts)):
            yield f"<h2>{_text(title)}</h2>"
            yield from bars


def _by_sm(each: Input) -> list[Amount]:
    sizes: Counter[str] = Counter()
    files: dict[str, set[str]] = {}
    for file in each.files:
        for fatbin in file.fatbins:
            for entry in fatbin.entries:
                sizes[entry.name] += entry.size_bytes
                files.setdefault(entry.name, set()).add(file.path)
    return [
        Amount(label=name, size_bytes=size, note=f"{name}: in {len(files[name])} files")
        for name, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
    ]


def _by_layer(each: Input) -> list[Amount]:
    """In the order of the image, base first: that is where a size comes from."""
    return [
        Amount(
            label=f"{number}  {layer.digest.partition(':')[2][:12]}",
            size_bytes=layer.size_bytes,
            note=plain(layer.created_by) or layer.digest,
        )
        for number, layer in enumerate(each.layers, 1)
    ]


def _aside(report: Report) -> Iterator[str]:
    waived = [
        f"{each.finding.rule} {where(report, each.finding)}: {each.reason}"
        + (f" (until {each.expiry})" if each.expiry else "")
        for each in report.waived
    ]
    known = [f"{finding.rule} {where(report, finding)}: {finding.message}" for finding in report.known]
    parts = (
        ("Waived", waived),
        ("Known in the baseline", known),
        ("Gone from the baseline", [describe_gone(gone) for gone in report.gone]),
        ("Not checked", list(report.unchecked)),
    )
    for title, lines in parts:
        if lines:
            yield f"<h2>{title}</h2>"
            yield from _list(lines)


def _files(report: Report) -> Iterator[str]:
    rows = [(one, file) for one in report.inputs for file in one.files if file.kind not in {"other", "script"}]
    if not rows:
        return
    yield f"<details><summary>{len(rows):,} files that were looked into</summary><table>"
    yield '<tr><th>file</th><th>what</th><th class="number">device code</th></tr>'
    for _, file in rows[:_ROWS_MAX]:
        size = sum(entry.size_bytes for fatbin in file.fatbins for entry in fatbin.entries)
        shown = amount(size) if size else ""
        what = file.reason or describe_file(file)
        yield f'<tr><td class="path">{_text(file.path)}</td><td>{_text(what)}</td><td class="number">{shown}</td></tr>'
    if len(rows) > _ROWS_MAX:
        yield f"<tr><td>… and {len(rows) - _ROWS_MAX:,} more</td></tr>"
    yield "</table></details>"


def _list(lines: list[str]) -> list[str]:
    return ["<ul>", *(f"<li>{_text(line)}</li>" for line in lines), "</ul>"] if lines else []


def _text(text: str) -> str:
    return escape(plain(text))
