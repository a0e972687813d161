"""Bars and curves as SVG files that need nothing else. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from tacho_operator.cli.figures.axes import even, label, latency

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 760, 250, 90, 48, 44
ROW, CURVE_HEIGHT, CURVE_LEFT = 26, 300, 76
COLOURS = ("#1f6feb", "#b42318", "#0b7a4b", "#8250df", "#9a6700", "#59636e")
STYLE = """
svg { --ink: #1f2328; --soft: #59636e; --grid: #e2e6ea; --paper: #ffffff; font: 12px system-ui, sans-serif; }
@media (prefers-color-scheme: dark) {
  svg { --ink: #e6edf3; --soft: #9da7b1; --grid: #2b323a; --paper: #0d1117; } }
.paper { fill: var(--paper); } text { fill: var(--soft); } .title { fill: var(--ink); font-weight: 600; }
.grid { stroke: var(--grid); } .bar { fill: #1f6feb; } .line { fill: none; stroke-width: 2; }
"""


def bars(title: str, rows: Sequence[tuple[str, float, str]]) -> str:
    """(name, value, what is written at its end), from top to bottom."""
    height = TOP + ROW * len(rows) + BOTTOM
    axis = even([value for _, value, _ in rows], 6)
    plot = WIDTH - LEFT - RIGHT
    lines = _head(title, height)
    for tick in axis.ticks:
        x = LEFT + plot * axis.place(tick)
        lines.append(_line(x, TOP, x, height - BOTTOM))
        lines.append(_text(x, height - BOTTOM + 16, label(tick), "middle"))
    for number, (name, value, words) in enumerate(rows):
        y = TOP + ROW * number
        length = plot * axis.place(value)
        lines.append(
            f'<rect class="bar" x="{LEFT}" y="{y + 5}" width="{length:.1f}" height="{ROW - 10}" rx="2"/>'
        )
        lines.append(_text(LEFT - 8, y + ROW / 2 + 4, name, "end"))
        lines.append(_text(LEFT + length + 6, y + ROW / 2 + 4, words))
    return "\n".join([*lines, "</svg>"]) + "\n"


def curves(title: str, below: str, found: dict[str, list[tuple[float, float]]]) -> str:
    """Name to its points; both scales logarithmic where the values lie far apart."""
    height = TOP + CURVE_HEIGHT + BOTTOM + 20 * len(found)
    points = [point for each in found.values() for point in each]
    across, up = latency([x for x, _ in points], 8), latency([y for _, y in points], 6)
    plot, bottom = WIDTH - CURVE_LEFT - 24, TOP + CURVE_HEIGHT
    lines = _head(title, height)
    for tick in up.ticks:
        y = bottom - CURVE_HEIGHT * up.place(tick)
        lines += [
            _line(CURVE_LEFT, y, CURVE_LEFT + plot, y),
            _text(CURVE_LEFT - 8, y + 4, label(tick), "end"),
        ]
    for tick in across.ticks:
        lines.append(_text(CURVE_LEFT + plot * across.place(tick), bottom + 16, label(tick), "middle"))
    lines.append(_text(CURVE_LEFT + plot / 2, bottom + 34, below, "middle"))
    for number, (name, each) in enumerate(found.items()):
        colour = COLOURS[number % len(COLOURS)]
        placed = [(CURVE_LEFT + plot * across.place(x), bottom - CURVE_HEIGHT * up.place(y)) for x, y in each]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        lines.append(f'<polyline class="line" stroke="{colour}" points="{path}"/>')
        lines += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in placed]
        y = bottom + 52 + 20 * number
        lines.append(f'<rect x="{CURVE_LEFT}" y="{y - 9}" width="18" height="4" fill="{colour}"/>')
        lines.append(_text(CURVE_LEFT + 26, y, name))
    return "\n".join([*lines, "</svg>"]) + "\n"


def _head(title: str, height: float) -> list[str]:
    return [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {WIDTH} {height:.0f}"'
        f' width="{WIDTH}" height="{height:.0f}">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height:.0f}"/>',
        f'<text class="title" x="16" y="26">{escape(title)}</text>',
    ]


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="grid" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, words: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
