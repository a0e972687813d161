"""What one process is told to send, and what it brings back. Pure: plain data that goes through a pipe."""

from __future__ import annotations

from dataclasses import dataclass

from tacho_runtime.probe.asking.streams import Stream
from tacho_runtime.probe.ports import ClientHealth

NS = 10**9
BIN_NS = 10_000_000
"""Tokens are counted in bins of 10 ms."""
MOST_FAILURES = 3
"""One process' loop is given up then."""
MOST_SAMPLED = 192
"""From so many sampled requests on, a process keeps ever fewer of those that follow."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One stream of a closed loop, or one request of an open one."""

    due_ns: int
    """When it sends first; monotonic clock."""
    output_tokens: int
    """Of its first request."""
    sampled: bool
    """Its answers are kept whole and read for their latencies; others are only counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    origin_ns: int
    """Where the bins begin; monotonic clock, which all processes share."""
    slots: tuple[Slot, ...]
    repeated: bool
    """Each slot sends again when its answer has ended: a closed loop."""
    input_tokens: int
    output_tokens: int
    spread: float
    counted: bool
    """Ask for the tokens of each chunk."""
    streamed: bool = True
    seed: int
    request_seconds: float
    """How long any request may take."""
    tokens_per_chunk: float = 1.0
    """What a cut stream's chunks hold, until whole ones of this job have shown it."""
    closing_events: int = 2
    """At the end of an answer, without a token: the usage and ``[DONE]``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    begun: int = 0
    """Slots that have had something of their first answer."""
    ended: int = 0
    """Requests that have."""
    most_at_once: int = 0
    failures: int = 0
    broken: bool = False
    """Too many failed: nothing is sent any more."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One sampled request."""

    stream: Stream
    first: bool
    """Its slot's first: of a residual life in a closed loop."""
    due_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """What one process brings back."""

    samples: tuple[Sample, ...] = ()
    bins: tuple[float, ...] = ()
    """Tokens, in bins from ``Job.origin_ns``."""
    started_bins: tuple[int, ...] = ()
    """Requests whose first token came in the same bins."""
    ended_bins: tuple[int, ...] = ()
    """Requests that ended in them."""
    received_tokens: float = 0.0
    unanswered_ns: tuple[int, ...] = ()
    """Open loop: when those of the sampled requests were due that had no token and had not failed."""
    failures: tuple[str, ...] = ()
    health: ClientHealth = ClientHealth()
