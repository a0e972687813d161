"""Draws the charts of a report: bars of memory, start and utilization; replicas and throughput over time.
Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tacho_cli.figures import chart, times
from tacho_cli.figures.chart import WIDTH, Axis, Plot, label, linear

TOP, BOTTOM, ROW = 42, 60, 26
LEFT, RIGHT = 150, WIDTH - 130
LABEL_CHARS = int((LEFT - 12) / chart.WIDE_CHARACTER)
TICKS = 6
LEAST_SPAN = 0.05
"""Smallest range of the throughput axis, as a share of the throughput, so that noise is not magnified."""


@dataclass(frozen=True, slots=True)
class ChartRow:
    """One bar of a chart: start and length in the unit of the axis."""

    name: str
    start: float
    length: float
    text: str


def bar_chart(title: str, bars: Sequence[ChartRow], unit: str = "") -> str:
    """A chart of horizontal bars, with names on the left and values on the right; "" without bars.

    ``unit``: unit of the axis; "": seconds.
    """
    if not bars:
        return ""
    end = max(bar.start + bar.length for bar in bars)
    x, name = (linear([end], TICKS), label) if unit else (times.axis(end, TICKS), times.span)
    plot = Plot(
        x=x,
        y=Axis(low=0, high=1, ticks=()),
        top=TOP,
        height=ROW * len(bars),
        left=LEFT,
        right=RIGHT,
    )
    parts = [chart.text(8, TOP - 14, title, "title")]
    for number, bar in enumerate(bars):
        parts += _row(plot, bar, TOP + number * ROW)
    return chart.svg(title, plot.bottom + BOTTOM, [*parts, *plot.base(unit or "time", name)])


def _row(plot: Plot, bar: ChartRow, top: float) -> Iterator[str]:
    (x1, _), (x2, _) = plot.at(bar.start, 0), plot.at(bar.start + bar.length, 0)
    shown = bar.name if len(bar.name) <= LABEL_CHARS else bar.name[: LABEL_CHARS - 1] + "…"
    yield chart.text(LEFT - 8, top + 17, shown, "name", anchor="end")
    yield chart.rect(x1, top + 5, max(1.0, x2 - x1), ROW - 10, "bar")
    yield chart.text(x2 + 6, top + 17, bar.text)


def replicas_chart(changes: Sequence[tuple[float, int, int]]) -> str:
    """The replicas over time as SVG; "" without changes. ``changes``: (seconds, before, after), ascending."""
    if not changes:
        return ""
    end = max(times.SHORTEST_SECONDS, changes[-1][0] * 1.05)
    values = [(0.0, float(changes[0][1])), *((at, float(after)) for at, _, after in changes)]
    scale = linear([value for _, value in values], TICKS)
    y = Axis(low=0, high=scale.high, ticks=tuple(tick for tick in scale.ticks if tick == int(tick)))
    plot = Plot(x=times.axis(end, TICKS), y=y, top=TOP, height=120)
    corners = chart.steps(values, end)
    title = "Replicas, by the latest decisions"
    parts = [chart.text(plot.left, TOP - 14, title, "title"), *plot.grid(), plot.area(corners)]
    parts += [plot.path(corners, "edge"), *plot.base("since the first of them", times.span)]
    return chart.svg(title, plot.bottom + BOTTOM, parts)


@dataclass(frozen=True, slots=True)
class Run:
    """The throughput that one run measured, and when."""

    seconds: float
    rate: float
    half: float
    """Half of the 95 % interval, in tokens per second."""
    provisional: bool


def history_chart(runs: Sequence[Run]) -> str:
    """The chart of the runs' throughput over time, with intervals; "" for fewer than two runs."""
    if len(runs) < 2:
        return ""
    end = max(times.SHORTEST_SECONDS, runs[-1].seconds * 1.02)
    plot = Plot(x=times.axis(end, TICKS), y=_close_up(runs), top=TOP, height=150)
    title = "Output tokens per second of each run, with its 95 % interval; provisional ones are hollow"
    parts = [chart.text(plot.left, TOP - 14, title, "title"), *plot.grid()]
    for run in runs:
        x, y_mark = plot.at(run.seconds, run.rate)
        for ends in (run.rate - run.half, run.rate + run.half) if run.half else ():
            parts += chart.whisker((x, y_mark), plot.at(run.seconds, ends))
        parts.append(chart.circle(x, y_mark, "point hollow" if run.provisional else "point"))
    return chart.svg("History", plot.bottom + BOTTOM, [*parts, *plot.base("since the first run", times.span)])


def _close_up(runs: Sequence[Run]) -> Axis:
    """An axis that begins near the lowest run instead of 0, as runs differ by a few percent only."""
    low, high = min(run.rate - run.half for run in runs), max(run.rate + run.half for run in runs)
    step = chart.round_step(max(high - low, high * LEAST_SPAN) / TICKS)
    first, last = math.floor(low / step) - 1, math.ceil(high / step) + 1
    ticks = tuple(step * n for n in range(max(0, first), last + 1))
    return Axis(low=ticks[0], high=ticks[-1], ticks=ticks)
