"""The speed with many requests at once, at one number of requests for both measurements.

TPOT grows almost linearly with the requests, so a level between two measured ones is interpolated.
benchmarks/lab/gate.md has what each limit here gains.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

from tacho_contract.measurement import INVALIDATING, CurvePoint
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.core.gate.figure import figure_of

WIDEST_GAP = 3
"""How many times the requests of the level below the level above may have."""
FEWEST_LEVELS = 2
"""Fewest common levels. One alone may be the one at which the engine or its host was disturbed."""
UPPER_SHARE = 0.5
"""Which levels count: those with at least this share of the highest common level's requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadLevel:
    """The speed with so many requests at once."""

    requests: int
    tpot_milliseconds: float
    turn_milliseconds: float
    """Time in which each of the requests gets one token, the time to its first one included."""
    is_between: bool = False
    """Whether it is interpolated."""

    @property
    def tokens_per_second(self) -> float:
        return 1e3 * self.requests / self.turn_milliseconds


def common_level(
    candidate: MeasurementEntry, baseline: MeasurementEntry
) -> tuple[LoadLevel, LoadLevel] | None:
    """Candidate and baseline at the level that stands for all: the lower median, by the ratio of their TPOT.
    None: they have too few in common.
    """
    mine, its = _measured(candidate), _measured(baseline)
    pairs = [
        (one, other)
        for requests in sorted({*mine, *its})
        if (one := _level_at(mine, requests)) and (other := _level_at(its, requests))
    ]
    if len(pairs) < FEWEST_LEVELS:
        return None
    least = UPPER_SHARE * pairs[-1][0].requests
    upper = [pair for pair in pairs if pair[0].requests >= least]
    upper.sort(key=lambda pair: pair[0].tpot_milliseconds / pair[1].tpot_milliseconds)
    return upper[(len(upper) - 1) // 2]


def _measured(entry: MeasurementEntry) -> Mapping[int, LoadLevel]:
    """The undisturbed levels with more than one request, by rising number of requests."""
    found = (_level(point) for point in sorted(entry.curve, key=lambda item: item.concurrency))
    return {level.requests: level for level in found if level is not None}


def _level(point: CurvePoint) -> LoadLevel | None:
    rate = figure_of(point.output_tokens_per_second, point.ci_percent)
    tpot = figure_of(point.tpot_milliseconds_p50)
    turn = figure_of(1e3 * point.concurrency / rate.value) if rate else None
    is_usable = point.concurrency > 1 and point.steady and INVALIDATING.isdisjoint(point.flags)
    if not is_usable or tpot is None or turn is None:
        return None
    return LoadLevel(requests=point.concurrency, tpot_milliseconds=tpot.value, turn_milliseconds=turn.value)


def _level_at(levels: Mapping[int, LoadLevel], requests: int) -> LoadLevel | None:
    """The level with so many requests, or between its neighbours; None where they are too far apart."""
    if requests in levels:
        return levels[requests]
    numbers = list(levels)
    place = bisect_left(numbers, requests)
    if not 0 < place < len(numbers) or numbers[place] > WIDEST_GAP * numbers[place - 1]:
        return None
    below, above = levels[numbers[place - 1]], levels[numbers[place]]
    share = (requests - below.requests) / (above.requests - below.requests)
    return LoadLevel(
        requests=requests,
        tpot_milliseconds=_interpolated(below.tpot_milliseconds, above.tpot_milliseconds, share),
        turn_milliseconds=_interpolated(below.turn_milliseconds, above.turn_milliseconds, share),
        is_between=True,
    )


def _interpolated(low: float, high: float, share: float) -> float:
    return low + share * (high - low)
