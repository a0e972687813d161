"""A fixed piece of work, and how long a CPU is busy with it: the speed of this machine just now."""

from __future__ import annotations

import time

TRIES = 3
ROUNDS = 12_000
"""1 to 2 ms of the interpreter on a server's CPU."""


def calibrate() -> int:
    """Nanoseconds of CPU time for the fixed work, the best of three. Takes a few milliseconds.

    CPU time and not time by the clock: while an engine keeps all CPUs busy, this thread waits for its turn,
    which says nothing of others. A lower clock, a busy twin of the core and full caches show in both.
    """
    return min(_once() for _ in range(TRIES))


def _once() -> int:
    began = time.thread_time_ns()
    value = 1
    for number in range(ROUNDS):
        value = (value * 1_103_515_245 + number) & 0x7FFF_FFFF
    return time.thread_time_ns() - began
