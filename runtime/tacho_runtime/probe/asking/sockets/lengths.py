"""How long answers are asked to be, and when requests are sent. Pure; randomness is passed in."""

from __future__ import annotations

import math
from random import Random


class OutputLengths:
    """Draws evenly from ``spread`` (a share) around ``mean``, in pairs whose mean is exact."""

    def __init__(self, mean: int, spread: float, rng: Random) -> None:
        self._mean = mean
        self._half = min(mean - 1, int(mean * spread))
        self._rng = rng
        self._counterpart: int | None = None

    def draw(self) -> int:
        if self._counterpart is not None:
            drawn, self._counterpart = self._counterpart, None
            return drawn
        off = self._rng.randint(-self._half, self._half) if self._half > 0 else 0
        self._counterpart = self._mean - off
        return self._mean + off


def residual_lives(count: int, mean: int, spread: float, rng: Random) -> list[int]:
    """What ``count`` streams ask for first, so that their loop is steady from its start: what is left of an
    answer of ``OutputLengths`` at a moment that is picked at random.

    Stratified: one draw in each of ``count`` equally likely ranges, in random order.
    """
    lives = [_residual((index + rng.random()) / count, mean, mean * spread) for index in range(count)]
    rng.shuffle(lives)
    return [max(1, math.ceil(life)) for life in lives]


def _residual(share: float, mean: float, half: float) -> float:
    """What ``share`` of all residual lives lie below: their density at x is the share of lengths above x."""
    shortest = mean - half
    if half <= 0 or share * mean <= shortest:
        return share * mean
    width = 2 * half
    beyond = share * mean - shortest
    return mean + half - math.sqrt(max(0.0, width * width - 2 * width * beyond))


def poisson_times(requests_per_second: float, seconds: float, rng: Random) -> list[float]:
    """Seconds from now, ascending, below ``seconds``."""
    times: list[float] = []
    at = rng.expovariate(requests_per_second)
    while at < seconds:
        times.append(at)
        at += rng.expovariate(requests_per_second)
    return times
