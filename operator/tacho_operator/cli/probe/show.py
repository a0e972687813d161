"""One measurement on stdout: for people, for programs, or as a page."""

from __future__ import annotations

import sys

from tacho_operator.cli.figures.page import page
from tacho_operator.cli.figures.read import Figures
from tacho_operator.cli.figures.screen import show_figures
from tacho_operator.cli.output.formats import FigureFormat, Format, print_document
from tacho_operator.cli.output.tables import console
from tacho_operator.core.types import Manifest


def show(entry: Manifest, found: Figures, title: str, output: FigureFormat) -> None:
    """``entry``: as ``status.measurements`` has it; ``found``: the same as numbers."""
    if output is FigureFormat.json:
        print_document(entry, Format.json)
    elif output is FigureFormat.html:
        sys.stdout.buffer.write(page(title, [found]).encode())
    else:
        screen = console()
        screen.print(title, markup=False, highlight=False, style="bold")
        show_figures(screen, found)
