"""Traces that are drawn from a seed, and the public one.

A rate is in replicas: 1 is what one replica carries of just these requests. Lengths are lognormal, arrivals
Poisson with a rate that changes over time. The same seed gives the same trace.
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
GRID = 2000
"""Points in time at which the highest rate is looked for."""

Rate = Callable[[float], float]
"""Replicas' worth of requests at a time in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Tokens of a prompt or an answer: median, standard deviation of the logarithm, maximum."""

    median: float
    sigma: float = 0.6
    most: int = 4000

    @property
    def mean(self) -> float:
        return self.median * math.exp(self.sigma**2 / 2)

    def draw(self, rng: Random) -> int:
        return max(1, min(self.most, round(rng.lognormvariate(math.log(self.median), self.sigma))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Requests:
    prompts: Lengths
    answers: Lengths

    @property
    def means(self) -> tuple[int, int]:
        return round(self.prompts.mean), round(self.answers.mean)


USUAL = Requests(prompts=Lengths(median=800), answers=Lengths(median=220, most=1000))
LONG_PROMPTS = replace(USUAL, prompts=Lengths(median=2400))
LONG_ANSWERS = replace(USUAL, answers=Lengths(median=660, most=3000))
SHORT = Requests(prompts=Lengths(median=255), answers=Lengths(median=30, most=1000))
"""305 tokens in and 36 out on average, as in production traffic of chat completions."""
LONG_IN_SHORT_OUT = Requests(
    prompts=Lengths(median=5000, sigma=0.5, most=12_000), answers=Lengths(median=60, most=500)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A rate over a time, and the lengths of its requests."""

    name: str
    seconds: float
    rate: Callable[[Random], Rate]
    """What is random in it is drawn."""
    requests: Requests = USUAL
    others: Requests = USUAL
    other_share: Rate = lambda _: 0.0
    """Share of the requests that have the lengths of ``others``."""

    def draw(self, seed: int, requests_per_second: float) -> Trace:
        """``requests_per_second``: of one replica."""
        rng = Random(f"{self.name} {seed}")
        times = list(_poisson(self.rate(rng), self.seconds, requests_per_second, rng))
        drawn = [self.others if rng.random() < self.other_share(time) else self.requests for time in times]
        return Trace(
            name=self.name,
            time_seconds=tuple(times),
            input_tokens=tuple(item.prompts.draw(rng) for item in drawn),
            output_tokens=tuple(item.answers.draw(rng) for item in drawn),
        )


def _poisson(rate: Rate, seconds: float, unit: float, rng: Random) -> Iterator[float]:
    """By thinning: drawn at the highest rate, kept with the share of the present one."""
    highest = max(rate(second * seconds / GRID) for second in range(GRID + 1)) * unit * 1.05
    time = rng.expovariate(highest)
    while time < seconds:
        if rng.random() * highest < rate(time) * unit:
            yield time
        time += rng.expovariate(highest)


def _wave(seconds: float, low: float, high: float) -> Callable[[Random], Rate]:
    """From night to night, in ``seconds``."""
    return lambda _: lambda time: low + (high - low) * (1 - math.cos(2 * math.pi * time / seconds)) / 2


def _uneven(
    shape: Callable[[Random], Rate], *, sigma: float = 0.2, keeps: float = 0.8
) -> Callable[[Random], Rate]:
    """The rate with a factor for each minute: lognormal, and correlated with that of the minute before."""

    def made(rng: Random) -> Rate:
        even, logarithm, factors = shape(rng), 0.0, []
        for _ in range(24 * 60):
            logarithm = keeps * logarithm + math.sqrt(1 - keeps**2) * rng.gauss(0, sigma)
            factors.append(math.exp(logarithm))
        return lambda time: even(time) * factors[int(time / MINUTE) % len(factors)]

    return made


def _interpolated(points: tuple[tuple[float, float], ...]) -> Rate:
    minutes = [minute for minute, _ in points]

    def rate(time: float) -> float:
        minute = time / MINUTE
        at = bisect.bisect_right(minutes, minute)
        if at in (0, len(points)):
            return points[min(at, len(points) - 1)][1]
        (begins, low), (ends, high) = points[at - 1], points[at]
        return low + (high - low) * (minute - begins) / (ends - begins)

    return rate


def _line(*points: tuple[float, float]) -> Callable[[Random], Rate]:
    """Through points (minute, replicas), straight in between."""
    return lambda _: _interpolated(points)


def _pulses(
    low: float, high: float, *, every: float, lasting: float, first: tuple[float, float]
) -> Callable[[Random], Rate]:
    """``high`` for so many minutes, again and again; the first begins between two minutes."""

    def made(rng: Random) -> Rate:
        begins = rng.uniform(*first)
        return lambda time: (
            high if time / MINUTE >= begins and (time / MINUTE - begins) % every < lasting else low
        )

    return made


def _bursts(
    low: float, highs: tuple[float, float], *, gap: float, lasting: tuple[float, float]
) -> Callable[[Random], Rate]:
    """Bursts of random height and length in minutes, after exponentially distributed gaps of ``gap`` minutes
    on average."""

    def made(rng: Random) -> Rate:
        points, minute = [(0.0, low)], 0.0
        while minute < 24 * 60:
            minute += rng.expovariate(1 / gap)
            points.append((minute, rng.uniform(*highs)))
            minute += rng.uniform(*lasting)
            points.append((minute, low))
        begins = [point[0] for point in points]
        return lambda time: points[bisect.bisect_right(begins, time / MINUTE) - 1][1]

    return made


SHAPES = {
    shape.name: shape
    for shape in (
        Shape(name="diurnal", seconds=2 * HOUR, rate=_wave(2 * HOUR, 0.7, 6.0)),
        Shape(
            name="step x8",
            seconds=80 * MINUTE,
            rate=_line((0, 0.75), (20, 0.75), (20.01, 6.0), (50, 6.0), (50.01, 0.75)),
        ),
        Shape(name="ramp", seconds=75 * MINUTE, rate=_line((0, 0.6), (10, 0.6), (50, 7.0))),
        Shape(
            name="spikes",
            seconds=90 * MINUTE,
            rate=_pulses(1.6, 6.0, every=17, lasting=1.5, first=(12, 12)),
        ),
        Shape(
            name="on/off",
            seconds=2 * HOUR,
            rate=_pulses(0.2, 4.0, every=20, lasting=10, first=(10, 10)),
        ),
        Shape(
            name="pulses of 1.5 min",
            seconds=150 * MINUTE,
            rate=_pulses(1.2, 4.5, every=40, lasting=1.5, first=(10, 30)),
        ),
        Shape(
            name="pulses of 6 min",
            seconds=150 * MINUTE,
            rate=_pulses(1.2, 4.5, every=40, lasting=6, first=(10, 30)),
        ),
        Shape(
            name="longer prompts",
            seconds=90 * MINUTE,
            rate=_line((0, 2.5)),
            others=LONG_PROMPTS,
            other_share=_interpolated(((30, 0.0), (45, 1.0))),
        ),
        Shape(
            name="longer answers",
            seconds=100 * MINUTE,
            rate=_line((0, 1.5)),
            others=LONG_ANSWERS,
            other_share=_interpolated(((25, 0.0), (35, 1.0), (65, 1.0), (75, 0.0))),
        ),
        Shape(
            name="short requests",
            seconds=HOUR,
            rate=_uneven(_wave(HOUR, 0.6, 3.5)),
            requests=SHORT,
        ),
        Shape(
            name="short bursts",
            seconds=HOUR,
            rate=_bursts(0.5, (1.5, 3.5), gap=4, lasting=(0.3, 1.5)),
            requests=SHORT,
        ),
        Shape(
            name="long prompts",
            seconds=HOUR,
            rate=_uneven(_wave(HOUR, 0.8, 5.0)),
            requests=LONG_IN_SHORT_OUT,
        ),
        Shape(
            name="training",
            seconds=120 * MINUTE,
            # Two rises and falls, one of them steep; no step, after which the most costly threshold
            # would always be the best.
            rate=_line(
                (0, 1.0), (35, 5.5), (45, 5.0), (65, 1.2), (75, 1.2), (95, 4.5), (105, 4.0), (120, 1.0)
            ),
        ),
    )
}


def public() -> Trace:
    return replace(read_trace(PUBLIC), name="public")
