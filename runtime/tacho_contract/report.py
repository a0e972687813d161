"""The documents that a pod's runtime serves over HTTP: its report and its load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from operator import le, lt
from typing import Any

from tacho_contract import SCHEMA
from tacho_contract.failure import Failure
from tacho_contract.fetch import FetchProgress
from tacho_contract.measurement import Environment, Measurement

REPORT_LIMIT_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class CutRequests:
    """The number of requests that were unfinished when the engine was stopped; a termination message."""

    drain_seconds: int
    """Seconds for which the runtime waited for these requests."""
    cut_requests: int | None = None
    """Number of requests; None: the engine did not answer in time."""
    are_connections: bool = False
    """Whether ``cut_requests`` counts connections, an upper bound, as the engine does not count requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartupSeconds:
    """Durations that the runtime measures; the operator adds scheduling and image pull.

    All but ``download`` follow one another, and ``total`` is their sum."""

    preflight: float | None = None
    """Checks of the container and the machine."""
    download: float | None = None
    """Duration of the download, which may begin long before the runtime. ``model_wait`` is the part that the
    runtime waited for."""
    model_wait: float | None = None
    """Seconds from the end of the checks until the model's files were complete."""
    verify: float | None = None
    """Reading every byte of the model to compare it with the plan, where the spec requests that."""
    load: float | None = None
    """Seconds from the engine's start to its first healthy answer, without ``compile`` and ``graphs``."""
    compile: float | None = None
    """Compiling kernels, where the engine says so."""
    graphs: float | None = None
    """Capturing CUDA graphs, where the engine says so."""
    probe: float | None = None
    total: float | None = None
    """Seconds from the runtime's start to readiness."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The answer of GET /report on RUNTIME_PORT: the phase, the startup times, the measurement."""

    schema: int = SCHEMA
    runtime_version: str
    revision: str
    pod_uid: str = ""
    """uid of the pod; "" where it is not known, as of an earlier revision."""
    plan_key: str
    phase: str
    """Phase of the runtime: Preflight, WaitingForModel, Starting, Probing, Serving, Draining or Failed."""
    message: str = ""
    ready: bool = False
    engine: str
    engine_version: str = ""
    engine_restarts: int = 0
    fetch: FetchProgress | None = None
    startup: StartupSeconds = StartupSeconds()
    environment: Environment = Environment()
    fallbacks: tuple[str, ...] = ()
    """Settings that the engine ignored, and slower methods that it chose, from its log; one clause each."""
    measurement: Measurement | None = None
    failure: Failure | None = None
    observed_time: str


LOAD_LIMIT_BYTES = 8 * 1024
MAX_EDGES = 256
"""Most edges of a histogram."""
MAX_COUNT = 10**15
"""Highest number of requests that is believed."""
MAX_AT_ONCE = 10**6
"""Highest number of requests at the same time that is believed."""
MAX_COUNTER = 1e15
"""Highest value of a counter that is believed."""
LATENCY_EDGES_SECONDS = tuple(
    edge
    for decade in range(6)
    for step in (*range(100, 200, 10), *range(200, 500, 25), *range(500, 1000, 50))
    if (edge := step * 10**decade / 100_000) <= 600
)
"""Edges of tacho's own histograms in seconds: 1 ms to 10 min in steps of 5 to 12 %.

Most latency targets are round numbers and so are edges, for which the requests within the target are counted
exactly.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyHistogram:
    """Numbers of requests by latency, since the engine's start. Raises ValueError for inconsistent counts."""

    edges_seconds: tuple[float, ...] = ()
    """Edges in ascending order; those between two empty buckets are left out."""
    counts: tuple[int, ...] = ()
    """Number of requests up to each edge, cumulative."""
    total: int

    def __post_init__(self) -> None:
        edges, steps = self.edges_seconds, (0, *self.counts, self.total, MAX_COUNT)
        if len(edges) != len(self.counts) or len(edges) > MAX_EDGES:
            raise ValueError(
                f"a latency histogram has {len(edges)} bucket edges and {len(self.counts)} counts; "
                f"expected are equal numbers, {MAX_EDGES} at most"
            )
        if not all(map(lt, (0.0, *edges), (*edges, inf))):
            raise ValueError("the edges are not finite, positive and ascending")
        if not all(map(le, steps, steps[1:])):
            raise ValueError(f"the counts do not ascend from 0 to the total, or beyond {MAX_COUNT}")


def latency_histogram(edges: Sequence[float], counts: Sequence[int], total: int) -> LatencyHistogram:
    """A histogram without the edges between two empty buckets. Raises ValueError for contradictory counts."""
    found = (0, *counts, total)
    kept = [at for at in range(len(edges)) if not found[at] == found[at + 1] == found[at + 2]]
    return LatencyHistogram(
        edges_seconds=tuple(edges[at] for at in kept),
        counts=tuple(counts[at] for at in kept),
        total=total,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """The answer of GET /load: the engine's present load. None is unknown, never zero."""

    running: int | None = None
    waiting: int | None = None
    generation_tokens_total: float | None = None
    prompt_tokens_total: float | None = None
    """Prompt tokens that the engine computed; those from its prefix cache are left out."""
    kv_cache_usage: float | None = None
    """Share of the KV cache in use, 0 to 1; of several ranks, the highest."""
    first_token_seconds_total: float | None = None
    """Sum of the times to the first token of all requests that got one."""
    first_tokens_total: float | None = None
    """Number of requests that got a first token."""
    ttft: LatencyHistogram | None = None
    tpot: LatencyHistogram | None = None
    """Histogram of the requests' mean times per output token."""
    pod_uid: str = ""
    """uid of the pod; "" where it is not known, as of an earlier revision."""
    observed_time: str


_AT_ONCE = ("running", "waiting")
_COUNTERS = (
    "generation_tokens_total",
    "prompt_tokens_total",
    "kv_cache_usage",
    "first_token_seconds_total",
    "first_tokens_total",
)


def believed(load: Load) -> Load:
    """``load``, in which impossible figures (a negative count, a counter that overflowed) are unknown."""
    impossible: dict[str, Any] = {
        name: None
        for names, most in ((_AT_ONCE, MAX_AT_ONCE), (_COUNTERS, MAX_COUNTER))
        for name in names
        if (value := getattr(load, name)) is not None and not 0 <= value < most
    }
    return replace(load, **impossible) if impossible else load
