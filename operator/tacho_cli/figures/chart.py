"""Draws SVG charts for pages and benchmarks: axes, lines, steps, marks, legends. Pure.

Colours are CSS variables with a light and a dark value. A chart needs no script, no font and no network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

WIDTH = 760
STEPS = (1.0, 2.0, 5.0, 10.0)
LOGARITHMIC_ABOVE = 10.0
"""Ratio of highest to lowest value from which an axis is logarithmic."""
HEADROOM = 1.08
SMALLEST, LARGEST = 1e-9, 1e18
"""Range of values on an axis: smaller ones are drawn as 0, larger ones at the end."""
MAX_TICK_RATIO = 4
"""Highest ratio of ticks to requested ticks; beyond it a logarithmic axis labels powers of ten only."""
CHARACTER, WIDE_CHARACTER, TEXT_HEIGHT = 6.6, 7.6, 12.0
"""Width in pixels of a character, on average and in a wide font, and height of a line."""

STYLE = """
svg.chart { --ink: #1f2328; --soft: #59636e; --grid: #e2e6ea; --paper: #ffffff; --mark: #1f6feb;
  --wash: #1f6feb33; --slo: #b42318; --capacity: #0b7a4b; --desired: #9a4b00;
  font: 12px system-ui, sans-serif; display: block; }
@media (prefers-color-scheme: dark) { svg.chart { --ink: #e6edf3; --soft: #9da7b1; --grid: #2b323a;
  --paper: #0d1117; --mark: #6cb0ff; --wash: #6cb0ff33; --slo: #ff8577;
  --capacity: #4fd19b; --desired: #f0a35e; } }
.chart .paper { fill: var(--paper); } .chart text { fill: var(--soft); }
.chart .title { fill: var(--ink); font-weight: 600; } .chart .name, .chart .streams { fill: var(--ink); }
.chart .grid { stroke: var(--grid); } .chart .axis { stroke: var(--soft); }
.chart .line { fill: none; stroke: var(--mark); stroke-width: 2; } .chart .soft { stroke-dasharray: 2 4; }
.chart .edge, .chart .reach { fill: none; stroke: var(--mark); stroke-width: 1.4; }
.chart .area { fill: var(--wash); } .chart .bar { fill: var(--mark); }
.chart .desired { fill: none; stroke: var(--desired); stroke-width: 1.2; stroke-dasharray: 3 2; }
.chart .point { fill: var(--mark); stroke: var(--mark); stroke-width: 2; }
.chart .point.hollow { fill: var(--paper); }
.chart .slo, .chart .capacity { fill: none; stroke: var(--slo); stroke-width: 1.4; stroke-dasharray: 6 4; }
.chart .capacity { stroke: var(--capacity); }
.chart text.slo-text { fill: var(--slo); } .chart text.capacity-text { fill: var(--capacity); }
"""
Place = tuple[float, float]
Box = tuple[float, float, float, float]
"""A rectangle in pixels: left, top, width, height."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One axis of a chart, which maps values to positions from 0 to 1."""

    low: float
    high: float
    ticks: tuple[float, ...]
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """The position of a value: 0 at the low end, 1 at the high end; values beyond an end are placed at
        it."""
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(max(value, low))
        return min(1.0, max(0.0, (value - low) / (high - low)))


def linear(values: Sequence[float], ticks: int) -> Axis:
    """A linear axis from 0 to slightly above the highest value, with about ``ticks`` ticks."""
    high = min(max(values, default=0.0), LARGEST) * HEADROOM
    high = high if high >= SMALLEST else 1.0
    step = round_step(high / ticks)
    return Axis(low=0.0, high=high, ticks=tuple(step * n for n in range(int(high / step) + 1)))


def latency(values: Sequence[float], ticks: int) -> Axis:
    """A latency axis: linear from 0; logarithmic if the values span more than a decade. Values up to 0 are
    ignored."""
    known = [min(LARGEST, max(SMALLEST, value)) for value in values if value > 0]
    if not known or max(known) <= LOGARITHMIC_ABOVE * min(known):
        return linear(known, ticks)
    low, high = min(known) / HEADROOM**2, max(known) * HEADROOM**2
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    inside = tuple(tick for power in decades for n in STEPS[:-1] if low <= (tick := n * 10.0**power) <= high)
    if len(inside) > MAX_TICK_RATIO * ticks:
        inside = tuple(10.0**power for power in decades[1 : -1 : math.ceil(len(decades) / ticks)])
    return Axis(low=low, high=high, ticks=inside, logarithmic=True)


def label(value: float) -> str:
    """A tick's value as text: 0, 0.5, 20, 12000."""
    return f"{value:.6g}"


def round_step(minimum: float) -> float:
    """The smallest of 1, 2, 5, 10, 20, … that is not below ``minimum``."""
    power = 10.0 ** math.floor(math.log10(minimum))
    return next(step * power for step in STEPS if step * power >= minimum * 0.999)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """The area between two axes, in pixels."""

    x: Axis
    y: Axis
    top: float
    height: float
    left: float = 56
    right: float = WIDTH - 16

    @property
    def bottom(self) -> float:
        return self.top + self.height

    def at(self, x: float, y: float) -> Place:
        across = self.left + (self.right - self.left) * self.x.place(x)
        return across, self.top + self.height * (1 - self.y.place(y))

    def grid(self, name: Callable[[float], str] = label) -> Iterator[str]:
        """SVG of horizontal lines, with their values at the axis."""
        for tick in self.y.ticks:
            _, y = self.at(self.x.low, tick)
            yield line(self.left, y, self.right, y, "grid")
            yield text(self.left - 8, y + 4, name(tick), anchor="end")

    def base(self, title: str, name: Callable[[float], str] = label) -> Iterator[str]:
        """SVG of the horizontal axis with its ticks; ``title``: quantity and unit."""
        yield line(self.left, self.bottom, self.right, self.bottom, "axis")
        for tick in self.x.ticks:
            x, _ = self.at(tick, self.y.low)
            yield line(x, self.bottom, x, self.bottom + 4, "axis")
            # A centred label of the last tick would leave the chart.
            anchor = "end" if x > self.right - 24 and self.right > WIDTH - 20 else "middle"
            yield text(x, self.bottom + 18, name(tick), anchor=anchor)
        yield text(self.right, self.bottom + 36, title, anchor="end")

    def path(self, points: Iterable[Place], kind: str) -> str:
        return path((self.at(*point) for point in points), kind)

    def area(self, points: Sequence[Place]) -> str:
        """The filled area between a line and 0."""
        return self.path([(points[0][0], 0.0), *points, (points[-1][0], 0.0)], "area")


def steps(values: Sequence[Place], end: float) -> list[Place]:
    """Corners of a step line until ``end``. ``values``: (from, value), ascending."""
    corners = [corner for (_, former), (x, value) in pairwise(values) for corner in ((x, former), (x, value))]
    return [values[0], *corners, (end, values[-1][1])] if values else []


def svg(title: str, height: float, parts: Iterable[str], *, style: str = "") -> str:
    """The whole chart as SVG.

    ``title``: its accessible name. ``style``: include the styles, for use outside of a page that has STYLE.
    """
    size = f'width="{WIDTH}" height="{height:.0f}"'
    head = (
        '<svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img" '
        f'viewBox="0 0 {WIDTH} {height:.0f}" {size}>',
        f"<title>{escape(title)}</title>",
        *([f"<style>{style}</style>"] if style else []),
        f'<rect class="paper" {size}/>',
    )
    return "\n".join([*head, *parts, "</svg>"]) + "\n"


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def rect(x: float, y: float, width: float, height: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'


def circle(x: float, y: float, kind: str, *, tooltip: str = "") -> str:
    title = f"<title>{escape(tooltip)}</title>" if tooltip else ""
    return f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="4.5">{title}</circle>'


def text(x: float, y: float, content: str, kind: str = "", *, anchor: str = "start") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(content)}</text>'


def path(points: Iterable[Place], kind: str) -> str:
    return f'<path class="{kind}" d="M{" L".join(f"{x:.1f} {y:.1f}" for x, y in points)}"/>'


def whisker(start: Place, end: Place) -> Iterator[str]:
    """SVG of a horizontal or vertical line with a cap at ``end``."""
    (x1, y1), (x2, y2) = start, end
    yield line(x1, y1, x2, y2, "reach")
    across, up = (0, 4) if y1 == y2 else (4, 0)
    yield line(x2 - across, y2 - up, x2 + across, y2 + up, "reach")


def labels(points: Iterable[tuple[Place, str]], kind: str, within: Box) -> Iterator[str]:
    """SVG of names beside points, the first ones first; a name without free space is left out."""
    named = list(points)
    taken = [(x - 5, y - 5, 10.0, 10.0) for (x, y), _ in named]
    for (x, y), name in named:
        width = WIDE_CHARACTER * len(name)
        corners = (
            (x + 8, y + 6), (x - width - 8, y - 17), (x - width / 2, y + 10), (x + 8, y - 17),
            (x - width - 8, y + 6), (x - width / 2, y - 21),
        )  # fmt: skip
        for left, top in corners:
            box = (left, top, width, TEXT_HEIGHT)
            if _contains(within, box) and not any(overlap(box, other) for other in taken):
                taken.append(box)
                yield text(left, top + 10, name, kind)
                break


def overlap(one: Box, two: Box) -> bool:
    return all(one[i] < two[i] + two[i + 2] and two[i] < one[i] + one[i + 2] for i in (0, 1))


def _contains(outer: Box, box: Box) -> bool:
    return all(outer[i] <= box[i] and box[i] + box[i + 2] <= outer[i] + outer[i + 2] for i in (0, 1))
