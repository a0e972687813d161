"""The interface through which the phases of a probe use the engine under test and its machine.

It is implemented with sockets and a real clock, and in tests by a simulated engine with its own clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tacho_contract.measurement import Workload
from tacho_runtime.machine.sampling import MachineSample
from tacho_runtime.probe.load.engine_counters import CounterReading
from tacho_runtime.probe.load.streams import StreamResult


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientHealth:
    """Delays and CPU use of the load client while it measured."""

    lag_milliseconds_p99: float = 0.0
    """Delay of the client's event loops, 99th percentile, in milliseconds."""
    late_send_milliseconds_p99: float = 0.0
    """Delay between a request's due time (with its connection open) and its sending, 99th percentile, in
    milliseconds."""
    cpu_share: float = 0.0
    """Share of one CPU that the client's busiest process used."""
    processes: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTrace:
    """Results of one request loop, closed or open."""

    concurrency: int
    """Number of streams of a closed loop; of an open loop, the highest number of concurrent requests."""
    start_ns: int
    end_ns: int
    """``start_ns`` and ``end_ns`` are the window of counted tokens, in ns of the monotonic clock."""
    streams: tuple[StreamResult, ...]
    """All requests in the order of sending, cut ones too; in a steady loop also those without a token."""
    first: tuple[bool, ...] = ()
    """Steady loop: for each of ``streams``, whether it was its stream's first request, which counts in no
    latency."""
    sent_until_ns: int = 0
    """Steady loop: requests sent between ``start_ns`` and this time (ns) are awaited to their end."""
    intended_ns: tuple[int, ...] = ()
    """Open loop: the time (ns) at which each of ``streams`` was due to be sent."""
    unanswered_ns: tuple[int, ...] = ()
    """Open loop: the due times (ns) of requests without a token at ``end_ns`` that had not failed. They are a
    sample of the same share as ``streams``.
    """
    bin_nanoseconds: int
    bins: tuple[float, ...]
    """Number of tokens of all streams, in equal bins of time from ``start_ns``."""
    started_bins: tuple[int, ...] = ()
    """Number of requests of all streams whose first token came in each bin of ``bins``. Empty: unknown."""
    requests_ended: int = 0
    """Number of requests of all streams that ended in the window."""
    readings: tuple[CounterReading, ...] = ()
    """Readings of the engine's counters at both ends of the window, and between them where that costs
    nothing. Empty: no metrics."""
    client: ClientHealth = ClientHealth()
    started: bool = True
    """Whether every stream had its first token before the window opened, and none failed later."""
    failures: tuple[str, ...] = ()
    broken: bool = False
    """Whether failures ended the loop early: its counts then cover too short a time to give a rate."""

    @property
    def later(self) -> tuple[StreamResult, ...]:
        """All requests except the first one of each stream."""
        if not self.first:
            return self.streams
        return tuple(one for one, first in zip(self.streams, self.first, strict=True) if not first)

    @property
    def cohort(self) -> tuple[StreamResult, ...]:
        """The requests sent inside the window of a level, except the first one of each stream. Latencies are
        judged by them."""
        return tuple(one for one in self.later if self.start_ns <= one.sent_ns <= self.sent_until_ns)

    @property
    def under_load(self) -> tuple[StreamResult, ...]:
        """The requests that began and ended while all streams of a level were running."""
        return tuple(
            one
            for one in self.later
            if one.finish_reason and one.tokens
            if self.start_ns <= one.sent_ns and one.tokens[-1][0] <= self.end_ns
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelTerms:
    """How one level is measured: its number of streams, and the length of its window."""

    streams: int
    gap_seconds: float
    """Shortest time in seconds between the starts of two new streams: the measured time of a prompt."""
    ramp_seconds: float
    """Longest time in seconds until every stream has its first token and surplus streams have ended."""
    cohort: int
    """Fewest requests sent inside the window that are awaited: 59 for a 95th percentile."""
    window_seconds: float
    """Longest time in seconds for which the window is open to new requests."""
    follow_seconds: float
    """Longest time in seconds for which requests of the window are awaited, under unchanged load."""
    least_seconds: float = 0.0
    """Shortest window in seconds, even if all its requests ended before; a rate needs this time."""
    settle_seconds: float = 0.0
    """Seconds between the end of surplus streams and the window, in which the queue that they left is served.
    They are part of ``ramp_seconds``.
    """
    opened_ns: int = 0
    """Time (ns) at which the loop's last window opened, to continue that window; 0: a new window. All
    durations count from the opening.
    """

    def closes_ns(self, start_ns: int, sent_ns: Sequence[int]) -> int:
        """When the window closes for new requests to count, in monotonic nanoseconds.

        After the last request of the cohort, and after all that end within the shortest window. ``sent_ns``:
        the sending times since the window opened.
        """
        most = start_ns + int(self.window_seconds * 1e9)
        if len(sent_ns) < self.cohort:
            return most
        fitting = start_ns + int((self.least_seconds - self.follow_seconds) * 1e9)
        return min(most, max(sent_ns[self.cohort - 1], fitting))


@dataclass(frozen=True, slots=True)
class RequestProgress:
    """The state of one request: monotonic nanoseconds of its events; None for one that has not happened."""

    sent_ns: int
    first_token_ns: int | None
    tokens: float
    last_token_ns: int | None
    """Time of the latest token."""
    ended: bool


@dataclass(frozen=True, slots=True)
class Cohort:
    """The present state of the requests sent inside a level's window, in the order of sending."""

    seconds: float
    """Seconds since the window opened."""
    requests: tuple[RequestProgress, ...]


class SteadyLoop(Protocol):
    """A closed loop that continues between levels: its requests run on until ``close``."""

    async def level(self, terms: LevelTerms, enough: Callable[[Cohort], bool]) -> LoadTrace:
        """Brings the loop to ``terms.streams`` streams and measures there.

        New streams start at least ``terms.gap_seconds`` apart, each with a shortened first answer. Streams
        that are too many are not renewed when their requests end. The window opens when every stream had a
        first token, or the last one continues. ``enough`` is called about four times a second and may end the
        level early.
        """

    async def close(self) -> None:
        """Ends the loop with all its requests; called once, at the end."""


class EngineUnderTest(Protocol):
    """A healthy engine, as the phases of a probe use it. Every call raises RequestFailed where the engine
    does not answer.
    """

    def now_seconds(self) -> float:
        """The present time in seconds of a monotonic clock."""

    async def complete(self, input_tokens: int, output_tokens: int, timeout_seconds: float) -> StreamResult:
        """Sends one request alone, with a prompt that was never sent before, and awaits its end."""

    async def steady_loop(self, workload: Workload, *, spread: float) -> SteadyLoop:
        """A closed loop without streams.

        ``spread``: output lengths are drawn evenly within this share (0.25) of the workload's.
        """

    async def open_loop(
        self, requests_per_second: float, workload: Workload, *, spread: float, seconds: float
    ) -> LoadTrace:
        """Sends requests at random (Poisson) times, whether or not earlier ones have ended."""

    async def reading(self) -> CounterReading:
        """The present values of the engine's own counters; empty where the engine has none."""

    async def pause(self, seconds: float) -> None:
        """Waits for ``seconds`` without sending a request."""

    async def machine(self, *, calibrate: bool) -> MachineSample:
        """A sample of the machine now. ``calibrate``: also time the fixed piece of work, which takes a few
        milliseconds."""
