"""What replicas do against what was measured: a little less or more is counted on, within bounds."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from tacho_operator.core.autoscaling.algorithm.demand import smoothed
from tacho_operator.core.autoscaling.algorithm.types import Learned, Policy, ReplicaCapacity

LEAST, MOST = 0.5, 1.3
SHRINK, GROW = 0.90, 1.05
SHRINK_AFTER_SECONDS, GROW_AFTER_SECONDS = 60.0, 600.0
CALM, FULL = 0.80, 0.95
TAIL = 3.0
"""The 95th percentile of times that scatter as widely as their mean (exponentially) lies at three means."""
TOKEN_TAIL = 1.5
"""Times of a token scatter less: requests of one batch share its steps."""
EASE = 0.85
"""Tokens are easy with so much of the promise: a step more must not break it."""
TOKEN_SECONDS = 60.0
"""Over so long the time of a token is smoothed."""
LEAST_RUNNING = 10
"""Requests that run, for the time of their tokens to tell something: it is computed from how many ran at each
look, which of fewer is mostly chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one look shows. None: not known."""

    utilization: float | None
    """Of the replicas, by what is counted on now."""
    ttft_seconds: float | None
    tpot_seconds: float | None
    running: int | None
    """Requests."""
    elapsed_seconds: float
    """Since the last look."""
    settled: bool
    """Enough replicas serve and next to nothing waits: requests are not late for an overload that is over."""


def learn(former: Learned, capacity: ReplicaCapacity, promised: Policy, seen: Seen, now: float) -> Learned:
    """One more reading. Replicas that are not even full and late on the whole carry less than was measured;
    full ones that keep the promise with ease carry more. What was taken off comes back where the promise is
    kept with ease, full or not: what slowed replicas down may have passed, and with less counted on they are
    never full again."""
    if capacity.unverified:
        return dataclasses.replace(former, evidence_since=None)
    if former.fingerprint != capacity.fingerprint:
        former = Learned(fingerprint=capacity.fingerprint)
    if not seen.settled or seen.tpot_seconds is None:
        former = dataclasses.replace(former, tpot_seconds=None)
    else:
        former = dataclasses.replace(
            former,
            tpot_seconds=smoothed(
                former.tpot_seconds,
                seen.tpot_seconds,
                elapsed_seconds=seen.elapsed_seconds,
                over_seconds=TOKEN_SECONDS,
            ),
        )
    slow_from, easy_to = token_limits(capacity, promised)
    late, easy = _late(former, promised, seen, slow_from), _easy(former, promised, seen, easy_to)
    if not late and not easy:
        return dataclasses.replace(former, evidence_since=None)
    if former.evidence_since is None or former.upwards != easy:
        return dataclasses.replace(former, evidence_since=now, upwards=easy)
    if now - former.evidence_since < (GROW_AFTER_SECONDS if easy else SHRINK_AFTER_SECONDS):
        return former
    most = MOST if not easy or (promised.ttft_seconds and _full(seen)) else 1.0
    factor = min(most, max(LEAST, former.factor * (GROW if easy else SHRINK)))
    return dataclasses.replace(former, factor=factor, evidence_since=now)


def token_limits(capacity: ReplicaCapacity, promised: Policy) -> tuple[float, float]:
    """Mean times of a token (seconds) beyond which tokens are slow, and up to which they are easy. Without a
    promise none is slow, and any is easy."""
    promise = promised.tpot_seconds
    if not promise:
        return math.inf, math.inf
    if hopeless_tail(capacity, promised):
        # Fewer requests would not make them quicker: only what breaks the promise itself is not as measured.
        return promise, min(promise, max(EASE * promise, capacity.tpot_half_seconds or 0.0))
    return promise / TOKEN_TAIL, EASE * promise / TOKEN_TAIL


def hopeless_tail(capacity: ReplicaCapacity, promised: Policy) -> bool:
    """Whether tokens of a replica as it was measured leave no room for a tail, with the least of load that
    learning could leave to it."""
    measured, promise = capacity.tpot_half_seconds, promised.tpot_seconds
    return bool(measured and promise and not capacity.unverified and TOKEN_TAIL * measured > promise)


def _late(known: Learned, promised: Policy, seen: Seen, slow_from: float) -> bool:
    if seen.utilization is None or not seen.settled:
        return False
    first = (
        seen.utilization < CALM
        and seen.ttft_seconds is not None
        and bool(promised.ttft_seconds)
        and seen.ttft_seconds > (promised.ttft_seconds or 0.0)
    )
    many = (seen.running or 0) >= LEAST_RUNNING
    slow = known.tpot_seconds is not None and known.tpot_seconds > slow_from
    return first or (many and seen.utilization < FULL and slow)


def _easy(known: Learned, promised: Policy, seen: Seen, easy_to: float) -> bool:
    if seen.utilization is None or not (promised.ttft_seconds or promised.tpot_seconds):
        return False
    if promised.ttft_seconds and (
        seen.ttft_seconds is None or TAIL * seen.ttft_seconds > promised.ttft_seconds
    ):
        return False
    # Full replicas are too few and hence never settled, for which nothing is smoothed.
    tokens = seen.tpot_seconds if known.tpot_seconds is None else known.tpot_seconds
    if promised.tpot_seconds and (tokens is None or tokens > easy_to):
        return False
    # Tokens of those that run are quick however many wait: alone they never prove that more is carried.
    return known.factor < 1 or (bool(promised.ttft_seconds) and _full(seen))


def _full(seen: Seen) -> bool:
    return seen.utilization is not None and seen.utilization > FULL
