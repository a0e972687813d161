"""When llama.cpp's threads spin while they wait for each other, and when they sleep. Pure.

The threads synchronise about a hundred times per token. Sleeping, a small model's threads lose half of their
speed and more to being woken; spinning, they steal the CPU from the very thread they wait for as soon as
another program wants the same cores. So they spin on cores of their own and sleep on shared ones, and how
long they queue for a CPU tells which these are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SAMPLE_SECONDS, SHORT_SAMPLE_SECONDS = 0.1, 0.025
SHORT_SAMPLES = 4
"""Number of short samples after threads have begun to spin. A wrong try stops the engine and its neighbour
until the first sample ends. Six turns of the scheduler (3 to 4 ms each) are as reliable as thirty."""
BUSY_SHARE = 0.2
"""Less than this part of one CPU in use says nothing about other demand for it."""
SHARED, CALM = 0.2, 0.12
"""Share of their runnable time that threads queue for a CPU. Above SHARED the cores are shared, below CALM
they are not: 0.4 to 0.5 was measured beside a second engine of equal CPU shares, 0.01 to 0.1 without."""
PATIENCE, MOST_PATIENCE = 32, 256
"""Number of samples asleep before spinning is tried, whatever they show: an engine with more CPU shares (its
CPU request) learns of free cores only by trying. The number doubles, up to MOST_PATIENCE, each time that
spinning proves wrong within SETTLED samples; a wrong try costs one short sample."""
CALM_COUNTS = 16
"""A sample without a queue counts as this many samples towards the next try."""
SETTLED = 10


@dataclass(frozen=True)
class WaitPolicy:
    spinning: bool = False
    """At first it is not known whether the cores are shared: a second engine's start must not starve the
    first."""
    samples: int = 0
    """Since threads began to wait this way; asleep, calm ones count more."""
    patience: int = PATIENCE


def sample_seconds(state: WaitPolicy) -> float:
    """How long to wait for the next look."""
    return SHORT_SAMPLE_SECONDS if state.spinning and state.samples < SHORT_SAMPLES else SAMPLE_SECONDS


def next_policy(state: WaitPolicy, ran_seconds: float, queued_seconds: float) -> WaitPolicy:
    """What all threads together spent on a CPU, and runnable without one, in the last
    ``sample_seconds``."""
    runnable = ran_seconds + queued_seconds
    if runnable < BUSY_SHARE * sample_seconds(state):
        return state
    share = queued_seconds / runnable
    if not state.spinning:
        samples = state.samples + (CALM_COUNTS if share < CALM else 1)
        spins = samples >= state.patience
        return WaitPolicy(spinning=spins, samples=0 if spins else samples, patience=state.patience)
    if share <= SHARED:
        return WaitPolicy(spinning=True, samples=state.samples + 1, patience=state.patience)
    settled = state.samples >= SETTLED
    return WaitPolicy(patience=PATIENCE if settled else min(2 * state.patience, MOST_PATIENCE))


Times = Mapping[str, tuple[float, float]]
"""Times of each thread: seconds on a CPU, seconds runnable without a CPU."""


def passed(before: Times, after: Times) -> tuple[float, float]:
    """What went by on a CPU and in the queue, over the threads that lived through it."""
    both = before.keys() & after.keys()
    return (
        sum(after[thread][0] - before[thread][0] for thread in both),
        sum(after[thread][1] - before[thread][1] for thread in both),
    )
