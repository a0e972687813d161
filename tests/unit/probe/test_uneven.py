"""Tokens that come in bursts: what a window of few requests knows, and levels that tell no rate."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Workload
from tacho_runtime.machine.sampling import MachineSample
from tacho_runtime.probe.engine_under_test import LoadTrace
from tacho_runtime.probe.levels import LevelResult, evaluate
from tacho_runtime.probe.session import SPREAD
from tests.unit.probe.probing import LAW, WORKLOAD, probed
from tools.mock.virtual_engine import VirtualEngine, VirtualLaw

WINDOW_SECONDS = 4.5


def drawn(rng: Random) -> tuple[VirtualLaw, Workload, int]:
    """A law of slow steps, the more exact the harder, and as many streams as a machine with it may be asked
    for: a window holds ten to forty requests."""
    law = VirtualLaw(
        ttft_base_ms=rng.uniform(50, 400),
        ttft_per_token_ms=0.0,
        itl_base_ms=rng.uniform(60, 150),
        itl_per_seq_ms=rng.uniform(0, 5),
        jitter=rng.choice((0.0, 0.0, 0.05)),
        prefill_blocks=True,
    )
    return law, Workload(input_tokens=64, output_tokens=rng.choice((8, 12, 16, 24))), rng.choice((2, 3, 4, 6))


def level(law: VirtualLaw, workload: Workload, streams: int, rng: Random) -> LevelResult | None:
    engine = VirtualEngine(law, rng)
    trace = asyncio.run(
        engine.closed_loop(
            streams, workload, spread=SPREAD, seconds=5 * WINDOW_SECONDS, window_seconds=WINDOW_SECONDS
        )
    )
    return evaluate(trace, workload, ServiceLevel())


def in_the_long_run(law: VirtualLaw, workload: Workload, streams: int, seconds: float) -> float:
    """The rate of a closed loop that nobody interrupts, by the same engine."""
    engine = VirtualEngine(law, Random(99))
    trace = asyncio.run(engine.closed_loop(streams, workload, spread=SPREAD, seconds=seconds))
    return sum(trace.bins) / (len(trace.bins) * trace.bin_nanoseconds / 1e9)


def test_intervals_of_few_requests_hold_the_truth() -> None:
    """Cycles of an exact law differ in nothing, and yet where in a step they begin and end is not known."""
    held = told = narrow = 0
    for seed in range(60):
        law, workload, streams = drawn(Random(seed))
        found = level(law, workload, streams, Random(seed))
        if found is None or not found.has_rate:
            continue
        true = in_the_long_run(law, workload, streams, 150.0)
        percent = found.point.ci_percent or 0.0
        told += 1
        narrow += percent < 5
        held += abs(found.point.output_tokens_per_second / true - 1) <= percent / 100
        step_percent = law.gap_ms(streams) / WINDOW_SECONDS / 10
        assert percent >= 0.9 * step_percent, "no interval is narrower than a step of the window"
    assert told >= 50
    assert narrow >= 12, "an interval that is wide always would hold anything"
    assert held / told >= 0.9, f"{held} of {told}"


def test_prompts_that_stop_everybody_cost_no_certainty() -> None:
    """A quarter of a second for each prompt, and tokens come in bursts, of which a window holds a dozen."""
    law = replace(
        LAW, ttft_base_ms=20, ttft_per_token_ms=0.4, itl_base_ms=4, jitter=0.05, prefill_blocks=True
    )
    truth: dict[int, float] = {}
    covered = total = 0
    for seed in range(8):
        measured = asyncio.run(probed(law, seed))
        assert len(measured.curve) >= 2, measured.message
        assert "NotSteady" not in measured.flags, measured.message
        for point in measured.curve[1:]:
            true = truth.setdefault(
                point.concurrency, in_the_long_run(law, WORKLOAD, point.concurrency, 300.0)
            )
            assert point.output_tokens_per_second == pytest.approx(true, rel=0.2)
            assert point.ci_percent is not None
            total += 1
            covered += abs(point.output_tokens_per_second / true - 1) <= point.ci_percent / 100
    assert covered / total >= 0.85, f"{covered} of {total}"


class Crowded(VirtualEngine):
    """Somebody uses its CPUs while it has several streams, whose tokens then come all at once."""

    others_microseconds = 0

    async def closed_loop(self, concurrency: int, workload: Workload, **how: Any) -> LoadTrace:
        trace = await super().closed_loop(concurrency, workload, **how)
        self.others_microseconds += (trace.end_ns - trace.start_ns) // 1000
        bins = [0.0] * len(trace.bins)
        bins[0], bins[len(bins) // 3] = 1.0, sum(trace.bins) - 1
        return replace(trace, bins=tuple(bins), started_bins=())

    def machine(self, *, calibrate: bool) -> MachineSample:
        now = round(self.now_seconds() * 1e6)
        return MachineSample(
            stamp_ns=1000 * now,
            node_cpus=2,
            node_busy_microseconds=now + self.others_microseconds,
            own_busy_microseconds=now,
        )


async def test_levels_that_a_neighbour_kept_from_being_told_are_tried_again() -> None:
    measured = await probed(LAW, 1, engine=Crowded(LAW, Random(1)))
    assert [point.concurrency for point in measured.curve] == [1]
    assert measured.curve[0].flags == ()
    assert "have no rate: tokens arrived too unevenly" in measured.message
    assert "Contended" in measured.flags, "nobody takes one stream for all that it carries"


class Uneven(VirtualEngine):
    """Above so many streams all tokens of a window come at two moments."""

    even = 0

    async def closed_loop(self, concurrency: int, workload: Workload, **how: Any) -> LoadTrace:
        trace = await super().closed_loop(concurrency, workload, **how)
        if concurrency <= self.even:
            return trace
        bins = [0.0] * len(trace.bins)
        bins[0], bins[len(bins) // 3] = 1.0, sum(trace.bins) - 1
        return replace(trace, bins=tuple(bins), started_bins=())


async def test_levels_that_tell_no_rate_bound_the_service_level_and_are_shown_nowhere() -> None:
    """At 256 streams and at 128 the service level is broken, at fewer kept; above 50 no rate is told."""
    engine = Uneven(LAW, Random(1))
    engine.even = 50
    measured = await probed(LAW, 1, ServiceLevel(tpot_milliseconds=30), engine=engine)
    assert measured.capacity is not None
    assert measured.capacity.concurrency == pytest.approx(39, rel=0.05)
    assert measured.capacity.boundary == "Edge"
    assert max(point.concurrency for point in measured.curve) <= 50
    assert "256 streams miss the SLO, and are too uneven for a rate" in measured.message


async def test_what_told_no_rate_is_not_tried_until_the_time_is_over() -> None:
    engine = Uneven(LAW, Random(1))
    engine.even = 10
    measured = await probed(LAW, 1, ServiceLevel(tpot_milliseconds=30), engine=engine)
    assert [point.concurrency for point in measured.curve] == [1, 9]
    assert measured.capacity is not None
    assert (measured.capacity.concurrency, measured.capacity.boundary) == (9, "Floor")
    assert measured.state == "Partial"
    assert measured.message.count("have no rate: tokens arrived too unevenly") == 1
