"""An engine with a known law on a clock of its own: what the probe asks takes no time to answer.

The law is the mock engine's (``tools.mock.engine_law.Law``) in its figures, without sockets, processes or a
machine that may be busy, so that a probe of 45 seconds runs in less than one and can be repeated hundreds of
times.
"""

from __future__ import annotations

import functools
import heapq
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tacho_contract.measurement import Workload
from tacho_runtime.machine.sampling import MachineSample
from tacho_runtime.probe.engine_under_test import LoadTrace, SteadyLoop
from tacho_runtime.probe.load.counters import CounterReading, EngineCounters
from tacho_runtime.probe.load.job import OutputLengths, poisson_times, residual_lives
from tacho_runtime.probe.load.streams import StreamResult
from tacho_runtime.probe.load.timed_client import RequestFailed

NS = 10**9
BIN_NS = 10_000_000
TURNAROUND_SECONDS = 0.0003
"""Seconds from the end of a request to the beginning of the next one in the engine."""
STAMP_NOISE_SECONDS = 0.00005
RAMP_SHARE = 0.6
DRAFTED = 4
"""Tokens that are guessed at each step of speculative decoding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualLaw:
    """Time to the first token = base + per token x prompt; gap = base + per sequence x running sequences."""

    ttft_base_ms: float = 20.0
    ttft_per_token_ms: float = 0.05
    ttft_per_running_ms: float = 0.0
    itl_base_ms: float = 10.0
    itl_per_seq_ms: float = 0.5
    itl_knee: int = 0
    """From so many sequences on each adds ``itl_per_seq_above_ms``. 0: never."""
    itl_per_seq_above_ms: float = 0.0
    tokens_per_step: float = 1.0
    """Mean: one, and the accepted ones of DRAFTED."""
    jitter: float = 0.0
    """Coefficient of variation of a step's time; the mean is kept."""
    stall_every_ms: float = 0.0
    """Mean time between stalls, of which the lengths are ``stall_ms``. 0: none."""
    stall_ms: float = 0.0
    prefill_blocks: bool = False
    """Whether prompts are processed one at a time, while running sequences get no tokens."""
    max_num_seqs: int = 256
    kv_tokens: int = 1_000_000
    foreign_streams: int = 0
    foreign_from_seconds: float = 0.0
    foreign_until_seconds: float = math.inf

    def gap_ms(self, running: int) -> float:
        below = running if not self.itl_knee else min(running, self.itl_knee)
        return (
            self.itl_base_ms
            + self.itl_per_seq_ms * below
            + self.itl_per_seq_above_ms * max(0, running - below)
        )

    def ttft_ms(self, prompt_tokens: int, others: int = 0) -> float:
        """``others``: sequences that run when it is admitted."""
        fixed_ms = self.ttft_base_ms + self.ttft_per_running_ms * others
        return fixed_ms + self.ttft_per_token_ms * prompt_tokens


@dataclass(slots=True, eq=False)
class _Sequence:
    prompt_tokens: int
    output_tokens: int
    sent: float
    foreign: bool = False
    generated: int = 0
    tokens: list[tuple[int, float]] = field(default_factory=list)
    ended: Callable[[_Sequence, float], None] | None = None
    gone: bool = False


class VirtualEngine:
    """``tacho_runtime.probe.engine_under_test.EngineUnderTest``. Times are seconds since it was made."""

    def __init__(self, law: VirtualLaw, rng: Random, *, counted: bool = True) -> None:
        self.law = law
        self._rng = rng
        self._now = 0.0
        self._due: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        self._running: set[_Sequence] = set()
        self._waiting: list[_Sequence] = []
        self._generated = 0.0
        self._counted = counted
        self._stall_ends = self._prefill_ends = 0.0
        self._next_stall = self._drawn_stall(0.0)
        if law.foreign_streams:
            for _ in range(law.foreign_streams):
                self._at(law.foreign_from_seconds, self._foreign)

    # --- the engine ------------------------------------------------------------------------------
    def _at(self, when: float, act: Callable[[float], None]) -> None:
        heapq.heappush(self._due, (when, next(self._order), act))

    def _drawn_stall(self, after: float) -> float:
        mean = self.law.stall_every_ms / 1000
        return after + self._rng.uniform(0.5, 1.5) * mean if mean else math.inf

    def _run(self, until: float, *, done: Callable[[], bool] = lambda: False) -> None:
        while self._due and self._due[0][0] <= until and not done():
            when, order, act = heapq.heappop(self._due)
            while when >= self._next_stall:
                self._stall_ends = self._next_stall + self.law.stall_ms / 1000
                self._next_stall = self._drawn_stall(self._stall_ends)
            if when < self._stall_ends:
                # Everything that was due stands behind the stall in its old order.
                heapq.heappush(self._due, (when + self.law.stall_ms / 1000, order, act))
                continue
            self._now = when
            act(when)
        if not done():
            self._now = max(self._now, until) if until < math.inf else self._now

    def _submit(self, sequence: _Sequence, now: float) -> None:
        self._waiting.append(sequence)
        self._admit(now)

    def _admit(self, now: float) -> None:
        while self._waiting and len(self._running) < self.law.max_num_seqs:
            head = self._waiting[0]
            reserved = sum(one.prompt_tokens + one.output_tokens for one in self._running)
            if self._running and reserved + head.prompt_tokens + head.output_tokens > self.law.kv_tokens:
                return
            self._waiting.pop(0)
            self._running.add(head)
            begins = max(now, self._prefill_ends) if self.law.prefill_blocks else now
            self._prefill_ends = begins + self.law.ttft_ms(head.prompt_tokens, len(self._running) - 1) / 1000
            self._at(self._prefill_ends, functools.partial(self._step, head))

    def _step(self, sequence: _Sequence, now: float) -> None:
        if sequence.gone:
            return
        if self.law.prefill_blocks and sequence.generated and now < self._prefill_ends:
            self._at(self._prefill_ends, lambda when: self._step(sequence, when))
            return
        made = 1 if not sequence.generated else self._tokens_of_a_step()
        made = min(made, sequence.output_tokens - sequence.generated)
        sequence.generated += made
        self._generated += made
        seen = now + self._rng.random() * 2 * STAMP_NOISE_SECONDS
        sequence.tokens.append((round(seen * NS), float(made)))
        if sequence.generated >= sequence.output_tokens:
            self._leave(sequence, now)
            if sequence.ended is not None:
                sequence.ended(sequence, now)
            return
        gap = self.law.gap_ms(len(self._running)) / 1000 * self._jitter()
        self._at(now + gap, lambda when: self._step(sequence, when))

    def _tokens_of_a_step(self) -> int:
        mean = self.law.tokens_per_step
        if mean <= 1:
            return 1
        share = (mean - 1) / DRAFTED
        return 1 + sum(self._rng.random() < share for _ in range(DRAFTED))

    def _jitter(self) -> float:
        cv = self.law.jitter
        if not cv:
            return 1.0
        sigma = math.sqrt(math.log(1 + cv * cv))
        return self._rng.lognormvariate(-sigma * sigma / 2, sigma)

    def _leave(self, sequence: _Sequence, now: float) -> None:
        sequence.gone = True
        self._running.discard(sequence)
        self._admit(now)

    def _foreign(self, now: float) -> None:
        if now >= self.law.foreign_until_seconds:
            return
        other = _Sequence(64, 100, now, foreign=True)
        other.ended = lambda _, when: self._foreign(when)
        self._submit(other, now)

    # --- what the probe asks ---------------------------------------------------------------------
    def now_seconds(self) -> float:
        return self._now

    async def ask(self, input_tokens: int, output_tokens: int, timeout_seconds: float) -> StreamResult:
        sequence = _Sequence(input_tokens, output_tokens, self._now)
        self._submit(sequence, self._now)
        self._run(self._now + timeout_seconds, done=lambda: sequence.gone)
        if not sequence.gone:
            self._leave(sequence, self._now)
            raise RequestFailed(f"no full answer within {timeout_seconds:.1f} s")
        self._run(self._now + TURNAROUND_SECONDS)
        return _stream(sequence)

    async def burst(
        self, requests: int, input_tokens: int, output_tokens: int, timeout_seconds: float
    ) -> None:
        sent = [_Sequence(input_tokens, output_tokens, self._now) for _ in range(requests)]
        for one in sent:
            self._submit(one, self._now)
        self._run(self._now + timeout_seconds, done=lambda: all(one.gone for one in sent))

    async def closed_loop(
        self,
        concurrency: int,
        workload: Workload,
        *,
        spread: float,
        seconds: float,
        window_seconds: float = math.inf,
    ) -> LoadTrace:
        first: list[_Sequence] = []
        later: list[_Sequence] = []

        def again(_former: _Sequence, when: float) -> None:
            later.append(self._client(workload, lengths, when + TURNAROUND_SECONDS, again))

        began, lengths = self._now, OutputLengths(workload.output_tokens, spread, self._rng)
        for tokens in residual_lives(concurrency, workload.output_tokens, spread, self._rng):
            one = _Sequence(workload.input_tokens, tokens, self._now, ended=again)
            first.append(one)
            self._submit(one, self._now)
        self._run(began + RAMP_SHARE * seconds, done=lambda: all(one.tokens for one in first))
        started = all(one.tokens for one in first)
        start = self._now
        before = await self.reading()
        self._run(min(began + seconds, start + window_seconds))
        after = await self.reading()
        everyone = [*first, *later]
        trace = self._trace(
            everyone, concurrency, start, self._now, residual=len(first), started=started,
            readings=(before, after),
        )  # fmt: skip
        self._hang_up(everyone)
        return trace

    async def steady_loop(self, workload: Workload, *, spread: float) -> SteadyLoop:
        raise NotImplementedError

    async def open_loop(
        self, requests_per_second: float, workload: Workload, *, spread: float, seconds: float
    ) -> LoadTrace:
        began = self._now
        arrivals = [began + when for when in poisson_times(requests_per_second, seconds, self._rng)]
        lengths = OutputLengths(workload.output_tokens, spread, self._rng)
        sent = [self._client(workload, lengths, at, None) for at in arrivals]
        service = self.law.ttft_ms(workload.input_tokens) / 1000
        service += workload.output_tokens * self.law.gap_ms(1) / 1000 / self.law.tokens_per_step
        self._run(began + min(service, seconds / 2))
        start, before = self._now, await self.reading()
        self._run(began + seconds)
        trace = self._trace(
            sent, len(sent), start, self._now, readings=(before, await self.reading()), intended=arrivals
        )
        self._hang_up(sent)
        return trace

    async def unstreamed_rate(self, concurrency: int, workload: Workload, *, seconds: float) -> float | None:
        return None

    async def pause(self, seconds: float) -> None:
        self._run(self._now + seconds)

    async def reading(self) -> CounterReading:
        if not self._counted:
            return CounterReading(stamp_ns=round(self._now * NS), counters=EngineCounters())
        usage = sum(one.prompt_tokens + one.generated for one in self._running) / self.law.kv_tokens
        counters = EngineCounters(
            generated_tokens=self._generated,
            kv_cache_tokens=self.law.kv_tokens,
            kv_cache_usage=usage,
            running=float(len(self._running)),
            waiting=float(len(self._waiting)),
            by_step=True,
        )
        return CounterReading(stamp_ns=round(self._now * NS), counters=counters)

    def machine(self, *, calibrate: bool) -> MachineSample:
        return MachineSample(stamp_ns=round(self._now * NS))

    # --- its clients -----------------------------------------------------------------------------
    def _client(
        self,
        workload: Workload,
        lengths: OutputLengths,
        when: float,
        ended: Callable[[_Sequence, float], None] | None,
    ) -> _Sequence:
        sequence = _Sequence(workload.input_tokens, lengths.draw(), when, ended=ended)
        self._at(when, lambda at: None if sequence.gone else self._submit(sequence, at))
        return sequence

    def _hang_up(self, sequences: list[_Sequence]) -> None:
        for one in sequences:
            one.gone = True
            one.ended = None
        self._waiting = [one for one in self._waiting if not one.gone]
        self._running = {one for one in self._running if not one.gone}
        self._admit(self._now)

    def _trace(
        self,
        sequences: list[_Sequence],
        concurrency: int,
        start: float,
        end: float,
        *,
        readings: tuple[CounterReading, ...],
        residual: int = 0,
        started: bool = True,
        intended: list[float] | None = None,
    ) -> LoadTrace:
        start_ns = round(start * NS)
        bins = [0.0] * max(1, int((end - start) * NS / BIN_NS))
        started_bins = [0] * len(bins)
        for one in sequences:
            for index, (stamp_ns, count) in enumerate(one.tokens):
                place = (stamp_ns - start_ns) // BIN_NS
                if 0 <= place < len(bins):
                    bins[place] += count
                    started_bins[place] += index == 0
        answered = [one for one in sequences if one.tokens]
        return LoadTrace(
            concurrency=concurrency,
            start_ns=start_ns,
            end_ns=start_ns + len(bins) * BIN_NS,
            streams=tuple(_stream(one) for one in answered),
            residual=residual,
            intended_ns=tuple(
                round(at * NS) for at, one in zip(intended, sequences, strict=True) if one.tokens
            )
            if intended is not None
            else (),
            unanswered_ns=tuple(
                round(at * NS) for at, one in zip(intended or (), sequences, strict=False) if not one.tokens
            ),
            bin_nanoseconds=BIN_NS,
            bins=tuple(bins),
            started_bins=tuple(started_bins),
            requests_ended=sum(
                one.generated >= one.output_tokens and start_ns < one.tokens[-1][0] <= end * NS
                for one in answered
            ),
            received_tokens=float(sum(one.generated for one in sequences)),
            readings=readings,
            started=started,
        )


def _stream(sequence: _Sequence) -> StreamResult:
    whole = sequence.generated >= sequence.output_tokens
    return StreamResult(
        sent_ns=round(sequence.sent * NS),
        tokens=tuple(sequence.tokens),
        exact=True,
        finish_reason="length" if whole else "",
        prompt_tokens=sequence.prompt_tokens,
    )
