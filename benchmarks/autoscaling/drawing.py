"""The picture of benchmarks/lab/scaling: SLO attainment of each policy over its GPU-hours. SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping

from benchmarks.autoscaling.goals import OWN, Score
from tacho_cli.figures import chart
from tacho_cli.figures.chart import WIDTH, Axis, Plot

HEIGHT, TOP, BOTTOM = 380, 40, 50
LEFT, RIGHT = 60, WIDTH - 24
LEGEND_ROWS = 8


def picture(means: Mapping[str, Score]) -> str:
    """Means of all scenarios by policy."""
    points = {name: (score.gpu_hours, 100 * score.attainment) for name, score in means.items()}
    hours = max(hours for hours, _ in points.values()) * 1.05
    low = 10 * math.floor(min(share for _, share in points.values()) / 10)
    y = Axis(low=low, high=100, ticks=tuple(range(low, 101, 10 if 100 - low > 40 else 5)))
    x = Axis(low=0, high=hours, ticks=tuple(range(0, int(hours) + 1, 5)))
    plot = Plot(x=x, y=y, top=TOP, height=HEIGHT - TOP - BOTTOM, left=LEFT, right=RIGHT)
    lines = [chart.text(LEFT, TOP - 16, "% of requests within the SLO, mean of all scenarios", "title")]
    lines += [*plot.grid(), *plot.base("GPU-hours, mean of all scenarios")]
    for number, name in enumerate(sorted(points, key=lambda name: points[name]), start=1):
        across, up = plot.at(*points[name])
        lines.append(chart.circle(across, up, "point" if name == OWN else "point hollow"))
        lines.append(
            chart.text(across, up + (-8 if number % 2 == 0 else 16), str(number), "name", anchor="middle")
        )
        column, row = divmod(number - 1, LEGEND_ROWS)
        lines.append(chart.text(LEFT + 230 * column, HEIGHT + 14 + 16 * row, f"{number}  {name}", "name"))
    return chart.svg("Scaling policies compared", HEIGHT + 16 * LEGEND_ROWS + 14, lines, style=chart.STYLE)
