"""Prepares the data of latency-throughput charts: one panel per latency metric. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from tacho_cli.figures.chart import Axis, latency, linear
from tacho_cli.figures.read import MeasurementView
from tacho_contract.measurement import CurvePoint


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
