"""Waiting until an engine has nothing left to do, or the time for that is over."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from tacho_contract.report import Load
from tacho_runtime.machine import sockets
from tacho_runtime.supervisor import lifecycle

log = logging.getLogger("tacho")

POLL_SECONDS = 1.0


class Monotonic(Protocol):
    def monotonic(self) -> float: ...


def _no() -> bool:
    return False


async def requests_left(
    ask: Callable[[], Awaitable[Load]], engine_port: int, limit_seconds: float
) -> int | None:
    """Requests in the engine; where it does not count them, at most as many as connections to it."""
    try:
        load = await asyncio.wait_for(ask(), max(POLL_SECONDS, limit_seconds))
    except (asyncio.TimeoutError, TimeoutError):
        return None  # the time to stop the engine in is not this answer's to spend
    if load.running is None:
        return sockets.connections(engine_port)
    return load.running + (load.waiting or 0)


async def quiet(
    *,
    seconds: float,
    clock: Monotonic,
    running: Callable[[float], Awaitable[int | None]],
    say: Callable[[str], None],
    hurry: asyncio.Event | None = None,
    over: Callable[[], bool] = _no,
    wedged: Callable[[], bool] = _no,
) -> None:
    """Returns once no request is left, after ``seconds``, or as soon as ``hurry`` or ``over`` says so.

    ``running``: the seconds that are left -> requests in the engine, None where it does not say.
    """
    hurry = hurry or asyncio.Event()
    drain = lifecycle.Drain(deadline_seconds=clock.monotonic() + seconds)
    while not hurry.is_set() and not over():
        silent = wedged()
        count = None if silent else await running(drain.deadline_seconds - clock.monotonic())
        drain, verdict = lifecycle.drain_step(drain, running=count, wedged=silent, now=clock.monotonic())
        say(verdict.reason)
        if verdict.ok:
            log.info("drained: %s", verdict.reason)
            return
        with contextlib.suppress(asyncio.TimeoutError, TimeoutError):
            await asyncio.wait_for(hurry.wait(), POLL_SECONDS)
