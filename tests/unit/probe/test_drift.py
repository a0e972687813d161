"""One stream at other moments beside that of the beginning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from tacho_contract.measurement import Workload
from tacho_runtime.machine.sampling import MachineSample
from tacho_runtime.probe.load.counters import CounterReading
from tacho_runtime.probe.load.streams import StreamResult
from tacho_runtime.probe.load.timed_client import RequestFailed
from tacho_runtime.probe.phases import stability
from tacho_runtime.probe.phases.stability import drift_percent
from tacho_runtime.probe.rates import DecodeRate, decode_of
from tacho_runtime.probe.session import ProbeFindings
from tacho_runtime.probe.time_plan import RequestShape
from tests.unit.probe.probing import bench_of, probed
from tools.mock.virtual_engine import VirtualEngine, VirtualLaw


def decode(rate: float, ci_percent: float | None = 1.0) -> DecodeRate:
    return DecodeRate(
        tokens_per_second=rate,
        ci_percent=ci_percent,
        stalls=0,
        stalled_percent=0.0,
        itl_milliseconds_p50=None,
        itl_milliseconds_p95=None,
    )


@pytest.mark.parametrize(
    ("later", "percent"),
    [
        ([], 0.0),
        ([100.9], 0.0),
        ([98.0], 2.0),
        ([100.2, 99.5, 100.4], 0.0),
        ([100.0, 96.0, 101.0], 4.0),
        # None of them is far off alone.
        ([98.8, 98.8, 98.8, 98.8], 0.0),
        ([98.8, 101.2, 98.8, 101.2], 1.2),
    ],
)
def test_the_farthest_moment_counts_where_chance_does_not_explain_it(
    later: Sequence[float], percent: float
) -> None:
    assert drift_percent(decode(100.0), 4, [decode(rate) for rate in later]) == pytest.approx(percent)


def test_wide_intervals_explain_much_and_those_that_are_not_known_nothing() -> None:
    assert drift_percent(decode(100.0, 8.0), 4, [decode(93.0, 8.0)]) == 0
    assert drift_percent(decode(100.0, 2.0), 4, [decode(96.0, None)]) == 0
    assert drift_percent(decode(100.0, 2.0), 4, [decode(95.0, None)]) == pytest.approx(5.0)
    assert drift_percent(decode(100.0, None), 4, [decode(99.0, None)]) == pytest.approx(1.0)


class Switching(VirtualEngine):
    """Its single requests are slower and faster by turns, each for ``seconds``."""

    slow_first, depth, seconds = False, 0.02, 15.0

    async def ask(self, input_tokens: int, output_tokens: int, timeout_seconds: float) -> StreamResult:
        slow = (int(self.now_seconds() / self.seconds) % 2 == 0) == self.slow_first
        times = 1 + self.depth if slow else 1 - self.depth
        stream = await super().ask(input_tokens, output_tokens, timeout_seconds)
        first_ns = stream.tokens[0][0]
        tokens = tuple((first_ns + round(times * (at - first_ns)), count) for at, count in stream.tokens)
        return replace(stream, tokens=tokens)


async def test_probes_of_an_engine_that_changes_by_turns_agree_within_their_intervals() -> None:
    """As it begins it ends: what is otherwise in between shows only there."""
    found = []
    for slow_first in (False, True):
        engine = Switching(VirtualLaw(itl_base_ms=5, itl_per_seq_ms=0.1), Random(1))
        engine.slow_first = slow_first
        measured = await probed(engine.law, 1, engine=engine)
        single, capacity = measured.single_stream, measured.capacity
        assert single is not None
        assert capacity is not None
        assert "at different times of the probe" in measured.message
        assert measured.flags == ()
        assert 3 < (single.decode_ci_percent or 0) < 6
        assert (capacity.ci_percent or 0) > 3
        rate = single.decode_tokens_per_second
        found.append((rate, rate * (single.decode_ci_percent or 0.0) / 100))
    (one, half), (other, other_half) = found
    assert abs(one - other) > 0.03 * one
    assert abs(one - other) <= half + other_half


class Crowded(VirtualEngine):
    """Others take all CPUs."""

    def machine(self, *, calibrate: bool) -> MachineSample:
        looked = super().machine(calibrate=calibrate)
        busy = round(1e6 * self.now_seconds())
        return replace(looked, node_cpus=1, node_busy_microseconds=busy, own_busy_microseconds=0)


class Asked(VirtualEngine):
    """It counts what it is asked."""

    asked = 0

    async def ask(self, input_tokens: int, output_tokens: int, timeout_seconds: float) -> StreamResult:
        self.asked += 1
        return await super().ask(input_tokens, output_tokens, timeout_seconds)


class AskedCrowded(Asked, Crowded):
    """It counts on CPUs that others take."""


class Silent(Asked):
    """It answers once."""

    async def ask(self, input_tokens: int, output_tokens: int, timeout_seconds: float) -> StreamResult:
        if self.asked:
            self.asked += 1
            raise RequestFailed("503")
        return await super().ask(input_tokens, output_tokens, timeout_seconds)


class Hung(Asked):
    """It answers once, and stays silent as long as one waits."""

    async def ask(self, input_tokens: int, output_tokens: int, timeout_seconds: float) -> StreamResult:
        if self.asked:
            self.asked += 1
            await self.pause(timeout_seconds)
            raise RequestFailed(f"no full answer within {timeout_seconds:.1f} s")
        return await super().ask(input_tokens, output_tokens, timeout_seconds)


class Busy(Asked):
    """Somebody else's request never ends."""

    async def reading(self) -> CounterReading:
        read = await super().reading()
        return replace(read, counters=replace(read.counters, running=1.0))


async def looked_at(
    asked: VirtualEngine, single_seconds: float, *, times: int
) -> tuple[ProbeFindings, float]:
    """After so many levels, and the most seconds that a look took; a budget of 60 s is left."""
    tokens = max(2, round(single_seconds / 0.0105))
    findings = ProbeFindings(single=(await asked.ask(16, tokens, 60.0),))
    bench = bench_of(asked, findings, seconds=asked.now_seconds() + 60.0)
    bench.shape = RequestShape(workload=Workload(input_tokens=16, output_tokens=tokens))
    most = 0.0
    for _ in range(times):
        began = asked.now_seconds()
        await stability.check_between_levels(bench)
        most = max(most, asked.now_seconds() - began)
    return findings, most


@pytest.mark.parametrize(
    ("engine", "single_seconds", "looks", "sent"),
    [
        (Asked, 0.5, stability.MAX_CHECKS, stability.MAX_CHECKS),
        (AskedCrowded, 0.5, 0, stability.MAX_CHECKS),
        (Asked, 3.0, 0, 0),
        # With what settles before it, it would take more than its share.
        (Asked, 0.04 * 60 - 0.1, 0, 0),
        (Busy, 0.5, 0, 0),
        (Silent, 0.5, 0, 1),
    ],
    ids=["cheap", "disturbed", "dear", "dear with its settling", "busy", "failed"],
)
async def test_looks_are_cheap_few_and_undisturbed(
    engine: type[Asked], single_seconds: float, looks: int, sent: int
) -> None:
    asked = engine(VirtualLaw(), Random(1))
    findings, most = await looked_at(asked, single_seconds, times=stability.MAX_CHECKS + 2)
    assert len(findings.later_rates) == looks
    assert asked.asked - 1 == sent
    assert most <= stability.CHECK_SHARE * 60.0
    assert findings.flags == set(), "what is no figure makes none provisional"
    assert findings.notes == []


@pytest.mark.parametrize(("single_seconds", "longest"), [(0.1, 1.0), (0.5, 1.5)])
async def test_a_look_that_hangs_costs_little_once_and_is_told(single_seconds: float, longest: float) -> None:
    asked = Hung(VirtualLaw(), Random(1))
    findings, most = await looked_at(asked, single_seconds, times=stability.MAX_CHECKS + 2)
    assert longest < most < longest + 0.4
    assert asked.asked == 2, "the next level finds out whether it answers at all"
    (note,) = findings.notes
    assert "one stream between levels failed and took 1." in note


async def test_the_time_for_settling_does_not_end_the_look_of_an_engine_that_needs_some() -> None:
    class Late(Asked):
        """It ends what was hung up on after a second."""

        async def reading(self) -> CounterReading:
            read = await super().reading()
            running = float(self.now_seconds() < 1.5)
            return replace(read, counters=replace(read.counters, running=running))

    findings, most = await looked_at(Late(VirtualLaw(), Random(1)), 0.5, times=1)
    assert len(findings.later_rates) == 1
    assert 1.4 < most <= stability.CHECK_SHARE * 60.0


async def test_looks_count_where_no_time_is_left_for_the_last_one() -> None:
    engine = VirtualEngine(VirtualLaw(), Random(1))
    findings = ProbeFindings(single=tuple([await engine.ask(512, 200, 60.0) for _ in range(3)]))
    findings.later_rates = [decode(80.0)]
    await stability.final_check(bench_of(engine, findings, seconds=engine.now_seconds()))
    assert findings.drift_percent == pytest.approx(100 * (1 - 80 / (1000 / 10.5)), abs=0.5)
    assert "all intervals are 16 % wider" in findings.notes[-1]


async def test_intervals_that_are_hardly_wider_are_not_told_as_no_wider() -> None:
    engine = VirtualEngine(VirtualLaw(), Random(1))
    findings = ProbeFindings(single=tuple([await engine.ask(512, 200, 60.0) for _ in range(3)]))
    first = decode_of(findings.single)
    assert first is not None
    findings.later_rates = [decode(first.tokens_per_second * 0.9955, 0.1)]
    await stability.final_check(bench_of(engine, findings, seconds=engine.now_seconds()))
    assert "all intervals are 0.45 % wider" in findings.notes[-1]
