"""Bars as SVG, for the HTML report: one row for each amount, and a strip that shows the shares of the whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

from jetsonx.console import amount

_WIDTH = 900
_LABEL = 260
_VALUE = 150
_ROW = 24
_STRIP = 30
_COLOURS = ("#3b7dd8", "#2ca58d", "#e0a030", "#c8553d", "#7b5ea7", "#5b8c5a", "#9c6644", "#577590")


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """One bar: ``note`` is shown when the pointer rests on it."""

    label: str
    size_bytes: int
    note: str = ""


def render_bars(title: str, amounts: Sequence[Amount]) -> Iterator[str]:
    """An SVG with ``amounts`` in the order given. Nothing when they come to nothing."""
    whole = sum(each.size_bytes for each in amounts)
    if not whole:
        return
    height = _STRIP + 16 + _ROW * len(amounts)
    name = escape(f"{title}: {amount(whole)}")
    yield f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{name}" class="bars">'
    yield f"<title>{name}</title>"
    yield from _strip(amounts, whole)
    longest = max(each.size_bytes for each in amounts)
    room = _WIDTH - _LABEL - _VALUE
    for number, each in enumerate(amounts):
        top = _STRIP + 16 + number * _ROW
        width = max(1.0, room * each.size_bytes / longest) if each.size_bytes else 0.0
        share = f"{amount(each.size_bytes)}, {100 * each.size_bytes / whole:.1f} %"
        label = each.label if len(each.label) <= 36 else f"{each.label[:35]}…"
        yield f"<g><title>{escape(each.note or each.label)}</title>"
        yield f'<text x="{_LABEL - 10}" y="{top + 16}" text-anchor="end">{escape(label)}</text>'
        place = f'x="{_LABEL}" y="{top + 3}" width="{width:.1f}" height="{_ROW - 6}"'
        yield f'<rect {place} rx="2" fill="{_colour(number)}"/>'
        yield f'<text x="{_LABEL + width + 8:.1f}" y="{top + 16}" class="value">{share}</text></g>'
    yield "</svg>"


def _strip(amounts: Sequence[Amount], whole: int) -> Iterator[str]:
    left = 0.0
    for number, each in enumerate(amounts):
        width = _WIDTH * each.size_bytes / whole
        if width:
            what = escape(f"{each.label}: {amount(each.size_bytes)}")
            yield (
                f'<rect x="{left:.1f}" y="0" width="{width:.1f}" height="{_STRIP}" fill="{_colour(number)}" '
                f'stroke="#fff" stroke-width="1"><title>{what}</title></rect>'
            )
        left += width


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]
