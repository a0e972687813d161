"""A measurement as text for a terminal: its summary, the levels, and notes."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tacho_cli.figures.messages import headline, notes, sentences
from tacho_cli.figures.read import MeasurementView
from tacho_cli.figures.table import table
from tacho_cli.output.letters import spelled
from tacho_cli.output.tables import columns, plain_table


def show_figures(
    screen: Console, found: MeasurementView, *, picture: str = "", shown_message: str = ""
) -> None:
    """``picture``: the curve as text. ``shown_message``: text that is already on the screen."""
    screen.print(Text(f"Measured: {headline(found)}", style="bold"))
    if rows := sentences(found):
        screen.print(_sentences([(what, spelled(screen.encoding, content)) for what, content in rows]))
    if picture:
        screen.print()
        screen.print(Text(picture, no_wrap=True, overflow="crop"))
    if found.points:
        screen.print()
        screen.print(_levels(screen, found))
    for line in notes(found, shown_message):
        screen.print(Text(spelled(screen.encoding, line)))


def _sentences(rows: list[tuple[str, str]]) -> Table:
    grid = plain_table()
    grid.show_header = False
    columns(grid, ("", ""), wrap=("",))
    for what, content in rows:
        grid.add_row(Text(what), Text(content))
    return grid


def _levels(screen: Console, found: MeasurementView) -> Table:
    headings, rows = table(found)
    grid = plain_table()
    columns(grid, headings, right=set(headings) - {"FLAGS", "SLO"}, wrap=("FLAGS",))
    for row in rows:
        grid.add_row(*(Text(spelled(screen.encoding, cell)) for cell in row))
    return grid
