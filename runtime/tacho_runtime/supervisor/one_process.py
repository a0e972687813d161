"""The engine's counters, where its metrics are those of one process.

Behind one port several processes may answer in turn, each with counters of its own: a custom server with two
workers. Of 1,500 tokens in ten minutes 13,910 were counted.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable

from tacho_runtime.probe.load.engine_counters import EngineCounters, counters_of

log = logging.getLogger("tacho")

APART_SECONDS = 600.0
"""Longest time between two changes to another process that are no restarts."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSource:
    """What is known of the processes that the readings came from."""

    counts: tuple[float | None, ...] = (None, None)
    """The last known counters that only grow."""
    started: float | None = None
    changed_seconds: tuple[float, ...] = ()
    """When the last two changes to another process were seen."""

    def after(self, found: EngineCounters, now: float) -> MetricsSource:
        """What is known after a reading at ``now``.

        Prompt tokens show no change: vLLM's fall by what its cache provides. Nothing is known of another
        process's counters that its page lacks: many servers show one from the first request on only.
        """
        counts = found.generated_tokens, found.ttft_seconds_count
        pairs = tuple(zip(self.counts, counts, strict=True))
        fell = any(was is not None and is_now is not None and is_now < was for was, is_now in pairs)
        is_other = None not in (self.started, found.started) and self.started != found.started
        changed = fell or is_other
        return MetricsSource(
            counts=counts if changed else tuple(was if is_now is None else is_now for was, is_now in pairs),
            started=self.started if found.started is None else found.started,
            changed_seconds=(*self.changed_seconds, now)[-2:] if changed else self.changed_seconds,
        )

    def alternates(self, now: float) -> bool:
        """Whether several processes answer. One change is a restart inside the container."""
        return len(self.changed_seconds) == 2 and now - self.changed_seconds[0] < APART_SECONDS


class OneProcess:
    """Reads the engine's counters; all are unknown while several processes answer in turn."""

    def __init__(self, metrics: Callable[[], Awaitable[str | None]]) -> None:
        """``metrics`` reads the engine's Prometheus text; None: it serves none."""
        self._metrics = metrics
        self._source = MetricsSource()
        self._alternates = False
        self._lock = asyncio.Lock()
        """A reading that began earlier and ended later would look like another process."""

    async def __call__(self) -> EngineCounters:
        async with self._lock:
            found = await counters_of(await self._metrics() or "")
            now = time.monotonic()
            self._source = self._source.after(found, now)
            before, self._alternates = self._alternates, self._source.alternates(now)
        if self._alternates and not before:
            log.warning("the metrics are those of several processes in turn, so the load is unknown")
        return EngineCounters() if self._alternates else found
