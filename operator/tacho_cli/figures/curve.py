"""Draws measured latency (y) against throughput (x) as SVG, one panel per latency metric. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from tacho_cli.figures import chart
from tacho_cli.figures.chart import WIDTH, Plot
from tacho_cli.figures.panels import Mark, Panel, panels
from tacho_cli.figures.read import MeasurementView
from tacho_contract.units import counted

PANEL_HEIGHT, GAP = 250, 80
LEFT, RIGHT, TOP, BOTTOM = 66, 24, 44, 84
X_TICKS, Y_TICKS = 8, 5
LEGEND = {
    "point": "median, with the number of streams",
    "late": "up to the 95th percentile",
    "interval": "95 % interval",
    "point hollow": "provisional",
}


def curve_chart(found: MeasurementView, title: str) -> str:
    """The chart of a measurement as SVG; "" without a measured level."""
    drawn = panels(found, x_ticks=X_TICKS, y_ticks=Y_TICKS)
    if not drawn:
        return ""
    height = TOP + len(drawn) * PANEL_HEIGHT + (len(drawn) - 1) * GAP + BOTTOM
    parts: list[str] = []
    for index, panel in enumerate(drawn):
        plot = Plot(
            x=panel.x,
            y=panel.y,
            left=LEFT,
            right=WIDTH - RIGHT,
            top=TOP + index * (PANEL_HEIGHT + GAP),
            height=PANEL_HEIGHT,
        )
        parts += [*_panel(panel, plot), *_capacity(found, plot)]
    parts += _legend([mark for panel in drawn for mark in panel.marks], height - 18)
    return chart.svg(title, height, parts)


def _panel(panel: Panel, plot: Plot) -> Iterator[str]:
    scale = ", logarithmic" if panel.y.logarithmic else ""
    yield chart.text(LEFT, plot.top - 14, f"{panel.title}, ms{scale}", "title")
    yield from plot.grid()
    yield from plot.base("aggregate output tokens per second")
    if panel.slo_milliseconds:
        _, y = plot.at(0, panel.slo_milliseconds)
        yield chart.line(LEFT, y, plot.right, y, "slo")
        yield chart.text(
            LEFT + 6, y - 5, f"SLO {panel.slo_milliseconds} ms (p{panel.slo_percentile})", "slo-text"
        )
    for before, after in pairwise(panel.marks):
        kind = "line soft" if before.provisional or after.provisional else "line"
        yield chart.line(*_at(plot, before), *_at(plot, after), kind)
    for mark in panel.marks:
        yield from _point(plot, mark)
    within = (LEFT, plot.top - 30, plot.right + RIGHT - 2 - LEFT, PANEL_HEIGHT + 31)
    points = [(_at(plot, mark), str(mark.streams)) for mark in reversed(panel.marks)]
    yield from chart.labels(points, "streams", within)


def _at(plot: Plot, mark: Mark) -> chart.Place:
    return plot.at(mark.rate, mark.milliseconds)


def _point(plot: Plot, mark: Mark) -> Iterator[str]:
    x, y = _at(plot, mark)
    if mark.most_rate > mark.least_rate:
        for end in (mark.least_rate, mark.most_rate):
            yield from chart.whisker((x, y), plot.at(end, mark.milliseconds))
    if mark.late_milliseconds is not None:
        yield from chart.whisker((x, y), plot.at(mark.rate, mark.late_milliseconds))
    yield chart.circle(x, y, "point hollow" if mark.provisional else "point")


def _capacity(found: MeasurementView, plot: Plot) -> Iterator[str]:
    capacity = found.capacity
    rate = capacity.output_tokens_per_second if capacity else None
    if capacity is None or rate is None or capacity.boundary == "NeverMet":
        return
    x, _ = plot.at(rate, plot.y.low)
    yield chart.line(x, plot.top, x, plot.bottom, "capacity")
    anchor = "end" if x > (plot.left + plot.right) / 2 else "start"
    content = f"capacity: {counted(capacity.concurrency or 0, 'stream')}"
    yield chart.text(x, plot.top - 5, content, "capacity-text", anchor=anchor)


def _legend(marks: list[Mark], y: float) -> Iterator[str]:
    """Legend entries for the marks that the chart contains."""
    present = {
        "point": True,
        "late": any(mark.late_milliseconds is not None for mark in marks),
        "interval": any(mark.most_rate > mark.least_rate for mark in marks),
        "point hollow": any(mark.provisional for mark in marks),
    }
    x = float(LEFT)
    for kind, content in LEGEND.items():
        if not present[kind]:
            continue
        middle = y - 4
        if kind == "late":
            yield from chart.whisker((x, middle + 6), (x, middle - 7))
        elif kind == "interval":
            yield from (part for end in (x - 7, x + 7) for part in chart.whisker((x, middle), (end, middle)))
        else:
            yield chart.circle(x, middle, kind)
        yield chart.text(x + 14, y, content)
        x += 14 + chart.CHARACTER * len(content) + 22
