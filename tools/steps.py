"""Telling a person what is going on, and why it cannot go on."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

SHOW_EVERY_SECONDS = 10


class StepError(Exception):
    """A step failed. ``failure_class`` names how, the message says what to do next."""

    def __init__(self, failure_class: str, message: str) -> None:
        super().__init__(f"{failure_class}: {message}")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Announce what begins, and how long it took."""
    say(f"==> {title} …")
    start = time.monotonic()
    yield
    say(f"    {title}: {time.monotonic() - start:.1f} s")


def run(
    command: Sequence[str | Path],
    *,
    failure_class: str,
    next_step: str,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> str:
    """The command's standard output; of a long one, a line now and then to show that it moves.

    Raises StepError with its last lines when it fails.
    """
    shown = [str(part) for part in command]
    with subprocess.Popen(
        shown,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env=environment,
        cwd=folder,
    ) as process:
        output: list[str] = []
        errors: list[str] = []
        readers = [
            threading.Thread(target=_collect, args=(process.stdout, output), daemon=True),
            threading.Thread(target=_collect, args=(process.stderr, errors), daemon=True),
        ]
        for reader in readers:
            reader.start()
        _wait(process, output, errors)
        for reader in readers:
            reader.join()
    if process.returncode != 0:
        tail = "".join((output + errors)[-25:]).rstrip()
        what = f"`{' '.join(shown)}` exited with {process.returncode}"
        raise StepError(failure_class, f"{what}. {next_step}\n{tail}")
    return "".join(output)


def _collect(stream: IO[str] | None, lines: list[str]) -> None:
    for line in stream or ():
        lines.append(line)


def _wait(process: subprocess.Popen[str], output: list[str], errors: list[str]) -> None:
    start = time.monotonic()
    while True:
        try:
            process.wait(timeout=SHOW_EVERY_SECONDS)
            return
        except subprocess.TimeoutExpired:
            latest = (output or errors or ["…"])[-1].strip()[:90]
            say(f"    {time.monotonic() - start:4.0f} s  {latest}")
