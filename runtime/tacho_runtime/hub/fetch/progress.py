"""What a download leaves for others: its progress, its marker, and a sleeping process."""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from tacho_contract import codec
from tacho_contract.fetch import COMPLETE_FILE, PROGRESS_FILE, FetchProgress

INTERVAL_SECONDS = 0.5


def write_progress(state_dir: str, progress: FetchProgress) -> None:
    """Replaces the progress file. A reader sees the old one or the new one, never a part."""
    _replace(Path(state_dir, PROGRESS_FILE), codec.dumps(progress))


def write_complete(state_dir: str, path: str) -> None:
    """The marker that the model is whole in ``path``."""
    _replace(Path(state_dir, COMPLETE_FILE), json.dumps({"path": path}))


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text)
    os.replace(fresh, path)


class StallDetector:
    """Notices that nothing has moved for too long. Time is given, not taken."""

    def __init__(self, limit_seconds: float, now_seconds: float) -> None:
        self._limit, self._since = limit_seconds, now_seconds
        self._last: FetchProgress | None = None

    def stalled(self, progress: FetchProgress, now_seconds: float) -> bool:
        """True once ``progress`` has been the same, but for the time, over the limit."""
        seen = replace(progress, elapsed_seconds=0.0)
        if seen != self._last:
            self._last, self._since = seen, now_seconds
        return now_seconds - self._since > self._limit


ENDING = {signal.SIGTERM, signal.SIGINT}
PROGRAM = f"import _signal; _signal.sigwait({{{int(signal.SIGTERM)}, {int(signal.SIGINT)}}})"


def become_sleeper() -> NoReturn:
    """Replaces this process. The environment, and with it the hub token, does not go along.

    The signals are blocked before: one that arrives in between stays pending, and ends the sleeper at
    once. As PID 1 it would otherwise be ignored, and hold the pod for its whole grace period.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", PROGRAM], {})  # noqa: S606 - no shell is wanted
