"""Prints one measurement on stdout as a table, JSON or page, and gives the exit code."""

from __future__ import annotations

from tacho_cli.figures.messages import show_figures
from tacho_cli.figures.page import measurement_page
from tacho_cli.figures.read import MeasurementView
from tacho_cli.output import FigureFormat, console, print_document, write_page
from tacho_cli.problems import ExitCode
from tacho_operator.core.types import Manifest


def show(entry: Manifest, found: MeasurementView, title: str, output: FigureFormat) -> None:
    """Prints a measurement. ``entry``: in the form of ``status.measurements``; ``found``: the same as
    numbers."""
    if output in ("json", "yaml"):
        print_document(entry, output)
    elif output == "html":
        write_page(measurement_page(title, [found]))
    else:
        screen = console()
        screen.print(title, markup=False, highlight=False, style="bold")
        show_figures(screen, found)


def verdict(found: MeasurementView) -> int:
    """The exit code of a measurement: OK or NOT_MET for the SLO, PROVISIONAL if disturbed, FAILED without a
    capacity."""
    has_target = found.slo.ttft_milliseconds or found.slo.tpot_milliseconds
    if found.provisional:
        return ExitCode.PROVISIONAL
    if not has_target:
        return ExitCode.OK
    if found.capacity is None or found.capacity.basis != "SLO":
        return ExitCode.FAILED
    broken = found.capacity.boundary == "NeverMet" or found.capacity.verified is False
    return ExitCode.NOT_MET if broken else ExitCode.OK
