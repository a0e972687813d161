"""The picture of docs/evidence/autoscaling.md: SLO attainment of each policy over its GPU-hours. SVG.

It is read as a file of its own, on light and dark pages and by programs without CSS variables: its colours
are plain, and its paper is white. Names have room for a wide font, and none lies over another.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from benchmarks.autoscaling.goals import OWN, REFERENCE, Score
from tacho_cli.figures import chart
from tacho_cli.figures.chart import WIDTH, Axis, Box, Place, Plot

NAMES = {
    OWN: "tacho",
    REFERENCE: "greedy reference",
    "hpa-queue": "HPA: waiting requests",
    "hpa-kv-cache": "HPA: KV cache",
    "hpa-concurrency": "HPA: concurrency",
    "hpa-demand": "HPA: tacho's demand",
    "kubeai": "KubeAI",
    "aibrix-apa": "AIBrix APA",
    "aibrix-kpa": "AIBrix KPA",
    "kaito": "KAITO",
    "production-stack": "production-stack: chart",
    "production-stack-operator": "production-stack: operator",
    "wva": "llm-d WVA",
}
"""As readers know the policies."""
HEIGHT, TOP, BOTTOM = 420, 46, 50
LEFT, RIGHT = 60, WIDTH - 24
STYLE = """
svg.chart { font: 12px system-ui, sans-serif; }
.chart .paper { fill: #ffffff; } .chart text { fill: #59636e; }
.chart .title { fill: #1f2328; font-weight: 600; } .chart .name { fill: #1f2328; }
.chart .own { fill: #1f6feb; font-weight: 600; }
.chart .grid { stroke: #e2e6ea; } .chart .axis { stroke: #59636e; } .chart .leader { stroke: #8c959f; }
.chart .point { fill: #1f6feb; stroke: #1f6feb; stroke-width: 2; } .chart .point.hollow { fill: #ffffff; }
"""
GAP, MARK = 9.0, 6.0
"""Pixels between a point and its name; half a point's size."""
SHIFTS = tuple(sign * 15.0 * step for step in range(1, 11) for sign in (1, -1))
"""Pixels down, or up, that a name without room next to its point moves: the nearest first."""
SIDES = ("start", "end")


def picture(means: Mapping[str, Score]) -> str:
    """Means of all scenarios by policy."""
    points = {name: (score.gpu_hours, 100 * score.attainment) for name, score in means.items()}
    plot = Plot(
        x=_axis([hours for hours, _ in points.values()], 5),
        y=_axis([share for _, share in points.values()], 10, 100),
        top=TOP,
        height=HEIGHT - TOP - BOTTOM,
        left=LEFT,
        right=RIGHT,
    )
    lines = [
        chart.text(LEFT, 20, "Requests within the SLO over GPU-hours: means of all scenarios", "title"),
        chart.text(LEFT, 36, "Higher is better, and so is further left."),
        *plot.grid(lambda value: f"{value:.0f}%"),
        *plot.base("GPU-hours"),
    ]
    # tacho's name comes first, so it stands next to its point.
    order = sorted(points, key=lambda name: (name != OWN, points[name]))
    places = {name: plot.at(*points[name]) for name in order}
    lines += _names(places)
    lines += [
        chart.circle(*places[name], "point" if name == OWN else "point hollow", tooltip=NAMES.get(name, name))
        for name in order
    ]
    return chart.svg("Scaling policies compared", HEIGHT, lines, style=STYLE)


def _axis(values: Sequence[float], step: int, high: float | None = None) -> Axis:
    """From the step below the lowest value to ``high``, or the step above the highest."""
    low = step * math.floor(min(values) / step)
    end = step * math.ceil(max(values) / step) if high is None else int(high)
    return Axis(low=low, high=end, ticks=tuple(range(low, end + 1, step)))


def _names(places: Mapping[str, Place]) -> Iterator[str]:
    """Each name next to its point; those without room there come last, with a line to their point."""
    taken = [_around(place) for place in places.values()]
    found: dict[str, tuple[str, float]] = {}
    for shifts in ((0.0,), SHIFTS):
        for name in [name for name in places if name not in found]:
            free = _free(NAMES.get(name, name), name, places, taken, shifts)
            if free is not None:
                found[name] = free
                taken.append(_box(NAMES.get(name, name), places[name], *free))
    for name, (side, shift) in found.items():
        (x, y), across = places[name], _across(side, shift)
        if shift:
            yield chart.line(x, y, x + across - math.copysign(2, across), y + shift, "leader")
        kind = "own" if name == OWN else "name"
        yield chart.text(x + across, y + shift + 4, NAMES.get(name, name), kind, anchor=side)


def _free(
    text: str, name: str, places: Mapping[str, Place], taken: Sequence[Box], shifts: Sequence[float]
) -> tuple[str, float] | None:
    """The nearest side and shift at which a name covers nothing, and its line no other point."""
    x, y = place = places[name]
    apart = [(a - x, b - y) for a, b in places.values() if math.hypot(a - x, b - y) > 2 * MARK]
    for shift in shifts:
        for side in SIDES:
            left, top, width, height = box = _box(text, place, side, shift)
            inside = left >= LEFT and left + width <= WIDTH and top >= TOP and top + height <= HEIGHT - BOTTOM
            line = (_across(side, shift), shift)
            crossed = shift and any(_distance(other, line) < MARK for other in apart)
            if inside and not crossed and not any(chart.overlap(box, other) for other in taken):
                return side, shift
    return None


def _distance(point: Place, end: Place) -> float:
    """Of a point from the line between 0, 0 and ``end``."""
    length = math.hypot(*end)
    along = min(1.0, max(0.0, (point[0] * end[0] + point[1] * end[1]) / length**2))
    return math.hypot(point[0] - along * end[0], point[1] - along * end[1])


def _across(side: str, shift: float) -> float:
    """How far a name begins, or ends, from the point; further if a line leads to it."""
    return (GAP if side == "start" else -GAP) * (2 if shift else 1)


def _box(text: str, place: Place, side: str, shift: float) -> Box:
    width, near = chart.WIDE_CHARACTER * len(text), place[0] + _across(side, shift)
    return near if side == "start" else near - width, place[1] + shift - 7, width, 14.0


def _around(place: Place) -> Box:
    return place[0] - MARK, place[1] - MARK, 2 * MARK, 2 * MARK
