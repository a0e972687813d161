"""Integer arithmetic for memory models: division and multiples rounded up, and a search."""

from __future__ import annotations

from collections.abc import Callable


def ceil_div(value: int, divisor: int) -> int:
    """Smallest integer not below ``value / divisor``."""
    return -(-value // divisor)


def round_up(value: int, multiple: int) -> int:
    """Smallest multiple of ``multiple`` not below ``value``."""
    return ceil_div(value, multiple) * multiple


def largest_that(low: int, high: int, step: int, holds: Callable[[int], bool]) -> int | None:
    """The largest of ``low, low + step, … high`` for which ``holds`` is true; None: none.

    ``holds`` must be monotone: once false, false for everything above.
    """
    if not holds(low):
        return None
    first, last = 0, max(0, (high - low) // step)
    while first < last:
        middle = (first + last + 1) // 2
        if holds(low + middle * step):
            first = middle
        else:
            last = middle - 1
    return low + first * step
