"""Arrival times and answer lengths of one run, drawn from its seed. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

from tacho_runtime.probe.load.job import OutputLengths

Kind = Literal["poisson", "bursty"]
KINDS: tuple[Kind, ...] = ("poisson", "bursty")
BURSTY_SHAPE = 0.25
"""Shape of the gamma distribution of bursty intervals: their variance is four times a Poisson process'."""
SPREAD = 0.25
"""Relative spread of answer lengths, as the probe's."""


@dataclass(frozen=True, slots=True)
class Arrivals:
    seconds: tuple[float, ...]
    """Rising, from 0."""
    output_tokens: tuple[int, ...]


def drawn(kind: Kind, rate: float, count: int, output_tokens: int, seed: int) -> Arrivals:
    """``count`` requests, ``rate`` a second on average."""
    rng = Random(seed)
    shape = 1.0 if kind == "poisson" else BURSTY_SHAPE
    lengths = OutputLengths(output_tokens, SPREAD, rng)
    times = [0.0]
    for _ in range(count - 1):
        times.append(times[-1] + rng.gammavariate(shape, 1 / (rate * shape)))
    return Arrivals(tuple(times), tuple(lengths.draw() for _ in times))
