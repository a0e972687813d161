"""Progress on stderr: one line that moves on a terminal, a line for each step elsewhere."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from tacho_operator.cli.output.formats import say
from tacho_operator.cli.output.letters import encodes


@contextlib.contextmanager
def following(about_seconds: int | None = None) -> Iterator[Callable[[str], None]]:
    """Gives what tells the step that is under way. ``about_seconds``: how long all of them take together;
    None: nobody knows."""
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
        yield lambda words: display.update(task, description=words)
