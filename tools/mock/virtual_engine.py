"""The mock engine on a clock of its own: what the probe asks takes no time to answer.

Law and scheduler are those behind the mock's sockets, so that both have the same truth; a probe of 45 seconds
runs in a few and can be repeated hundreds of times, whatever else the machine does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence as Row
from dataclasses import dataclass, field
from random import Random

from tacho_contract.measurement import Workload
from tacho_runtime.machine.sampling import MachineSample
from tacho_runtime.probe.engine_under_test import Cohort, LevelTerms, LoadTrace, RequestProgress
from tacho_runtime.probe.load.engine_counters import CounterReading, EngineCounters
from tacho_runtime.probe.load.job import OutputLengths, poisson_times, residual_lives
from tacho_runtime.probe.load.streams import StreamResult
from tacho_runtime.probe.load.timed_client import RequestFailed
from tools.mock.engine_law import Law
from tools.mock.engine_scheduler import Sequence
from tools.mock.engine_simulated import SteppedEngine

NS = 10**9
BIN_NS = 10_000_000
TURN_SECONDS = 0.25
"""Between two looks at a level under way."""


@dataclass(slots=True, eq=False)
class _Request:
    sent: float
    prompt_tokens: int
    output_tokens: int
    first: bool = False
    """Its stream's first, of a residual life."""
    tokens: list[tuple[int, float]] = field(default_factory=list)
    generated: int = 0
    ended: bool = False
    sequence: Sequence | None = None

    @property
    def result(self) -> StreamResult:
        return StreamResult(
            sent_ns=round(self.sent * NS),
            tokens=tuple(self.tokens),
            finish_reason=self.sequence.finish_reason if self.ended and self.sequence else "",
            prompt_tokens=self.prompt_tokens,
            cached_tokens=self.sequence.cached_tokens if self.sequence else 0,
        )


class VirtualEngine:
    """``tacho_runtime.probe.engine_under_test.EngineUnderTest``. Times are seconds since it was made."""

    def __init__(self, law: Law, rng: Random, *, counted: bool = True, by_step: bool = True) -> None:
        """``counted``: it has counters. ``by_step``: they advance at every token, and not when a request
        ends."""
        self.stepped = SteppedEngine(law)
        self.rng = rng
        self._counted, self._by_step = counted, by_step

    @property
    def law(self) -> Law:
        return self.stepped.scheduler.law

    @law.setter
    def law(self, law: Law) -> None:
        self.stepped.scheduler.law = law

    def now_seconds(self) -> float:
        return self.stepped.now

    def send(
        self,
        prompt_tokens: int,
        output_tokens: int,
        ended: Callable[[_Request], None] = lambda _: None,
        *,
        first: bool = False,
        at: float | None = None,
        streamed: bool = True,
    ) -> _Request:
        """A request that is sent now, or ``at`` a later time."""
        request = _Request(self.stepped.now if at is None else at, prompt_tokens, output_tokens, first)

        def got(when: float, count: int, last: bool, _: Sequence) -> None:
            request.tokens.append((round(when * NS), float(count)))
            request.generated += count
            if last:
                request.ended = True
                ended(request)

        def submit(now: float) -> None:
            request.sequence = self.stepped.submit(
                prompt_tokens, output_tokens, sink=got, arrived=now, streamed=streamed
            )

        submit(request.sent) if at is None else self.stepped.scheduler.at(at, submit)
        return request

    def hang_up(self, requests: Row[_Request]) -> None:
        for one in requests:
            if one.sequence is not None and not one.ended:
                self.stepped.scheduler.abort(one.sequence, self.stepped.now)

    def run_until(self, end: float, done: Callable[[], bool] = lambda: False) -> None:
        """Runs to ``end``, or until ``done``."""
        while not done() and self.stepped.step(end):
            pass

    async def complete(self, input_tokens: int, output_tokens: int, timeout_seconds: float) -> StreamResult:
        request = self.send(input_tokens, output_tokens)
        self.run_until(self.stepped.now + timeout_seconds, lambda: request.ended)
        if not request.ended:
            self.hang_up([request])
            raise RequestFailed(f"no full answer within {timeout_seconds:.1f} s")
        return request.result

    async def steady_loop(self, workload: Workload, *, spread: float) -> VirtualLoop:
        return VirtualLoop(self, workload, spread)

    async def open_loop(
        self, requests_per_second: float, workload: Workload, *, spread: float, seconds: float
    ) -> LoadTrace:
        began = self.stepped.now
        arrivals = [began + when for when in poisson_times(requests_per_second, seconds, self.rng)]
        lengths = OutputLengths(workload.output_tokens, spread, self.rng)
        sent = [self.send(workload.input_tokens, lengths.draw(), at=at) for at in arrivals]
        service = self.law.ttft_seconds(workload.input_tokens, 0)
        service += workload.output_tokens * self.law.itl_seconds(1) / self.law.tokens_per_step
        self.run_until(began + min(service, 0.3 * seconds))
        start, before = self.stepped.now, await self.reading()
        self.run_until(began + seconds)
        trace = self.trace(sent, len(sent), start, readings=(before, await self.reading()), intended=arrivals)
        self.hang_up(sent)
        return trace

    async def pause(self, seconds: float) -> None:
        self.run_until(self.stepped.now + seconds)

    async def reading(self) -> CounterReading:
        scheduler = self.stepped.scheduler
        counters = EngineCounters()
        if self._counted:
            totals = scheduler.totals
            made = totals.generated_tokens if self._by_step else totals.answered_tokens
            counters = EngineCounters(
                generated_tokens=made,
                kv_cache_tokens=self.law.kv_tokens,
                kv_cache_usage=scheduler.kv_used_tokens / self.law.kv_tokens,
                running=float(len(scheduler.running)),
                waiting=float(len(scheduler.waiting)),
                preemptions=totals.preemptions,
                by_step=self._by_step,
            )
        return CounterReading(stamp_ns=round(self.stepped.now * NS), counters=counters)

    async def machine(self, *, calibrate: bool) -> MachineSample:
        return MachineSample(stamp_ns=round(self.stepped.now * NS))

    async def close(self) -> None:
        pass

    def trace(
        self,
        sent: Row[_Request],
        concurrency: int,
        start: float,
        *,
        readings: tuple[CounterReading, ...],
        started: bool = True,
        sent_until_ns: int = 0,
        intended: Row[float] | None = None,
    ) -> LoadTrace:
        start_ns, end = round(start * NS), self.stepped.now
        bins = [0.0] * max(1, int((end - start) * NS / BIN_NS))
        started_bins = [0] * len(bins)
        for one in sent:
            for index, (stamp_ns, count) in enumerate(one.tokens):
                place = (stamp_ns - start_ns) // BIN_NS
                if 0 <= place < len(bins):
                    bins[place] += count
                    started_bins[place] += index == 0
        answered = [one for one in sent if one.tokens or not intended]
        dues = dict(zip(map(id, sent), intended or (), strict=False))
        return LoadTrace(
            concurrency=concurrency,
            start_ns=start_ns,
            end_ns=start_ns + len(bins) * BIN_NS,
            streams=tuple(one.result for one in answered),
            first=() if intended else tuple(one.first for one in answered),
            sent_until_ns=sent_until_ns,
            intended_ns=tuple(round(dues[id(one)] * NS) for one in answered) if intended else (),
            unanswered_ns=tuple(round(dues[id(one)] * NS) for one in sent if not one.tokens)
            if intended
            else (),
            bin_nanoseconds=BIN_NS,
            bins=tuple(bins),
            started_bins=tuple(started_bins),
            requests_ended=sum(
                one.ended and start_ns < one.tokens[-1][0] <= end * NS for one in answered if one.tokens
            ),
            readings=readings,
            started=started,
        )


class VirtualLoop:
    """``SteadyLoop`` over a virtual engine."""

    def __init__(self, engine: VirtualEngine, workload: Workload, spread: float) -> None:
        self._engine = engine
        self._workload, self._spread = workload, spread
        self._lengths = OutputLengths(workload.output_tokens, spread, engine.rng)
        self._live: set[_Request] = set()
        """The request under way of each stream."""
        self._surplus: float = 0
        """Streams that are not renewed when their request ends."""
        self._sent: list[_Request] = []
        self._opened: tuple[float, bool, CounterReading] | None = None
        """Of the last window: when it was opened, whether the loop was full, and the counters then."""

    def _send(self, *, life: int | None = None) -> None:
        request = self._engine.send(
            self._workload.input_tokens,
            self._lengths.draw() if life is None else life,
            self._again,
            first=life is not None,
        )
        self._live.add(request)
        self._sent.append(request)

    def _again(self, request: _Request) -> None:
        self._live.discard(request)
        if self._surplus:
            self._surplus -= 1
            return
        self._send()

    async def _open(self, terms: LevelTerms) -> tuple[float, bool, CounterReading]:
        engine = self._engine
        clock = engine.stepped
        begins = clock.now
        self._sent = list(self._live)
        added = terms.streams - len(self._live)
        self._surplus = max(0, -added)
        before_ramp = len(self._sent)
        lives = residual_lives(max(0, added), self._workload.output_tokens, self._spread, engine.rng)
        for life in lives:
            self._send(life=life)
            engine.run_until(clock.now + terms.gap_seconds)
        new = [one for one in self._sent[before_ramp:] if one.first]

        def full() -> bool:
            return not self._surplus and all(one.tokens for one in new)

        ends = max(clock.now, begins + terms.ramp_seconds)
        engine.run_until(ends, full)
        engine.run_until(min(ends, clock.now + terms.settle_seconds))
        return clock.now, full(), await engine.reading()

    async def level(self, terms: LevelTerms, enough: Callable[[Cohort], bool]) -> LoadTrace:
        engine = self._engine
        clock = engine.stepped
        if not terms.opened_ns or self._opened is None:
            self._opened = await self._open(terms)
        start, started, before = self._opened
        cohort: list[_Request] = []
        closes = start + terms.window_seconds
        while True:
            engine.run_until(clock.now + TURN_SECONDS)
            every = [one for one in self._sent if start <= one.sent]
            closes = terms.closes_ns(round(start * NS), [round(one.sent * NS) for one in every]) / NS
            cohort = [one for one in every if one.sent <= closes + 1 / NS]
            seconds, late = clock.now - start, clock.now >= closes + terms.follow_seconds
            over = clock.now >= closes and (late or all(one.ended for one in cohort))
            if enough(self._cohort(cohort, seconds)) or (over and seconds >= terms.least_seconds):
                break
        readings = (before, await engine.reading())
        return engine.trace(
            self._sent, terms.streams, start, readings=readings, started=started,
            sent_until_ns=round(closes * NS),
        )  # fmt: skip

    @staticmethod
    def _cohort(requests: Row[_Request], seconds: float) -> Cohort:
        return Cohort(
            seconds,
            tuple(
                RequestProgress(
                    round(one.sent * NS),
                    one.tokens[0][0] if one.tokens else None,
                    float(one.generated),
                    one.tokens[-1][0] if one.tokens else None,
                    one.ended,
                )
                for one in requests
            ),
        )

    async def close(self) -> None:
        self._surplus = math.inf
        self._engine.hang_up(list(self._live))
        self._live.clear()
