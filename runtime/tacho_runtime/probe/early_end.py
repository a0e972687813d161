"""Whether a level certainly meets or misses the SLO before all of its requests have ended. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import samples_for
from tacho_runtime.probe.engine_under_test import Cohort
from tacho_runtime.probe.statistics import most_over, share_is_over

FEWEST_REQUESTS = 8
"""Fewest requests from which a percentile is judged."""
FEWEST_INDEPENDENT = 4
"""Fewest independent observations among the requests. Streams share the engine's steps, so requests of the
same half duration count as about one.
"""
TPOT_SHARE = 0.5
"""Share of an answer's tokens after which its time per token counts as known."""
NS_PER_MS = 1e6


def plain_verdict(cohort: Cohort, slo: ServiceLevel, output_tokens: int) -> bool | None:
    """True: the level certainly meets ``slo``; False: it certainly misses it; None: more requests are needed.

    Missed: more requests are over a limit than a full cohort may have. With more requests than a cohort: so
    many that the percentile is over the limit with 95 % confidence. Met: the times per token, means of many
    steps, are within their limit by the tolerance interval of a normal distribution, with 95 % confidence.
    Times to the first token have no such distribution (a queue, a prompt that waits for a batch): with a
    limit on them only a full cohort shows that a level is met.
    """
    ttfts, waits = _first_tokens(cohort)
    tpots = _tpots(cohort, TPOT_SHARE * output_tokens)
    pairs = [(ttfts, slo.ttft_milliseconds), (tpots, slo.tpot_milliseconds)]
    limited = [(values, float(limit)) for values, limit in pairs if limit]
    late = sum(wait > slo.ttft_milliseconds for wait in waits) if slo.ttft_milliseconds else 0
    for values, limit in limited:
        over = sum(value > limit for value in values) + (late if values is ttfts else 0)
        if _plainly_over(over, len(cohort.requests), slo):
            return False
    if slo.ttft_milliseconds:
        return None
    known = max(FEWEST_INDEPENDENT, round(2 * cohort.seconds / _request_seconds(ttfts, tpots, output_tokens)))
    return _within(tpots, float(slo.tpot_milliseconds), slo.percentile, known) or None


def _plainly_over(over: int, count: int, slo: ServiceLevel) -> bool:
    """Whether ``over`` of ``count`` requests above a limit show that the SLO is missed.

    The test is repeated while requests arrive. A plain comparison would at some moment fail for most levels
    that just meet the SLO.
    """
    size = samples_for(slo.percentile)
    if count <= size:
        return over > most_over(size, slo.percentile)
    return share_is_over(over, count, 1 - slo.percentile / 100)


def _first_tokens(cohort: Cohort) -> tuple[list[float], list[float]]:
    """(times to the first token, waits of those that have none yet), in milliseconds."""
    requests = cohort.requests
    now = max((one.last_token_ns or one.first_token_ns or one.sent_ns for one in requests), default=0)
    ttfts = [
        (one.first_token_ns - one.sent_ns) / NS_PER_MS for one in requests if one.first_token_ns is not None
    ]
    waiting = (one for one in requests if one.first_token_ns is None and not one.ended)
    return ttfts, [(now - one.sent_ns) / NS_PER_MS for one in waiting]


def _tpots(cohort: Cohort, fewest_tokens: float) -> list[float]:
    return [
        (one.last_token_ns - one.first_token_ns) / NS_PER_MS / (one.tokens - 1)
        for one in cohort.requests
        if one.first_token_ns is not None and one.last_token_ns is not None
        if one.tokens > 1 and (one.ended or one.tokens >= fewest_tokens)
    ]


def _request_seconds(ttfts: Sequence[float], tpots: Sequence[float], output_tokens: int) -> float:
    milliseconds = (fmean(ttfts) if ttfts else 0.0) + output_tokens * (fmean(tpots) if tpots else 0.0)
    return milliseconds / 1000 or math.inf


def _within(values: Sequence[float], limit: float, percent: float, independent: int) -> bool:
    if len(values) < FEWEST_REQUESTS:
        return False
    factor = tolerance_factor(min(len(values), independent), percent)
    return fmean(values) + factor * stdev(values) < limit


def tolerance_factor(count: int, percent: float) -> float:
    """Standard deviations above the mean of ``count`` values below which the percentile lies with 95 %
    confidence (one-sided normal tolerance interval, Natrella's approximation)."""
    sure, part = NormalDist().inv_cdf(0.95), NormalDist().inv_cdf(percent / 100)
    a = 1 - sure * sure / (2 * (count - 1))
    b = part * part - sure * sure / count
    return (part + math.sqrt(part * part - a * b)) / a
