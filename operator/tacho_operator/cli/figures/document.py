"""An HTML file that needs nothing else, around what is to be shown; and its tables. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
"""What a browser may do with the page: show it, in its own styles. Nothing is fetched, nothing runs."""
STYLE = """
:root { color-scheme: light dark; --ink: #1f2328; --soft: #59636e; --rule: #8884; --paper: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9da7b1; --paper: #0d1117; } }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 820px; margin: 2rem auto; padding: 0 1rem;
  color: var(--ink); background: var(--paper); }
h1 { font-size: 1.4rem; margin: 0; overflow-wrap: anywhere; }
.when, .notes, caption { color: var(--soft); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.2rem 1rem; }
dt { font-weight: 600; } dd { margin: 0; overflow-wrap: anywhere; }
svg { max-width: 100%; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { text-align: right; padding: 0.2rem 0.7rem; border-bottom: 1px solid var(--rule); }
th { font-size: 0.7rem; color: var(--soft); }
"""


def document(title: str, body: Iterable[str], style: str = "") -> str:
    """The whole file; ``style``: what the page's own parts need beyond the common."""
    lines = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}{style}</style>",
        "</head>",
        "<body>",
        f"<h1>{escape(title)}</h1>",
        *body,
        "</body>",
        "</html>",
    ]
    return "\n".join(lines) + "\n"


def rows(name: str, headings: Sequence[str], cells: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table that scrolls by itself where the window is narrow. ``name``: how it is read out."""
    # What scrolls has to be reached by keyboard.
    yield f'<div class="wide" tabindex="0" role="group" aria-label="{escape(name)}">'
    yield f'<table aria-label="{escape(name)}">'
    yield _row('th scope="col"', headings)
    yield from (_row("td", row) for row in cells)
    yield "</table></div>"


def _row(kind: str, cells: Iterable[str]) -> str:
    end = kind.split()[0]
    return f"<tr>{''.join(f'<{kind}>{escape(cell)}</{end}>' for cell in cells)}</tr>"
