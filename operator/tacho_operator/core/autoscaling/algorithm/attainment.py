"""Correction of the measured capacity by the SLO attainment of the last minutes.

TTFT and TPOT are counted in separate histograms: a request that misses one may or may not miss the other.
Their joint attainment lies between lower_ttft + lower_tpot - 1 and the smaller upper bound. A target between
two edges is met by the requests below the lower edge, and at most by those below the upper one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from tacho_operator.core.autoscaling.algorithm import tuning
from tacho_operator.core.autoscaling.algorithm.demand import grown
from tacho_operator.core.autoscaling.algorithm.types import Correction, Histogram, Policy, Sample, Track

Shares = tuple[float, float, float]
"""Requests, and how many of them met a target at least and at most."""


def within(before: Histogram, after: Histogram, target: float | None) -> Shares | None:
    """What was counted between two readings of a histogram; None: nothing, or without a target."""
    if target is None or not before or not after:
        return None
    former = dict(before)
    counts = [(edge, grown(former.get(edge, 0.0), count)) for edge, count in after]
    total = counts[-1][1]
    lower = max((count for edge, count in counts if edge <= target), default=0.0)
    upper = min((count for edge, count in counts if edge >= target), default=total)
    return (total, lower, upper) if total > 0 else None


def _mean(before: Sample, after: Sample, target: float | None) -> Shares | None:
    """Without a histogram: a mean TTFT over the target counts as a miss of all requests."""
    count = grown(before.first_tokens, after.first_tokens)
    if target is None or count <= 0:
        return None
    met = count if grown(before.first_token_seconds, after.first_token_seconds) <= target * count else 0.0
    return count, met, met


def _share(found: Sequence[Shares | None]) -> Shares:
    """Requests, and the shares of them; all met the target where nothing was counted."""
    known = [item for item in found if item is not None]
    if not known:
        return 0.0, 1.0, 1.0
    total, lower, upper = (math.fsum(column) for column in zip(*known, strict=True))
    return total, lower / total, upper / total


def joint(former: Mapping[str, Track], tracks: Mapping[str, Track], policy: Policy) -> Shares:
    """Requests since the ``former`` samples, and the bounds of the share that met both targets."""
    firsts, others = [], []
    for uid in former.keys() & tracks.keys():
        before, after = former[uid].sample, tracks[uid].sample
        counted = within(before.ttft, after.ttft, policy.ttft_seconds)
        firsts.append(counted if after.ttft else _mean(before, after, policy.ttft_seconds))
        others.append(within(before.tpot, after.tpot, policy.tpot_seconds))
    first, further = _share(firsts), _share(others)
    return max(first[0], further[0]), max(0.0, first[1] + further[1] - 1), min(first[2], further[2])


def corrected(
    former: Correction, seen: Shares, policy: Policy, *, settled: bool, seconds: float
) -> Correction:
    """``former`` after ``seconds`` more. Only ``settled`` replicas count: where some are missing, late
    requests say nothing about the capacity of one."""
    if not settled or not (policy.ttft_seconds or policy.tpot_seconds):
        return Correction(factor=former.factor)
    kept = math.exp(-seconds / tuning.MIX_SECONDS)
    requests = kept * former.requests + seen[0]
    now = Correction(
        factor=former.factor,
        requests=requests,
        lower=kept * former.lower + seen[0] * seen[1],
        upper=kept * former.upper + seen[0] * seen[2],
        seconds=former.seconds + seconds,
    )
    if requests < tuning.MIX_REQUESTS:
        return now
    if now.upper / requests < policy.percentile and now.seconds >= tuning.RATE_SECONDS:
        return Correction(factor=max(tuning.MIN_CORRECTION, tuning.CORRECTION_STEP * former.factor))
    if now.lower / requests >= policy.percentile and now.seconds >= tuning.MIX_SECONDS and former.factor < 1:
        return Correction(factor=min(1.0, former.factor / tuning.CORRECTION_STEP))
    return now
