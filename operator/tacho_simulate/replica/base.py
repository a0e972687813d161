"""The common part of all simulated replicas: waiting and running requests, free KV cache, and counters.

A replica depends only on the requests sent to it, so its time advances only when its state is read. Between
two events, every running request gets one token per step: the end of a request is a step number.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from tacho_contract.report import LATENCY_EDGES_SECONDS, LatencyHistogram, latency_histogram
from tacho_simulate.performance_model import UNKNOWN_KV_TOKENS, PerformanceModel
from tacho_simulate.policy import PodMetrics

PREFILLING = math.inf
"""Marks a request whose prompt is being computed, in place of its last step number."""


NOT_YET = -1.0


class Ledger:
    """Times and token counts of all requests, by index in the trace, and how many ended or failed."""

    def __init__(
        self, arrived: Sequence[float], input_tokens: Sequence[int], output_tokens: Sequence[int]
    ) -> None:
        self.arrived, self.input_tokens, self.output_tokens = arrived, input_tokens, output_tokens
        self.first = [NOT_YET] * len(arrived)
        self.last = [NOT_YET] * len(arrived)
        self.ended = 0
        """Number of requests whose answer is complete."""
        self.failed = 0
        """Number of requests that failed because their replica ended."""


@dataclass(frozen=True, slots=True)
class Timed:
    """Step times and prompt times of a performance model, as lookup tables."""

    model: PerformanceModel
    step_seconds: tuple[float, ...]
    """Step time by number of requests in the batch."""
    late_seconds: tuple[float, ...]
    """Delay of a first token, by number of other running requests; () for none."""

    @classmethod
    def of(cls, model: PerformanceModel, factor: float = 1.0) -> Timed:
        """The lookup tables of ``model``, with all times multiplied by ``factor``."""
        slowed = dataclasses.replace(
            model,
            steps=tuple((batch, factor * seconds) for batch, seconds in model.steps),
            prefill_tokens_per_second=model.prefill_tokens_per_second / factor,
            ttft_fixed_seconds=model.ttft_fixed_seconds * factor,
            ttft_late=tuple((others, factor * seconds) for others, seconds in model.ttft_late),
        )
        batches = range(model.max_num_seqs + 1)
        late = tuple(map(slowed.late_seconds, batches))
        return cls(slowed, tuple(map(slowed.step_seconds, batches)), late if any(late) else ())


class Replica(ABC):
    """A simulated replica. ``advance`` must be called before its state is read."""

    def __init__(self, timed: Timed, ledger: Ledger, begins: float) -> None:
        self._model, self._ledger = timed.model, ledger
        self._step_seconds, self._late_seconds = timed.step_seconds, timed.late_seconds
        self.now = begins
        """Simulated time up to which all events have happened."""
        self.incoming: deque[tuple[float, int]] = deque()
        """(arrival time at the engine, request), sorted; whoever sends a request appends to it."""
        self.after: Callable[[int, float], None] | None = None
        """Callback for each completed request."""
        self._front: list[tuple[float, int]] = []
        """Heap of (release time, request) for requests that a busy front end delays."""
        self._waiting: deque[int] = deque()
        self._running: dict[int, float] = {}
        """Number of the step that yields each request's last token, by request in order of admission."""
        self._ends: list[tuple[float, int]] = []
        """Heap of generating requests: (number of the step with the last token, request)."""
        self._steps = 0.0
        """Number of completed steps."""
        self._kv_tokens = 0.0
        self._kv_reserved = 0
        self._kept: dict[int, int] = {}
        """Tokens that each preempted request has already received, by request."""
        self._prompt_tokens = self._generated = 0.0
        self._answered = self._first_tokens = 0
        self._ttft = [0] * (len(LATENCY_EDGES_SECONDS) + 1)
        """Number of requests by TTFT, per bucket of a real replica's histogram and above the last one."""
        self._tpot = [0] * (len(LATENCY_EDGES_SECONDS) + 1)
        self.preemptions = 0

    @abstractmethod
    def advance(self, until: float) -> None:
        """Simulates all events up to ``until``."""

    @abstractmethod
    def _prefill(self, request: int, tokens: int) -> None:
        """Starts to compute ``tokens`` of an admitted request."""

    @abstractmethod
    def _drop_prompt(self, request: int) -> None:
        """Stops computing the prompt of a request."""

    @property
    def entry_seconds(self) -> float:
        """Seconds from a request's arrival until the engine receives it."""
        return self._model.ttft_fixed_seconds

    @property
    def held(self) -> int:
        """The number of requests that would be lost if the replica crashed."""
        return len(self._running) + len(self._waiting) + len(self._front) + len(self.incoming)

    def metrics(self, now: float) -> PodMetrics:
        """The metrics that the replica's engine reports at ``now``."""
        entered = 0
        for when, _ in self.incoming:
            if when > now:
                break
            entered += 1
        return PodMetrics(
            running=len(self._running),
            waiting=len(self._waiting) + len(self._front) + entered,
            kv_cache_usage=min(1.0, self._kv_tokens / self._model.kv_cache_tokens),
            prompt_tokens_total=self._prompt_tokens,
            generation_tokens_total=float(int(self._generated)),
            requests_total=float(self._answered),
            first_tokens_total=float(self._first_tokens),
            ttft=_histogram(self._ttft),
            tpot=_histogram(self._tpot),
        )

    # --- for the subclasses ---------------------------------------------------------
    def _enter(self) -> None:
        """Queues requests that reached the engine, and admits queued ones while KV cache and batch have
        space."""
        incoming, waiting, now = self.incoming, self._waiting, self.now
        while incoming and incoming[0][0] <= now:
            waiting.append(incoming.popleft()[1])
        model, ledger, running = self._model, self._ledger, self._running
        while waiting and len(running) < model.max_num_seqs:
            request = waiting[0]
            had = self._kept.get(request, 0) if self._kept else 0
            computed = ledger.input_tokens[request] + had
            whole = ledger.input_tokens[request] + ledger.output_tokens[request]
            if running:
                if model.reserves:
                    if self._kv_reserved + whole > model.kv_cache_tokens:
                        return
                elif self._kv_tokens + computed + 1 > model.kv_cache_tokens:
                    return
            waiting.popleft()
            running[request] = PREFILLING
            self._kv_tokens += computed
            self._kv_reserved += whole
            self._prefill(request, max(1, computed))

    def _first(self, request: int, when: float) -> None:
        """Completes a request's prompt, which yields its first token."""
        ledger = self._ledger
        had = self._kept.pop(request, 0) if self._kept else 0
        if ledger.first[request] == NOT_YET:
            ledger.first[request] = when
            waited = when - ledger.arrived[request]
            self._ttft[bisect_left(LATENCY_EDGES_SECONDS, waited)] += 1
            self._first_tokens += 1
            self._prompt_tokens += ledger.input_tokens[request]
        self._generated += 1
        self._kv_tokens += 1
        left = ledger.output_tokens[request] - had - 1
        if left <= 0:
            self._end(request, when)
        else:
            ends = self._steps + left
            self._running[request] = ends
            heapq.heappush(self._ends, (ends, request))

    def _end(self, request: int, when: float) -> None:
        ledger = self._ledger
        tokens = ledger.input_tokens[request] + ledger.output_tokens[request]
        del self._running[request]
        self._kv_tokens -= tokens
        self._kv_reserved -= tokens
        if not self._running:
            self._kv_tokens = 0.0  # what rounding left
        ledger.last[request] = when
        if (further := ledger.output_tokens[request] - 1) > 0:
            gap = (when - ledger.first[request]) / further
            self._tpot[bisect_left(LATENCY_EDGES_SECONDS, gap)] += 1
        ledger.ended += 1
        self._answered += 1
        if self.after is not None:
            self.after(request, when)

    def _preempt(self) -> None:
        """Preempts the youngest request, which becomes the first of the queue."""
        request, ends = self._running.popitem()
        ledger = self._ledger
        prompt, output = ledger.input_tokens[request], ledger.output_tokens[request]
        if ends == PREFILLING:
            self._kv_tokens -= prompt + self._kept.get(request, 0)
            self._drop_prompt(request)
        else:
            left = ends - self._steps
            self._kv_tokens -= prompt + output - left
            self._kept[request] = output - math.ceil(left - 1e-9)
            self._ends.remove((ends, request))
            heapq.heapify(self._ends)
        self._kv_reserved -= prompt + output
        self._waiting.appendleft(request)
        self.preemptions += 1

    @property
    def _kv_free_tokens(self) -> float:
        """Free KV cache, in tokens; unlimited where no request can be preempted."""
        if self._model.reserves or len(self._running) < 2:
            return float(UNKNOWN_KV_TOKENS)
        return self._model.kv_cache_tokens - self._kv_tokens


def _histogram(buckets: Sequence[int]) -> LatencyHistogram:
    *counts, total = accumulate(buckets)
    return latency_histogram(LATENCY_EDGES_SECONDS, counts, total)
