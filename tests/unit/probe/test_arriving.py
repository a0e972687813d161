"""Requests that arrive by themselves, where something disturbs the first of the two rates."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Capacity, Workload
from tacho_runtime.machine.sampling import MachineSample
from tacho_runtime.probe.engine_under_test import ClientHealth
from tacho_runtime.probe.levels import single_result
from tacho_runtime.probe.open_loop import evaluate_open
from tacho_runtime.probe.phases import arrivals
from tacho_runtime.probe.report import flags_of
from tacho_runtime.probe.session import ProbeClock, ProbeFindings, ProbeSession
from tacho_runtime.probe.time_plan import RequestShape
from tools.mock.engine_law import Law
from tools.mock.virtual_engine import VirtualEngine

WORKLOAD = Workload(input_tokens=64, output_tokens=50)
LAW = Law(kv_tokens=1_000_000)
CAPACITY = Capacity(concurrency=3, requests_per_second=4.0)
SLO = ServiceLevel(tpot_milliseconds=20, percentile=90)


class Slowed(VirtualEngine):
    """With a neighbour on the CPU during the first loop, who is gone before the second."""

    loops = 0
    seen = False

    async def open_loop(self, *args: Any, **changes: Any) -> Any:
        self.loops += 1
        self.law = replace(LAW, itl_base_ms=30) if self.loops == 1 else LAW
        return await super().open_loop(*args, **changes)

    async def machine(self, *, calibrate: bool) -> MachineSample:
        slow = self.loops == 1 and not self.seen
        self.seen = self.seen or slow
        sample = await super().machine(calibrate=calibrate)
        return replace(sample, calibration_ns=12_000_000 if slow else 4_000_000)


async def bench_of(engine: VirtualEngine) -> ProbeSession:
    found = ProbeFindings(shape=RequestShape(workload=WORKLOAD))
    bench = ProbeSession(
        engine=engine,
        slo=SLO,
        clock=ProbeClock(now=engine.now_seconds, budget_ends=60, timeout_ends=90),
        findings=found,
        max_model_len=4096,
        progress=lambda _: None,
        shape=RequestShape(workload=WORKLOAD),
        quiet=await engine.machine(calibrate=True),
    )
    found.single.streams = tuple([await engine.complete(64, 50, 10) for _ in range(3)])
    one = single_result(found.single.streams, SLO)
    assert one is not None
    found.add_level(one)
    return bench


async def test_a_rate_that_was_disturbed_is_repeated_and_not_lowered() -> None:
    bench = await bench_of(Slowed(LAW, Random(1)))
    await arrivals.arrivals(bench, CAPACITY)
    assert passed(bench) is True
    assert offered(bench) == pytest.approx(0.85 * 4)
    assert flags_of(bench.findings, SLO) == ()
    assert "the open loop" in " ".join(bench.findings.disturbances())


async def test_what_was_disturbed_and_cannot_be_repeated_is_flagged_and_not_lowered() -> None:
    bench = await bench_of(Slowed(LAW, Random(1)))
    bench.clock = replace(bench.clock, budget_ends=bench.clock.now() + 15)
    await arrivals.arrivals(bench, CAPACITY)
    assert passed(bench) is False
    assert offered(bench) == pytest.approx(0.85 * 4)
    assert "Contended" in flags_of(bench.findings, SLO)


class AlwaysSlowed(Slowed):
    """With the neighbour there to stay."""

    async def machine(self, *, calibrate: bool) -> MachineSample:
        sample = await VirtualEngine.machine(self, calibrate=calibrate)
        return replace(sample, calibration_ns=12_000_000 if self.loops else 4_000_000)

    async def open_loop(self, *args: Any, **changes: Any) -> Any:
        self.loops = 0
        return await super().open_loop(*args, **changes)


async def test_what_is_disturbed_twice_says_nothing_of_a_lower_rate() -> None:
    bench = await bench_of(AlwaysSlowed(LAW, Random(1)))
    await arrivals.arrivals(bench, CAPACITY)
    assert passed(bench) is False
    assert offered(bench) == pytest.approx(0.85 * 4)
    assert "Contended" in flags_of(bench.findings, SLO)


def offered(bench: ProbeSession) -> float | None:
    found = bench.findings.opened
    return found.figures.offered_requests_per_second if found and found.figures else None


def passed(bench: ProbeSession) -> bool | None:
    return bench.findings.opened.passed if bench.findings.opened else None


def flags(bench: ProbeSession) -> tuple[str, ...]:
    return bench.findings.opened.flags if bench.findings.opened else ()


async def test_somebody_else_who_sends_meanwhile_is_told() -> None:
    bench = await bench_of(
        VirtualEngine(replace(LAW, foreign_streams=3, foreign_from_s=3, foreign_seconds=99), Random(1))
    )
    await arrivals.arrivals(bench, CAPACITY)
    assert flags(bench) == ("OtherTraffic",)
    assert "another client sends requests" in " ".join(bench.findings.notes)


@pytest.mark.parametrize("seed", range(3))
async def test_undisturbed_arrivals_raise_nothing(seed: int) -> None:
    bench = await bench_of(VirtualEngine(LAW, Random(seed)))
    await arrivals.arrivals(bench, CAPACITY)
    assert bench.findings.opened is not None
    assert flags(bench) == ()


async def test_end_to_end_of_answers_that_were_all_cut_is_of_whole_ones() -> None:
    engine = VirtualEngine(LAW, Random(1))
    long = Workload(input_tokens=64, output_tokens=10_000)
    trace = await engine.open_loop(4.0, long, spread=0.0, seconds=5.0)
    result = evaluate_open(trace, long, 4.0, SLO)
    assert result is not None
    figures = result.figures
    assert figures is not None
    whole = figures.ttft_milliseconds_p50 + 9_999 * figures.tpot_milliseconds_p50
    assert figures.end_to_end_milliseconds_p50 == pytest.approx(whole, rel=0.1)


class Late(VirtualEngine):
    """As the processes that ask see it when they were held up themselves."""

    async def open_loop(self, *args: Any, **changes: Any) -> Any:
        trace = await super().open_loop(*args, **changes)
        return replace(trace, client=ClientHealth(late_send_milliseconds_p99=12.0))


async def test_requests_that_were_sent_too_late_are_the_clients_doing() -> None:
    bench = await bench_of(Late(LAW, Random(1)))
    await arrivals.arrivals(bench, CAPACITY)
    assert flags(bench) == ("ClientBound",)
    assert "sent requests 12 ms after they were due" in " ".join(bench.findings.notes)
