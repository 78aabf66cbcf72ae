"""The summary as an SVG: a small panel for each figure, a bar for each peer, a line from the least to the most."""

from __future__ import annotations

from html import escape

from bench.report import number
from bench.results import Results, Values
from bench.summary import Row, rows
from bench.targets import OURS

_COLOURS = {"none": "#9aa5b1", "ambient": "#d9480f", "envoy": "#1c7ed6", "haproxy": "#2b8a3e"}
_COLUMNS, _WIDTH, _BAR, _MARGIN, _TOP = 3, 380, 18, 20, 70
_NAME, _SPACE = 62, 200
"""Where bars begin, and how long the longest is."""


def svg(results: Results, subtitle: str) -> str:
    """The whole picture."""
    found = rows(results)
    height = 34 + _BAR * len(results.peers) + 16
    lines = (len(found) + _COLUMNS - 1) // _COLUMNS
    size = (_COLUMNS * _WIDTH + 2 * _MARGIN, _TOP + lines * height + _MARGIN)
    attributes = f'viewBox="0 0 {size[0]} {size[1]}" width="{size[0]}" height="{size[1]}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {attributes} font-family="sans-serif" font-size="12">',
        f'<rect width="{size[0]}" height="{size[1]}" fill="#ffffff"/>',
        _text(
            _MARGIN,
            28,
            "ambient beside its peers: medians, and the least and most of all rounds",
            size=17,
            weight=600,
        ),
        _text(_MARGIN, 48, subtitle, colour="#52606d"),
    ]
    for index, (row, values) in enumerate(found):
        x = _MARGIN + index % _COLUMNS * _WIDTH
        y = _TOP + index // _COLUMNS * height
        parts += _panel(row, values, results.peers, x, y)
    return "\n".join([*parts, "</svg>\n"])


def _panel(row: Row, values: dict[str, Values], peers: list[str], x: float, y: float) -> list[str]:
    better = "more is better" if row.more_is_better else "less is better"
    parts = [
        _text(x, y + 12, f"{row.title}, {row.unit}", weight=600),
        _text(x, y + 25, better, colour="#7b8794", size=10),
    ]
    most = max(value.most for value in values.values()) or 1
    for line, peer in enumerate(peers):
        top = y + 32 + line * _BAR
        parts.append(_text(x, top + 12, peer, weight=600 if peer == OURS else 400))
        if peer not in values:
            parts.append(_text(x + _NAME, top + 12, "-", colour="#9aa5b1"))
            continue
        value = values[peer]
        start, scale = x + _NAME, _SPACE / most
        parts.append(_bar(start, top, value.median * scale, _COLOURS[peer]))
        parts.append(_line(start + value.least * scale, start + value.most * scale, top + (_BAR - 4) / 2))
        parts.append(_text(start + max(value.most, value.median) * scale + 6, top + 11, number(value.median)))
    return parts


def _bar(x: float, y: float, length: float, colour: str) -> str:
    return (
        f'<rect x="{x}" y="{y}" width="{max(length, 0.5):.1f}" height="{_BAR - 4}" fill="{colour}" rx="2"/>'
    )


def _line(start: float, end: float, y: float) -> str:
    return f'<path d="M{start:.1f} {y}H{end:.1f}" stroke="#1f2933" stroke-width="1.5"/>'


def _text(
    x: float, y: float, words: str, *, colour: str = "#1f2933", size: int = 12, weight: int = 400
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" font-size="{size}" font-weight="{weight}">'
        f"{escape(words)}</text>"
    )
