"""Whether the load has leapt: what one look shows beyond what chance would bring is not waited upon."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tacho_operator.core.autoscaling.algorithm.chance import alike, deviation, scatter
from tacho_operator.core.autoscaling.algorithm.demand import Reading
from tacho_operator.core.autoscaling.algorithm.need import UP, ServiceLoad, need_of
from tacho_operator.core.autoscaling.algorithm.types import Look, ReplicaCapacity

DEVIATIONS = 3.0
"""Of a count that chance moves by its root, to be sure: once in seven hundred looks chance alone does it."""
TOGETHER_SECONDS = 30.0
"""So long looks are told together."""
OF_A_LINE = math.sqrt(1.5**2 + 0.5**2)
"""Deviations of one look that a line through two has half a look after the last."""
LEAST_SECONDS = 5.0
"""Of less nothing is told: a look that comes right after a late one sees a burst, and takes it for a rate."""


def surely(count: float, deviation: float | None = None) -> float:
    """What is left of ``count`` requests when as many less are expected as chance may have brought.
    ``deviation``: of the count. None: that of requests that come by chance."""
    spread = math.sqrt(max(0.0, count)) if deviation is None else deviation
    return max(0.0, count - DEVIATIONS * spread)


def sure_work(looks: Sequence[Look], capacity: ReplicaCapacity) -> float | None:
    """Work that surely is offered, in replicas: by the last look, or by as many together as prove the most.
    Of little work one look tells little. None: not counted."""
    rate = capacity.requests_per_second
    if not looks or not rate:
        return None
    found = _straight_on(looks, rate)
    seconds = offered = 0.0
    for number, look in enumerate(looks, start=1):
        seconds += look.seconds
        if number > 1 and seconds > TOGETHER_SECONDS:
            break
        offered += look.seconds * look.offered
        if seconds >= LEAST_SECONDS:
            # So many looks together scatter by the root of their number.
            spread = math.sqrt(number) * deviation(rate * offered / number, looks, rate)
            found = max(found, surely(rate * offered, spread) / (rate * seconds))
    return found


def proven_work(looks: Sequence[Look], capacity: ReplicaCapacity) -> float:
    """Work that two looks in a row were each sure of: what came all at once, and once, is not among it."""
    return min(sure_work(looks, capacity) or 0.0, sure_work(looks[1:], capacity) or 0.0)


def prompt_work(work: float | None, looks: Sequence[Look], capacity: ReplicaCapacity) -> float | None:
    """Of the ``work`` of the last look, in replicas, what is left without as much as chance usually brings to
    one (a deviation); all of it where looks scatter by less than half of that. None: not counted."""
    rate = capacity.requests_per_second
    if work is None or not looks or not rate:
        return None
    count, seen = rate * looks[0].seconds * work, scatter(looks)
    usual = math.sqrt(count)
    if seen is not None and seen * looks[0].seconds * rate <= usual / 2:
        return work
    return (count - min(count, usual)) / (rate * looks[0].seconds)


def _straight_on(looks: Sequence[Look], rate: float) -> float:
    """Work of now: a look counts the mean since the one before, and a rise has gone on for half of that time.
    The slower of two rises in a row counts: one alone may have been a leap, which does not go on."""
    if len(looks) < 3 or looks[0].seconds < LEAST_SECONDS:
        return 0.0
    last, before, first = looks[:3]
    if not (alike(last, before) and alike(before, first)):
        return 0.0
    rise = min(last.offered - before.offered, before.offered - first.offered)
    count = rate * last.seconds * (last.offered + max(0.0, rise) / 2)
    return surely(count, OF_A_LINE * deviation(count, looks, rate)) / (rate * last.seconds)


def leap_of(
    reading: Reading, capacity: ReplicaCapacity, *, work: float | None, counted: bool, trusted: float
) -> float:
    """Replicas that one look asks for by itself, not rounded; 0 where it proves nothing. ``work``: what is
    sure of it. ``counted``: work is known, and decides."""
    requests = None
    if not counted and reading.running is not None:
        requests = math.floor(surely(reading.running + reading.waiting))
    return need_of(
        ServiceLoad(work=work if counted else None, requests=requests), capacity, trusted, full=UP, kv_full=UP
    ).amount
