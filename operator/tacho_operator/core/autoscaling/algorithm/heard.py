"""What one more look adds to what is remembered of the load."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from tacho_operator.core.autoscaling.algorithm import chance
from tacho_operator.core.autoscaling.algorithm.demand import MOST_RATE, STALE_SECONDS, Reading, smoothed
from tacho_operator.core.autoscaling.algorithm.need import backlog_of
from tacho_operator.core.autoscaling.algorithm.trend import remembered
from tacho_operator.core.autoscaling.algorithm.types import Look, Point, ReplicaCapacity, State

FAST_SECONDS, SLOW_SECONDS = 30.0, 180.0
PROMPT_SECONDS = 1.0
"""A shorter look counts for less: right after a late one it sees a burst, and would take it for a rate."""
LEFT = 0.5
"""Of their answers, still to be done, on the mean of the requests that run."""


@dataclass(frozen=True, slots=True)
class Over:
    """Seconds over which the load is looked at."""

    slow: float
    """By the slower of the smoothed values."""
    trend: float


def heard(state: State, reading: Reading, capacity: ReplicaCapacity, over: Over, now: float) -> State:
    """With one more look at what arrives."""
    elapsed = 0.0 if state.read_seconds is None else max(0.0, now - state.read_seconds)
    backlog = backlog_of(reading, capacity)
    prompt: float | None = None  # a look that tells no rate, or a wrong one, is not that of before
    if reading.served is not None and elapsed:
        piling_up = 0.0 if state.backlog is None else (backlog - state.backlog) / elapsed
        begun = reading.begun / elapsed
        offered = max(0.0, reading.served + piling_up + LEFT * begun)
        state = _offered(state, offered, elapsed, over, now)
        # Those that came in a leap have all of their answers before them.
        leapt = max(0.0, reading.served + piling_up + max(begun, LEFT * begun))
        state = dataclasses.replace(state, lately=chance.remembered(state.lately, Look(elapsed, leapt)))
        if any(track.rate is not None and track.rate >= MOST_RATE for track in reading.tracks.values()):
            state = dataclasses.replace(state, lately=())  # a counter that jumped proves no leap
        else:
            prompt = smoothed(state.prompt, offered, elapsed_seconds=elapsed, over_seconds=PROMPT_SECONDS)
    unbroken = state.watched_since is not None and elapsed <= STALE_SECONDS
    return dataclasses.replace(
        state,
        read_seconds=now,
        prompt=prompt if elapsed else state.prompt,
        backlog=None if capacity.unverified else backlog,
        watched_since=state.watched_since if unbroken else now,
    )


def _offered(state: State, offered: float, elapsed: float, over: Over, now: float) -> State:
    """What is served, what piles up beside it, and what has begun and is to be done."""
    fast = smoothed(state.fast, offered, elapsed_seconds=elapsed, over_seconds=min(FAST_SECONDS, over.slow))
    return dataclasses.replace(
        state,
        fast=fast,
        slow=smoothed(state.slow, offered, elapsed_seconds=elapsed, over_seconds=over.slow),
        recent=remembered(state.recent, Point(now, fast), over.trend),
    )
