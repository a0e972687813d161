"""Runs a cell's command, and stops all of it where time or somebody says so."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

STOP_SECONDS = 20
"""How long a command that is cut off may take to drain and end by itself."""


@dataclass(frozen=True)
class Ended:
    """``code`` None: it was cut off."""

    code: int | None
    shown: str
    stderr: str


class Interrupted(Exception):
    """The harness was told to stop; the message is the command's standard error."""


def run(command: Sequence[str], limit_seconds: float, stop_seconds: float = STOP_SECONDS) -> Ended:
    """``command`` to its end, or cut off after ``limit_seconds``. Raises Interrupted where a
    KeyboardInterrupt comes meanwhile."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_interrupts,
    )
    try:
        shown, stderr = process.communicate(timeout=limit_seconds)
    except subprocess.TimeoutExpired:
        stderr = _stopped(process, stop_seconds)
        return Ended(None, "", f"{stderr.rstrip()}\nstopped after {limit_seconds:.0f} s")
    except KeyboardInterrupt:
        raise Interrupted(f"{_stopped(process, stop_seconds).rstrip()}\ninterrupted") from None
    return Ended(process.returncode, shown, stderr)


def heed_interrupts() -> None:
    """In a child, before it is the command: whatever a script starts in its background ignores SIGINT, and so
    does what that starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _stopped(process: subprocess.Popen[str], stop_seconds: float) -> str:
    """Its standard error until it ended. It is terminated, and after a while killed with all that came of
    it: tacho's children have sessions of their own, and an engine that is left keeps the GPU's memory."""
    process.send_signal(signal.SIGINT)
    try:
        return process.communicate(timeout=stop_seconds)[1]
    except subprocess.TimeoutExpired:
        for pid in (process.pid, *descendants(process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return process.communicate()[1]


def descendants(pid: int) -> list[int]:
    """Its children, and theirs."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *descendants(child)]
    return found
