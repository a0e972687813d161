"""The probe's phases against engines that do more than their law says, on a clock of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from tacho_contract.launch import LiveConfig, ServiceLevel
from tacho_contract.measurement import Workload
from tacho_runtime.probe.engine_under_test import Cohort, LevelTerms, LoadTrace
from tacho_runtime.probe.latencies import FEW_REQUESTS
from tacho_runtime.probe.load.engine_counters import CounterReading
from tacho_runtime.probe.load.streams import StreamResult
from tacho_runtime.probe.phases import stability
from tacho_runtime.probe.sequence import MeasureOptions, measure
from tacho_runtime.probe.session import ProbeClock, ProbeFindings
from tests.unit.probe.probing import LAW, WORKLOAD, bench_of, probed
from tools.mock.engine_law import Law
from tools.mock.virtual_engine import VirtualEngine, VirtualLoop


class Behind(VirtualEngine):
    """By a way that takes 40 ms, which its own counters do not see."""

    asked, seconds = 0, 0.0

    async def complete(self, input_tokens: int, output_tokens: int, timeout_seconds: float) -> StreamResult:
        stream = await super().complete(input_tokens, output_tokens, timeout_seconds)
        self.asked += 1
        self.seconds += (stream.ttft_milliseconds or 0.0) / 1000
        return replace(stream, sent_ns=stream.sent_ns - 40_000_000)

    async def reading(self) -> CounterReading:
        found = await super().reading()
        counters = replace(found.counters, ttft_seconds_sum=self.seconds, ttft_seconds_count=self.asked)
        return replace(found, counters=counters)


@pytest.mark.parametrize(("near", "flags"), [(True, ("ClientBound",)), (False, ())])
async def test_a_first_token_that_is_late_outside_of_the_engine_is_told(
    near: bool, flags: tuple[str, ...]
) -> None:
    engine, findings = Behind(LAW, Random(1)), ProbeFindings()
    live = LiveConfig(measure_key="m", workload=WORKLOAD)
    clock = ProbeClock(now=engine.now_seconds, budget_ends=44, timeout_ends=90)
    await measure(
        engine, MeasureOptions(live=live, max_model_len=4096, streams=8, near=near), findings, clock
    )
    assert "to the first token passed outside the engine" in " ".join(findings.notes)
    assert findings.single.flags == flags


class Lingering(VirtualEngine):
    """Lets go of what was hung up on when it next looks, and counts it then."""

    left, until = 0.0, 0.0

    async def reading(self) -> CounterReading:
        found = await super().reading()
        busy = self.now_seconds() < self.until
        made = (found.counters.generated_tokens or 0.0) + (0.0 if busy else self.left)
        counters = replace(found.counters, generated_tokens=made, running=2.0 if busy else 0.0)
        return replace(found, counters=counters)


@pytest.mark.parametrize("lasting", [False, True])
async def test_what_was_hung_up_on_a_moment_ago_is_nobody_elses(lasting: bool) -> None:
    engine, findings = Lingering(LAW, Random(1)), ProbeFindings()
    bench = await bench_of(engine, findings, seconds=10.0)
    findings.single.streams = (await engine.complete(512, 200, 60),)
    engine.left, engine.until = 60.0, engine.now_seconds() + (60.0 if lasting else 2.0)
    if lasting:
        engine.stepped.foreign.come(engine.now_seconds(), 2, 60.0)
    await stability.final_check(bench)
    assert ("OtherTraffic" in findings.flags) == lasting


class Backlogged(VirtualEngine):
    """Its front end counts what was made before as it gets to it, with no request running any more."""

    until = 0.0

    async def reading(self) -> CounterReading:
        found = await super().reading()
        counted = -15_000.0 * max(0.0, self.until - self.now_seconds())
        made = (found.counters.generated_tokens or 0.0) + counted
        return replace(found, counters=replace(found.counters, generated_tokens=made))


async def test_what_a_front_end_gets_to_late_is_nobody_elses() -> None:
    engine, findings = Backlogged(LAW, Random(1)), ProbeFindings()
    findings.single.streams = (await engine.complete(512, 200, 60),)
    engine.until = engine.now_seconds() + 1.0
    await stability.final_check(await bench_of(engine, findings, seconds=20.0))
    assert findings.flags == set()


class Drifting(VirtualEngine):
    """Slower, or faster, from some moment on."""

    change, since = 1.0, 20.0

    def run_until(self, end: float, done: Callable[[], bool] = lambda: False) -> None:
        if self.now_seconds() > self.since:
            self.law = replace(LAW, itl_base_ms=10 / self.change, itl_per_seq_ms=0.5 / self.change)
        super().run_until(end, done)


@pytest.mark.parametrize("change", [0.97, 1.0, 1.03])
async def test_an_engine_that_ends_otherwise_than_it_began_is_known_only_that_well(change: float) -> None:
    """Too little to be called not steady: the next probe may find what either end of this one found."""
    engine = Drifting(LAW, Random(1))
    engine.change = change
    measured = await probed(LAW, 1, engine=engine)
    single, capacity = measured.single_stream, measured.capacity
    assert single is not None
    assert capacity is not None
    moved = 100 * abs(1 / change - 1)
    assert measured.flags == ()
    assert capacity.ci_percent is not None
    assert capacity.ci_percent > moved
    for interval in (single.decode_ci_percent, *(p.ci_percent for p in measured.curve)):
        assert interval is not None
        assert moved < interval < moved + 8
    assert ("all intervals are" in measured.message) == (change != 1.0)


@pytest.mark.parametrize(
    ("law", "longer"), [(LAW, False), (Law(kv_tokens=1_000_000, tokens_per_step=3), True)]
)
async def test_one_stream_whose_steps_differ_is_measured_for_longer_at_the_end(
    law: Law, longer: bool
) -> None:
    """Seven seconds' worth at the beginning, and as much again where its rate is not known within 2 %."""
    measured = await probed(law, 2)
    single = measured.single_stream
    assert single is not None
    assert (single.requests > FEW_REQUESTS) == longer
    assert measured.flags == ()
    assert measured.curve[0].requests == single.requests


@pytest.mark.parametrize(("budget", "requests"), [(120.0, 5), (32.0, 4)])
async def test_requests_of_one_stream_are_not_few_where_the_budget_allows(
    budget: float, requests: int
) -> None:
    """A 32B in 16 bits takes four seconds for each: two at the beginning."""
    law = Law(kv_tokens=1_000_000, itl_base_ms=20.0, itl_per_seq_ms=0.5)
    measured = await probed(law, 2, budget=budget, slots=8)
    assert measured.single_stream is not None
    assert measured.single_stream.requests == measured.curve[0].requests == requests
    assert measured.flags == ()


class BreakingLoop(VirtualLoop):
    """All connections of its first levels break at once."""

    breaks = 1

    async def level(self, terms: LevelTerms, enough: Callable[[Cohort], bool]) -> LoadTrace:
        trace = await super().level(terms, enough)
        if terms.streams != 8 or self.breaks <= 0:
            return trace
        self.breaks -= 1
        return replace(trace, failures=("the connection broke",) * 3, started=False, broken=True)


class Breaking(VirtualEngine):
    breaks = 1

    async def steady_loop(self, workload: Workload, *, spread: float) -> VirtualLoop:
        loop = BreakingLoop(self, workload, spread)
        loop.breaks = self.breaks
        return loop


@pytest.mark.parametrize("breaks", [1, 99])
async def test_a_level_that_failures_end_is_tried_once_more(breaks: int) -> None:
    engine = Breaking(LAW, Random(1))
    engine.breaks = breaks
    measured = await probed(LAW, 1, engine=engine, slots=8)
    assert "3 requests failed at 8 streams: the connection broke" in measured.message
    if breaks == 1:
        assert (measured.state, measured.flags) == ("Complete", ())
        assert max(point.concurrency for point in measured.curve) == 8
    else:
        assert measured.state == "Partial"
        assert [point.concurrency for point in measured.curve] == [1, 4, 6, 7]
        assert measured.capacity is not None
        assert (measured.capacity.concurrency, measured.capacity.boundary) == (7, "Floor")


async def test_a_level_is_not_judged_by_the_backlog_of_more_streams() -> None:
    """A front end that is too slow for 48 streams, which are tried first, carries 36."""
    law = Law(
        ttft_base_ms=59, ttft_per_token_ms=0.064, itl_base_ms=11.2, itl_per_seq_ms=0.0087, frontend_us=330
    )
    workload = Workload(input_tokens=64, output_tokens=128)
    slo = ServiceLevel(ttft_milliseconds=89, tpot_milliseconds=16)
    measured = await probed(law, 37, slo, workload=workload, budget=60)
    assert measured.capacity is not None
    assert 33 <= measured.capacity.concurrency <= 37
    assert measured.capacity.boundary == "Edge"
