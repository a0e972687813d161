"""Requests that are added at the end are judged as those of the beginning are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest

from tacho_contract.launch import LiveConfig
from tacho_runtime.machine.sampling import MachineSample
from tacho_runtime.probe.load.engine_counters import CounterReading
from tacho_runtime.probe.load.streams import StreamResult
from tacho_runtime.probe.phases import stability
from tacho_runtime.probe.report import assemble
from tacho_runtime.probe.session import ProbeFindings, SingleStreamFindings
from tests.unit.probe.probing import ENDED, WORKLOAD, bench_of
from tools.mock.engine_law import Law
from tools.mock.virtual_engine import VirtualEngine

FIRST = 3
PAUSE_NS = 300_000_000
LAW = Law(kv_tokens=1_000_000, tokens_per_step=3)
"""Its rate is not known within 2 % after a few requests."""


class LaterOtherwise(VirtualEngine):
    """All but its first requests are answered in another way, from the second of the end on by default."""

    asked, somebody_elses, first_otherwise = 0, 0.0, FIRST + 1
    way: Callable[[StreamResult], StreamResult] = staticmethod(lambda stream: stream)

    async def complete(self, input_tokens: int, output_tokens: int, timeout_seconds: float) -> StreamResult:
        stream = await super().complete(input_tokens, output_tokens, timeout_seconds)
        self.asked += 1
        if self.asked <= self.first_otherwise:
            return stream
        self.stepped.scheduler.totals.generated_tokens += self.somebody_elses
        return self.way(stream)


def failed(stream: StreamResult) -> StreamResult:
    return replace(stream, failed=1)


def stalled(stream: StreamResult) -> StreamResult:
    """It stands still after half of its tokens."""
    half = len(stream.tokens) // 2
    later = tuple((stamp_ns + PAUSE_NS, count) for stamp_ns, count in stream.tokens[half:])
    return replace(stream, tokens=(*stream.tokens[:half], *later))


async def looked_at(engine: LaterOtherwise, *, near: bool = True, lost_percent: float = 0.0) -> ProbeFindings:
    """After a clean beginning, in which it may have lost that much to others."""
    findings = ProbeFindings(single=SingleStreamFindings(flags=(), loss_percent=lost_percent))
    findings.single.streams = tuple([await engine.complete(512, 200, 60) for _ in range(FIRST)])
    bench = await bench_of(engine, findings, seconds=30.0)
    bench.near = near
    await stability.final_check(bench)
    return findings


@pytest.mark.parametrize(
    ("way", "flags", "stood"),
    [
        (LaterOtherwise.way, (), False),
        (failed, ("NotSteady",), False),
        (stalled, ("NotSteady",), True),
    ],
    ids=["alike", "failed", "stalled"],
)
async def test_what_the_engine_does_wrong_at_the_end_is_told(
    way: Callable[[StreamResult], StreamResult], flags: tuple[str, ...], stood: bool
) -> None:
    engine = LaterOtherwise(LAW, Random(1))
    engine.way = way
    findings = await looked_at(engine)
    assert len(findings.single.streams) == engine.asked > FIRST + 2
    assert findings.single.flags == flags
    assert ("one stream stalled" in findings.single.stall_note) == stood
    result = findings.results.get(1)
    assert result is not None
    assert result.point.flags == flags


async def test_requests_beside_somebody_elses_are_left_out() -> None:
    engine = LaterOtherwise(LAW, Random(1))
    engine.somebody_elses = 300.0
    findings = await looked_at(engine)
    assert engine.asked > FIRST + 2
    assert len(findings.single.streams) == FIRST
    assert "tokens for other clients" in " ".join(findings.notes)
    assert (findings.single.flags, findings.flags) == ((), set())


def known_to_a_cache(stream: StreamResult) -> StreamResult:
    return replace(stream, cached_tokens=500)


async def test_a_cache_that_knew_prompts_of_the_end_is_told() -> None:
    engine = LaterOtherwise(LAW, Random(1))
    engine.way = known_to_a_cache
    findings = await looked_at(engine)
    live = LiveConfig(measure_key="m", workload=WORKLOAD)
    found = assemble(findings, live, plan_key="p", ended=ENDED, probe_seconds=30.0)
    assert "CacheHit" in found.flags


class SlowToReach(LaterOtherwise):
    """It says of the requests of the end that it answered them at once."""

    async def reading(self) -> CounterReading:
        read = await super().reading()
        asked = max(0, self.asked - FIRST)
        counters = replace(read.counters, ttft_seconds_count=float(asked), ttft_seconds_sum=asked * 1e-3)
        return replace(read, counters=counters)


@pytest.mark.parametrize("near", [True, False])
async def test_first_tokens_that_were_late_outside_of_the_engine_are_told_at_the_end_too(near: bool) -> None:
    engine = SlowToReach(LAW, Random(1))
    findings = await looked_at(engine, near=near)
    assert "passed outside the engine" in " ".join(findings.notes)
    assert findings.flags == ({"ClientBound"} if near else set())
    assert (len(findings.single.streams) == FIRST) == near


class Crowded(LaterOtherwise):
    """Others use all CPUs from the last of the first requests on."""

    async def machine(self, *, calibrate: bool) -> MachineSample:
        looked = await super().machine(calibrate=calibrate)
        busy = round(1e6 * max(0.0, self.now_seconds()))
        return replace(looked, node_cpus=1, node_busy_microseconds=busy, own_busy_microseconds=busy // 2)


def slowly(stream: StreamResult) -> StreamResult:
    """Half as fast."""
    first_ns = stream.tokens[0][0]
    return replace(stream, tokens=tuple((2 * at - first_ns, count) for at, count in stream.tokens))


@pytest.mark.parametrize(("slow", "flags"), [(False, set()), (True, {"Contended", "NotSteady"})])
async def test_what_the_machine_did_at_the_end_counts_where_it_shows(slow: bool, flags: set[str]) -> None:
    engine = Crowded(LAW, Random(1))
    engine.first_otherwise = FIRST if slow else FIRST + 1
    engine.way = slowly if slow else LaterOtherwise.way
    findings = await looked_at(engine)
    assert findings.flags == flags
    assert len(findings.single.streams) == FIRST, "disturbed ones are not added"
    assert "one stream at the end" in " ".join(findings.disturbances())


class Accompanied(LaterOtherwise):
    """Others use a little of its CPUs, and leave none idle."""

    async def machine(self, *, calibrate: bool) -> MachineSample:
        looked = await super().machine(calibrate=calibrate)
        busy = round(1e6 * self.now_seconds())
        return replace(
            looked, node_cpus=1, node_busy_microseconds=busy, own_busy_microseconds=busy * 95 // 100
        )


@pytest.mark.parametrize(("former", "loss"), [(0.0, 100 * 0.05 / 0.95), (9.0, 9.0)])
async def test_what_others_cost_requests_of_the_end_widens_the_interval_too(
    former: float, loss: float
) -> None:
    engine = Accompanied(LAW, Random(1))
    findings = await looked_at(engine, lost_percent=former)
    assert len(findings.single.streams) > FIRST + 1
    assert findings.single.loss_percent == pytest.approx(loss, rel=0.01)
