"""Prints documents, tables and progress of all commands, in whatever encoding the stream has.

Light to import, as every command does so: rich is imported where it prints.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from tacho_contract.text import visible

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.table import Table
    from rich.text import Text


Format = Literal["table", "wide", "json", "yaml", "name"]
"""Values of ``--output`` where objects are printed."""
FindingFormat = Literal["table", "json", "yaml"]
"""Values of ``--output`` for findings."""
FigureFormat = Literal["table", "json", "yaml", "html"]
"""Values of ``--output`` for a measurement."""
PageFormat = Literal["html"]
"""Values of ``--output`` for a report."""
TraceFormat = Literal["table", "json", "yaml", "csv", "html"]
"""Values of ``--output`` for simulation runs."""


def print_document(document: dict[str, Any], output: str) -> None:
    """Prints one document on stdout, complete and nothing else. ``output``: json, else YAML."""
    if output == "json":
        write_page(json.dumps(document, indent=2) + "\n")
    else:
        import yaml

        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
        if visible(text, "\n") != text:
            text = yaml.safe_dump(document, sort_keys=False)  # which escapes: a document is never changed
        write_page(text)


def write_page(page: str) -> None:
    """Prints a page, rows or a document on stdout as UTF-8, so that it is the same on every machine."""
    sys.stdout.flush()
    sys.stdout.buffer.write(page.encode())
    sys.stdout.flush()


def say(line: str) -> None:
    """Prints progress and notes on stderr, so that stdout stays a document."""
    print(f"tacho: {visible(line)}", file=sys.stderr, flush=True)


def never_fail() -> None:
    """Makes stdout and stderr replace characters that their encoding lacks, and discard output once they are
    closed."""
    if sys.stdin is None:  # closed by who started this; its number is not to be another file's
        os.open(os.devnull, os.O_RDONLY)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - for as long as the process lives
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@contextlib.contextmanager
def following() -> Iterator[Callable[[str], None]]:
    """Shows the progress of a task; yields a function to call with each step."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    screen = Console(stderr=True)
    if not screen.is_terminal or os.environ.get("TERM") == "dumb":
        yield say
        return
    parts = (
        SpinnerColumn("line"),
        TextColumn("tacho: {task.description}", markup=False),
        TimeElapsedColumn(),
    )
    # Elsewhere than on this terminal, stdout is left as it is.
    with Progress(*parts, console=screen, transient=True, redirect_stdout=sys.stdout.isatty()) as display:
        task = display.add_task("starting", total=None)
        yield lambda message: display.update(task, description=visible(message))


PIPE_WIDTH = 120
"""Width in columns of text, where stdout is no terminal and COLUMNS is not set."""
UNLIMITED_WIDTH = 1_000_000
"""Width in columns of a table that is not cut, for output that programs read."""
LEAST_WRAPPED_WIDTH = 20
"""Fewest columns for texts that are broken into lines; where there are less, they stand below their rows."""


def console() -> Console:
    """A rich console on stdout: coloured on a terminal unless NO_COLOR is set, plain and with whole tables
    elsewhere.

    No text is markup, and every character of it shows.
    """
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment
    from rich.table import Table

    def is_whole(renderable: object) -> bool:
        return piped or (isinstance(renderable, Table) and all(item.no_wrap for item in renderable.columns))

    class VisibleConsole(Console):
        def print(self, *objects: Any, **options: Any) -> None:
            super().print(*objects, **{"crop": not any(map(is_whole, objects)), **options})

        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterable[Segment]:
            if isinstance(renderable, Table) and is_whole(renderable):
                options = (options or self.options).update(width=UNLIMITED_WIDTH)
            elif isinstance(renderable, Table) and not _fits(renderable, (options or self.options).max_width):
                renderable = _stacked(renderable)
            for text, style, control in super().render(renderable, options):
                yield Segment(text if control else visible(text, "\n"), style, control)

    found = VisibleConsole(markup=False, emoji=False)
    piped = not found.is_terminal and not os.environ.get("COLUMNS", "").strip("0")
    if piped or not found.width:  # a terminal without a size has COLUMNS=0: nothing fits into it
        found.width = PIPE_WIDTH
    return found


def _fits(table: Table, width: int) -> bool:
    """Whether ``table`` shows whole in ``width`` columns: rich leaves out a column that has no place."""
    from rich.cells import cell_len

    if not any(column.no_wrap for column in table.columns):
        return True  # it breaks all into lines
    widths = []
    for column in table.columns:
        heading = str(column.header)
        parts = [heading] if column.no_wrap else heading.split()
        heads, cells = (max(map(cell_len, texts), default=0) for texts in (parts, map(str, column.cells)))
        widths.append(max(heads, cells if column.no_wrap else min(cells, LEAST_WRAPPED_WIDTH)))
    return sum(widths) + 2 * (len(widths) - 1) <= width


def _stacked(table: Table) -> Group:
    """The cells of ``table`` in lines: of each row, first those that are not to be broken."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    lines: list[Text | Padding] = [Text(str(table.title), "bold")] if table.title else []
    headings = [tuple(column.header for column in table.columns)] if table.show_header else []
    for cells in (*headings, *zip(*(column.cells for column in table.columns), strict=True)):
        style = "bold" if cells in headings else ""
        both = list(zip(table.columns, cells, strict=True))
        lines.append(Text("  ".join(str(cell) for column, cell in both if column.no_wrap), style))
        lines += [
            Padding(Text(str(cell), style), (0, 0, 0, 2)) for column, cell in both if not column.no_wrap
        ]
    return Group(*lines)


def grid(
    headings: Iterable[str],
    rows: Iterable[Iterable[str | Text]],
    *,
    right: Container[str] = (),
    wrap: Container[str] = (),
    title: str | None = None,
) -> Table:
    """A table without a frame, as kubectl prints; without a line of headings where all are empty.

    ``right``: headings of columns whose cells are aligned to the right. ``wrap``: of those whose texts may be
    broken into lines.
    """
    from rich.table import Table
    from rich.text import Text

    names = list(headings)
    table = Table(
        box=None,
        header_style="bold",
        pad_edge=False,
        show_header=any(names),
        title=title,
        title_justify="left",
        title_style="bold",
    )
    for heading in names:
        table.add_column(
            heading, justify="right" if heading in right else "left", no_wrap=heading not in wrap
        )
    for cells in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in cells))
    return table


def table_of(rows: Sequence[Mapping[str, str]]) -> Table:
    """A table of rows by heading; all have the headings of the first."""
    return grid(rows[0] if rows else (), (cells.values() for cells in rows))
