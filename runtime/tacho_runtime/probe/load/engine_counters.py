"""Reads the engine's own counters from its Prometheus metrics. None is unknown, never zero."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from tacho_contract.report import LatencyHistogram, latency_histogram
from tacho_engines import run_parts
from tacho_engines.shared.metrics import MetricNames, first_known, kv_cache_tokens
from tacho_engines.shared.openai import METRICS
from tacho_runtime.machine import idle_sockets, processes
from tacho_runtime.probe.load.timed_client import EngineEndpoint, RequestFailed, StreamConnection, exchange

_NAME = re.compile(r"[a-zA-Z_:][\w:]*")
_REST = re.compile(r'(?:\{([^"}]*(?:"[^"\\]*(?:\\.[^"\\]*)*"[^"}]*)*)\})?\s+(\S+)')
"""Matches labels and value after a name. A label's value may hold braces, and an exemplar may follow, whose
value is no count.
"""
_BUCKET = "_bucket"
STARTED = "process_start_time_seconds"
_PARTED = re.compile(r"\b(?:le|quantile)=")
"""Matches where the labels may part a histogram or a summary."""
_LABEL = re.compile(r'\b(\w+)="([^"\\]*(?:\\.[^"\\]*)*)(?:"|\\?$)')
"""Matches a label, also one without an end, so that no character is looked at twice."""
LINE_LIMIT = 64 * 1024
"""Longest line of /metrics, in characters, that is parsed. To match a label of some megabytes would take
hundreds of megabytes.
"""
NUMBER_LIMIT = 2.0**53
"""Highest value that is accepted. Higher ones, negative ones and NaN cannot come from a counter, and a report
could not hold them.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCounters:
    generated_tokens: float | None = None
    cached_prompt_tokens: float | None = None
    computed_prompt_tokens: float | None = None
    """Prompt tokens without cached tokens, where the engine counts these."""
    kv_cache_tokens: int | None = None
    kv_cache_usage: float | None = None
    """Share of the KV cache in use, 0 to 1."""
    preemptions: float | None = None
    running: float | None = None
    """Number of requests that the engine is processing."""
    waiting: float | None = None
    unfinished: float | None = None
    """Number of requests in any phase, from the first byte to the end of the answer."""
    ttft_seconds_sum: float | None = None
    ttft_seconds_count: float | None = None
    ttft: LatencyHistogram | None = None
    tpot: LatencyHistogram | None = None
    """Histogram of the requests' mean times per output token."""
    by_step: bool = False
    """Whether ``generated_tokens`` grows at every step; False: only when a request ends."""
    steps: float | None = None
    """The engine's steps, where it counts them."""
    started: float | None = None
    """When the engine's process began, in Unix seconds, where it says so: another time is another engine."""


class _Samples(NamedTuple):
    """The samples of a /metrics text, without metrics that have one that is no number, or comes twice."""

    values: Mapping[str, Sequence[float]]
    """Values of every label set, by name."""
    buckets: Mapping[str, Mapping[float, float]]
    """Counts of a histogram's buckets over all label sets, by name and upper edge."""
    kv_cache_tokens: int | None


def _samples(text: str, cache_configs: Collection[str]) -> _Samples:
    """``cache_configs``: names of metrics whose labels have the size of the KV cache."""
    values: dict[str, list[float]] = {}
    buckets: dict[str, dict[float, float]] = {}
    cache_tokens: int | None = None
    dropped: set[str] = set()
    seen: set[int] = set()
    for line in text.split("\n"):  # a label may hold the other characters at which splitlines() cuts
        named = _NAME.match(line)
        if named is None:
            continue
        name = named[0]
        match = _REST.match(line, named.end()) if len(line) <= LINE_LIMIT else None
        if match is None:
            dropped.add(name)
            continue
        labels, value = match[1] or "", match[2]
        parted = dict(_LABEL.findall(labels)) if name in cache_configs or _PARTED.search(labels) else {}
        if name in cache_configs:
            cache_tokens = kv_cache_tokens(parted)
        if "quantile" in parted:
            continue  # an idle summary's are NaN, and none is read
        number, edge = _number(value), parted.get("le")
        le = _number(edge) if edge is not None else None
        is_count = number is not None and 0 <= number <= NUMBER_LIMIT and (edge is None) == (le is None)
        series = hash((name, *sorted(_LABEL.findall(labels))))
        if number is None or not is_count or series in seen:
            dropped.add(name)
        elif le is not None:
            counts = buckets.setdefault(name, {})
            counts[le] = counts.get(le, 0.0) + number
        elif not name.endswith(_BUCKET):
            values.setdefault(name, []).append(number)
        seen.add(series)
    for name in dropped:
        values.pop(name, None)
        buckets.pop(name, None)
    return _Samples(values, buckets, cache_tokens)


def parse_counters(text: str, families: Sequence[MetricNames]) -> EngineCounters:
    """The counters in ``text``, under the metric names of any of ``families``.

    Values of several label sets (one per data-parallel rank) are summed; of the KV cache's use, the highest
    counts. Where one value is not a number, the sum is unknown.
    """
    found = _samples(text, {names.cache_config for names in families if names.cache_config})
    sums = {name: all_of for name, values in found.values.items() if (all_of := sum(values)) <= NUMBER_LIMIT}
    # Above 1 it is no share: percent, or blocks.
    shares = {name: most for name, values in found.values.items() if (most := max(values)) <= 1}

    def total(field: str, suffix: str = "") -> float | None:
        return first_known(_names(families, field, suffix), sums)

    generated = next((name for name in _names(families, "generated_tokens") if name in sums), "")
    cached = total("cached_prompt_tokens")
    prompts = next((name for name in _names(families, "prompt_tokens") if name in sums), "")
    alone = any(prompts in names.computed_alone for names in families)
    computed = sums.get(prompts)
    if computed is not None and not alone:
        computed = max(0.0, computed - (cached or 0.0))
    return EngineCounters(
        generated_tokens=sums.get(generated),
        cached_prompt_tokens=cached,
        computed_prompt_tokens=computed,
        kv_cache_tokens=found.kv_cache_tokens,
        kv_cache_usage=first_known(_names(families, "kv_cache_usage"), shares),
        preemptions=total("preemptions"),
        running=total("running"),
        waiting=total("waiting"),
        unfinished=total("unfinished"),
        ttft_seconds_sum=total("first_token_seconds", "_sum"),
        ttft_seconds_count=total("first_token_seconds", "_count"),
        ttft=_histogram(_names(families, "first_token_seconds", _BUCKET), found.buckets),
        tpot=_histogram(_names(families, "output_token_seconds", _BUCKET), found.buckets),
        by_step=any(generated in names.by_step for names in families),
        steps=total("steps"),
        started=sums.get(STARTED),
    )


async def counters_of(text: str) -> EngineCounters:
    """The counters in ``text``; unknown where no thread can be started. Parsed in a thread: a page of 4 MiB
    may take 8 s.
    """
    try:
        return await asyncio.to_thread(parse_counters, text, run_parts.metric_names())
    except RuntimeError:
        return EngineCounters()


def _number(text: str) -> float | None:
    with contextlib.suppress(ValueError):
        return float(text)
    return None


def _histogram(names: Sequence[str], buckets: Mapping[str, Mapping[float, float]]) -> LatencyHistogram | None:
    """The histogram of the first of ``names`` that the engine has. None: none, or values contradict."""
    counts = dict(next((buckets[name] for name in names if name in buckets), {}))
    total = counts.pop(math.inf, None)
    if total is None or not counts:
        return None
    edges = sorted(counts)
    try:
        return latency_histogram(edges, [int(counts[edge]) for edge in edges], int(total))
    except ValueError:
        return None


def _names(families: Sequence[MetricNames], field: str, suffix: str = "") -> tuple[str, ...]:
    found = (name + suffix for names in families for name in getattr(names, field))
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterReading:
    """The engine's own counters at one time."""

    stamp_ns: int
    """Time of the reading: the middle of its request, in ns of the monotonic clock."""
    counters: EngineCounters
    uncertain_ns: int = 0
    """How far the time of the counters may be from the stamp: a busy front end answers late."""
    requests_there: float | None = None
    """Requests in an engine of which no counter is used: its start is not the first one's, or it has none."""

    @property
    def counts_requests(self) -> bool:
        return (self.counters.running, self.counters.generated_tokens) != (None, None)

    def is_after(self, other: CounterReading | None) -> bool:
        """Whether its counters are certainly of a later time than those of ``other``."""
        apart_ns = self.uncertain_ns + (other.uncertain_ns if other else 0)
        return other is None or self.stamp_ns - other.stamp_ns >= apart_ns

    def elsewhere(self) -> CounterReading:
        """The reading as that of another engine, or of one whose start moves: only its requests count."""
        now = self.counters
        there = None if now.running is None else now.running + (now.waiting or 0.0)
        return replace(self, counters=EngineCounters(), requests_there=there)


OTHER_ENGINES = "its metrics were those of another engine at times: only the first one's were used"
FALLING = (
    "its count of tokens fell, as of several engines in turn or of one that began anew: its metrics were not "
    "used from then on"
)
UNSEEN_OTHERS = (
    "no metrics of the server count its requests: those of other clients are not seen, and slow its figures"
)
UNSEEN_ELSEWHERE = (
    "no metrics of the server count its requests: if its port is forwarded, those of clients elsewhere are "
    "not seen, and slow its figures"
)


@dataclass(slots=True)
class FirstEngine:
    """Tells readings of the engine that was read first from those of others behind the same address."""

    unseen: str = ""
    """A note that no reading shows the requests of other clients; "": one does, or none was made."""
    _counts: bool = False
    _started: float | None = None
    """When the engine of the first reading began."""
    _last: CounterReading | None = None
    _fell: bool = False

    async def with_requests(
        self, found: CounterReading, port: int | None, *, may_be_forwarded: bool = False
    ) -> CounterReading:
        """``found``, of an engine that counts no requests with the connections to its ``port``.

        ``port`` is None for an engine on another machine.
        """
        self._counts = self._counts or found.counts_requests
        if not self._counts and port is not None:
            found = await counted_by_connections(found, port)
        here = UNSEEN_ELSEWHERE if may_be_forwarded else ""
        self.unseen = "" if self._counts else UNSEEN_OTHERS if found.requests_there is None else here
        return found

    def problem(self, found: CounterReading) -> str:
        """A note where ``found`` may not be compared with the earlier readings; "": it may.

        Without the time of a start, a count that falls shows several engines. Whose reading is whose is then
        not known.
        """
        started = found.counters.started
        self._started = self._started or started
        if started is not None:
            return "" if started == self._started else OTHER_ENGINES
        made, last = found.counters.generated_tokens, self._last
        if made is not None:
            before = last.counters.generated_tokens if last is not None else None
            self._fell = self._fell or (before is not None and made < before and found.is_after(last))
            self._last = found
        return FALLING if self._fell else ""


async def counted_by_connections(found: CounterReading, port: int) -> CounterReading:
    """The reading of an engine on this machine that counts nothing, with the connections to its ``port``.

    Each request has one, the probe's own and others'. What a client only keeps open does not count.
    """
    await asyncio.sleep(0)  # until the reading's own is closed
    held, idle = processes.connections(port), idle_sockets.idle_connections(port)
    return replace(found, requests_there=None if held is None else max(0, held - idle))


CONTROL_SECONDS = 10.0
"""Timeout in seconds of /v1/models and /metrics: an engine on few cores answers late, which is no failure."""


async def scrape(endpoint: EngineEndpoint, *, timeout_seconds: float = CONTROL_SECONDS) -> CounterReading:
    """Reads the engine's counters; empty where it has no metrics, or does not answer in time."""
    try:
        answer = await exchange(
            endpoint, "GET", METRICS, kind=StreamConnection, timeout_seconds=timeout_seconds
        )
        after_ns = answer.reads[0][0]
        text = answer.body().decode(errors="replace")
    except RequestFailed:
        return CounterReading(stamp_ns=time.monotonic_ns(), counters=EngineCounters())
    # Those that the engine wrote down lie between the request and the first of the answer.
    middle_ns = (answer.sent_ns + after_ns) // 2
    counters = await counters_of(text)
    return CounterReading(stamp_ns=middle_ns, counters=counters, uncertain_ns=after_ns - middle_ns)
