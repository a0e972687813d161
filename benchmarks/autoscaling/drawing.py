"""The pictures of docs/results/scaling: who costs how much for what, and replicas over time. SVG."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tacho_cli.figures import chart
from tacho_cli.figures.chart import WIDTH, Axis, Plot
from tacho_simulate.result import Moment

PICTURES = Path(__file__).parents[2] / "docs" / "results" / "scaling"
HEIGHT, TOP, BOTTOM = 380, 40, 50
LEFT, RIGHT = 60, WIDTH - 24
ROW = 150
LEGEND_ROWS = 8
SHOWN = ("step x8", "diurnal", "spikes", "slow start")
LINES = (("tacho", "line"), ("greedy", "capacity"))
Path_ = tuple[float, Sequence[Moment]]


def written(document: Mapping[str, Any], paths: Mapping[str, Mapping[str, Path_]]) -> Iterator[Path]:
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, text in (("policies.svg", means(document["judged"])), ("replicas.svg", replicas(paths))):
        (PICTURES / name).write_text(text)
        yield PICTURES / name


def means(judged: Mapping[str, Any]) -> str:
    """Mean SLO attainment of each policy over its mean GPU-hours."""
    points = {label: (row["gpuHours"], 100 * row["sloAttainment"]) for label, row in judged["means"].items()}
    hours = max(hours for hours, _ in points.values()) * 1.05
    low = 10 * math.floor(min(share for _, share in points.values()) / 10)
    y = Axis(low=low, high=100, ticks=tuple(range(low, 101, 10 if 100 - low > 40 else 5)))
    x = Axis(low=0, high=hours, ticks=tuple(range(0, int(hours) + 1, 5)))
    plot = Plot(x=x, y=y, top=TOP, height=HEIGHT - TOP - BOTTOM, left=LEFT, right=RIGHT)
    lines = [chart.text(LEFT, TOP - 16, "% of requests within the SLO, mean of all scenarios", "title")]
    lines += [*plot.grid(), *plot.base("GPU-hours, mean of all scenarios")]
    lines.append(plot.path((points[label] for label in judged["front"]), "line soft"))
    for number, label in enumerate(sorted(points, key=lambda label: points[label]), start=1):
        across, up = plot.at(*points[label])
        lines.append(chart.circle(across, up, "point" if label == "tacho" else "point hollow"))
        offset = -8 if number % 2 == 0 else 16
        lines.append(chart.text(across, up + offset, str(number), "name", anchor="middle"))
        column, row = divmod(number - 1, LEGEND_ROWS)
        place = (LEFT + 230 * column, HEIGHT + 14 + 16 * row)
        lines.append(chart.text(*place, f"{number}  {label}", "name"))
    return chart.svg("Scaling policies compared", HEIGHT + 16 * LEGEND_ROWS + 14, lines, style=chart.STYLE)


def replicas(paths: Mapping[str, Mapping[str, Path_]]) -> str:
    """Desired replicas over time."""
    shown = [name for name in SHOWN if name in paths]
    lines: list[str] = []
    for at, name in enumerate(shown):
        lines += _row(name, paths[name], TOP + at * (ROW + 44))
    height = TOP + len(shown) * (ROW + 44) + 10
    for at, (label, kind) in enumerate(LINES):
        left = LEFT + 90 * at
        lines.append(chart.line(left, height - 14, left + 24, height - 14, kind))
        lines.append(chart.text(left + 30, height - 10, label))
    return chart.svg("Replicas over time", height, lines, style=chart.STYLE)


def _row(name: str, found: Mapping[str, Path_], top: float) -> Iterator[str]:
    seconds = max(found[label][0] for label, _ in LINES)
    count = max(moment.desired for label, _ in LINES for moment in found[label][1]) + 1
    y = Axis(low=0, high=count, ticks=tuple(range(0, count + 1, max(1, count // 4))))
    plot = Plot(x=Axis(low=0, high=seconds, ticks=()), y=y, top=top, height=ROW, left=LEFT, right=RIGHT)
    yield chart.text(LEFT, top - 8, f"{name}: desired replicas over time, in minutes", "title")
    yield from plot.grid()
    for minute in range(0, int(seconds / 60) + 1, 15 if seconds < 7000 else 30):
        yield chart.text(plot.at(60 * minute, 0)[0], plot.bottom + 16, str(minute), anchor="middle")
    for label, kind in LINES:
        moments = [(moment.time_seconds, float(moment.desired)) for moment in found[label][1]]
        yield plot.path(chart.steps(moments, seconds), kind)
