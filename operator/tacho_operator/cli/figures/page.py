"""A measurement as one HTML file that needs nothing else. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from tacho_operator.cli.figures.read import Figures
from tacho_operator.cli.figures.svg import svg
from tacho_operator.cli.figures.table import table
from tacho_operator.cli.figures.words import headline, notes, sentences

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 820px; margin: 2rem auto; padding: 0 1rem;
  color: #1f2328; background: #ffffff; }
@media (prefers-color-scheme: dark) { body { color: #e6edf3; background: #0d1117; } }
h1 { font-size: 1.4rem; margin: 0; overflow-wrap: anywhere; }
.when, .notes { opacity: 0.75; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.2rem 1rem; }
dt { font-weight: 600; } dd { margin: 0; }
svg { max-width: 100%; height: auto; }
.levels { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { text-align: right; padding: 0.2rem 0.7rem; border-bottom: 1px solid #8884; }
th { font-size: 0.7rem; opacity: 0.75; }
"""


def page(title: str, measured: Sequence[Figures], remarks: Iterable[str] = ()) -> str:
    """The whole file. ``remarks`` stand above the measurements."""
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        "</head>",
        "<body>",
        f"<h1>{escape(title)}</h1>",
        *(f"<p>{escape(line)}</p>" for line in remarks),
        *(line for found in measured for line in _section(found, title)),
        "</body>",
        "</html>",
    ]
    return "\n".join(lines) + "\n"


def _section(found: Figures, title: str) -> Iterator[str]:
    yield f'<p class="when">Measured: {escape(headline(found))}</p>'
    yield "<dl>"
    yield from (f"<dt>{escape(what)}</dt><dd>{escape(words)}</dd>" for what, words in sentences(found))
    yield "</dl>"
    yield svg(found, title)
    headings, rows = table(found)
    if rows:
        yield '<div class="levels"><table>'
        yield _row("th", headings)
        yield from (_row("td", row) for row in rows)
        yield "</table></div>"
    yield from (f'<p class="notes">{escape(line)}</p>' for line in notes(found))


def _row(kind: str, cells: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{kind}>{escape(cell)}</{kind}>' for cell in cells)}</tr>"
