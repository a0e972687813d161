"""The few statistics the probe needs. Pure; randomness is passed in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random


def percentile(values: Sequence[float], percent: float) -> float:
    """Linear interpolation between order statistics (Hyndman and Fan's type 7). ValueError if empty."""
    if not values:
        raise ValueError("no percentile of nothing")
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    value = ordered[low] + (ordered[high] - ordered[low]) * (place - low)
    return min(max(value, ordered[0]), ordered[-1])


def median(values: Sequence[float]) -> float:
    return percentile(values, 50)


@dataclass(frozen=True, slots=True)
class Line:
    """y = intercept + slope * x."""

    intercept: float
    slope: float
    slope_error: float
    """Standard error of the slope; infinity with two points, which fit any line."""


def least_squares(points: Sequence[tuple[float, float]]) -> Line | None:
    """The line through ``points``; None when all x are equal or there are fewer than two."""
    n = len(points)
    if n < 2:
        return None
    mean_x, mean_y = math.fsum(x for x, _ in points) / n, math.fsum(y for _, y in points) / n
    spread = math.fsum((x - mean_x) ** 2 for x, _ in points)
    if spread <= 0:
        return None
    slope = math.fsum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    intercept = mean_y - slope * mean_x
    if n == 2:
        return Line(intercept, slope, math.inf)
    residual = math.fsum((y - intercept - slope * x) ** 2 for x, y in points)
    return Line(intercept, slope, math.sqrt(residual / (n - 2) / spread))


def bootstrap_ratio_percent(
    pairs: Sequence[tuple[float, float]], rng: Random, *, resamples: int = 400
) -> float | None:
    """Half the 95 % interval of sum(a)/sum(b), in percent of it, by resampling pairs.

    One pair is one request: the tokens of one engine step are one observation, so tokens are not resampled.
    None below five pairs or without a positive ratio.
    """
    below, above = math.fsum(b for _, b in pairs), math.fsum(a for a, _ in pairs)
    if len(pairs) < 5 or below <= 0 or above <= 0:
        return None
    ratios = []
    for _ in range(resamples):
        sample = rng.choices(pairs, k=len(pairs))
        divisor = math.fsum(b for _, b in sample)
        if divisor > 0:
            ratios.append(math.fsum(a for a, _ in sample) / divisor)
    if not ratios:
        return None
    return 50 * (percentile(ratios, 97.5) - percentile(ratios, 2.5)) / (above / below)


def drifts(bins: Sequence[float], *, tolerance: float = 0.05, errors: float = 3.0) -> bool:
    """Whether a rate, in equal bins of time, moved over the window: by more than ``tolerance`` of its mean
    and by more than ``errors`` standard errors, so that a short noisy window is not called a drift."""
    line = least_squares([(float(index), value) for index, value in enumerate(bins)])
    mean = math.fsum(bins) / len(bins) if bins else 0.0
    if line is None or mean <= 0:
        return False
    moved = abs(line.slope) * len(bins)
    return moved > tolerance * mean and abs(line.slope) > errors * line.slope_error
