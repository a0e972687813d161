"""Progress messages of the tools, and errors that say why a tool cannot continue."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

SHOW_EVERY_SECONDS = 10
ENDING_SECONDS = 10
"""Between asking a command to end and ending it."""
ENDS = (signal.SIGTERM, signal.SIGHUP)
Say = Callable[[str], None]


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
    family: bool = False,
    say: Say = say,
) -> str:
    """The command's standard output; a long command also prints a line now and then as a sign of progress.

    ``family``: an interrupt ends the command's child processes too, and not the command alone.

    Raises StepError with its last lines when it fails.
    """
    shown = [str(part) for part in command]
    with (
        subprocess.Popen(
            shown,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=environment,
            cwd=folder,
            start_new_session=family,
        ) as process,
        _ending(process, family=family),
    ):
        output: list[str] = []
        errors: list[str] = []
        readers = [
            threading.Thread(target=_collect, args=(process.stdout, output), daemon=True),
            threading.Thread(target=_collect, args=(process.stderr, errors), daemon=True),
        ]
        for reader in readers:
            reader.start()
        _wait(process, output, errors, say)
        for reader in readers:
            reader.join()
    if process.returncode != 0:
        tail = "".join((output + errors)[-25:]).rstrip()
        what = f"`{' '.join(shown)}` exited with {process.returncode}"
        raise StepError(failure_class, f"{what}. {next_step}\n{tail}")
    return "".join(output)


@contextmanager
def _ending(process: subprocess.Popen[str], *, family: bool) -> Iterator[None]:
    """Context manager: an exception or interrupt inside ends the command's processes."""
    try:
        yield
    except BaseException:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number) if family else process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(ENDING_SECONDS)
        raise


def ended_by_signals() -> None:
    """From this call on, SIGTERM and SIGHUP end this process as Ctrl-C does, so that clean-up code runs. A
    signal that was ignored before stays ignored."""

    def end(number: int, _frame: object) -> None:
        for known in ENDS:
            signal.signal(known, signal.SIG_IGN)  # no second one may cut the cleaning short
        raise SystemExit(128 + number)

    for number in ENDS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, end)


def _collect(stream: IO[str] | None, lines: list[str]) -> None:
    for line in stream or ():
        lines.append(line)


def _wait(process: subprocess.Popen[str], output: list[str], errors: list[str], say: Say) -> None:
    start = time.monotonic()
    while True:
        try:
            process.wait(timeout=SHOW_EVERY_SECONDS)
            return
        except subprocess.TimeoutExpired:
            latest = (output or errors or ["…"])[-1].strip()[:90]
            say(f"    {time.monotonic() - start:4.0f} s  {latest}")
