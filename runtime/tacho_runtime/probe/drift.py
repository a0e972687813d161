"""Whether one stream decoded at other moments of a probe as it did at first. Pure.

A machine whose speed wanders shows little of that in requests that follow one another at once: these agree,
and the next probe finds another rate. So requests of other moments are set against those of the beginning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tacho_runtime.probe.gaps import FLOOR_PERCENT, Decode
from tacho_runtime.probe.statistics import NORMAL_975, chi_square_95


def drift_percent(first: Decode, requests: int, later: Sequence[Decode]) -> float:
    """How far the farthest of ``later``, each of one request, is from ``first``, which is of ``requests``, in
    percent of it, where all of them together differ by more than their intervals explain; 0 where chance
    does. Of a request too short to have an interval of its own, that of the first ones says it."""
    every = (first, *later)
    if len(every) < 2:
        return 0.0
    rates = [one.tokens_per_second / first.tokens_per_second for one in every]
    known = first.ci_percent or 0.0
    intervals = (
        known,
        *(known * math.sqrt(requests) if one.ci_percent is None else one.ci_percent for one in later),
    )
    errors = [max(FLOOR_PERCENT, interval) / 100 / NORMAL_975 for interval in intervals]
    weights = [1 / (error * error) for error in errors]
    mean = math.fsum(w * rate for w, rate in zip(weights, rates, strict=True)) / math.fsum(weights)
    apart = math.fsum(w * (rate - mean) ** 2 for w, rate in zip(weights, rates, strict=True))
    if apart <= chi_square_95(len(later)):
        return 0.0
    return 100 * max(abs(rate - 1) for rate in rates)
