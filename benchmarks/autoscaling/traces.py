"""Traces that are drawn, and the public one. A rate is told in replicas: 1 is what one carries at its best.

Each is drawn from a seed: the same seed gives the same trace. Lengths are lognormal, arrivals Poisson with a
rate that changes over time.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from tacho_simulate.trace import Trace, read_trace

PUBLIC = Path(__file__).parent / "traces" / "azure-code-2023.csv.gz"
MINUTE, HOUR = 60.0, 3600.0

Rate = Callable[[float], float]
"""Replicas' worth of requests at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Tokens of a request: median and spread of the logarithm, and the most there may be."""

    median: float
    sigma: float
    most: int

    @property
    def mean(self) -> float:
        return self.median * math.exp(self.sigma**2 / 2)

    def draw(self, rng: Random) -> int:
        return max(1, min(self.most, round(rng.lognormvariate(math.log(self.median), self.sigma))))


PROMPTS = Lengths(median=800, sigma=0.6, most=4000)
ANSWERS = Lengths(median=220, sigma=0.6, most=1000)
LONG_PROMPTS = replace(PROMPTS, median=2400)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A rate over a time."""

    name: str
    seconds: float
    rate: Rate
    long_share: Rate = lambda _: 0.0
    """Of requests with a long prompt."""

    def draw(self, seed: int, requests_per_second: float) -> Trace:
        """``requests_per_second``: of one replica."""
        rng = Random(f"{self.name} {seed}")
        times = list(_poisson(self.rate, self.seconds, requests_per_second, rng))
        prompts = [
            (LONG_PROMPTS if rng.random() < self.long_share(time) else PROMPTS).draw(rng) for time in times
        ]
        return Trace(
            name=self.name,
            time_seconds=tuple(times),
            input_tokens=tuple(prompts),
            output_tokens=tuple(ANSWERS.draw(rng) for _ in times),
        )


def _poisson(rate: Rate, seconds: float, unit: float, rng: Random) -> Iterator[float]:
    """By thinning: drawn at the highest rate, kept with the share of the present one."""
    grid = [second * seconds / 2000 for second in range(2001)]
    highest = max(rate(time) for time in grid) * unit * 1.05
    time = rng.expovariate(highest)
    while time < seconds:
        if rng.random() * highest < rate(time) * unit:
            yield time
        time += rng.expovariate(highest)


def _diurnal(seconds: float, low: float, high: float) -> Rate:
    """A day from night to night, in less time."""
    return lambda time: low + (high - low) * (1 - math.cos(2 * math.pi * time / seconds)) / 2


def _line(*points: tuple[float, float]) -> Rate:
    """Through points (minute, replicas), straight in between."""
    minutes = [minute for minute, _ in points]

    def rate(time: float) -> float:
        minute = time / MINUTE
        at = bisect.bisect_right(minutes, minute)
        if at in (0, len(points)):
            return points[min(at, len(points) - 1)][1]
        (begins, low), (ends, high) = points[at - 1], points[at]
        return low + (high - low) * (minute - begins) / (ends - begins)

    return rate


def _pulses(low: float, high: float, *, every: float, lasting: float, first: float) -> Rate:
    """``high`` for so many minutes, again and again."""
    return lambda time: high if (time / MINUTE - first) % every < lasting and time / MINUTE >= first else low


SHAPES = {
    shape.name: shape
    for shape in (
        Shape(name="diurnal", seconds=2 * HOUR, rate=_diurnal(2 * HOUR, 0.7, 6.0)),
        Shape(
            name="step x8",
            seconds=80 * MINUTE,
            rate=_line((0, 0.75), (20, 0.75), (20.01, 6.0), (50, 6.0), (50.01, 0.75)),
        ),
        Shape(name="ramp", seconds=75 * MINUTE, rate=_line((0, 0.6), (10, 0.6), (50, 7.0))),
        Shape(
            name="spikes",
            seconds=90 * MINUTE,
            rate=_pulses(1.6, 6.0, every=17, lasting=1.5, first=12),
        ),
        Shape(
            name="on/off",
            seconds=2 * HOUR,
            rate=_pulses(0.2, 4.0, every=20, lasting=10, first=10),
        ),
        Shape(
            name="mix shift",
            seconds=90 * MINUTE,
            rate=lambda _: 2.5,
            long_share=_line((30, 0.0), (45, 1.0)),
        ),
    )
}
TRAINING = Shape(
    name="training",
    seconds=120 * MINUTE,
    rate=_line((0, 1.0), (35, 5.5), (45, 5.0), (65, 1.2), (75, 1.2), (95, 4.5), (105, 4.0), (120, 1.0)),
)
"""Two rises and falls, one of them steep, for thresholds to be chosen on; without a leap, after which nobody
keeps the service level and the most costly threshold would always be the best."""


def public() -> Trace:
    return replace(read_trace(PUBLIC), name="public")
