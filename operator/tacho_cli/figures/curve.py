"""Draws measured latency (y) against throughput (x) as SVG, one panel per latency metric. Pure.

The data of the panels are for the terminal, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from tacho_cli.figures import chart
from tacho_cli.figures.chart import WIDTH, Axis, Plot, latency, linear
from tacho_cli.figures.read import MeasurementView
from tacho_contract.measurement import CurvePoint
from tacho_contract.units import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One level of concurrency as a point in a panel of the chart."""

    streams: int
    rate: float
    """Throughput, in tokens per second."""
    least_rate: float
    most_rate: float
    """Upper end of the throughput's 95 % interval; ``least_rate`` is the lower end. Both equal ``rate`` if
    the interval is unknown.
    """
    milliseconds: float
    """Median latency, in milliseconds."""
    late_milliseconds: float | None
    """95th percentile of the latency in milliseconds; None: too few requests."""
    provisional: bool
    capacity: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel of the chart: a latency metric (y) against throughput (x)."""

    title: str
    marks: tuple[Mark, ...]
    """The points, by rising concurrency."""
    x: Axis
    y: Axis
    slo_milliseconds: int = 0
    """The SLO's limit in milliseconds; 0: none."""
    slo_percentile: int = 95


def panels(found: MeasurementView, *, x_ticks: int, y_ticks: int) -> tuple[Panel, ...]:
    """The panels for TTFT and for time per token, on one scale of throughput; () without a level."""
    points, targets = found.points, found.slo
    seen = {
        "Time to first token": (
            [(p, p.ttft_milliseconds_p50, p.ttft_milliseconds_p95) for p in points],
            targets.ttft_milliseconds,
        ),
        "Time per token": (
            [(p, p.tpot_milliseconds_p50, p.tpot_milliseconds_p95) for p in points],
            targets.tpot_milliseconds,
        ),
    }
    reached = found.capacity and found.capacity.boundary != "NeverMet" and found.capacity.concurrency
    made = []
    for title, (rows, slo) in seen.items():
        marks = tuple(
            _mark(point, median, late, doubted=found.doubts(point), capacity=point.concurrency == reached)
            for point, median, late in rows
            if median is not None
        )
        if not marks:
            continue
        times = [mark.late_milliseconds or mark.milliseconds for mark in marks]
        made.append(
            Panel(
                title=title,
                marks=marks,
                x=linear([mark.most_rate for mark in marks], x_ticks),
                y=latency([*times, *(mark.milliseconds for mark in marks), *([slo] if slo else [])], y_ticks),
                slo_milliseconds=slo,
                slo_percentile=found.slo.percentile,
            )
        )
    return tuple(made)


def _mark(point: CurvePoint, median: float, late: float | None, *, doubted: bool, capacity: bool) -> Mark:
    """One level as a point; without interval if something other than the engine changed its values."""
    rate = point.output_tokens_per_second or 0.0
    half = 0.0 if doubted else rate * (point.ci_percent or 0.0) / 100
    return Mark(
        streams=point.concurrency,
        rate=rate,
        least_rate=rate - half,
        most_rate=rate + half,
        milliseconds=median,
        late_milliseconds=late,
        provisional=doubted,
        capacity=capacity,
    )


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
        yield chart.line(*_position(plot, before), *_position(plot, after), kind)
    for mark in panel.marks:
        yield from _point(plot, mark)
    within = (LEFT, plot.top - 30, plot.right + RIGHT - 2 - LEFT, PANEL_HEIGHT + 31)
    points = [(_position(plot, mark), str(mark.streams)) for mark in reversed(panel.marks)]
    yield from chart.labels(points, "streams", within)


def _position(plot: Plot, mark: Mark) -> chart.Place:
    return plot.at(mark.rate, mark.milliseconds)


def _point(plot: Plot, mark: Mark) -> Iterator[str]:
    x, y = _position(plot, mark)
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
