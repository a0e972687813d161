"""Corrects the measured capacity by SLO attainment: the share of recent requests whose latencies met the
targets.

TTFT and TPOT are counted in separate histograms: a request that misses one may or may not miss the other. The
joint attainment lies between lower_ttft + lower_tpot - 1 and the smaller upper bound. A target between two
bucket edges is met by the requests below the lower edge, and at most by those below the upper one.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tacho_contract.report import LatencyHistogram
from tacho_operator.core.autoscaling.algorithm import tuning
from tacho_operator.core.autoscaling.algorithm.request_cost import RequestCost
from tacho_operator.core.autoscaling.algorithm.types import (
    Attainment,
    Correction,
    Counts,
    Policy,
    Source,
    Track,
)

NOTHING: Counts = (0.0, 0.0, 0.0)


def _up_to(histogram: LatencyHistogram, target: float) -> Counts:
    """The edges that a histogram leaves out are between empty buckets: they move no bound."""
    counts, edges, total = histogram.counts, histogram.edges_seconds, histogram.total
    below, above = bisect_right(edges, target), bisect_left(edges, target)
    return total, counts[below - 1] if below else 0, counts[above] if above < len(edges) else total


def within(before: LatencyHistogram | None, after: LatencyHistogram | None, target: float | None) -> Counts:
    """Requests between two readings of a histogram, and how many met ``target`` seconds, at least and at
    most. None is counted without a target, or without both readings."""
    if target is None or before is None or after is None:
        return NOTHING
    old, new = _up_to(before, target), _up_to(after, target)
    if any(later < former for former, later in zip(old, new, strict=True)):
        old = NOTHING  # the engine has restarted
    total, lower, upper = (later - former for former, later in zip(old, new, strict=True))
    return total, min(total, lower), min(total, upper)


def _sum(counts: Iterable[Counts]) -> Counts:
    total, lower, upper = map(math.fsum, zip(NOTHING, *counts, strict=True))
    return total, lower, upper


@dataclass(frozen=True, slots=True)
class Seen:
    """What one pod counted between two samples: how many requests met the TTFT target, and how many the TPOT
    target."""

    ttft: Counts
    tpot: Counts
    whole: bool
    """Whether each target has a histogram."""


def counted(
    former: Mapping[str, Track], tracks: Mapping[str, Track], policy: Policy, cost: RequestCost | None = None
) -> dict[str, Seen]:
    """SLO results of each pod, by uid, between its ``former`` sample and its present one.

    A pod whose counters claim more than MAX_POD_RATE replicas' work is left out: a counter that jumped would
    outvote all other pods. Plausible are the requests of that time, and those that a pod admits at once.
    """
    found = {}
    for uid in former.keys() & tracks.keys():
        before, after = former[uid].sample, tracks[uid].sample
        seconds = after.time_seconds - before.time_seconds
        most = tuning.MAX_POD_RATE * (seconds / cost.request_seconds + cost.concurrency) if cost else math.inf
        ttft = within(before.ttft, after.ttft, policy.ttft_seconds)
        tpot = within(before.tpot, after.tpot, policy.tpot_seconds)
        targets = ((policy.ttft_seconds, after.ttft), (policy.tpot_seconds, after.tpot))
        if max(ttft[0], tpot[0]) <= most:
            found[uid] = Seen(ttft, tpot, all(histogram for target, histogram in targets if target))
    return found


def joint(seen: Iterable[Seen]) -> Counts:
    """Requests that several pods counted, and how many of them met both targets, at least and at most.

    A target without a histogram is met by none at least, and by all at most.
    """
    every = list(seen)
    ttft, tpot = _sum(item.ttft for item in every), _sum(item.tpot for item in every)
    shares = [(lower / total, upper / total) for total, lower, upper in (ttft, tpot) if total]
    requests, whole = max(ttft[0], tpot[0]), all(item.whole for item in every)
    least = math.fsum(lower for lower, _ in shares) - len(shares) + 1 if whole else 0.0
    return requests, requests * max(0.0, least), requests * min((upper for _, upper in shares), default=1.0)


def recent(
    former: Attainment, seen: Iterable[Seen], tracks: Iterable[Track], policy: Policy, seconds: float
) -> Attainment:
    """The SLO attainment of the last minutes, updated with the requests of the last ``seconds``.

    TTFT and TPOT are summed separately: the two latencies of one request are counted at different times.
    """
    samples, whole = [track.sample for track in tracks], [item for item in seen if item.whole]
    kept = math.exp(-seconds / tuning.MIX_SECONDS)
    ttft: Source = "Histogram" if any(item.ttft for item in samples) else "None"
    tpot: Source = "Histogram" if any(item.tpot for item in samples) else "None"
    return Attainment(
        ttft=ttft if policy.ttft_seconds else None,
        tpot=tpot if policy.tpot_seconds else None,
        ttft_counts=_sum((_part(former.ttft_counts, kept), *(item.ttft for item in whole))),
        tpot_counts=_sum((_part(former.tpot_counts, kept), *(item.tpot for item in whole))),
    )


def _part(counts: Counts, share: float) -> Counts:
    total, lower, upper = counts
    return share * total, share * lower, share * upper


def corrected(
    former: Correction, seen: Counts, policy: Policy, *, settled: bool, seconds: float
) -> Correction:
    """The capacity correction, updated with the SLO results of the last ``seconds``.

    The factor falls where too many requests miss the SLO, and rises again where enough meet it. Misses within
    one standard deviation are chance. Nothing is judged until the replicas are ``settled``: while some are
    missing, late requests say nothing about the capacity of one.

    A lowered factor is raised after MEMORY_SECONDS, too, where nothing decides: with wide buckets, or a
    target that nothing counts, it would stay low for ever.
    """
    if not settled:
        return Correction(factor=former.factor, seconds=-tuning.MIX_SECONDS)
    if former.seconds < 0:
        # Requests that waited for replicas say nothing about them, either.
        return Correction(factor=former.factor, seconds=min(0.0, former.seconds + seconds))
    evidence = _part((former.requests, former.lower, former.upper), math.exp(-seconds / tuning.MIX_SECONDS))
    requests, lower, upper = _sum((evidence, seen))
    elapsed, enough = former.seconds + seconds, requests >= tuning.MIX_REQUESTS
    share = min(1.0, upper / requests) if enough else 1.0
    surely = share + math.sqrt(share * (1 - share) / max(1.0, requests))
    if surely < policy.percentile and elapsed >= tuning.RATE_SECONDS:
        return Correction(factor=max(tuning.MIN_CORRECTION, tuning.CORRECTION_STEP * former.factor))
    met = enough and lower >= policy.percentile * requests and elapsed >= tuning.MIX_SECONDS
    if former.factor < 1 and (met or elapsed >= tuning.MEMORY_SECONDS):
        return Correction(factor=min(1.0, former.factor / tuning.CORRECTION_STEP))
    return Correction(former.factor, requests, lower, upper, elapsed)
