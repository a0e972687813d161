"""What all replicas have in common: who waits, who runs, what has room, and what is counted.

A replica depends on nothing but what is sent to it, so it is brought forward only when somebody looks.
Between two events all running requests advance a token a step: the end of each is the number of a step.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from tacho_operator.simulate.engine_law import UNKNOWN_KV_TOKENS, EngineLaw
from tacho_operator.simulate.policy import PodMetrics
from tacho_operator.simulate.replica.ledger import NEVER, Ledger

PREFILLING = math.inf
"""In place of the step of its end: a request whose prompt is being computed."""


@dataclass(frozen=True, slots=True)
class Timed:
    """A law with its steps looked up beforehand."""

    law: EngineLaw
    step_seconds: tuple[float, ...]
    """By requests in the batch, with an empty KV cache."""
    late_seconds: tuple[float, ...]
    """Of a first token, by other requests that run; () is not at all."""

    @classmethod
    def of(cls, law: EngineLaw, factor: float = 1.0) -> Timed:
        """``factor``: all takes so many times as long."""
        slowed = dataclasses.replace(
            law,
            steps=tuple((batch, factor * seconds) for batch, seconds in law.steps),
            prefill_tokens_per_second=law.prefill_tokens_per_second / factor,
            seconds_per_kv_token=law.seconds_per_kv_token * factor,
            ttft_fixed_seconds=law.ttft_fixed_seconds * factor,
            ttft_per_running_seconds=law.ttft_per_running_seconds * factor,
            ttft_late=tuple((others, factor * seconds) for others, seconds in law.ttft_late),
        )
        batches = range(law.max_num_seqs + 1)
        late = tuple(map(slowed.late_seconds, batches))
        return cls(slowed, tuple(map(slowed.step_seconds, batches)), late if any(late) else ())


class Replica(ABC):
    """``advance`` before looking at anything."""

    def __init__(self, timed: Timed, ledger: Ledger, begins: float) -> None:
        self._law, self._ledger = timed.law, ledger
        self._step_seconds, self._late_seconds = timed.step_seconds, timed.late_seconds
        self.now = begins
        """So far everything has happened."""
        self.incoming: deque[tuple[float, int]] = deque()
        """(when it reaches the engine, request), in that order; whoever sends a request appends it."""
        self.after: Callable[[int, float], None] | None = None
        """Is told each end."""
        self._front: list[tuple[float, int]] = []
        """A heap of those that a busy front end holds: (until when, request)."""
        self._waiting: deque[int] = deque()
        self._running: dict[int, float] = {}
        """In order of admission: the number of the step that brings the last token."""
        self._ends: list[tuple[float, int]] = []
        """A heap of those that are answered."""
        self._steps = 0.0
        """That were made."""
        self._kv_tokens = 0.0
        self._kv_reserved = 0
        self._kept: dict[int, int] = {}
        """Tokens that those who had to give way have had already."""
        self._prompt_tokens = self._generated = self._first_token_seconds = 0.0
        self._answered = self._first_tokens = 0
        self.preemptions = 0

    @abstractmethod
    def advance(self, until: float) -> None:
        """All that happens until then."""

    @abstractmethod
    def _prefill(self, request: int, tokens: int) -> None:
        """A request was admitted of which so many tokens are to be computed."""

    @abstractmethod
    def _give_up(self, request: int) -> None:
        """Its prompt is computed no further."""

    @property
    def entry_seconds(self) -> float:
        """From a request's arrival until the engine has it."""
        return self._law.ttft_fixed_seconds

    @property
    def idle(self) -> bool:
        """Whether nothing is left to do."""
        return not self.held

    @property
    def held(self) -> int:
        """Requests that are lost if it crashes."""
        return len(self._running) + len(self._waiting) + len(self._front) + len(self.incoming)

    def metrics(self, now: float) -> PodMetrics:
        """As its engine tells them at ``now``."""
        entered = 0
        for when, _ in self.incoming:
            if when > now:
                break
            entered += 1
        return PodMetrics(
            running=len(self._running),
            waiting=len(self._waiting) + len(self._front) + entered,
            kv_cache_usage=min(1.0, self._kv_tokens / self._law.kv_cache_tokens),
            prompt_tokens_total=self._prompt_tokens,
            generation_tokens_total=float(int(self._generated)),
            requests_total=float(self._answered),
            first_token_seconds_sum=self._first_token_seconds,
            first_tokens_total=float(self._first_tokens),
            preemptions_total=float(self.preemptions),
        )

    # --- for those who know how time passes ---------------------------------------------------------
    def _enter(self) -> None:
        """Whoever has reached the engine waits, and whoever has room is admitted."""
        incoming, waiting, now = self.incoming, self._waiting, self.now
        while incoming and incoming[0][0] <= now:
            waiting.append(incoming.popleft()[1])
        law, ledger, running = self._law, self._ledger, self._running
        while waiting and len(running) < law.max_num_seqs:
            request = waiting[0]
            had = self._kept.get(request, 0) if self._kept else 0
            computed = ledger.input_tokens[request] + had
            whole = ledger.input_tokens[request] + ledger.output_tokens[request]
            if running:
                if law.reserves:
                    if self._kv_reserved + whole > law.kv_cache_tokens:
                        return
                elif self._kv_tokens + computed + 1 > law.kv_cache_tokens:
                    return
            waiting.popleft()
            running[request] = PREFILLING
            self._kv_tokens += computed
            self._kv_reserved += whole
            self._prefill(request, max(1, computed))

    def _first(self, request: int, when: float) -> None:
        """Its prompt is computed, which brings a token."""
        ledger = self._ledger
        had = self._kept.pop(request, 0) if self._kept else 0
        if ledger.first[request] == NEVER:
            ledger.first[request] = when
            self._first_token_seconds += when - ledger.arrived[request]
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
        ledger.ended += 1
        self._answered += 1
        if self.after is not None:
            self.after(request, when)

    def _preempt(self) -> None:
        """The youngest gives way: it waits first in line."""
        request, ends = self._running.popitem()
        ledger = self._ledger
        prompt, output = ledger.input_tokens[request], ledger.output_tokens[request]
        if ends == PREFILLING:
            self._kv_tokens -= prompt + self._kept.get(request, 0)
            self._give_up(request)
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
    def _kv_room(self) -> float:
        """Tokens that still have room, as far as somebody would have to give way for more."""
        if self._law.reserves or len(self._running) < 2:
            return float(UNKNOWN_KV_TOKENS)
        return self._law.kv_cache_tokens - self._kv_tokens


def steps_within(seconds: float, step_seconds: float, growth_seconds: float) -> float:
    """How many steps take ``seconds``, the first ``step_seconds`` and each ``growth_seconds`` more than the
    one before; not rounded."""
    if growth_seconds <= 0:
        return seconds / step_seconds
    half = growth_seconds / 2
    linear = step_seconds - half
    return (math.sqrt(linear * linear + 4 * half * seconds) - linear) / (2 * half)
