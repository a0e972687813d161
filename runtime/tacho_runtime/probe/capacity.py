"""The capacity of one replica, from the levels that a probe measured. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Set
from dataclasses import dataclass, replace

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Capacity, Workload
from tacho_runtime.probe.level_search import (
    KNEE_CLOSE,
    KNEE_SHARE,
    PLATEAU_GAIN,
    RATIO_ERROR,
    Boundary,
    TriedLevel,
    bracket,
    close_to,
    edge_between,
    knee_of,
    uncertain_streams,
)
from tacho_runtime.probe.levels import LevelResult
from tacho_runtime.probe.session import ProbeFindings
from tacho_runtime.probe.statistics import NORMAL_975


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchedEdge:
    """Number of streams and rates of one replica at the limit of its SLO."""

    concurrency: int
    output_tokens_per_second: float
    interval_percent: float
    """Uncertainty of the rates in percent beyond that of the level: by how much those at untried levels in
    between may differ."""


def edge_of(low: TriedLevel, high: TriedLevel | None) -> SearchedEdge:
    """The interpolated capacity between ``low``, which meets the SLO, and ``high``, which misses it."""
    rate = low.output_tokens_per_second
    if high is None or not (low.rated and high.rated):
        more = 0.0 if high is None else 100 * (high.concurrency / low.concurrency - 1)
        return SearchedEdge(concurrency=low.concurrency, output_tokens_per_second=rate, interval_percent=more)
    streams = min(max(math.floor(edge_between(low, high) + 1e-9), low.concurrency), high.concurrency - 1)
    between = high.concurrency - low.concurrency
    share = (streams - low.concurrency) / between
    at_edge = streams / (low.cycle_seconds + share * (high.cycle_seconds - low.cycle_seconds))
    # Close to the SLO's limit, chance may move the edge by one stream.
    chance = any(abs((one.slo_ratio or 0.0) - 1) < RATIO_ERROR for one in (low, high))
    unknown = min(1.0, (between - 1 + chance) / between)
    slope = abs(high.output_tokens_per_second - rate) / between
    apart = unknown * max(abs(at_edge - rate), abs(high.output_tokens_per_second - at_edge))
    apart = max(apart, NORMAL_975 * uncertain_streams(low, high) * slope)
    # The level that misses the SLO may have had a short window: its part of the rate is as uncertain.
    mixed = math.hypot((1 - share) * low.rate_error, share * high.rate_error)
    more = max(0.0, mixed - low.rate_error)
    return SearchedEdge(
        concurrency=streams, output_tokens_per_second=at_edge, interval_percent=100 * (apart / at_edge + more)
    )


def capacity_of(findings: ProbeFindings, workload: Workload, slo: ServiceLevel) -> Capacity | None:
    """The load that one replica sustains with a constant number of streams; None without a usable level.

    With an SLO: between the most streams that meet it and the next level that misses it. Without one: the
    knee. The result of the open loop is reported separately.
    """
    level, boundary = capacity_level(findings, slo)
    if level is None:
        return None
    point, limited = level.point, slo.has_target
    low, high = _bracket(findings)
    edge = SearchedEdge(
        concurrency=point.concurrency,
        output_tokens_per_second=point.output_tokens_per_second,
        interval_percent=0.0 if limited else _knee_percent(findings, level),
    )
    if boundary == "Edge" and low is not None:
        # Where the level at the edge tells no rate, that of the one below does.
        apart = 100 * (low.concurrency / point.concurrency - 1)
        edge = edge_of(low, high) if low.rated else replace(edge, interval_percent=apart)
    rate = edge.output_tokens_per_second
    requests = point.requests_per_second * rate / point.output_tokens_per_second
    own = point.ci_percent
    opened = findings.opened
    return Capacity(
        concurrency=edge.concurrency,
        requests_per_second=requests,
        output_tokens_per_second=rate,
        total_tokens_per_second=rate + requests * workload.input_tokens,
        ci_percent=None if own is None else own + findings.single.drift_percent + edge.interval_percent,
        boundary=boundary,
        basis="SLO" if limited else "Knee",
        verified=opened.passed if opened else None,
    )


def capacity_level(findings: ProbeFindings, slo: ServiceLevel) -> tuple[LevelResult | None, Boundary]:
    """(the highest level that one replica certainly sustains, its boundary); (None, "") without a usable
    level.

    Edge needs a level close above that misses the SLO. NeverMet: one stream misses it.
    """
    rated = findings.rated
    if not rated:
        return None, ""
    if not slo.has_target:
        knee = knee_of(findings.tried())
        if knee is None:
            return None, ""
        level = rated.get(findings.knee) or rated[knee.concurrency]
        # A search that was cut may not have measured whether more streams bring more throughput.
        above = max(rated) > level.point.concurrency and not _cut(findings)
        flat = (above or findings.boundary == "Plateau") and not _faster_unsteady(findings, level)
        return level, "Plateau" if flat else "Floor"
    low, high = _bracket(findings)
    if low is None:
        return (rated.get(1), "NeverMet") if 1 in findings.results else (None, "")
    with_rate = [rated[one] for one in sorted(rated.keys() - _undecided(findings)) if one <= low.concurrency]
    if not with_rate:
        return None, ""
    rated_to = with_rate[-1].point.concurrency
    close = high is not None and high.concurrency - low.concurrency <= close_to(low.concurrency)
    if close and low.concurrency - rated_to <= close_to(rated_to):
        return with_rate[-1], "Edge"
    if findings.boundary != "Plateau":
        return with_rate[-1], "Floor"
    # Of all that bring as much the fewest streams: further ones only wait.
    rate = with_rate[-1].point.output_tokens_per_second
    alike = (
        one
        for one in with_rate
        if rate / PLATEAU_GAIN <= one.point.output_tokens_per_second <= PLATEAU_GAIN * rate
    )
    return next(alike), "Plateau"


def _undecided(findings: ProbeFindings) -> Set[int]:
    """Levels that the end of the time left with too few requests to show that they meet the SLO."""
    if not findings.out_of_time:
        return set()
    return {level for level, one in findings.results.items() if level > 1 and one.few_first_tokens}


def _bracket(findings: ProbeFindings) -> tuple[TriedLevel | None, TriedLevel | None]:
    undecided = _undecided(findings)
    levels = [one for one in findings.tried() if one.concurrency not in undecided or (one.slo_ratio or 0) > 1]
    return bracket(levels)


def _faster_unsteady(findings: ProbeFindings, level: LevelResult) -> bool:
    """Whether a level with more streams, too unsteady to be the capacity, has clearly more throughput."""
    used = {one.concurrency for one in findings.tried()}
    enough = level.point.output_tokens_per_second / KNEE_SHARE
    return any(
        streams > level.point.concurrency and one.point.output_tokens_per_second > enough
        for streams, one in findings.rated.items()
        if streams not in used
    )


def _cut(findings: ProbeFindings) -> bool:
    """Whether the search ended early, so that the capacity may be higher than found."""
    return findings.out_of_time or findings.levels_missing


def _knee_percent(findings: ProbeFindings, level: LevelResult) -> float:
    """How far the knee of another probe may be from this one, in percent.

    Below: the distance to nine tenths of the highest throughput, at which the knee is defined. To either
    side: the distance to a neighbouring level whose interval includes that limit.
    """
    highest = saturation_level(findings.rated.values())
    if highest is None:
        return 0.0
    rate, most = level.point.output_tokens_per_second, highest.point.output_tokens_per_second
    found = [0.0]
    if level is not highest or (_cut(findings) and findings.boundary == "Plateau"):
        found.append(rate / most / KNEE_SHARE - 1)
    streams = level.point.concurrency
    fewer = [one for one in findings.rated.values() if one.point.concurrency < streams]
    more = [one for one in findings.rated.values() if one.point.concurrency > streams]
    for one in fewer:
        reached = one.point.output_tokens_per_second / most
        if reached * (1 + _uncertain(one, highest)) >= KNEE_SHARE:
            found.append(abs(one.point.output_tokens_per_second / rate - 1))
    following = min(more, key=lambda one: one.point.concurrency, default=None)
    short = KNEE_SHARE / (rate / most * max(0.5, 1 - _uncertain(level, highest))) - 1
    if following is not None and short > 0:
        gap = abs(following.point.output_tokens_per_second / rate - 1)
        # Where there are levels in between, another probe would find the knee among these.
        adjacent = following.point.concurrency <= max(streams + 1, KNEE_CLOSE * streams)
        found.append(gap if adjacent else min(gap, short))
    return 100 * max(found)


def _uncertain(one: LevelResult, other: LevelResult) -> float:
    """Uncertainty of the ratio of two levels, as a share of the ratio."""
    if one is other:
        return 0.0
    return math.hypot(one.point.ci_percent or 0.0, other.point.ci_percent or 0.0) / 100


def saturation_level(results: Iterable[LevelResult]) -> LevelResult | None:
    """The level with the most output tokens per second; None where there is no level.

    If any clean level has several streams, only these levels count: one stream does not show the throughput
    of a batch.
    """
    every = list(results)
    steady = [one for one in every if one.clean and one.point.concurrency > 1]
    return max(steady or every, key=lambda one: one.point.output_tokens_per_second, default=None)
