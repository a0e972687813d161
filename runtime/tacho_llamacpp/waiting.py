"""When llama.cpp's threads spin while they wait for each other, and when they sleep. Pure.

They meet some hundred times for each token. Sleeping, a small model's threads lose half of their speed and
more to being woken; spinning, they steal the CPU from the very thread they wait for as soon as another
program wants the same cores. So they spin on cores of their own and sleep on shared ones, and how long they
queue for a CPU tells which these are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LOOK_SECONDS, SHORT_LOOK_SECONDS = 0.1, 0.025
SHORT_LOOKS = 4
"""How many looks are short once threads have begun to spin. A wrong try stops the engine and its neighbour
until the first of them, and half a dozen turns of the scheduler (3 to 4 ms each) tell as much as thirty."""
BUSY_SHARE = 0.2
"""Less than this part of one CPU in use says nothing about who else wants it."""
SHARED, CALM = 0.2, 0.12
"""Part of their runnable time that threads queue. Above the one the cores are shared, below the other they
are not: 0.4 to 0.5 was seen beside a second engine of equal rights, 0.01 to 0.1 without."""
PATIENCE, MOST_PATIENCE = 32, 256
"""Looks asleep before spinning is tried, whatever they showed: an engine with the greater right to the cores
(its CPU request) only learns so that neighbours make way. It doubles each time that spinning proves wrong
within SETTLED looks; a wrong try costs a short look."""
CALM_COUNTS = 16
"""A look without a queue brings the try nearer by as many."""
SETTLED = 10


@dataclass(frozen=True)
class State:
    spinning: bool = False
    """At first nobody knows whose the cores are, and a second engine's start must not starve the first."""
    looks: int = 0
    """Since threads began to wait this way; asleep, calm ones count more."""
    patience: int = PATIENCE


def look_seconds(state: State) -> float:
    """How long to wait for the next look."""
    return SHORT_LOOK_SECONDS if state.spinning and state.looks < SHORT_LOOKS else LOOK_SECONDS


def decide(state: State, ran_seconds: float, queued_seconds: float) -> State:
    """What all threads together spent on a CPU, and runnable without one, in the last
    ``look_seconds``."""
    runnable = ran_seconds + queued_seconds
    if runnable < BUSY_SHARE * look_seconds(state):
        return state
    share = queued_seconds / runnable
    if not state.spinning:
        looks = state.looks + (CALM_COUNTS if share < CALM else 1)
        spins = looks >= state.patience
        return State(spinning=spins, looks=0 if spins else looks, patience=state.patience)
    if share <= SHARED:
        return State(spinning=True, looks=state.looks + 1, patience=state.patience)
    settled = state.looks >= SETTLED
    return State(patience=PATIENCE if settled else min(2 * state.patience, MOST_PATIENCE))


Times = Mapping[str, tuple[float, float]]
"""Of each thread: seconds on a CPU, seconds runnable without one."""


def passed(before: Times, after: Times) -> tuple[float, float]:
    """What went by on a CPU and in the queue, over the threads that lived through it."""
    both = before.keys() & after.keys()
    return (
        sum(after[thread][0] - before[thread][0] for thread in both),
        sum(after[thread][1] - before[thread][1] for thread in both),
    )
