"""Draws the charts of a simulation report: SLO attainment, arrivals, replicas, TTFT. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

from tacho_cli.figures import chart, times
from tacho_cli.figures.chart import WIDTH, Axis, Plot, label, linear
from tacho_cli.figures.digits import plain
from tacho_cli.simulate.report import PolicyRun, SimulationReport, front
from tacho_cli.simulate.table import slo_text
from tacho_simulate.trace import Trace

LEFT, RIGHT, TOP, BOTTOM = 56, WIDTH - 16, 34, 44
X_TICKS, Y_TICKS = 8, 5
ARRIVAL_INTERVALS = 300
TIME = "time of the trace"


def slo_chart(report: SimulationReport) -> str:
    """SLO attainment over GPU-hours. Runs of the Pareto front are filled and joined by a line."""
    best = front(report.runs)
    others = [run for run in report.runs if run not in best]
    x = linear([run.gpu_hours for run in report.runs], X_TICKS)
    plot = Plot(x=x, y=percent_axis([run.slo_percent for run in report.runs]), top=TOP, height=300)
    parts = [chart.text(LEFT, TOP - 14, "Requests that met the SLO, %", "title"), *plot.grid()]
    for one, two in pairwise(best):
        parts.append(chart.line(*_position(plot, one), *_position(plot, two), "line soft front"))
    for run in [*others, *best]:  # the front is drawn last, above other points
        tooltip = f"{run.name}: {slo_text(run)} %, {plain(run.gpu_hours)} GPU-hours"
        parts.append(
            chart.circle(*_position(plot, run), "point" if run in best else "point hollow", tooltip=tooltip)
        )
    within = (LEFT + 2.0, TOP - 8.0, RIGHT - LEFT + 8.0, plot.height + 6.0)
    parts += chart.labels([(_position(plot, run), run.name) for run in (*best, *others)], "name", within)
    parts += plot.base("GPU-hours; upper left is better")
    return chart.svg("SLO attainment over GPU-hours", plot.bottom + BOTTOM, parts)


def percent_axis(values: Sequence[float]) -> Axis:
    """A percent axis from a round number below all values to 100."""
    low = min(values, default=0.0)
    step = max(0.001, chart.round_step(max(100.0 - low, 0.01) * 1.1 / Y_TICKS))
    count = min(int((100.0 - low) / step) + 1, int(100 / step))
    ticks = tuple(round(100.0 - n * step, 6) for n in range(count, -1, -1))
    # Above 100 is space for the upper half of a point.
    return Axis(low=100.0 - count * step, high=100.0 + step / 5, ticks=ticks)


def _position(plot: Plot, run: PolicyRun) -> chart.Place:
    return plot.at(run.gpu_hours, run.slo_percent)


def arrivals_chart(trace: Trace) -> str:
    end, length, rates = arrivals(trace, ARRIVAL_INTERVALS)
    y = linear([rate for _, rate in rates], 4)
    plot = Plot(x=times.axis(end, X_TICKS), y=y, top=TOP, height=130)
    corners = chart.steps(rates, end)
    title = f"Requests per second, mean per {times.span(length)}"
    parts = [
        chart.text(LEFT, TOP - 14, title, "title"),
        *plot.grid(),
        plot.area(corners),
        plot.path(corners, "edge"),
        *plot.base(TIME, times.span),
    ]
    return chart.svg("Arrivals over time", plot.bottom + BOTTOM, parts)


def arrivals(trace: Trace, limit: int) -> tuple[float, float, list[chart.Place]]:
    """(end, length, (begin, requests per second) of each interval), in seconds.

    At most ``limit`` intervals of equal length; the last one also covers the remainder.
    """
    end = max(trace.duration_seconds, times.SHORTEST_SECONDS)
    length = times.step(end / limit)
    last = max(1, int(end / length)) - 1
    counts = Counter(min(int(time / length), last) for time in trace.time_seconds)
    rates = [(n * length, counts[n] / length) for n in range(last)]
    return end, length, [*rates, (last * length, counts[last] / (end - last * length))]


def replicas_chart(report: SimulationReport) -> str:
    """Desired and ready replicas, one panel per run on a common scale."""
    moments = [moment for run in report.runs for moment in run.result.trajectory]
    scale = linear([max((max(moment.desired, moment.ready) for moment in moments), default=1)], Y_TICKS)
    y = Axis(low=scale.low, high=scale.high, ticks=tuple(tick for tick in scale.ticks if tick == int(tick)))
    x = times.axis(report.trace.duration_seconds, X_TICKS)
    parts = list(_replicas_legend(TOP - 18.0))
    bottom = float(TOP)
    for run in report.runs:
        plot = Plot(x=x, y=y, top=bottom + 20, height=84)
        parts += _replicas_panel(run, plot)
        bottom = plot.bottom + 14
    parts += Plot(x=x, y=y, top=bottom - 14, height=0).base(TIME, times.span)
    return chart.svg("Desired and ready replicas over time", bottom + BOTTOM, parts)


def _replicas_panel(run: PolicyRun, plot: Plot) -> Iterator[str]:
    end = plot.x.high
    yield chart.text(LEFT, plot.top - 6, run.name, "name")
    yield from plot.grid()
    moments = [moment for moment in run.result.trajectory if moment.time_seconds <= end]
    if moments:
        ready = chart.steps([(moment.time_seconds, moment.ready) for moment in moments], end)
        yield plot.area(ready)
        yield plot.path(ready, "edge")
        yield plot.path(
            chart.steps([(moment.time_seconds, moment.desired) for moment in moments], end), "desired"
        )
    yield chart.line(*plot.at(0, 0), *plot.at(end, 0), "axis")


def _replicas_legend(y: float) -> Iterator[str]:
    yield chart.rect(LEFT, y - 9, 22, 11, "area")
    yield chart.line(LEFT, y - 9, LEFT + 22, y - 9, "edge")
    yield chart.text(LEFT + 28, y, "ready")
    yield chart.line(LEFT + 80, y - 4, LEFT + 102, y - 4, "desired")
    yield chart.text(LEFT + 108, y, "desired")


def ttft_chart(report: SimulationReport) -> str:
    """One row per run: median, 95th and 99th percentile of TTFT."""
    limits = sorted({run.slo.ttft_milliseconds / 1000 for run in report.runs if run.slo.ttft_milliseconds})
    values = [value for run in report.runs for value in run.result.ttft_seconds or ()]
    x, row = chart.latency([*values, *limits], X_TICKS), 40
    plot = Plot(x=x, y=Axis(low=0, high=1, ticks=()), top=TOP + 6, height=row * len(report.runs))
    scale = ", logarithmic" if x.logarithmic else ""
    title = f"Time to first token, s{scale}: median ●, 95th and 99th percentile |"
    parts = [chart.text(LEFT, TOP - 14, title, "title"), *_slo_lines(plot, limits)]
    for number, run in enumerate(report.runs):
        parts += _ttft_row(plot, run, plot.top + number * row)
    parts += plot.base("seconds")
    return chart.svg("Time to first token", plot.bottom + BOTTOM, parts)


def _slo_lines(plot: Plot, limits: Sequence[float]) -> Iterator[str]:
    for limit in limits:
        x, _ = plot.at(limit, 0)
        yield chart.line(x, plot.top, x, plot.bottom, "slo")
    if limits:
        x, _ = plot.at(limits[-1], 0)
        left = x > RIGHT - 90
        content = f"SLO {' and '.join(map(label, limits))} s"
        place = (x - 5 if left else x + 5, plot.top + 4)
        yield chart.text(*place, content, "slo-text", anchor="end" if left else "start")


def _ttft_row(plot: Plot, run: PolicyRun, top: float) -> Iterator[str]:
    yield chart.text(LEFT, top + 18, run.name, "name")
    found, y = run.result.ttft_seconds, top + 30
    if found is None:
        yield chart.text(LEFT + 8, y + 4, "no request was completed")
        return
    p50, p95, p99 = (plot.at(value, 0)[0] for value in found)
    yield chart.line(p50, y, p99, y, "reach")
    yield from (chart.line(x, y - 5, x, y + 5, "reach") for x in (p95, p99))
    tooltip = "{}: median {}, 95th {}, 99th percentile {} s".format(run.name, *map(plain, found))
    yield chart.circle(p50, y, "point", tooltip=tooltip)
