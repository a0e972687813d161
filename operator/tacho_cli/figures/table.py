"""Prints a measurement on a terminal: headline, curve, the levels as a table, notes."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from tacho_cli.figures.digits import estimate, measured
from tacho_cli.figures.messages import headline, notes, sentences
from tacho_cli.figures.read import MeasurementView, flags_of
from tacho_cli.output import grid
from tacho_contract.measurement import CurvePoint

NONE = "-"
"""Text of an empty cell: too few requests for the percentile, or no target is set."""


def table(found: MeasurementView) -> tuple[list[str], list[list[str]]]:
    """(headings, rows) of a measurement's levels; the capacity's row is marked.

    Columns of SLO and flags only where some level has them.
    """
    points = found.points
    rates = [
        measured(point.output_tokens_per_second, point.ci_percent, provisional=found.doubts(point))
        for point in points
    ]
    columns = [
        ("STREAMS", _streams(found)),
        ("TOK/S", rates),
        ("TTFT P50 MS", [_time(found, point, point.ttft_milliseconds_p50) for point in points]),
        ("P95 MS", [_time(found, point, point.ttft_milliseconds_p95) for point in points]),
        ("TPOT P50 MS", [_time(found, point, point.tpot_milliseconds_p50) for point in points]),
        ("P95 MS", [_time(found, point, point.tpot_milliseconds_p95) for point in points]),
        ("REQUESTS", [NONE if point.requests is None else str(point.requests) for point in points]),
    ]
    if any(point.slo_met is not None for point in points):
        words = {True: "met", False: "broken", None: NONE}
        columns.append(("SLO", [words[point.slo_met] for point in points]))
    if any(map(flags_of, points)):
        columns.append(("FLAGS", [", ".join(flags_of(point)) for point in points]))
    rows = zip(*(cells for _, cells in columns), strict=True)
    return [heading for heading, _ in columns], [list(row) for row in rows]


def _streams(found: MeasurementView) -> list[str]:
    at = found.capacity.concurrency if found.capacity else None
    return [("* " if point.concurrency == at else "") + str(point.concurrency) for point in found.points]


def _time(found: MeasurementView, point: CurvePoint, milliseconds: float | None) -> str:
    return NONE if milliseconds is None else estimate(milliseconds, provisional=found.doubts(point))


def show_figures(
    screen: Console, found: MeasurementView, *, picture: str = "", shown_message: str = ""
) -> None:
    """Prints a measurement: headline, ``picture`` (the curve as text), levels and notes. ``shown_message``:
    text that is already on the screen and is not repeated."""
    screen.print(Text(f"Measured: {headline(found)}", style="bold"))
    if rows := sentences(found):
        screen.print(grid(("", ""), rows, wrap=("",)))
    if picture:
        screen.print()
        screen.print(Text(picture, no_wrap=True, overflow="crop"))
    if found.points:
        screen.print()
        headings, levels = table(found)
        screen.print(grid(headings, levels, right=set(headings) - {"FLAGS", "SLO"}, wrap=("FLAGS",)))
    for line in notes(found, shown_message):
        screen.print(Text(line))
