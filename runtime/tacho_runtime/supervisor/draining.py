"""Drains the engine: waits until it has no requests left, or the drain time has passed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

from tacho_contract.report import CutRequests
from tacho_contract.units import counted
from tacho_runtime.machine import processes
from tacho_runtime.probe.load.engine_counters import EngineCounters
from tacho_runtime.supervisor.lifecycle import Verdict

IDLE_READINGS = 2
"""Number of readings in a row without requests after which the engine counts as idle. A request may just be
between two connections.
"""


def drain_step(
    idle_readings: int, *, running: int | None, wedged: bool, left_seconds: float
) -> tuple[int, Verdict]:
    """One poll of a draining engine: (number of idle readings in a row, whether the engine may be stopped
    now).

    ``running``: number of running or waiting requests; None: unknown, which never counts as zero.
    """
    left = "an unknown number of requests" if running is None else counted(running, "request")
    if left_seconds <= 0:
        return idle_readings, Verdict(ok=True, reason=f"the drain time is over with {left} left")
    if wedged:
        return idle_readings, Verdict(ok=True, reason="the engine does not answer: no request will finish")
    idle = idle_readings + 1 if running == 0 else 0
    if idle >= IDLE_READINGS:
        return idle, Verdict(ok=True, reason="no requests left")
    return idle, Verdict(ok=False, reason=f"waiting for {left}")


log = logging.getLogger("tacho")

POLL_SECONDS = 1.0


ReadCounters = Callable[[], Awaitable[EngineCounters]]
"""Function that reads the engine's own counters."""


async def _requests_left(
    read_counters: ReadCounters, engine_port: int, limit_seconds: float
) -> tuple[int | None, bool]:
    """(number of requests in the engine, whether it is the number of connections).

    For an engine that does not count requests, the connections are an upper bound. None: unknown.
    """
    try:
        found = await asyncio.wait_for(read_counters(), max(POLL_SECONDS, limit_seconds))
    except (asyncio.TimeoutError, TimeoutError):
        return None, False  # the time to stop the engine in is not this answer's to spend
    if found.unfinished is not None:
        return int(found.unfinished), False
    if found.running is None:
        return processes.connections(engine_port), True
    return int(found.running) + int(found.waiting or 0), False


async def wait_until_idle(
    read_counters: ReadCounters,
    engine_port: int,
    *,
    seconds: int,
    say: Callable[[str], None],
    stop_now: asyncio.Event | None = None,
    ended: Callable[[], bool] = lambda: False,
    wedged: Callable[[], bool] = lambda: False,
) -> CutRequests | None:
    """Waits until no requests are left, for at most ``seconds``, or until ``stop_now`` or ``ended`` is true.

    Returns the requests that are left after ``seconds``; None where there are none.
    """
    stop_now = stop_now or asyncio.Event()
    deadline_seconds, idle = time.monotonic() + seconds, 0
    while not stop_now.is_set() and not ended():
        silent = wedged()
        count, connections = None, False
        if not silent:
            left_seconds = deadline_seconds - time.monotonic()
            count, connections = await _requests_left(read_counters, engine_port, left_seconds)
        left_seconds = deadline_seconds - time.monotonic()
        idle, verdict = drain_step(idle, running=count, wedged=silent, left_seconds=left_seconds)
        say(verdict.reason)
        if verdict.ok:
            log.info("draining ended: %s", verdict.reason)
            if silent or count == 0:
                return None
            return CutRequests(drain_seconds=seconds, cut_requests=count, are_connections=connections)
        with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
            await asyncio.wait_for(stop_now.wait(), POLL_SECONDS)
    return None
