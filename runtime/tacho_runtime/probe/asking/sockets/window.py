"""When the window of a loop opens and closes, and what is read at its ends."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tacho_runtime.probe.asking.sockets.job import BIN_NS, NS, Brought, Progress
from tacho_runtime.probe.ports import MachineSample, Reading

TURN_SECONDS = 0.02
CLOSING_SHARE = 0.2
"""Of the time that is left when the window opens: the most that is kept for the reading at its end."""
LATEST_SECONDS = 1.0
"""Beyond its time the end of a loop waits so long for the engine's counters."""
BETWEEN_SECONDS = 1.0

ReadCounters = Callable[[float], Awaitable[Reading]]
"""Seconds it may take → the engine's counters, empty where there are none."""


class Asking(Protocol):
    """One process' part of a loop, in this process or another."""

    def start(self) -> None: ...
    def progress(self) -> Progress: ...
    async def stop(self, start_ns: int, end_ns: int) -> Brought: ...
    async def hang_up(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    origin_ns: int
    limit_ns: int
    """When the loop ends."""
    open_at_ns: int
    """When the window opens at the latest."""
    wait_for: int | None
    """It opens as soon as so many streams have begun. None: at ``open_at_ns``."""
    window_seconds: float = math.inf
    """It is no longer than this."""
    between: bool = False
    """Read the counters once a second too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    start_ns: int
    end_ns: int
    """Both on the edge of a bin."""
    started: bool = False
    broken: bool = False
    readings: tuple[Reading, ...] = ()
    machine: tuple[MachineSample, ...] = ()


def _progress(parts: Sequence[Asking]) -> Progress:
    each = [part.progress() for part in parts]
    return Progress(
        begun=sum(one.begun for one in each),
        ended=sum(one.ended for one in each),
        failures=sum(one.failures for one in each),
        broken=any(one.broken for one in each),
    )


async def watch_window(
    parts: Sequence[Asking],
    terms: Terms,
    read: ReadCounters,
    machine: Callable[[], MachineSample],
) -> Window:
    """From the start of ``parts`` to the end of the window; they run on."""
    begun = await _until_open(parts, terms)
    samples = [machine()]
    left_seconds = (terms.limit_ns - time.monotonic_ns()) / NS
    asked_ns = time.monotonic_ns()
    readings = [await read(max(0.5, left_seconds / 4))]
    took_seconds = (time.monotonic_ns() - asked_ns) / NS
    start_ns = _edge(terms.origin_ns, readings[0].stamp_ns)
    close_ns = terms.limit_ns - int(min(CLOSING_SHARE * left_seconds, 2 * took_seconds) * NS)
    close_ns = min(close_ns, start_ns + int(min(terms.window_seconds, left_seconds) * NS))
    next_ns = start_ns + int(BETWEEN_SECONDS * NS)
    now = _progress(parts)
    while not now.broken and (left_ns := close_ns - time.monotonic_ns()) > 0:
        await asyncio.sleep(min(TURN_SECONDS, left_ns / NS))
        now = _progress(parts)
        if terms.between and next_ns <= time.monotonic_ns() < close_ns:
            next_ns += int(BETWEEN_SECONDS * NS)
            readings.append(await read(BETWEEN_SECONDS))
    samples.append(machine())
    readings.append(await read(max(0.0, (terms.limit_ns - time.monotonic_ns()) / NS) + LATEST_SECONDS))
    end_ns = _edge(terms.origin_ns, readings[-1].stamp_ns)
    await asyncio.sleep(max(0, end_ns - time.monotonic_ns()) / NS)
    return Window(
        start_ns=start_ns,
        end_ns=end_ns,
        started=begun and not now.failures,
        broken=now.broken,
        readings=tuple(one for one in readings if one.counters.generated_tokens is not None),
        machine=tuple(samples),
    )


async def _until_open(parts: Sequence[Asking], terms: Terms) -> bool:
    """Whether all streams had begun when it was time."""
    while True:
        now = _progress(parts)
        if terms.wait_for is not None and now.begun >= terms.wait_for:
            return True
        if now.broken or time.monotonic_ns() >= terms.open_at_ns:
            return terms.wait_for is None
        await asyncio.sleep(TURN_SECONDS)


def _edge(origin_ns: int, stamp_ns: int) -> int:
    """The edge of a bin that is nearest."""
    return origin_ns + max(0, round((stamp_ns - origin_ns) / BIN_NS)) * BIN_NS
