"""A measurement as a person reads it in a terminal: what it says, the levels, what to know of them."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tacho_operator.cli.figures.read import Figures
from tacho_operator.cli.figures.table import table
from tacho_operator.cli.figures.words import headline, notes, sentences
from tacho_operator.cli.output.letters import spelled
from tacho_operator.cli.output.tables import columns, plain_table


def show_figures(screen: Console, found: Figures, *, picture: str = "", said: str = "") -> None:
    """``picture``: the curve as text, to stand above the levels. ``said``: what needs not be said again."""
    screen.print(Text(f"Measured: {headline(found)}", style="bold"))
    if rows := sentences(found):
        screen.print(_sentences([(what, spelled(screen.encoding, words)) for what, words in rows]))
    if picture:
        screen.print()
        screen.print(Text(picture, no_wrap=True, overflow="crop"))
    if found.points:
        screen.print()
        screen.print(_levels(screen, found))
    for line in notes(found, said):
        screen.print(Text(spelled(screen.encoding, line)))


def _sentences(said: list[tuple[str, str]]) -> Table:
    grid = plain_table()
    grid.show_header = False
    columns(grid, ("", ""), wrap=("",))
    for what, words in said:
        grid.add_row(Text(what), Text(words))
    return grid


def _levels(screen: Console, found: Figures) -> Table:
    headings, rows = table(found)
    grid = plain_table()
    columns(grid, headings, right=set(headings) - {"FLAGS", "SLO"}, wrap=("FLAGS",))
    for row in rows:
        grid.add_row(*(Text(spelled(screen.encoding, cell)) for cell in row))
    return grid
