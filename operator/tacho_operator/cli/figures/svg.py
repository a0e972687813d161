"""The curve as one SVG that needs nothing else: no script, no font, no network. Light and dark. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from itertools import pairwise

from tacho_operator.cli.figures.axes import label
from tacho_operator.cli.figures.panels import Mark, Panel, panels
from tacho_operator.cli.figures.read import Figures
from tacho_operator.cli.figures.shapes import CHARACTER, HEIGHT_OF_TEXT, circle, line, overlap, text

WIDTH, PANEL_HEIGHT, GAP = 760, 250, 80
LEFT, RIGHT, TOP, BOTTOM = 66, 24, 44, 84
PLOT_WIDTH = WIDTH - LEFT - RIGHT
X_TICKS, Y_TICKS = 8, 5
STYLE = """
svg.curve { --ink: #1f2328; --soft: #59636e; --grid: #e2e6ea; --line: #1f6feb; --slo: #b42318;
  --capacity: #0b7a4b; --paper: #ffffff; font: 12px system-ui, sans-serif; }
@media (prefers-color-scheme: dark) { svg.curve { --ink: #e6edf3; --soft: #9da7b1; --grid: #2b323a;
  --line: #6cb0ff; --slo: #ff8577; --capacity: #4fd19b; --paper: #0d1117; } }
svg.curve .paper { fill: var(--paper); }
svg.curve text { fill: var(--soft); }
svg.curve .title { fill: var(--ink); font-weight: 600; }
svg.curve .streams { fill: var(--ink); }
svg.curve .grid { stroke: var(--grid); }
svg.curve .axis { stroke: var(--soft); }
svg.curve .line { stroke: var(--line); stroke-width: 2; }
svg.curve .soft { stroke-dasharray: 2 4; }
svg.curve .bar { stroke: var(--line); stroke-width: 1.2; }
svg.curve .point { fill: var(--line); stroke: var(--line); stroke-width: 2; }
svg.curve .point.provisional { fill: var(--paper); }
svg.curve .slo { stroke: var(--slo); stroke-width: 1.4; stroke-dasharray: 6 4; }
svg.curve .capacity { stroke: var(--capacity); stroke-width: 1.4; stroke-dasharray: 6 4; }
svg.curve text.slo-text { fill: var(--slo); }
svg.curve text.capacity-text { fill: var(--capacity); }
"""


def svg(found: Figures, title: str) -> str:
    """The picture; "" where there is no level to draw."""
    drawn = panels(found, x_ticks=X_TICKS, y_ticks=Y_TICKS)
    if not drawn:
        return ""
    height = TOP + len(drawn) * PANEL_HEIGHT + (len(drawn) - 1) * GAP + BOTTOM
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="curve" role="img" viewBox="0 0 {WIDTH} {height}"'
        f' width="{WIDTH}" height="{height}">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="paper" width="{WIDTH}" height="{height}"/>',
    ]
    for index, panel in enumerate(drawn):
        top = TOP + index * (PANEL_HEIGHT + GAP)
        lines += _panel(panel, top)
        lines += _capacity(found, panel, top)
    lines += _legend(drawn, height - 18)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _x(panel: Panel, rate: float) -> float:
    return LEFT + PLOT_WIDTH * panel.x.place(rate)


def _y(panel: Panel, top: float, milliseconds: float) -> float:
    return top + PANEL_HEIGHT * (1 - panel.y.place(milliseconds))


def _panel(panel: Panel, top: float) -> Iterator[str]:
    bottom = top + PANEL_HEIGHT
    scale = ", logarithmic" if panel.y.logarithmic else ""
    yield text(LEFT, top - 14, f"{panel.title}, ms{scale}", "title")
    for tick in panel.y.ticks:
        y = _y(panel, top, tick)
        yield line(LEFT, y, LEFT + PLOT_WIDTH, y, "grid")
        yield text(LEFT - 8, y + 4, label(tick), anchor="end")
    for tick in panel.x.ticks:
        x = _x(panel, tick)
        yield line(x, bottom, x, bottom + 4, "axis")
        yield text(x, bottom + 18, label(tick), anchor="middle")
    yield line(LEFT, bottom, LEFT + PLOT_WIDTH, bottom, "axis")
    yield text(LEFT + PLOT_WIDTH, bottom + 34, "output tokens per second, all streams together", anchor="end")
    if panel.slo_milliseconds:
        y = _y(panel, top, panel.slo_milliseconds)
        yield line(LEFT, y, LEFT + PLOT_WIDTH, y, "slo")
        words = f"SLO {panel.slo_milliseconds} ms (p{panel.slo_percentile})"
        yield text(LEFT + 6, y - 5, words, "slo-text")
    for before, after in pairwise(panel.marks):
        kind = "line soft" if before.provisional or after.provisional else "line"
        ends = ((_x(panel, mark.rate), _y(panel, top, mark.milliseconds)) for mark in (before, after))
        (x1, y1), (x2, y2) = ends
        yield line(x1, y1, x2, y2, kind)
    for mark in panel.marks:
        yield from _point(panel, top, mark)
    yield from _numbers(panel, top)


def _point(panel: Panel, top: float, mark: Mark) -> Iterator[str]:
    x, y = _x(panel, mark.rate), _y(panel, top, mark.milliseconds)
    if mark.most_rate > mark.least_rate:
        x1, x2 = _x(panel, mark.least_rate), _x(panel, mark.most_rate)
        yield line(x1, y, x2, y, "bar")
        yield from (line(end, y - 4, end, y + 4, "bar") for end in (x1, x2))
    if mark.late_milliseconds is not None:
        late = _y(panel, top, mark.late_milliseconds)
        yield line(x, y, x, late, "bar")
        yield line(x - 4, late, x + 4, late, "bar")
    kind = "point provisional" if mark.provisional else "point"
    yield circle(x, y, kind)


def _numbers(panel: Panel, top: float) -> Iterator[str]:
    """The streams of each level beside its point, the highest level first; what finds no room is left out."""
    taken = [
        (_x(panel, mark.rate) - 5, _y(panel, top, mark.milliseconds) - 5, 10.0, 10.0) for mark in panel.marks
    ]
    for mark in reversed(panel.marks):
        x, y, words = _x(panel, mark.rate), _y(panel, top, mark.milliseconds), str(mark.streams)
        width = CHARACTER * len(words)
        for left, base in ((x + 8, y + 16), (x - width - 8, y - 7), (x - width / 2, y + 20), (x + 8, y - 7)):
            box = (left, base - 10, width, HEIGHT_OF_TEXT)
            inside = left > LEFT and left + width < WIDTH - 2 and base < top + PANEL_HEIGHT - 1
            if inside and not any(overlap(box, other) for other in taken):
                taken.append(box)
                yield text(left, base, words, "streams")
                break


def _capacity(found: Figures, panel: Panel, top: float) -> Iterator[str]:
    capacity = found.capacity
    if capacity is None or capacity.tokens_per_second is None or capacity.boundary == "NeverMet":
        return
    x = _x(panel, capacity.tokens_per_second)
    yield line(x, top, x, top + PANEL_HEIGHT, "capacity")
    words = f"capacity: {capacity.concurrency} {'stream' if capacity.concurrency == 1 else 'streams'}"
    anchor = "end" if x > LEFT + PLOT_WIDTH / 2 else "start"
    yield text(x, top - 5, words, "capacity-text", anchor=anchor)


def _legend(drawn: tuple[Panel, ...], y: float) -> Iterator[str]:
    marks = [mark for panel in drawn for mark in panel.marks]
    entries = [("point", "median, with the number of streams")]
    if any(mark.late_milliseconds is not None for mark in marks):
        entries.append(("late", "up to the 95th percentile"))
    if any(mark.most_rate > mark.least_rate for mark in marks):
        entries.append(("interval", "95 % interval"))
    if any(mark.provisional for mark in marks):
        entries.append(("provisional", "provisional"))
    x = float(LEFT)
    for kind, words in entries:
        yield from _sample(kind, x, y - 4)
        yield text(x + 14, y, words)
        x += 14 + CHARACTER * len(words) + 22


def _sample(kind: str, x: float, y: float) -> Iterator[str]:
    if kind == "late":
        yield line(x, y - 7, x, y + 6, "bar")
        yield line(x - 4, y - 7, x + 4, y - 7, "bar")
    elif kind == "interval":
        yield line(x - 7, y, x + 7, y, "bar")
        yield from (line(end, y - 4, end, y + 4, "bar") for end in (x - 7, x + 7))
    else:
        hollow = " provisional" if kind == "provisional" else ""
        yield circle(x, y, f"point{hollow}")
