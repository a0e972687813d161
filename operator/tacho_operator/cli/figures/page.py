"""A measurement as one HTML file that needs nothing else. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from tacho_operator.cli.figures.document import document, rows
from tacho_operator.cli.figures.read import Figures
from tacho_operator.cli.figures.svg import svg
from tacho_operator.cli.figures.table import table
from tacho_operator.cli.figures.words import headline, notes, sentences


def page(title: str, measured: Sequence[Figures], remarks: Iterable[str] = ()) -> str:
    """The whole file. ``remarks`` stand above the measurements."""
    said = (f"<p>{escape(line)}</p>" for line in remarks)
    return document(title, [*said, *(line for found in measured for line in _section(found, title))])


def _section(found: Figures, title: str) -> Iterator[str]:
    yield f'<p class="when">Measured: {escape(headline(found))}</p>'
    yield "<dl>"
    yield from (f"<dt>{escape(what)}</dt><dd>{escape(words)}</dd>" for what, words in sentences(found))
    yield "</dl>"
    yield svg(found, title)
    headings, cells = table(found)
    if cells:
        yield from rows("levels of concurrency", headings, cells)
    yield from (f'<p class="notes">{escape(line)}</p>' for line in notes(found))
