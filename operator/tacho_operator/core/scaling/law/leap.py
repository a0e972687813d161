"""Whether the load has leapt: what one look shows beyond what chance would bring is not waited upon."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tacho_operator.core.scaling.law.demand import Reading
from tacho_operator.core.scaling.law.need import UP, Load, need_of
from tacho_operator.core.scaling.law.types import Capacity, Look

DEVIATIONS = 3.0
"""Of a count that chance moves by its root, to be sure: once in seven hundred looks chance alone does it."""
TOGETHER_SECONDS = 30.0
"""So long looks are told together."""
LEAST_SECONDS = 5.0
"""Of less nothing is told: a look that comes right after a late one sees a burst, and takes it for a rate."""


def surely(count: float) -> float:
    """What is left of ``count`` requests when as many less are expected as chance may have brought."""
    return max(0.0, count - DEVIATIONS * math.sqrt(max(0.0, count)))


def looked(former: Sequence[Look], look: Look) -> tuple[Look, ...]:
    """``former`` and one more look, as many as are told together."""
    found, seconds = [look], look.seconds
    for old in former:
        seconds += old.seconds
        if seconds > TOGETHER_SECONDS:
            break
        found.append(old)
    return tuple(found)


def sure_work(looks: Sequence[Look], capacity: Capacity) -> float | None:
    """Work that surely is offered, in replicas: by the last look, or by as many together as prove the most.
    Of little work one look tells little. None: not counted."""
    rate = capacity.requests_per_second
    if not looks or not rate:
        return None
    found = seconds = offered = 0.0
    for look in looks:
        seconds += look.seconds
        offered += look.seconds * look.offered
        if seconds >= LEAST_SECONDS:
            found = max(found, surely(rate * offered) / (rate * seconds))
    return found


def leap_of(
    reading: Reading, capacity: Capacity, *, work: float | None, counted: bool, trusted: float
) -> float:
    """Replicas that one look asks for by itself, not rounded; 0 where it proves nothing. ``work``: what is
    sure of it. ``counted``: work is known, and decides."""
    requests = None
    if not counted and reading.running is not None:
        requests = math.floor(surely(reading.running + reading.waiting))
    return need_of(
        Load(work=work if counted else None, requests=requests), capacity, trusted, full=UP, kv_full=UP
    ).amount
