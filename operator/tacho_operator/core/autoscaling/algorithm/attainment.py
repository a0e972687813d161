"""Corrects the measured capacity by SLO attainment: the share of recent requests whose latencies met the
targets.

TTFT and TPOT are counted in separate histograms: a request that misses one may or may not miss the other. The
joint attainment lies between lower_ttft + lower_tpot - 1 and the smaller upper bound. A target between two
bucket edges is met by the requests below the lower edge, and at most by those below the upper one.
"""

from __future__ import annotations

import dataclasses
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tacho_contract.report import LatencyHistogram
from tacho_operator.core.autoscaling.algorithm import tuning
from tacho_operator.core.autoscaling.algorithm.demand import grown
from tacho_operator.core.autoscaling.algorithm.request_cost import RequestCost
from tacho_operator.core.autoscaling.algorithm.types import (
    Attainment,
    Correction,
    Counts,
    Policy,
    Sample,
    Source,
    Track,
)

Shares = tuple[float, float, float]
"""Requests, and how many of them met a target at least and at most."""


def _up_to(histogram: LatencyHistogram, target: float) -> Shares:
    """The edges that a histogram leaves out are between empty buckets: they move no bound."""
    counts, edges, total = histogram.counts, histogram.edges_seconds, histogram.total
    below, above = bisect_right(edges, target), bisect_left(edges, target)
    return total, counts[below - 1] if below else 0, counts[above] if above < len(edges) else total


def within(
    before: LatencyHistogram | None, after: LatencyHistogram | None, target: float | None
) -> Shares | None:
    """Requests between two readings of a histogram, and how many met ``target`` seconds, at least and at
    most.

    None without a target, without both readings, or where no request was counted between them.
    """
    if target is None or before is None or after is None:
        return None
    old, new = _up_to(before, target), _up_to(after, target)
    if any(later < former for former, later in zip(old, new, strict=True)):
        old = (0, 0, 0)  # the engine has restarted
    total, lower, upper = (later - former for former, later in zip(old, new, strict=True))
    return (total, min(total, lower), min(total, upper)) if total > 0 else None


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


@dataclass(frozen=True, slots=True)
class Seen:
    """What one pod counted between two samples: how many requests met the TTFT target, and how many the TPOT
    target."""

    ttft: Shares | None
    tpot: Shares | None
    whole: bool
    """Whether each target has a histogram."""


def counted(
    former: Mapping[str, Track], tracks: Mapping[str, Track], policy: Policy, cost: RequestCost | None = None
) -> dict[str, Seen]:
    """SLO results of each pod, by uid, between its ``former`` sample and its present one.

    A pod whose counters claim more than MAX_POD_RATE replicas' work is left out: a counter that jumped would
    outvote all other pods.
    """
    found = {}
    for uid in former.keys() & tracks.keys():
        before, after = former[uid].sample, tracks[uid].sample
        most = _most(cost, after.time_seconds - before.time_seconds)
        ttft = within(before.ttft, after.ttft, policy.ttft_seconds)
        ttft = ttft if after.ttft else _mean(before, after, policy.ttft_seconds)
        tpot = within(before.tpot, after.tpot, policy.tpot_seconds)
        if all(item is None or item[0] <= most for item in (ttft, tpot)):
            targets = ((policy.ttft_seconds, after.ttft), (policy.tpot_seconds, after.tpot))
            whole = all(histogram is not None for target, histogram in targets if target)
            found[uid] = Seen(ttft, tpot, whole)
    return found


def joint(seen: Iterable[Seen]) -> Shares:
    """Requests that several pods counted, and the share of them that met both targets: lower and upper
    bound."""
    every = list(seen)
    ttft, tpot = _share([item.ttft for item in every]), _share([item.tpot for item in every])
    return max(ttft[0], tpot[0]), max(0.0, ttft[1] + tpot[1] - 1), min(ttft[2], tpot[2])


def by_pod(
    former: Mapping[str, Track], tracks: Mapping[str, Track], seen: Mapping[str, Seen], seconds: float
) -> dict[str, Track]:
    """``tracks`` with two numbers added for each pod: requests judged against the SLO in the last minute, and
    those met."""
    kept, found = math.exp(-seconds / tuning.RATE_SECONDS), dict(tracks)
    for uid in former.keys() & tracks.keys():
        requests, _, upper = joint([seen[uid]] if uid in seen else [])
        found[uid] = dataclasses.replace(
            tracks[uid],
            requests=kept * former[uid].requests + requests,
            met=kept * former[uid].met + requests * upper,
        )
    return found


def _most(cost: RequestCost | None, seconds: float) -> float:
    """Plausible requests of one pod: those of the time, and those that it admits at once."""
    if cost is None:
        return math.inf
    return tuning.MAX_POD_RATE * (seconds / cost.request_seconds + cost.concurrency)


def recent(
    former: Attainment, seen: Iterable[Seen], tracks: Iterable[Track], policy: Policy, seconds: float
) -> Attainment:
    """The SLO attainment of the last minutes, updated with the requests of the last ``seconds``.

    TTFT and TPOT are summed separately: the two latencies of one request are counted at different times.
    """
    samples = [track.sample for track in tracks]
    means: Source = "Mean" if any(item.first_tokens is not None for item in samples) else "None"
    ttft: Source = "Histogram" if any(item.ttft for item in samples) else means
    tpot: Source = "Histogram" if any(item.tpot for item in samples) else "None"
    kept = math.exp(-seconds / tuning.MIX_SECONDS)
    whole = [item for item in seen if item.whole]
    return Attainment(
        ttft=ttft if policy.ttft_seconds else None,
        tpot=tpot if policy.tpot_seconds else None,
        ttft_counts=_later(former.ttft_counts, kept, [item.ttft for item in whole]),
        tpot_counts=_later(former.tpot_counts, kept, [item.tpot for item in whole]),
    )


def _later(former: Counts, kept: float, counts: Sequence[Counts | None]) -> Counts:
    columns = zip(*(item or (0.0, 0.0, 0.0) for item in counts), strict=True)
    more = [math.fsum(column) for column in columns] or [0.0, 0.0, 0.0]
    total, lower, upper = (kept * before + after for before, after in zip(former, more, strict=True))
    return total, lower, upper


def corrected(
    former: Correction,
    seen: Shares,
    policy: Policy,
    *,
    settled: bool,
    seconds: float,
    judged: bool = True,
) -> Correction:
    """The capacity correction, updated with the SLO results of the last ``seconds``.

    The factor falls where too many requests miss the SLO, and rises again where enough meet it. Misses within
    one standard deviation are chance. Nothing is judged until the replicas are ``settled``: while some are
    missing, late requests say nothing about the capacity of one.

    A lowered factor is raised after MEMORY_SECONDS, too, where the bounds decide nothing: with wide buckets,
    or a target that is not ``judged``, it would stay low for ever.
    """
    if not settled:
        return Correction(factor=former.factor, seconds=-tuning.MIX_SECONDS)
    if former.seconds < 0:
        # Requests that waited for replicas say nothing about them, either.
        return Correction(factor=former.factor, seconds=min(0.0, former.seconds + seconds))
    kept = math.exp(-seconds / tuning.MIX_SECONDS)
    requests = kept * former.requests + seen[0]
    now = Correction(
        factor=former.factor,
        requests=requests,
        lower=kept * former.lower + seen[0] * seen[1],
        upper=kept * former.upper + seen[0] * seen[2],
        seconds=former.seconds + seconds,
    )
    enough = requests >= tuning.MIX_REQUESTS
    share = min(1.0, now.upper / requests) if enough else 1.0
    surely = share + math.sqrt(share * (1 - share) / max(1.0, requests))
    if surely < policy.percentile and now.seconds >= tuning.RATE_SECONDS:
        return Correction(factor=max(tuning.MIN_CORRECTION, tuning.CORRECTION_STEP * former.factor))
    all_met = judged and enough and now.lower / requests >= policy.percentile
    met = all_met and now.seconds >= tuning.MIX_SECONDS
    unsure = (enough or not judged) and now.seconds >= tuning.MEMORY_SECONDS
    if former.factor < 1 and (met or unsure):
        return Correction(factor=min(1.0, former.factor / tuning.CORRECTION_STEP))
    return now
