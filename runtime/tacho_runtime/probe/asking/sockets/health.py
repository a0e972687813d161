"""How well this process keeps up while it asks."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from tacho_runtime.probe.asking.sockets.job import NS
from tacho_runtime.probe.ports import ClientHealth

TURN_SECONDS = 0.01


@dataclass(slots=True)
class Watch:
    """Wakes a hundred times a second; notes by how much too late, and the CPU time the process has used."""

    _turns: list[tuple[int, int, int]] = field(default_factory=list)
    """(monotonic ns, by how many ns too late, CPU ns of the process)."""
    _sends: list[tuple[int, int]] = field(default_factory=list)
    """(monotonic ns, by how many ns too late)."""

    async def run(self) -> None:
        while True:
            due_ns = time.monotonic_ns() + int(TURN_SECONDS * NS)
            await asyncio.sleep(TURN_SECONDS)
            now_ns = time.monotonic_ns()
            self._turns.append((now_ns, max(0, now_ns - due_ns), time.process_time_ns()))

    def sent(self, now_ns: int, due_ns: int) -> None:
        self._sends.append((now_ns, now_ns - due_ns))

    def health(self, start_ns: int, end_ns: int) -> ClientHealth:
        """Within the window."""
        turns = [turn for turn in self._turns if start_ns <= turn[0] <= end_ns]
        sends = [late for stamp, late in self._sends if start_ns <= stamp <= end_ns]
        lags = [late for _, late, _ in turns]
        wall = turns[-1][0] - turns[0][0] if turns else 0
        return ClientHealth(
            lag_milliseconds_p99=_p99(lags) / 1e6,
            late_send_milliseconds_p99=_p99(sends) / 1e6,
            cpu_share=(turns[-1][2] - turns[0][2]) / wall if wall else 0.0,
        )


def _p99(values: list[int]) -> int:
    """Of few the second largest: one that was late by chance is none."""
    return sorted(values)[int(0.99 * (len(values) - 1))] if values else 0
