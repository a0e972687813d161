"""How many replicas a load asks for: by its work, by its requests at once, and by its KV cache."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tacho_operator.core.autoscaling.algorithm.demand import Reading
from tacho_operator.core.autoscaling.algorithm.trend import horizon_seconds
from tacho_operator.core.autoscaling.algorithm.types import ReplicaCapacity

UP, DOWN = 0.80, 0.72
"""How full replicas are to be when there are to be more of them, and when fewer: between the two nothing
changes, so that a constant demand moves nothing."""
KV_UP, KV_DOWN = 0.85, 0.70
LEAST_DRAIN_SECONDS = 15.0
MOST_GROWTH = 2.0
"""A trend never more than doubles what is there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLoad:
    """What is to be carried, in replicas and requests."""

    work: float | None
    """Offered now. None: not counted."""
    coming: float = 0.0
    """What the trend adds until a new replica could serve."""
    backlog: float = 0.0
    """Work that waits, in seconds of one replica."""
    drain_seconds: float = LEAST_DRAIN_SECONDS
    """In which it is to be worked off."""
    urgent_seconds: float = LEAST_DRAIN_SECONDS
    """A backlog of more than that is not waited upon."""
    requests: int | None = None
    """At once, waiting ones included."""
    kv_tokens: float | None = None
    """Those of waiting requests included."""
    silent: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Replicas, not rounded, by each term; None: that term is not known."""

    work: float | None
    requests: float | None
    kv_cache: float | None
    silent: float = 0.0

    @property
    def amount(self) -> float:
        return max((term for term in self._terms().values() if term is not None), default=0.0) + self.silent

    @property
    def known(self) -> bool:
        return any(term is not None for term in self._terms().values())

    @property
    def cause(self) -> str:
        """The term that asks for the most."""
        terms = {name: term for name, term in self._terms().items() if term is not None}
        return max(terms, key=lambda name: terms[name]) if terms else "Unknown"

    def _terms(self) -> dict[str, float | None]:
        return {"Work": self.work, "Concurrency": self.requests, "KVCache": self.kv_cache}


def load_of(
    reading: Reading,
    capacity: ReplicaCapacity,
    *,
    work: float | None,
    rise: float,
    cold_start_seconds: float,
    ttft_seconds: float | None,
) -> ServiceLoad:
    """The load of one moment, with what will have come when a replica that starts now could serve."""
    # A replica that starts now helps after its start: nothing is gained by asking for so many that what waits
    # would be worked off faster than they come, and they would all be too many a moment later.
    drain = max(LEAST_DRAIN_SECONDS, ttft_seconds or 0.0, cold_start_seconds)
    coming = min(rise * horizon_seconds(cold_start_seconds), (MOST_GROWTH - 1) * work) if work else 0.0
    size = capacity.input_tokens + capacity.output_tokens
    return ServiceLoad(
        work=work,
        coming=coming,
        backlog=backlog_of(reading, capacity),
        drain_seconds=drain,
        urgent_seconds=max(LEAST_DRAIN_SECONDS, ttft_seconds or 0.0),
        requests=None if reading.running is None else reading.running + reading.waiting,
        kv_tokens=None if reading.kv_tokens is None else reading.kv_tokens + reading.waiting * size,
        silent=reading.silent,
    )


def backlog_of(reading: Reading, capacity: ReplicaCapacity, *, stuck: bool = True) -> float:
    """Work that waits: each request as one of those that were measured. A pod that runs more at once than it
    was measured to carry has them wait, too, whatever the engine calls it. ``stuck``: that of pods that hang,
    too."""
    rate = capacity.requests_per_second
    requests = reading.waiting + reading.crowded - (0.0 if stuck else reading.stuck)
    return requests / rate if rate and not capacity.unverified else 0.0


def need_of(
    load: ServiceLoad, capacity: ReplicaCapacity, trusted: float, *, full: float, kv_full: float
) -> Need:
    """Replicas that carry ``load`` when each is to be ``full``; ``trusted``: the share of the measured rate
    that is counted on. A pod that does not tell its load is taken to be busy where that keeps replicas."""
    work = None
    if load.work is not None:
        work = (load.work + load.coming + load.backlog / load.drain_seconds) / (full * trusted)
    requests = None
    # Full pods that work off a backlog are no reason for more, so requests count only where work does not.
    if work is None and load.requests is not None and capacity.concurrency:
        requests = load.requests / (full * capacity.concurrency)
    kv_cache = None
    if load.kv_tokens is not None and capacity.kv_cache_tokens:
        kv_cache = load.kv_tokens / (kv_full * capacity.kv_cache_tokens)
    return Need(work=work, requests=requests, kv_cache=kv_cache, silent=load.silent / full)


def whole(amount: float) -> int:
    """Replicas, at least one; what arithmetic adds to a whole number is none."""
    return max(1, math.ceil(amount - 1e-9))
