"""Corrects the times per token of uncertain levels by those of their neighbours. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from tacho_runtime.probe.level_search import TriedLevel

LEAST_ERROR = 0.002
"""Smallest relative error that a level is assumed to have."""
BEND = 0.25
"""Assumed curvature: relative deviation from the line between two levels, per relative distance."""
PLAIN_ERRORS = 3.0
"""Standard errors between a level and the SLO from which neighbouring levels do not correct it."""


def pooled(tried: Sequence[TriedLevel]) -> tuple[TriedLevel, ...]:
    """``tried`` with smoothed times per token: an uncertain level is corrected by its neighbours.

    Local linear regression: each level weighs by its own error, and by how far the line may bend up to it. A
    level that is certain stays as it is. More streams make no step shorter. Where a full cache makes steps
    jump, a line from below would be wrong: what a level clearly shows stays.
    """
    return tuple(
        _pooled(one, tried) if one.tpot_ratio is not None and one.tpot_error > LEAST_ERROR else one
        for one in tried
    )


def _pooled(here: TriedLevel, tried: Sequence[TriedLevel]) -> TriedLevel:
    rows = [
        (one.concurrency - here.concurrency, one.tpot_ratio, weight)
        for one in tried
        if one.tpot_ratio is not None and (weight := _weight(one, here)) > 0
    ]
    if not rows:
        return here
    weight = math.fsum(w for _, _, w in rows)
    at = math.fsum(w * x for x, _, w in rows) / weight
    mean = math.fsum(w * y for _, y, w in rows) / weight
    spread = math.fsum(w * (x - at) ** 2 for x, _, w in rows)
    slope = math.fsum(w * (x - at) * y for x, y, w in rows) / spread if spread > 0 else 0.0
    slope = max(0.0, slope)
    variance = 1 / weight + (at * at / spread if slope > 0 else 0.0)
    ratio, own = mean - slope * at, here.tpot_ratio or 0.0
    if ratio <= 0:
        return here
    if abs(own - 1) > PLAIN_ERRORS * here.tpot_error * own and (own > 1) != (ratio > 1):
        return here
    return replace(here, tpot_ratio=ratio, tpot_error=math.sqrt(variance) / ratio)


def _weight(one: TriedLevel, here: TriedLevel) -> float:
    """Weight (inverse variance) with which the level ``one`` corrects the level ``here``."""
    apart = abs(one.concurrency - here.concurrency) / here.concurrency
    error = max(LEAST_ERROR, math.hypot(one.tpot_error, BEND * apart)) * (one.tpot_ratio or 0.0)
    return 1 / error**2 if error > 0 else 0.0
