"""A sheet to draw plots on: its size, its colours, axes around a field. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from html import escape

from tacho_operator.cli.figures import shapes
from tacho_operator.cli.figures.axes import Axis, label

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 760, 56, 16, 34, 44
FIELD_WIDTH = WIDTH - LEFT - RIGHT

STYLE = """
svg.plot { --mark: #1f6feb; --grid: #e2e6ea; --slo: #b42318; --wash: #1f6feb33; --asked: #9a4b00;
  font: 12px system-ui, sans-serif; display: block; }
@media (prefers-color-scheme: dark) { svg.plot { --mark: #6cb0ff; --grid: #2b323a; --slo: #ff8577;
  --wash: #6cb0ff33; --asked: #f0a35e; } }
svg.plot .paper { fill: var(--paper); }
svg.plot text { fill: var(--soft); }
svg.plot .title { fill: var(--ink); font-weight: 600; }
svg.plot .name { fill: var(--ink); }
svg.plot text.slo-text { fill: var(--slo); }
svg.plot .grid { stroke: var(--grid); }
svg.plot .axis { stroke: var(--soft); }
svg.plot .ready, svg.plot .arrivals { stroke: none; fill: var(--wash); }
svg.plot .ready-edge, svg.plot .arrivals-edge { fill: none; stroke: var(--mark); stroke-width: 1.4; }
svg.plot .asked { fill: none; stroke: var(--asked); stroke-width: 1.2; stroke-dasharray: 3 2; }
svg.plot .front { fill: none; stroke: var(--mark); stroke-width: 1.4; stroke-dasharray: 2 4; }
svg.plot .best { fill: var(--mark); stroke: var(--mark); stroke-width: 2; }
svg.plot .beaten { fill: var(--paper); stroke: var(--mark); stroke-width: 2; }
svg.plot .reach { stroke: var(--mark); stroke-width: 1.4; }
svg.plot .slo { stroke: var(--slo); stroke-width: 1.4; stroke-dasharray: 6 4; }
"""

Words = Callable[[float], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Where the values of one plot lie."""

    x: Axis
    y: Axis
    top: float
    height: float

    @property
    def bottom(self) -> float:
        return self.top + self.height

    def at(self, x: float, y: float) -> tuple[float, float]:
        return LEFT + FIELD_WIDTH * self.x.place(x), self.top + self.height * (1 - self.y.place(y))

    def rows(self, words: Words = label) -> Iterator[str]:
        """Lines of the grid, with what they stand for."""
        for tick in self.y.ticks:
            _, y = self.at(self.x.low, tick)
            yield shapes.line(LEFT, y, LEFT + FIELD_WIDTH, y, "grid")
            yield shapes.text(LEFT - 8, y + 4, words(tick), anchor="end")

    def floor(self, what: str, words: Words = label) -> Iterator[str]:
        """The axis below; ``what`` it shows."""
        yield shapes.line(LEFT, self.bottom, LEFT + FIELD_WIDTH, self.bottom, "axis")
        for tick in self.x.ticks:
            x, _ = self.at(tick, self.y.low)
            yield shapes.line(x, self.bottom, x, self.bottom + 4, "axis")
            # A label in the middle of the last tick would leave the sheet.
            anchor = "end" if x > LEFT + FIELD_WIDTH - 24 else "middle"
            yield shapes.text(x, self.bottom + 18, words(tick), anchor=anchor)
        if what:
            yield shapes.text(LEFT + FIELD_WIDTH, self.bottom + 36, what, anchor="end")


def sheet(title: str, height: float, parts: Iterable[str]) -> Iterator[str]:
    """The whole picture. ``title``: how it is read out."""
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" role="img" viewBox="0 0 {WIDTH} {height:.0f}"'
        f' width="{WIDTH}" height="{height:.0f}">'
    )
    yield f"<title>{escape(title)}</title>"
    yield f'<rect class="paper" width="{WIDTH}" height="{height:.0f}"/>'
    yield from parts
    yield "</svg>"
