"""Whether the engine's running requests make progress, by its own counters.

An engine may answer its health check while the thread that computes hangs: vLLM's checks that its processes
have not ended.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tacho_runtime.probe.load.engine_counters import EngineCounters

READ_SECONDS = 15.0
"""Seconds between two readings of the counters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The last reading of the counters, and since when they stand still."""

    read_seconds: float | None = None
    counts: tuple[float | None, ...] = ()
    stalled_since: float | None = None
    """Since when requests have run without a token; None: they have not, or it is unknown."""

    def after(self, found: EngineCounters, now: float) -> Progress:
        """The progress with a reading at ``now``.

        Judged are engines that count tokens at every step, or the steps: others count nothing until an answer
        has ended. The tokens of prompts add nothing: tacho's own servers count them with the first token.
        """
        counts = (found.generated_tokens, found.ttft_seconds_count, found.steps)
        counted = found.by_step or found.steps is not None
        stands = bool(found.running) and counted and counts == self.counts
        since = (self.stalled_since or self.read_seconds) if stands else None
        return Progress(read_seconds=now, counts=counts, stalled_since=since)

    async def next(self, read: Callable[[], Awaitable[EngineCounters]]) -> Progress:
        """The progress with another reading, where the last is READ_SECONDS old."""
        if self.read_seconds is not None and time.monotonic() - self.read_seconds < READ_SECONDS:
            return self
        return self.after(await read(), time.monotonic())
