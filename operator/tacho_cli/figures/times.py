"""Formats durations, and makes time axes. Pure."""

from __future__ import annotations

from tacho_cli.figures.chart import Axis, round_step

MINUTE, HOUR, DAY = 60, 3600, 86400
STEPS = (
    1, 2, 5, 10, 15, 30, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE,
    HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 14 * DAY, 28 * DAY,
)  # fmt: skip
"""Round durations in seconds, for the distance of ticks."""
SHORTEST_SECONDS = 1.0
"""Shortest time axis, in seconds."""


def step(least_seconds: float) -> float:
    """The smallest round time span (such as 5 min) that is not below ``least_seconds``."""
    if least_seconds > STEPS[-1]:
        return round_step(least_seconds / STEPS[-1]) * STEPS[-1]
    if least_seconds < STEPS[0]:
        return round_step(least_seconds)
    return next(seconds for seconds in STEPS if seconds >= least_seconds)


def axis(duration_seconds: float, ticks: int) -> Axis:
    """A time axis from 0 to the end, with about ``ticks`` ticks."""
    whole = max(duration_seconds, SHORTEST_SECONDS)
    apart = step(whole / ticks)
    return Axis(low=0.0, high=whole, ticks=tuple(apart * n for n in range(int(whole / apart) + 1)))


def span(seconds: float) -> str:
    """A duration as text: ``40 s``, ``2 min``, ``1 h 30 min``, ``3 d 6 h``. Two units at most."""
    if seconds < MINUTE:
        return f"{seconds:.3g} s"
    left = round(seconds)
    parts = []
    for name, unit in (("d", DAY), ("h", HOUR), ("min", MINUTE), ("s", 1)):
        count, left = divmod(left, unit)
        parts.append((count, name))
    first = next(at for at, (count, _) in enumerate(parts) if count)
    return " ".join(f"{count} {name}" for count, name in parts[first : first + 2] if count)


def clock(seconds: float) -> str:
    """A time since the start as text: ``0:02:20``, and with days ``3 d 06:00:10``."""
    days, left = divmod(round(seconds), DAY)
    hours, minutes = left // HOUR, left % HOUR // MINUTE
    return (f"{days} d {hours:02}" if days else str(hours)) + f":{minutes:02}:{left % MINUTE:02}"
