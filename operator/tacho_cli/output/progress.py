"""Progress on stderr: one line that moves on a terminal, a line for each step elsewhere."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from tacho_cli.output.formats import say
from tacho_cli.output.letters import encodes


@contextlib.contextmanager
def following(about_seconds: int | None = None) -> Iterator[Callable[[str], None]]:
    """Yields a function that reports the present step.

    ``about_seconds``: expected duration of all steps together; None: unknown.
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.spinner import Spinner

    screen = Console(stderr=True)
    if not screen.is_terminal or os.environ.get("TERM") == "dumb":
        yield say
        return
    spinner = "dots" if encodes(screen.encoding, "".join(Spinner("dots").frames)) else "line"
    parts = (
        SpinnerColumn(spinner),
        TextColumn("tacho: {task.description}", markup=False),
        TimeElapsedColumn(),
        TextColumn(f"of about {about_seconds} s" if about_seconds else ""),
    )
    with Progress(*parts, console=screen, transient=True) as display:
        task = display.add_task("asking", total=None)
        yield lambda message: display.update(task, description=message)
