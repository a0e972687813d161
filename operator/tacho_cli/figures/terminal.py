"""Text charts of latency against throughput, for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import plotille

from tacho_cli.figures.chart import Axis, label, round_step
from tacho_cli.figures.curve import Mark, Panel, panels
from tacho_cli.figures.read import MeasurementView

MEASURED, PROVISIONAL, CAPACITY = "●○◆"
FRAME_COLUMNS = 13 + len("|-> (tok/s)")
"""Columns of a chart outside its canvas: tick labels on the left, the axis label on the right."""
TICK_COLUMNS = 10
"""Columns between two labels of the lower axis, as the chart library sets them."""
NARROWEST, WIDEST = 3, 8
"""Fewest and most ticks of the lower axis."""
ROWS = 12


def plot(found: MeasurementView, columns: int) -> str:
    """Text charts, one per latency metric: latency (y) against throughput (x). "" where no level was
    measured."""
    ticks = min(WIDEST, max(NARROWEST, (columns - FRAME_COLUMNS) // TICK_COLUMNS))
    drawn = panels(found, x_ticks=ticks, y_ticks=4)
    return "\n\n".join([*(_drawn(panel, ticks) for panel in drawn), *_legend(drawn)])


def _drawn(panel: Panel, ticks: int) -> str:
    """One panel as text. Both axes run from 0 to 1, so that all charts have the same scale."""
    step = round_step(panel.x.high / ticks)
    ticks = math.ceil(panel.x.high / step)  # no empty columns beyond what was measured
    x = Axis(low=0.0, high=step * ticks, ticks=())
    figure = plotille.Figure()
    figure.with_colors, figure.origin = False, False
    figure.width, figure.height = ticks * TICK_COLUMNS, ROWS
    figure.x_label, figure.y_label = "tok/s", "ms"
    figure.x_ticks_fkt = lambda low, _: label(round(_share(low) * ticks) * step)
    figure.y_ticks_fkt = lambda low, high: _tick(panel.y, _share(low), _share(high))
    figure.set_x_limits(min_=0, max_=1)
    figure.set_y_limits(min_=0, max_=1)
    places = [(x.place(mark.rate), panel.y.place(mark.milliseconds)) for mark in panel.marks]
    figure.plot([at for at, _ in places], [at for _, at in places])
    if panel.slo_milliseconds:
        figure.axhline(panel.y.place(panel.slo_milliseconds))
    for mark, (across, up) in zip(panel.marks, places, strict=True):
        figure.scatter([across], [up], marker=_marker(mark))
    cells = [_cell(across, up, figure.width) for across, up in places]
    for column, row, words in _numbers(panel.marks, cells, figure.width):
        figure.text([column / figure.width], [row / ROWS], [words])
    lines = f"{_title(panel)}\n{figure.show()}".splitlines()
    # The library fills with blank braille, which terminals and editors are not agreed about.
    return "\n".join(line.replace("\u2800", " ").rstrip() for line in lines)


def _share(value: object) -> float:
    """Position on an axis as a number from 0 to 1; the library's type also allows dates."""
    assert isinstance(value, (int, float))
    return value


def _marker(mark: Mark) -> str:
    if mark.provisional:
        return PROVISIONAL
    return CAPACITY if mark.capacity else MEASURED


def _title(panel: Panel) -> str:
    scale = ", logarithmic" if panel.y.logarithmic else ""
    slo = f"; the level line is the SLO of {panel.slo_milliseconds} ms" if panel.slo_milliseconds else ""
    return f"{panel.title}, median{scale}{slo}"


def _legend(drawn: Iterable[Panel]) -> Iterator[str]:
    """Legend entries for the marks that the charts contain."""
    words = {MEASURED: "measured", CAPACITY: "capacity", PROVISIONAL: "provisional"}
    seen = {_marker(mark) for panel in drawn for mark in panel.marks}
    if seen:
        parts = (f"{marker} {what}" for marker, what in words.items() if marker in seen)
        yield f"{', '.join(parts)}; the numbers are streams"


def _cell(across: float, up: float, columns: int) -> tuple[int, int]:
    """(column, row) of a point, rounded as by the chart library: two dots per column, four per row."""
    column, row = round(across * 2 * columns) // 2, round(up * 4 * ROWS) // 4
    return min(column, columns - 1), min(row, ROWS - 1)


def _tick(y: Axis, low: float, high: float) -> str:
    """The tick label in the row that spans ``low`` to ``high``; "" without a tick there."""
    return next((label(tick) for tick in y.ticks if low <= y.place(tick) < high), "")


def _numbers(
    marks: Iterable[Mark], cells: Sequence[tuple[int, int]], columns: int
) -> Iterator[tuple[int, int, str]]:
    """(column, row, streams) of the label of each point, the highest level first; labels without free space
    are left out."""
    taken = set(cells)
    for mark, (column, row) in reversed([*zip(marks, cells, strict=True)]):
        words = str(mark.streams)
        places = ((column, row + 1), (column + 1, row), (column, row - 1), (column - len(words), row))
        for start, line in places:
            cells_taken = {(start + n, line) for n in range(len(words))}
            # A cell of distance, or two numbers read as one.
            near = cells_taken | {(start - 1, line), (start + len(words), line)}
            own = {(column, row)}
            if 0 <= start <= columns - len(words) and 0 <= line < ROWS and not (near - own) & taken:
                taken |= cells_taken
                yield start, line, words
                break
