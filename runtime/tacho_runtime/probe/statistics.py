"""The few statistics the probe needs. Pure; randomness is passed in."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from tacho_contract.measurement import samples_for

ONE_SIDED_95 = 1.6448536269514722
ONE_SIDED_RISK = 0.05
FEWEST_BATCHES, FEWEST_GROUPS = 8, 5
DRIFT_SHARE, DRIFT_ERRORS = 0.05, 3.0
_T_975 = (
    12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13, 2.12, 2.11,
    2.10, 2.09, 2.09, 2.08, 2.07, 2.07, 2.06, 2.06, 2.06, 2.05, 2.05, 2.05, 2.04,
)  # fmt: skip
"""Student's t, two-sided 95 %, for 1 to 30 degrees of freedom."""
NORMAL_975 = 1.96
"""Student's t for infinitely many degrees of freedom: the normal distribution's 97.5th percentile."""


def percentile(values: Sequence[float], percent: float) -> float:
    """The percentile by linear interpolation between order statistics (Hyndman and Fan's type 7). Raises
    ValueError if empty.
    """
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


def most_over(count: int, percent: float) -> int:
    """The most of ``count`` values that may be over a limit while their percentile still counts as within it.

    It is the median of the binomial distribution: a percentile exactly on its limit passes half of the time.
    3 of 59 for the 95th.
    """
    share, chance, total = 1 - percent / 100, (percent / 100) ** count, 0.0
    for over in range(count):
        total += chance
        if total >= 0.5:
            return over
        chance *= (count - over) / (over + 1) * share / (1 - share)
    return count


def share_is_over(over: int, count: int, share: float) -> bool:
    """Whether more than ``share`` of all requests are over a limit, with 95 % confidence, given ``over`` of
    ``count``.

    Exact binomial test; one-sided Clopper-Pearson.
    """
    return over > 0 and 1 - _at_most(over - 1, count, share) <= ONE_SIDED_RISK


def share_is_under(over: int, count: int, share: float) -> bool:
    """Whether less than ``share`` of all requests are over a limit, with 95 % confidence, given ``over`` of
    ``count``.

    For 5 %: with none of 59 over it, or at most one of 93.
    """
    return _at_most(over, count, share) <= ONE_SIDED_RISK


def _at_most(over: int, count: int, share: float) -> float:
    """Probability that at most ``over`` of ``count`` are over the limit, if ``share`` of all are."""
    log_under, log_over = math.log1p(-share), math.log(share)
    ways, total = 0.0, 0.0
    for one in range(min(over, count) + 1):
        total += math.exp(ways + one * log_over + (count - one) * log_under)
        ways += math.log(max(1, count - one) / (one + 1))
    return min(1.0, total)


def percentile_if_enough(values: Sequence[float], percent: float) -> float | None:
    """The percentile of ``values``; None where there are fewer than ``samples_for`` it needs."""
    return percentile(values, percent) if len(values) >= samples_for(percent) else None


def t_975(freedom: float) -> float:
    """The 97.5 % quantile of Student's t with ``freedom`` degrees of freedom, for two-sided 95 %
    intervals."""
    place = max(1, math.floor(freedom))
    return _T_975[place - 1] if place <= len(_T_975) else NORMAL_975 + 2.4 / place


def wilson_lower(good: int, of: int) -> float:
    """Wilson's one-sided lower 95 % bound of a share, 0 to 1. ValueError without a trial."""
    if of <= 0:
        raise ValueError("no share of nothing")
    z = ONE_SIDED_95
    share = good / of
    middle = share + z * z / (2 * of)
    spread = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of))
    return max(0.0, (middle - spread) / (1 + z * z / of))


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line: y = intercept + slope * x."""

    intercept: float
    slope: float
    slope_error: float
    """Standard error of the slope; infinity with two points, through which any line fits."""
    r2: float
    """Share of the variance that the line explains; 1 with two points."""


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
        return Line(intercept, slope, math.inf, 1.0)
    residual = math.fsum((y - intercept - slope * x) ** 2 for x, y in points)
    total = math.fsum((y - mean_y) ** 2 for _, y in points)
    r2 = max(0.0, 1 - residual / total) if total > 0 else 1.0
    return Line(intercept, slope, math.sqrt(residual / (n - 2) / spread), r2)


def ratio_interval_percent(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Half the 95 % interval of sum(a)/sum(b), in percent of the ratio. Each pair is an independent
    observation (delta method, Student's t). None below three pairs or without a positive ratio.
    """
    n = len(pairs)
    above, below = math.fsum(a for a, _ in pairs), math.fsum(b for _, b in pairs)
    if n < 3 or below <= 0 or above <= 0:
        return None
    ratio, mean_b = above / below, below / n
    variance = math.fsum((a - ratio * b) ** 2 for a, b in pairs) / (n - 1)
    return 100 * t_975(n - 1) * math.sqrt(variance / n) / (mean_b * ratio)


def batches(values: Sequence[float], count: int) -> list[float]:
    """Sums of ``count`` equally long sections of ``values``; surplus values at the front are dropped."""
    size = len(values) // count
    start = len(values) - size * count
    return (
        [math.fsum(values[start + i * size : start + (i + 1) * size]) for i in range(count)] if size else []
    )


def lag_one(off: Sequence[float]) -> float:
    """Lag-1 autocorrelation of ``off``, the deviations from a mean; 0 where all are 0."""
    squares = math.fsum(one * one for one in off)
    return math.fsum(a * b for a, b in itertools.pairwise(off)) / squares if squares else 0.0


def dependence(off: Sequence[float]) -> float:
    """Factor of at least 1 by which an interval widens because deviations that follow each other in time are
    correlated (batch means).

    ``off``: deviations from the fitted line, in the order of time. Their interval is computed from single
    ones and from sums over two, four and more that follow each other; the widest counts.
    """
    groups = len(off)
    alone = widest = _of_groups(off, groups)
    while (groups := groups // 2) >= FEWEST_GROUPS:
        widest = max(widest, _of_groups(off, groups))
    return widest / alone if alone else 1.0


def _of_groups(off: Sequence[float], groups: int) -> float:
    edges = [len(off) * place // groups for place in range(groups + 1)]
    squares = math.fsum(math.fsum(off[a:b]) ** 2 for a, b in itertools.pairwise(edges))
    return t_975(groups - 1) * math.sqrt(squares / (groups - 1))


def mean_error(values: Sequence[float]) -> tuple[float, float] | None:
    """(standard error of the mean as a share of it, number of independent observations) of consecutive
    values.

    Neighbours may depend on each other, so a positive lag-1 autocorrelation reduces the number. None below
    eight values or without a positive mean.
    """
    n = len(values)
    mean = math.fsum(values) / n if n else 0.0
    if n < FEWEST_BATCHES or mean <= 0:
        return None
    off = [value - mean for value in values]
    lag = min(max(lag_one(off), 0.0), 0.9)
    effective = max(2.0, n * (1 - lag) / (1 + lag))
    deviation = math.sqrt(math.fsum(one * one for one in off) / (n - 1))
    return deviation / math.sqrt(effective) / mean, effective


def batch_means_percent(values: Sequence[float]) -> float | None:
    """Half the 95 % interval of the mean, in percent of it; None below eight values or without a positive
    mean.
    """
    known = mean_error(values)
    return None if known is None else 100 * t_975(known[1] - 1) * known[0]


def drifts(bins: Sequence[float]) -> bool:
    """Whether a rate, given in equal bins of time, changed over the window.

    It must change by more than DRIFT_SHARE of its mean and by more than DRIFT_ERRORS standard errors. With
    few bins more standard errors are required, so that a short noisy window is not called a drift.
    """
    line = least_squares([(float(index), value) for index, value in enumerate(bins)])
    mean = math.fsum(bins) / len(bins) if bins else 0.0
    if line is None or mean <= 0:
        return False
    moved = abs(line.slope) * len(bins)
    certain = DRIFT_ERRORS * t_975(len(bins) - 2) / NORMAL_975
    return moved > DRIFT_SHARE * mean and abs(line.slope) > certain * line.slope_error
