"""Layout of the tables that the commands print."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable

from rich.console import Console
from rich.table import Table

PIPE_WIDTH = 120
"""Columns where stdout is no terminal and COLUMNS does not say."""


def console() -> Console:
    """Stdout: coloured on a terminal unless NO_COLOR is set, plain and wide elsewhere."""
    found = Console()
    if not found.is_terminal and not os.environ.get("COLUMNS"):
        found = Console(width=PIPE_WIDTH)
    return found


def plain_table(title: str | None = None) -> Table:
    """The look of every table: no frame, as kubectl prints."""
    return Table(
        box=None, header_style="bold", pad_edge=False, title=title, title_justify="left", title_style="bold"
    )


def columns(
    table: Table, headings: Iterable[str], *, right: Container[str] = (), wrap: Container[str] = ()
) -> None:
    for heading in headings:
        table.add_column(
            heading, justify="right" if heading in right else "left", no_wrap=heading not in wrap
        )
