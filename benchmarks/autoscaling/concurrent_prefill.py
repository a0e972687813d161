"""A replica that computes prompts concurrently with its steps: a prompt delays no other request.

The time to the first token depends on that prompt alone, as in an engine with separate hardware for prompts,
and in a mock engine.
"""

from __future__ import annotations

import heapq
import math

from tacho_simulate.performance_model import UNKNOWN_KV_TOKENS
from tacho_simulate.replica import Ledger, Replica, Timed

FULL = 1e-6
"""Free KV cache in tokens below which the cache counts as full."""


class ConcurrentPrefill(Replica):
    """A replica that computes prompts concurrently with its steps.

    Each request counts its steps from its own first token, so steps are not whole numbers here. A replica
    that hangs makes no steps, and still computes the prompts of requests for which it has a place.
    """

    def __init__(self, timed: Timed, ledger: Ledger, begins: float) -> None:
        super().__init__(timed, ledger, begins)
        self._firsts: list[tuple[float, int]] = []
        """Heap of (time at which the prompt is computed, request)."""

    @property
    def entry_seconds(self) -> float:
        """Returns 0 seconds: the fixed part of TTFT passes inside the engine here."""
        return 0.0

    def advance(self, until: float) -> None:
        incoming, firsts, ends = self.incoming, self._firsts, self._ends
        while True:
            if self._waiting or (incoming and incoming[0][0] <= self.now):
                self._enter()
                firsts = self._firsts
            answered = len(self._running) - len(firsts)
            when = until
            if incoming and incoming[0][0] < when:
                when = incoming[0][0]
            if firsts and firsts[0][0] < when:
                when = firsts[0][0]
            if answered and not self.hung:
                when = self._pass(when, answered)
            elif when == math.inf:
                return
            self.now = max(self.now, when)
            while firsts and firsts[0][0] <= when:
                self._first(heapq.heappop(firsts)[1], when)
            while ends and ends[0][0] <= self._steps:
                self._end_request(heapq.heappop(ends)[1], when)
            while self._kv_free_tokens <= FULL:
                self._preempt()
            if when >= until:
                return

    def _pass(self, when: float, answered: int) -> float:
        """Simulates steps until ``when``, or until a request ends or the KV cache is full; returns the end
        time."""
        step = self._step_seconds[len(self._running)]
        steps = self._ends[0][0] - self._steps
        free = self._kv_free_tokens / answered
        limited = free < steps
        if limited:
            steps = free
        end = self.now + steps * step
        if end > when:
            steps = min(steps, (when - self.now) / step)
            self._steps += steps
        else:
            when = end
            self._steps = self._steps + steps if limited else self._ends[0][0]
        self._generated += steps * answered
        self._kv_tokens += steps * answered
        return when

    def _prefill(self, request: int, tokens: int) -> None:
        model = self._model
        seconds = model.ttft_fixed_seconds
        if self._late_seconds:
            seconds += self._late_seconds[len(self._running) - 1]
        seconds += tokens / model.prefill_tokens_per_second
        heapq.heappush(self._firsts, (self.now + seconds, request))

    def _drop_prompt(self, request: int) -> None:
        self._firsts[:] = [item for item in self._firsts if item[1] != request]
        heapq.heapify(self._firsts)


class ReservingPrefill(ConcurrentPrefill):
    """A replica that admits a request if all its tokens fit, so that none is preempted."""

    def _fits(self, request: int, computed: int) -> bool:
        del computed  # of the answer, too, every token counts
        prompts, answers = self._ledger.input_tokens, self._ledger.output_tokens
        reserved = sum(prompts[other] + answers[other] for other in (*self._running, request))
        return reserved <= self._model.kv_cache_tokens

    @property
    def _kv_free_tokens(self) -> float:
        return float(UNKNOWN_KV_TOKENS)
