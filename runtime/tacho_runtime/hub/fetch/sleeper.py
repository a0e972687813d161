"""What the fetch container becomes when the model is there: as small a process as Python can be, that
ends when it is told to."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

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
