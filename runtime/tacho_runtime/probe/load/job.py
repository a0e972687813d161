"""The part of a request loop that one load process runs, as data: settings, streams and result. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

from tacho_runtime.probe.engine_under_test import ClientHealth, RequestProgress
from tacho_runtime.probe.load.streams import StreamResult

NS = 10**9
BIN_NS = 10_000_000
"""Length in nanoseconds of the bins of time in which tokens are counted (10 ms)."""
MAX_FAILURES = 3
"""Failed requests in a process after which it ends its part of a level."""


@dataclass(frozen=True, slots=True)
class StreamSlot:
    """One stream to add to a closed loop, or one request of an open loop."""

    due_ns: int
    """When the first request of the slot is due, in ns of the monotonic clock."""
    output_tokens: int
    """Output tokens of the slot's first request."""
    counted: bool = False
    """Whether its requests ask the engine for token counts in each chunk, which costs CPU time of the
    engine's front end.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadJob:
    origin_ns: int
    """Time at which the first bin begins, in ns of the monotonic clock, which all processes share."""
    repeated: bool
    """Whether each slot sends a new request when its answer has ended (closed loop)."""
    input_tokens: int
    output_tokens: int
    spread: float
    seed: int
    request_seconds: float
    """Longest duration of a request in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadProgress:
    streams: int = 0
    """Number of streams that are running."""
    staying: int = 0
    """Number of running streams that will send another request."""
    begun: int = 0
    """Number of running streams whose first answer has begun."""
    failures: int = 0
    """Number of failed requests since the level began."""
    broken: bool = False
    """Whether so many requests failed that the process sends no more."""
    under_way: tuple[RequestProgress, ...] = ()
    ended: tuple[RequestProgress, ...] = ()
    """Requests that ended since the last poll. The first request of each stream is left out."""


@dataclass(frozen=True, slots=True)
class StreamSample:
    """One request with its timing, for the trace."""

    stream: StreamResult
    first: bool
    """Whether it is the first request of its slot, which in a closed loop has a shortened answer."""
    due_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """The requests and tokens of one load process within a window."""

    samples: tuple[StreamSample, ...] = ()
    """Requests since the level began; those without a token have an empty list of tokens."""
    bins: tuple[float, ...] = ()
    """Number of tokens in each bin of the window."""
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
    """Output lengths for the first requests of ``count`` streams, so that the loop is in a steady state from
    its start.

    Each is the rest of an answer at a random moment of it. Stratified: one draw in each of ``count`` equally
    likely ranges, in random order.
    """
    lives = [_residual((index + rng.random()) / count, mean, mean * spread) for index in range(count)]
    rng.shuffle(lives)
    return [max(1, math.ceil(life)) for life in lives]


def _residual(share: float, mean: float, half: float) -> float:
    """The quantile ``share`` of the residual lengths. Their density at x is the share of lengths above x."""
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
