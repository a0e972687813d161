"""The part of a loop that one load process runs, as data: its settings, its streams, its result. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from tacho_runtime.probe.engine_under_test import ClientHealth, RequestProgress
from tacho_runtime.probe.load.streams import StreamResult

NS = 10**9
BIN_NS = 10_000_000
"""Tokens are counted in bins of 10 ms."""
MAX_FAILURES = 3
"""A process ends its part of a level after so many."""


@dataclass(frozen=True, slots=True)
class StreamSlot:
    """One stream to add to a closed loop, or one request of an open loop."""

    due_ns: int
    """When it sends first; monotonic clock."""
    output_tokens: int
    """Output tokens of the slot's first request."""
    counted: bool = False
    """Its requests ask for the tokens of each chunk, which costs the engine's front end work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadJob:
    origin_ns: int
    """Where the bins begin; monotonic clock, which all processes share."""
    repeated: bool
    """Each slot sends again when its answer has ended: a closed loop."""
    input_tokens: int
    output_tokens: int
    spread: float
    seed: int
    request_seconds: float
    """How long any request may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadProgress:
    streams: int = 0
    """Streams that go on."""
    staying: int = 0
    """Those of ``streams`` whose requests are renewed."""
    begun: int = 0
    """Those of ``streams`` that have had something of their first answer."""
    failures: int = 0
    """Since the last turn."""
    broken: bool = False
    """Too many failed: nothing is sent any more."""
    under_way: tuple[RequestProgress, ...] = ()
    ended: tuple[RequestProgress, ...] = ()
    """Requests that ended since the last progress, each once. The first request of a stream is left out."""


@dataclass(frozen=True, slots=True)
class StreamSample:
    """One request with its timing, for the trace."""

    stream: StreamResult
    first: bool
    """Its slot's first: of a residual life in a closed loop."""
    due_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """The requests and tokens of one load process within a window."""

    samples: tuple[StreamSample, ...] = ()
    """Requests since the last turn; those without a token have none."""
    bins: tuple[float, ...] = ()
    """Tokens of the window."""
    most_at_once: int = 0
    failures: tuple[str, ...] = ()
    health: ClientHealth = ClientHealth()


class OutputLengths:
    """Draws random output lengths within ``spread`` (a share) of ``mean``, in pairs whose mean is exact."""

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
    """Output lengths for the first requests of ``count`` streams, so that the loop is steady from its start.

    Each is the part of an answer that is left at a random moment. Stratified: one draw in each of ``count``
    equally likely ranges, in random order.
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
    """Random arrival times in seconds from now, ascending, below ``seconds``."""
    times: list[float] = []
    at = rng.expovariate(requests_per_second)
    while at < seconds:
        times.append(at)
        at += rng.expovariate(requests_per_second)
    return times
