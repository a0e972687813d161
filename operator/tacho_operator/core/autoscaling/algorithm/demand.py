"""The offered load (the work that arrives, in replicas) and its trend, from the counters of the pods."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

from tacho_operator.core.autoscaling.algorithm import guards, tuning
from tacho_operator.core.autoscaling.algorithm.request_cost import RequestCost
from tacho_operator.core.autoscaling.algorithm.types import Interval, Mix, PodLoad, Sample, Track


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The load metrics of all pods at one sampling time."""

    tracks: Mapping[str, Track]
    """Samples by uid, of the pods whose load is known."""
    silent: int
    """Numbers of serving pods without metrics, and of those that hang (requests run, no token is counted)."""
    late: int
    """Number of pods whose last sample is from an earlier sampling."""
    counted: Mix | None
    """Sum over the pods of requests and tokens per second, each since its last sample. None: no pod counts
    tokens, or none was read twice.
    """
    running: int | None
    waiting: int
    kv_cache_usage: float | None
    """Sum of the pods' KV cache usage, each 0 to 1."""
    is_first: bool = False
    """Whether no pod was read before, so that no rate is known."""
    slow: tuple[str, ...] = ()
    """Uids of pods much slower than the others: a fault of their machine, not of the capacity."""


def read(
    previous: Mapping[str, Track], pods: Collection[PodLoad], now: float, cost: RequestCost | None = None
) -> Reading:
    """The present load metrics, and the requests and tokens counted since the ``previous`` samples."""
    tracks: dict[str, Track] = {}
    counted: list[tuple[float, ...]] = []
    for uid, sample in guards.answered(pods, now):
        before = previous.get(uid)
        rates = guards.rates(before.sample, sample, cost) if before else ()
        tracks[uid] = _followed(before, sample, rates, cost)
        if rates:
            counted.append(rates)
    samples = [track.sample for track in tracks.values()]
    used = [item.kv_cache_usage for item in samples if item.kv_cache_usage is not None]
    present = [item.running for item in samples if item.running is not None]
    return Reading(
        tracks=tracks,
        silent=guards.silent(pods, tracks, now),
        late=guards.late(previous, tracks, now),
        counted=Mix(*map(math.fsum, zip(*counted, strict=True))) if counted else None,
        running=sum(present) if present else None,
        waiting=sum(item.waiting or 0 for item in samples),
        kv_cache_usage=math.fsum(used) if used else None,
        is_first=not any(uid in previous for uid in tracks),
        slow=guards.slow(tracks, minute(cost), pods=pods),
    )


def _followed(
    before: Track | None, sample: Sample, rates: tuple[float, ...], cost: RequestCost | None
) -> Track:
    """A pod's track with one more sample, and the ``rates`` since the one before.

    An engine may count an answer at its end: tokens are expected of its whole time. Of a pod that hangs no
    more are expected.
    """
    if before is None or not guards.is_new(sample, before):
        return before or Track(sample)
    previous, seconds = before.sample, sample.time_seconds - before.sample.time_seconds
    since = guards.stalled_since(before, sample, rates[2] if rates else None)
    if cost is None or not rates:
        return Track(sample, since)
    hangs = since is not None and sample.time_seconds - since > tuning.MIX_SECONDS
    running = 0.0 if hangs else ((previous.running or 0) + (sample.running or 0)) / 2
    kept = math.exp(-seconds / tuning.MIX_SECONDS)
    output = kept * before.output + seconds * rates[2]
    return Track(sample, since, output, kept * before.expected + cost.expected_tokens(running, seconds))


def cold_start(observed: Iterable[float | None], previous: float) -> float:
    """Expected cold start in seconds: nine in ten of those ``observed`` took no longer. The ``previous`` one,
    where none is known.
    """
    known = sorted(min(each, tuning.LONGEST_START_SECONDS) for each in observed if each is not None)
    return known[int(tuning.START_QUANTILE * len(known))] if known else previous


def minute(cost: RequestCost | None) -> float:
    """Number of tokens that one replica generates in RATE_SECONDS; fewer show no speed. 0: unknown."""
    return tuning.RATE_SECONDS / cost.per_output_token if cost and cost.has_law else 0.0


def speed(previous: float, reading: Reading, tokens: float) -> float:
    """Present speed of all pods but the slow ones, as a multiple of the measured speed (0.5 to 2).

    ``previous`` where fewer than ``tokens`` output tokens were expected recently.
    """
    healthy = [track for uid, track in reading.tracks.items() if uid not in reading.slow]
    expected = math.fsum(track.expected for track in healthy)
    found = math.fsum(track.output for track in healthy) / expected if expected >= tokens > 0 else previous
    return min(1 / tuning.MIN_CORRECTION, max(tuning.MIN_CORRECTION, found))


def mixed(mix: Mix, counted: Mix, seconds: float) -> Mix:
    """The weighted request and token counts ``mix``, updated with what was ``counted`` per second for
    ``seconds``.

    If an engine counts no requests, they are computed from its tokens and the mean answer. The last request
    keeps a weight of 1, so that lengths stay known without traffic.
    """
    kept = max(math.exp(-seconds / tuning.MIX_SECONDS), min(1.0, 1 / mix.requests))
    requests = counted.requests or counted.output_tokens * mix.requests / max(1.0, mix.output_tokens)
    return Mix(
        kept * mix.requests + seconds * requests,
        kept * mix.prompt_tokens + seconds * counted.prompt_tokens,
        kept * mix.output_tokens + seconds * counted.output_tokens,
    )


def in_progress(tracks: Mapping[str, Track], cost: RequestCost) -> float:
    """Unfinished work of all running and waiting requests, in seconds of one replica.

    Running requests beyond the concurrency count as not begun.
    """
    samples = [track.sample for track in tracks.values()]
    crowded = math.fsum(max(0.0, (item.running or 0) - cost.concurrency) for item in samples)
    running, waiting = sum(item.running or 0 for item in samples), sum(item.waiting or 0 for item in samples)
    return cost.request_seconds * (waiting + crowded + tuning.LEFT * (running - crowded))


def kept(offered: Sequence[Interval], cold_start_seconds: float, now: float) -> tuple[Interval, ...]:
    """The intervals of offered load that are still recent enough for the level and the trend; older ones are
    dropped."""
    longest = max(tuning.TREND_SECONDS, cold_start_seconds)
    return tuple(item for item in offered if 0 <= now - item.end_seconds < longest)


def level(offered: Sequence[Interval], request_seconds: float) -> float:
    """Offered load in replicas: the mean over RATE_SECONDS, or the lower bound for a shorter period with a
    higher load.

    The bound subtracts the deviation of random arrivals, the square root of their number.
    """
    found = seconds = work = 0.0
    for item in offered:
        if seconds and seconds + item.seconds > tuning.RATE_SECONDS + tuning.LATE_SECONDS:
            break
        seconds += item.seconds
        work += item.seconds * item.offered
        deviation = math.sqrt(work * request_seconds)
        found = max(found, (work - tuning.DEVIATIONS * deviation) / seconds)
    return max(found, work / seconds) if seconds else 0.0


def chance(level: float, cost: RequestCost) -> float:
    """By how many replicas the offered load ``level`` may deviate because requests arrive at random."""
    return tuning.DEVIATIONS * math.sqrt(level * cost.request_seconds / tuning.RATE_SECONDS)


def slope(offered: Sequence[Interval]) -> float:
    """Trend of the offered load in replicas per second: the least growth from one quarter of its window to
    the next, at least 0. A finished step is no trend: it grows in two of three at most.
    """
    size = len(offered) // tuning.TREND_PARTS
    if size < 2:
        return 0.0
    quarters = [offered[at * size : (at + 1) * size] for at in range(tuning.TREND_PARTS)]
    loads = [fmean(item.offered for item in quarter) for quarter in quarters]
    seconds = math.fsum(item.seconds for item in quarters[0])
    return max(0.0, min(new - old for new, old in pairwise(loads))) / seconds
