"""The mock engine's scheduler: admits, times and ends sequences by a law. No sockets, no loop, any clock.

All sequences are served by absolute deadlines: a token that is handled late does not delay the next, so the
law holds exactly on average whatever the machine does. (Real engines move all sequences in common steps; then
TTFT would wait for the next step and no law could be stated exactly.)

The caller must call ``advance`` no later than ``next_due``; sinks are called from within.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tools.mock.engine_law import Law
from tools.mock.engine_time import EngineTime

BLOCK_TOKENS = 16
REMEMBERED_PROMPTS = 10_000
CATCH_UP_STEPS = 1000
"""Maximum number of overdue steps that are processed before a sequence is added or removed: an overloaded
engine would never finish all of them."""
ROUNDING_SECONDS = 1e-9
"""Tolerance in seconds for rounding between law time and the clock."""
TTFT_BUCKETS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0,
    80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip
"""Upper bounds, seconds: vLLM's."""
TPOT_BUCKETS = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
"""Of the mean time per further token of each request: vLLM's."""

Sink = Callable[[float, int, bool, "Sequence"], None]
"""(when on the clock, tokens in the chunk, whether it is the last, whose)."""


@dataclass(slots=True, eq=False)
class Sequence:
    """One request in the engine."""

    prompt_tokens: int
    output_tokens: int
    finish_reason: str
    arrived: float
    sink: Sink
    streamed: bool = True
    cached_tokens: int = 0
    generated: int = 0
    unsent: int = 0
    first_token: float = 0.0
    last_token: float = 0.0
    ended: bool = False
    """No token will come any more."""
    unread: bool = False
    """Whether the client has hung up: tokens still under way are not delivered."""
    pending: int = -1
    """Which of the due events is its own; a preempted one's is void."""


@dataclass(slots=True)
class Totals:
    prompt_tokens: float = 0
    cached_tokens: float = 0
    generated_tokens: float = 0
    answered_tokens: float = 0
    """Generated ones of requests that were answered to their end."""
    preemptions: int = 0
    finished: dict[str, int] = field(default_factory=lambda: {"stop": 0, "length": 0, "abort": 0})
    ttft_seconds: float = 0.0
    ttft_below: list[int] = field(default_factory=lambda: [0] * (len(TTFT_BUCKETS) + 1))
    """How many first tokens fell into each of ``TTFT_BUCKETS``, and above them."""
    tpot_below: list[int] = field(default_factory=lambda: [0] * (len(TPOT_BUCKETS) + 1))
    tpot_seconds: float = 0.0
    late_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=10_000))
    """How long after its due time each token was handled: a busy machine keeps no law."""
    gaps_seconds: float = 0.0
    gaps: int = 0


class Scheduler:
    def __init__(self, law: Law, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rng = Random(law.seed)
        self.started = clock()
        self.time = EngineTime(self.started, Random(law.seed + 1))
        self.totals = Totals()
        self.running: dict[Sequence, None] = {}
        """Running sequences in order of admission."""
        self.waiting: deque[Sequence] = deque()
        self.wake: Callable[[], None] = lambda: None
        """Called when something may be due earlier than ``next_due`` said."""
        self.kv_used_tokens = 0
        self._kv_reserved = 0
        self._due: list[tuple[float, int, Sequence]] = []
        """Heap of due events; times are law time."""
        self._front: deque[tuple[float, Sequence, int, bool]] = deque()
        """Chunks that the front end has still to send, and the time from which it could."""
        self._front_free = self.started
        self._timers: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        self._prompts: dict[object, None] = {}
        self._seen_sizes: set[int] = set()
        self._advancing = False
        self.law = law

    def submit(
        self,
        *,
        prompt_tokens: int,
        prompt_key: object,
        max_tokens: int,
        min_tokens: int = 0,
        ignore_eos: bool = True,
        arrived: float,
        sink: Sink,
        streamed: bool = True,
    ) -> Sequence:
        """A sequence whose chunks will come. ``prompt_key``: equal prompts hit the prefix cache."""
        if not self._advancing:
            self.advance(arrived, CATCH_UP_STEPS)
        law = self.law
        output_tokens, reason = max_tokens, "length"
        if law.eos_after and (law.stubborn_eos or not ignore_eos):
            ends = law.eos_after if law.stubborn_eos else max(law.eos_after, min_tokens)
            if ends <= max_tokens:
                output_tokens, reason = ends, "stop"
        cached = self._cached(prompt_tokens, prompt_key)
        sequence = Sequence(prompt_tokens, output_tokens, reason, arrived, sink, streamed, cached)
        self.waiting.append(sequence)
        self._admit(self._reached(arrived))
        self.wake()
        return sequence

    def abort(self, sequence: Sequence, now: float) -> None:
        """Ends a sequence whose client hung up at ``now`` on the clock."""
        sequence.unread = True
        if not self._advancing:
            self.advance(now, CATCH_UP_STEPS)
        if sequence.ended:
            return
        if sequence in self.waiting:
            self.waiting.remove(sequence)
        self._end(sequence, "abort", self._reached(now))
        self.wake()

    def at(self, when: float, action: Callable[[float], None]) -> None:
        """``action`` gets ``when``, once the clock has reached it."""
        heapq.heappush(self._timers, (when, next(self._order), action))
        self.wake()

    def next_due(self) -> float:
        """When on the clock ``advance`` has to be called next; infinity when nothing runs."""
        while self._due and self._due[0][1] != self._due[0][2].pending:
            heapq.heappop(self._due)
        due = math.inf
        if self._due:
            due = self.time.clock(self._due[0][0], self.law, len(self.running))
        if self._timers:
            due = min(due, self._timers[0][0])
        if self._front:
            due = min(due, self._front_departure())
        return due

    def advance(self, now: float, most_steps: float = math.inf) -> None:
        """All that is due by ``now``, each at its own time; no more than ``most_steps`` of it, for those who
        have other things to do as well and come back."""
        self._advancing = True
        try:
            while self._timers and self._timers[0][0] <= now:
                if not self._steps(self._timers[0][0], most_steps):
                    return
                when, _, action = heapq.heappop(self._timers)
                action(when)
            if not self._steps(now, most_steps):
                return
            while self._front and (departure := self._front_departure()) <= now:
                _, sequence, tokens, last = self._front.popleft()
                if not sequence.unread:
                    self._front_free = departure
                    sequence.sink(departure, tokens, last, sequence)
        finally:
            self._advancing = False

    # --- law time -----------------------------------------------------------------------------------
    def _reached(self, clock: float) -> float:
        return self.time.law(clock, self.law, len(self.running))

    def _steps(self, now: float, most: float) -> bool:
        """Whether that was all that is due."""
        reached = self._reached(now) + ROUNDING_SECONDS
        while self._due and self._due[0][0] <= reached:
            if (most := most - 1) < 0:
                return False
            due, order, sequence = heapq.heappop(self._due)
            if order == sequence.pending and self._tokens(due, sequence):
                # Someone was admitted, which may have halted the engine.
                reached = self._reached(now) + ROUNDING_SECONDS
        self.time.forget(reached)
        return True

    def _tokens(self, due: float, sequence: Sequence) -> bool:
        """Delivers one step's tokens of one sequence, at their due time and not the time of handling. Returns
        whether the sequence ended."""
        law, totals = self.law, self.totals
        first = sequence.generated == 0
        count = 1 if first else min(self._accepted(), sequence.output_tokens - sequence.generated)
        if law.kv_policy == "preempt" and not self._free_tokens(count, sequence):
            return False
        when = self.time.clock(due, law, len(self.running))
        totals.late_seconds.append(self._clock() - when)
        sequence.generated += count
        sequence.unsent += count
        self.kv_used_tokens += count
        totals.generated_tokens += count
        if first:
            sequence.first_token = when
            totals.prompt_tokens += sequence.prompt_tokens
            totals.cached_tokens += sequence.cached_tokens
            totals.ttft_seconds += when - sequence.arrived
            totals.ttft_below[bisect.bisect_left(TTFT_BUCKETS, when - sequence.arrived)] += 1
        else:
            totals.gaps += 1
            totals.gaps_seconds += when - sequence.last_token
        sequence.last_token = when
        last = sequence.generated >= sequence.output_tokens
        if last:
            further = max(1, sequence.generated - 1)
            tpot = (when - sequence.first_token) / further
            totals.tpot_seconds += tpot
            totals.tpot_below[bisect.bisect_left(TPOT_BUCKETS, tpot)] += 1
            self._end(sequence, sequence.finish_reason, due)
        else:
            self._push(due + law.itl_seconds(len(self.running)), sequence)
        shown = sequence.generated > law.hidden_tokens
        if last or (shown and (first or sequence.unsent >= law.tokens_per_chunk)):
            self._send(when, sequence, last)
        return last

    def _push(self, due: float, sequence: Sequence) -> None:
        sequence.pending = next(self._order)
        heapq.heappush(self._due, (due, sequence.pending, sequence))

    def _accepted(self) -> int:
        more = self.law.tokens_per_step - 1
        if more <= 0:
            return 1
        tries = math.ceil(2 * more)
        return 1 + sum(self._rng.random() < more / tries for _ in range(tries))

    def _send(self, when: float, sequence: Sequence, last: bool) -> None:
        tokens, sequence.unsent = sequence.unsent, 0
        if sequence.streamed and (self.law.frontend_us or self._front):
            self._front.append((when, sequence, tokens, last))
        else:
            sequence.sink(when, tokens, last, sequence)

    def _front_departure(self) -> float:
        ready, sequence, *_ = self._front[0]
        if sequence.unread:
            return ready
        return max(ready, self._front_free) + self.law.frontend_us / 1e6

    # --- admission ----------------------------------------------------------------------------------
    def _cached(self, prompt_tokens: int, prompt_key: object) -> int:
        found = self.law.cached_share * (prompt_tokens - 1)
        if self.law.prefix_caching:
            if prompt_key in self._prompts:
                found = prompt_tokens - 1
            self._prompts[prompt_key] = None
            if len(self._prompts) > REMEMBERED_PROMPTS:
                self._prompts.pop(next(iter(self._prompts)))
        blocks = int(found) // BLOCK_TOKENS * BLOCK_TOKENS
        return max(blocks, min(self.law.shared_tokens, prompt_tokens - 1))

    def _admit(self, reached: float) -> None:
        law = self.law
        while self.waiting and len(self.running) < law.max_num_seqs:
            sequence = self.waiting[0]
            if self.running and not self._fits(sequence):
                return
            self.waiting.popleft()
            self.running[sequence] = None
            self.kv_used_tokens += sequence.prompt_tokens + sequence.generated
            self._kv_reserved += sequence.prompt_tokens + sequence.output_tokens
            size = len(self.running)
            if size & (size - 1) == 0 and size not in self._seen_sizes:
                self._seen_sizes.add(size)
                if law.cold_ms:
                    self.time.halt(reached, law.cold_ms / 1000)
            computed = sequence.prompt_tokens + sequence.generated - sequence.cached_tokens
            seconds = law.ttft_seconds(computed, size - 1, self._rng)
            if law.prefill_blocks:
                self.time.halt(reached, seconds)
                seconds = 2 * ROUNDING_SECONDS
            self._push(reached + seconds, sequence)

    def _fits(self, sequence: Sequence) -> bool:
        if self.law.kv_policy == "reserve":
            needed = sequence.prompt_tokens + sequence.output_tokens
            return self._kv_reserved + needed <= self.law.kv_tokens
        needed = sequence.prompt_tokens + sequence.generated + 1
        return self.kv_used_tokens + needed <= self.law.kv_tokens

    def _free_tokens(self, tokens: int, sequence: Sequence) -> bool:
        """Preempts the youngest until ``tokens`` more fit; False when ``sequence`` itself had to go."""
        while self.kv_used_tokens + tokens > self.law.kv_tokens and len(self.running) > 1:
            youngest = next(reversed(self.running))
            self._leave(youngest)
            self.totals.preemptions += 1
            youngest.cached_tokens = 0
            self.waiting.appendleft(youngest)
            if youngest is sequence:
                return False
        return True

    def _leave(self, sequence: Sequence) -> None:
        if sequence in self.running:
            del self.running[sequence]
            self.kv_used_tokens -= sequence.prompt_tokens + sequence.generated
            self._kv_reserved -= sequence.prompt_tokens + sequence.output_tokens
        sequence.pending = -1

    def _end(self, sequence: Sequence, reason: str, reached: float) -> None:
        sequence.ended = True
        self._leave(sequence)
        totals = self.totals
        totals.finished[reason] += 1
        totals.answered_tokens += sequence.generated if reason != "abort" else 0
        self._admit(reached)
