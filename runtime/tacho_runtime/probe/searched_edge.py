"""Capacity between a level that meets the SLO and one that misses it, by interpolation. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tacho_runtime.probe.level_search import RATIO_ERROR, TriedLevel, edge_between, uncertain_streams
from tacho_runtime.probe.statistics import NORMAL_975


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchedEdge:
    """Number of streams and rates of one replica at the limit of its SLO."""

    concurrency: int
    output_tokens_per_second: float
    interval_percent: float
    """Uncertainty of the rates in percent: by how much the rates at untried levels in between may differ."""


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
    # Beside a limit chance decides by a stream.
    chance = any(abs((one.slo_ratio or 0.0) - 1) < RATIO_ERROR for one in (low, high))
    unknown = min(1.0, (between - 1 + chance) / between)
    slope = abs(high.output_tokens_per_second - rate) / between
    apart = unknown * max(abs(at_edge - rate), abs(high.output_tokens_per_second - at_edge))
    apart = max(apart, NORMAL_975 * uncertain_streams(low, high) * slope)
    return SearchedEdge(
        concurrency=streams, output_tokens_per_second=at_edge, interval_percent=100 * apart / at_edge
    )
