"""Bar charts as SVG, from numbers alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH, _LABELS, _BAR, _GAP, _TITLE = 640, 150, 18, 6, 26
_COLOURS = ("#2f7d32", "#5b8db8", "#c0562f")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """One group of bars on a scale of its own: ``values`` are (label, amount)."""

    title: str
    unit: str
    values: tuple[tuple[str, float], ...]


def render_bars(groups: Sequence[Bars]) -> str:
    """The groups under one another; the same numbers give the same text."""
    parts: list[str] = []
    y = 4
    for group in groups:
        parts.append(f'<text x="4" y="{y + 16}" font-weight="bold">{escape(group.title)}</text>')
        y += _TITLE
        scale = (_WIDTH - _LABELS - 90) / max(amount for _, amount in group.values)
        for number, (label, amount) in enumerate(group.values):
            width = max(1, round(amount * scale))
            colour = _COLOURS[min(number, len(_COLOURS) - 1)]
            parts.append(f'<text x="{_LABELS - 6}" y="{y + 14}" text-anchor="end">{escape(label)}</text>')
            parts.append(f'<rect x="{_LABELS}" y="{y}" width="{width}" height="{_BAR}" fill="{colour}"/>')
            parts.append(f'<text x="{_LABELS + width + 6}" y="{y + 14}">{amount:.1f} {escape(group.unit)}</text>')
            y += _BAR + _GAP
        y += 8
    size = f'width="{_WIDTH}" height="{y}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">'
    return "\n".join([head, f'<rect {size} fill="white"/>', *parts, "</svg>", ""])
