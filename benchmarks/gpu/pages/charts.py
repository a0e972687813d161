"""Bars and curves as standalone SVG files. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from tacho_cli.figures import chart
from tacho_cli.figures.chart import WIDTH, Plot, label, latency, linear

LEFT, RIGHT, TOP, BOTTOM = 250, 90, 48, 44
ROW, CURVE_HEIGHT, CURVE_LEFT = 26, 300, 76
COLOURS = ("#1f6feb", "#b42318", "#0b7a4b", "#8250df", "#9a6700", "#59636e")
STYLE = chart.STYLE + "".join(
    f".chart .colour-{number} {{ fill: none; stroke: {colour}; stroke-width: 2; }}\n"
    for number, colour in enumerate(COLOURS)
)


def bars(title: str, rows: Sequence[tuple[str, float, str]]) -> str:
    """(name, value, text at its end), from top to bottom."""
    height = TOP + ROW * len(rows) + BOTTOM
    axis = linear([value for _, value, _ in rows], 6)
    width = WIDTH - LEFT - RIGHT
    lines = [chart.text(16, 26, title, "title")]
    for tick in axis.ticks:
        x = LEFT + width * axis.place(tick)
        lines.append(chart.line(x, TOP, x, height - BOTTOM, "grid"))
        lines.append(chart.text(x, height - BOTTOM + 16, label(tick), anchor="middle"))
    for number, (name, value, content) in enumerate(rows):
        y, length = TOP + ROW * number, width * axis.place(value)
        lines.append(chart.rect(LEFT, y + 5, length, ROW - 10, "bar"))
        lines.append(chart.text(LEFT - 8, y + ROW / 2 + 4, name, anchor="end"))
        lines.append(chart.text(LEFT + length + 6, y + ROW / 2 + 4, content))
    return chart.svg(title, height, lines, style=STYLE)


def curves(title: str, below: str, found: dict[str, list[tuple[float, float]]]) -> str:
    """Points by name; both axes are logarithmic if their values span more than a decade."""
    points = [point for each in found.values() for point in each]
    across, up = latency([x for x, _ in points], 8), latency([y for _, y in points], 6)
    plot = Plot(x=across, y=up, top=TOP, height=CURVE_HEIGHT, left=CURVE_LEFT, right=WIDTH - 24)
    lines = [chart.text(16, 26, title, "title"), *plot.grid(), *plot.base(below)]
    for number, (name, each) in enumerate(found.items()):
        kind = f"colour-{number % len(COLOURS)}"
        lines.append(plot.path(each, kind))
        lines += [chart.circle(*plot.at(x, y), kind) for x, y in each]
        y = plot.bottom + 52 + 20 * number
        lines.append(chart.line(CURVE_LEFT, y - 5, CURVE_LEFT + 18, y - 5, kind))
        lines.append(chart.text(CURVE_LEFT + 26, y, name))
    return chart.svg(title, TOP + CURVE_HEIGHT + BOTTOM + 20 * len(found), lines, style=STYLE)
