"""A resource of a cluster on stdout: for people, for programs, or as a page."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tacho_cli.figures.page import measurement_page
from tacho_cli.output.formats import FigureFormat, Format, print_document
from tacho_cli.status.screen import current_measurements, remarks, show_status

if TYPE_CHECKING:
    from tacho_operator.core.types import Manifest


def show(raw: Manifest, output: FigureFormat, *, plotted: bool = False) -> None:
    """``raw``: as the API server has it. ``plotted``: the table with the curve above the levels."""
    status: Manifest = raw.get("status") or {}
    metadata = raw["metadata"]
    if output is FigureFormat.json:
        metadata = {key: value for key, value in metadata.items() if key != "managedFields"}
        print_document({**raw, "metadata": metadata}, Format.json)
    elif output is FigureFormat.html:
        title = f"{metadata['namespace']}/{metadata['name']}"
        sys.stdout.buffer.write(
            measurement_page(title, current_measurements(raw, status), remarks(status)).encode()
        )
    else:
        show_status(raw, status, whole=True, plotted=plotted)
