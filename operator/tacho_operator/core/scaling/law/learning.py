"""What replicas do against what was measured: a little less or more is counted on, within bounds."""

from __future__ import annotations

import dataclasses

from tacho_operator.core.scaling.law.types import Capacity, Learned

LEAST, MOST = 0.5, 1.3
SHRINK, GROW = 0.90, 1.05
SHRINK_AFTER_SECONDS, GROW_AFTER_SECONDS = 60.0, 600.0
CALM, FULL = 0.80, 0.95
TAIL = 3.0
"""The 95th percentile of times that scatter as widely as their mean (exponentially) lies at three means."""


def learn(
    former: Learned,
    capacity: Capacity,
    *,
    utilization: float | None,
    ttft_seconds: float | None,
    promised_seconds: float | None,
    now: float,
) -> Learned:
    """One more reading. Replicas that are not even full and late on the whole carry less than was measured;
    full ones that keep the promise with ease carry more. What was taken off comes back where the promise is
    kept with ease, full or not: what slowed replicas down may have passed, and with less counted on they are
    never full again."""
    if capacity.unverified:
        return dataclasses.replace(former, evidence_since=None)
    if former.fingerprint != capacity.fingerprint:
        former = Learned(fingerprint=capacity.fingerprint)
    if utilization is None or ttft_seconds is None or not promised_seconds:
        return dataclasses.replace(former, evidence_since=None)
    late = utilization < CALM and ttft_seconds > promised_seconds
    full = utilization > FULL
    easy = (full or former.factor < 1) and TAIL * ttft_seconds <= promised_seconds
    if not late and not easy:
        return dataclasses.replace(former, evidence_since=None)
    if former.evidence_since is None or former.upwards != easy:
        return dataclasses.replace(former, evidence_since=now, upwards=easy)
    if now - former.evidence_since < (GROW_AFTER_SECONDS if easy else SHRINK_AFTER_SECONDS):
        return former
    most = MOST if full or not easy else 1.0
    factor = min(most, max(LEAST, former.factor * (GROW if easy else SHRINK)))
    return dataclasses.replace(former, factor=factor, evidence_since=now)
