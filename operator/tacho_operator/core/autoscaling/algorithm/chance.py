"""How much of what looks count chance may have brought: what their requests could, or as they scatter."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from tacho_operator.core.autoscaling.algorithm.types import Look

REMEMBERED_SECONDS = 180.0
"""So long looks are kept to see how they scatter."""
LEAST_BENDS = 6
"""Of fewer the scatter is not told."""
ALIKE = 0.5
"""Looks of a length within this share of each other's lie on one line when demand does."""
EVEN = 0.4
"""Of the scatter that chance would bring: with less, requests do not come by chance. As the scatter of a few
looks is itself chance, it counts as so much more, and more proves nothing."""
LEAST_REQUESTS = 2.0
"""Of fewer a look, on the mean, the scatter tells nothing: looks without any are all alike."""
OF_NORMAL = 1.4826 / math.sqrt(6)
"""From the median of second differences to the deviation of one value."""


def deviation(count: float, looks: Sequence[Look], requests_per_second: float) -> float:
    """Of ``count`` requests, the deviation that is to be reckoned with. Requests that come by chance scatter
    by the root of their number. Those that something sends evenly do not, and rises need not be doubted then.
    ``looks``: those of before, of as long as ``count`` was counted in, the newest first."""
    by_number = math.sqrt(max(0.0, count))
    seen = scatter(looks)
    if seen is None:
        return by_number
    seconds = looks[0].seconds
    usual = statistics.fmean(look.seconds * look.offered for look in looks[1:])
    if usual * requests_per_second < LEAST_REQUESTS:
        return by_number
    return min(by_number, seen * seconds * requests_per_second / EVEN)


def scatter(looks: Sequence[Look]) -> float | None:
    """By how much the work of one look deviates from a line through its neighbours (work a second), half of
    them more and half of them less: a rise has none of its own, and one bend or leap does not move it. None:
    too few looks."""
    bends = [
        abs(one.offered - 2 * two.offered + three.offered)
        for one, two, three in zip(looks, looks[1:], looks[2:], strict=False)
        if alike(one, two) and alike(two, three)
    ]
    return statistics.median(bends) * OF_NORMAL if len(bends) >= LEAST_BENDS else None


def alike(one: Look, other: Look) -> bool:
    return min(one.seconds, other.seconds) > ALIKE * max(one.seconds, other.seconds)


def remembered(former: Sequence[Look], look: Look) -> tuple[Look, ...]:
    """``former`` and one more look, the newest first, as long as looks are kept."""
    found, seconds = [look], look.seconds
    for old in former:
        seconds += old.seconds
        if seconds > REMEMBERED_SECONDS:
            break
        found.append(old)
    return tuple(found)
