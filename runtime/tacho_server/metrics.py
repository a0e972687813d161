"""The server's Prometheus metrics: requests, tokens, latencies, KV cache."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from tacho_server.backend import Backend

LATENCY_SECONDS = tuple(
    edge
    for decade in range(6)
    for step in (*range(100, 200, 10), *range(200, 500, 25), *range(500, 1000, 50))
    if (edge := step * 10**decade / 100_000) <= 600
)
"""Histogram edges of TTFT and TPOT in seconds: round numbers from 1 ms to 10 min, as SLO targets are."""
PAGE_SECONDS = 0.02
"""Age up to which a page is given again. Each takes 1.4 ms of the event loop: a thousand clients that ask at
once would keep every stream waiting for more than a second.
"""
DURATION_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class ServerMetrics:
    """The server's metrics, in a registry without the process's default metrics."""

    def __init__(self, backend: Backend) -> None:
        self.registry = CollectorRegistry()
        running = self._gauge("requests_running", "Sequences in the batch.")
        running.set_function(lambda: backend.occupancy().running)
        self._before_batch = 0
        waiting = self._gauge(
            "requests_waiting",
            "Sequences that wait for a place in the batch, or whose text is tokenized or scored before it.",
        )
        waiting.set_function(lambda: backend.occupancy().waiting + self._before_batch)
        self.unfinished = self._gauge(
            "requests_unfinished",
            "Requests from their head on, until the last byte of the answer is sent or the client has gone.",
        )
        self._backend = backend
        self._usage: Gauge | None = None
        self.prompt_tokens = self._counter(
            "prompt_tokens", "Tokens of prompts that were computed, counted with the sequence's first token."
        )
        self.generated_tokens = self._counter("generation_tokens", "Tokens that were generated.")
        self.requests = Counter(
            "tacho_server_requests",
            "Requests that ended, by how: stop, length, cancelled, error, refused.",
            ["outcome"],
            registry=self.registry,
        )
        self.first_token = self._histogram(
            "time_to_first_token_seconds",
            "From admission to the first token of each sequence.",
            LATENCY_SECONDS,
        )
        self.output_token = self._histogram(
            "time_per_output_token_seconds",
            "Mean time per token after the first one, of each sequence.",
            LATENCY_SECONDS,
        )
        self.duration = self._histogram(
            "request_duration_seconds", "From admission to the last token.", DURATION_SECONDS
        )

    @contextlib.contextmanager
    def before_batch(self, sequences: int) -> Iterator[None]:
        """Counts sequences as waiting that the backend does not know yet. Else a server whose requests are
        all tokenized or scored would look idle, and be stopped."""
        self._before_batch += sequences
        try:
            yield
        finally:
            self._before_batch -= sequences

    def ended(self, outcome: str, begin_seconds: float) -> None:
        """Counts a request that was admitted, at its end."""
        self.requests.labels(outcome).inc()
        self.duration.observe(time.monotonic() - begin_seconds)

    _page = b""
    _page_seconds = -1.0

    def page(self, now_seconds: float) -> bytes:
        """All series as text, no older than PAGE_SECONDS; by a monotonic clock."""
        if not 0 <= now_seconds - self._page_seconds <= PAGE_SECONDS or not self._page:
            self.loaded()
            self._page, self._page_seconds = generate_latest(self.registry), now_seconds
        return self._page

    def loaded(self) -> None:
        """Adds the gauge of the KV cache after loading; no series if the backend reports no usage."""
        if self._usage is None and self._backend.occupancy().kv_cache_usage is not None:
            self._usage = self._gauge("kv_cache_usage_ratio", "Part of the KV cache in use, 0 to 1.")
            self._usage.set_function(lambda: self._backend.occupancy().kv_cache_usage or 0.0)

    def _gauge(self, name: str, description: str) -> Gauge:
        return Gauge(f"tacho_server_{name}", description, registry=self.registry)

    def _counter(self, name: str, description: str) -> Counter:
        return Counter(f"tacho_server_{name}", description, registry=self.registry)

    def _histogram(self, name: str, description: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"tacho_server_{name}", description, buckets=buckets, registry=self.registry)
