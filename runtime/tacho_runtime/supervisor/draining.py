"""Waiting until the engine has no requests left, or the drain time is over."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tacho_contract.report import CutRequests, Load
from tacho_contract.units import counted
from tacho_runtime.machine import processes
from tacho_runtime.supervisor.lifecycle import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainState:
    """Progress of a drain: its deadline, and the number of idle readings in a row."""

    deadline_seconds: float
    idle_readings: int = 0


IDLE_READINGS = 2
"""A request may be between two readings' connections; two in a row mean that none is left."""


def drain_step(
    drain: DrainState, *, running: int | None, wedged: bool, now: float
) -> tuple[DrainState, Verdict]:
    """One poll of a draining engine: (the next state, whether the engine may be stopped now).

    ``running`` is requests running or waiting; None is unknown and never taken for zero.
    """
    left = "an unknown number of requests" if running is None else counted(running, "request")
    if now >= drain.deadline_seconds:
        return drain, Verdict(ok=True, reason=f"the drain time is over with {left} left")
    if wedged:
        return drain, Verdict(ok=True, reason="the engine does not answer: no request will finish")
    idle = drain.idle_readings + 1 if running == 0 else 0
    drain = dataclasses.replace(drain, idle_readings=idle)
    if idle >= IDLE_READINGS:
        return drain, Verdict(ok=True, reason="no requests left")
    return drain, Verdict(ok=False, reason=f"waiting for {left}")


log = logging.getLogger("tacho")

POLL_SECONDS = 1.0


def _no() -> bool:
    return False


AskLoad = Callable[[], Awaitable[Load]]
"""Asks the engine for its load."""


async def _requests_left(ask: AskLoad, engine_port: int, limit_seconds: float) -> tuple[int | None, bool]:
    """Requests in the engine; for an engine that does not count requests, the number of connections to it,
    which is an upper bound, and True."""
    try:
        load = await asyncio.wait_for(ask(), max(POLL_SECONDS, limit_seconds))
    except (asyncio.TimeoutError, TimeoutError):
        return None, False  # the time to stop the engine in is not this answer's to spend
    if load.running is None:
        return processes.connections(engine_port), True
    return load.running + (load.waiting or 0), False


async def wait_until_idle(
    ask: AskLoad,
    engine_port: int,
    *,
    seconds: int,
    say: Callable[[str], None],
    stop_now: asyncio.Event | None = None,
    ended: Callable[[], bool] = _no,
    wedged: Callable[[], bool] = _no,
) -> CutRequests | None:
    """Returns when no requests are left, after ``seconds``, or once ``stop_now`` or ``ended`` is true.

    The requests that are left after ``seconds``; None where none are.
    """
    stop_now = stop_now or asyncio.Event()
    drain = DrainState(deadline_seconds=time.monotonic() + seconds)
    while not stop_now.is_set() and not ended():
        silent = wedged()
        left_seconds = drain.deadline_seconds - time.monotonic()
        count, connections = None, False
        if not silent:
            count, connections = await _requests_left(ask, engine_port, left_seconds)
        drain, verdict = drain_step(drain, running=count, wedged=silent, now=time.monotonic())
        say(verdict.reason)
        if verdict.ok:
            log.info("draining ended: %s", verdict.reason)
            if silent or count == 0:
                return None
            return CutRequests(drain_seconds=seconds, cut_requests=count, are_connections=connections)
        with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
            await asyncio.wait_for(stop_now.wait(), POLL_SECONDS)
    return None
