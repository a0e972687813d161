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

from tacho_contract.report import LatencyHistogram
from tacho_operator.core.autoscaling.algorithm import tuning
from tacho_operator.core.autoscaling.algorithm.guards import grown
from tacho_operator.core.autoscaling.algorithm.request_cost import RequestCost
from tacho_operator.core.autoscaling.algorithm.types import Attainment, Correction, Counts, Policy, Track

NOTHING: Counts = (0.0, 0.0, 0.0)


def _up_to(histogram: LatencyHistogram, target: float) -> Counts:
    """(requests, at least and at most how many of them met ``target`` seconds). Edges that a histogram leaves
    out lie between empty buckets and change nothing.
    """
    counts, edges, total = histogram.counts, histogram.edges_seconds, histogram.total
    below, above = bisect_right(edges, target), bisect_left(edges, target)
    return total, counts[below - 1] if below else 0, counts[above] if above < len(edges) else total


def within(before: LatencyHistogram | None, after: LatencyHistogram | None, target: float | None) -> Counts:
    """Requests between two readings of a histogram, and how many met ``target`` seconds, at least and at
    most. None is counted without a target, or without both readings."""
    if target is None or before is None or after is None:
        return NOTHING
    total, lower, upper = map(grown, _up_to(before, target), _up_to(after, target))
    return total, min(total, lower), min(total, upper)


def _sum(previous: Counts, share: float, counts: Iterable[Counts]) -> Counts:
    """The ``previous`` counts with the weight ``share``, plus the new ones."""
    return tuple(map(math.fsum, zip([share * count for count in previous], *counts, strict=True)))


Seen = tuple[Counts, Counts]
"""Counts of one pod between two samples: by the TTFT target, and by the TPOT target."""


def counted(
    earlier: Mapping[str, Track], tracks: Mapping[str, Track], policy: Policy, cost: RequestCost | None = None
) -> dict[str, Seen]:
    """SLO results of each pod, by uid, between its ``earlier`` sample and its present one.

    A pod whose counters claim more than MAX_POD_RATE replicas' work is left out: a counter that jumped would
    outvote all other pods. Plausible are the requests of that time, and those that a pod admits at once.
    """
    found = {}
    for uid in earlier.keys() & tracks.keys():
        before, after = earlier[uid].sample, tracks[uid].sample
        seconds = after.time_seconds - before.time_seconds
        most = tuning.MAX_POD_RATE * (seconds / cost.request_seconds + cost.concurrency) if cost else math.inf
        ttft = within(before.ttft, after.ttft, policy.ttft_seconds)
        tpot = within(before.tpot, after.tpot, policy.tpot_seconds)
        if max(ttft[0], tpot[0]) <= most:
            found[uid] = (ttft, tpot)
    return found


def recent(
    previous: Attainment, seen: Iterable[Seen], tracks: Iterable[Track], policy: Policy, seconds: float
) -> Attainment:
    """The SLO attainment of the last minutes, updated with the requests of the last ``seconds``.

    TTFT and TPOT are summed separately: the two latencies of one request are counted at different times.
    """
    samples, each = [track.sample for track in tracks], list(seen)
    kept = math.exp(-seconds / tuning.MIX_SECONDS)
    return Attainment(
        ttft=("Histogram" if any(item.ttft for item in samples) else "None") if policy.ttft_seconds else None,
        tpot=("Histogram" if any(item.tpot for item in samples) else "None") if policy.tpot_seconds else None,
        ttft_counts=_sum(previous.ttft_counts, kept, (item[0] for item in each)),
        tpot_counts=_sum(previous.tpot_counts, kept, (item[1] for item in each)),
    )


def corrected(
    previous: Correction, seen: Attainment, policy: Policy, *, settled: bool, seconds: float
) -> Correction:
    """The capacity correction by the attainment ``seen`` since the ``previous`` one began, ``seconds`` later.

    The factor falls where too many requests miss the SLO, and rises again where enough meet it. Misses within
    one standard deviation are chance. Nothing is judged until the replicas are ``settled``: while some are
    missing, late requests say nothing about the capacity of one.

    A lowered factor is raised after MEMORY_SECONDS, too, where nothing decides: with wide buckets, or a
    target that nothing counts, it would stay low for ever.
    """
    elapsed = previous.seconds + seconds
    if not settled:
        return Correction(previous.factor, -tuning.MIX_SECONDS)
    requests, (lower, upper) = seen.requests, seen.bounds
    enough, deviation = requests >= tuning.MIX_REQUESTS, math.sqrt(upper * (1 - upper) / max(1.0, requests))
    if enough and upper + deviation < policy.percentile and elapsed >= tuning.RATE_SECONDS:
        return Correction(max(tuning.MIN_CORRECTION, (1 - tuning.DOUBT) * previous.factor))
    met = enough and lower >= policy.percentile and elapsed >= tuning.MIX_SECONDS
    if previous.factor < 1 and (met or elapsed >= tuning.MEMORY_SECONDS):
        return Correction(min(1.0, previous.factor / (1 - tuning.DOUBT)))
    return Correction(previous.factor, elapsed, seen)
