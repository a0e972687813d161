"""One measurement on stdout: for people, for programs, or as a page."""

from __future__ import annotations

import sys

from tacho_cli.figures.page import measurement_page
from tacho_cli.figures.read import MeasurementView
from tacho_cli.figures.screen import show_figures
from tacho_cli.output.formats import FigureFormat, Format, print_document
from tacho_cli.output.tables import console
from tacho_operator.core.types import Manifest


def show(entry: Manifest, found: MeasurementView, title: str, output: FigureFormat) -> None:
    """Prints a measurement. ``entry``: in the form of ``status.measurements``; ``found``: the same as
    numbers."""
    if output is FigureFormat.json:
        print_document(entry, Format.json)
    elif output is FigureFormat.html:
        sys.stdout.buffer.write(measurement_page(title, [found]).encode())
    else:
        screen = console()
        screen.print(title, markup=False, highlight=False, style="bold")
        show_figures(screen, found)
