"""The probe's phases against known laws, on a clock of the engine's own: nothing but the law and chance."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import INVALIDATING, Workload
from tacho_runtime.probe.levels import evaluate
from tacho_runtime.probe.phases import single_stream
from tacho_runtime.probe.phases.concurrency_levels import _Levels
from tacho_runtime.probe.session import ProbeFindings
from tests.unit.probe.probing import LAW, WORKLOAD, bench_of, level_of, probed, rate_of
from tools.mock.engine_law import Law
from tools.mock.virtual_engine import VirtualEngine


@pytest.mark.parametrize("jitter", [0.0, 0.3])
@pytest.mark.parametrize("tokens", [1.0, 2.5])
async def test_a_law_is_read_within_its_intervals(jitter: float, tokens: float) -> None:
    law = replace(LAW, jitter_cv=jitter, tokens_per_step=tokens)
    covered = total = 0
    for seed in range(6):
        measured = await probed(law, seed)
        assert measured.state == "Complete", measured.message
        assert measured.flags == ()
        single = measured.single_stream
        assert single is not None
        assert single.decode_ci_percent is not None
        truth = 1000 * tokens / (1000 * law.itl_seconds(1))
        figures = [(single.decode_tokens_per_second, truth, single.decode_ci_percent)]
        figures += [
            (point.output_tokens_per_second, rate_of(law, point.concurrency), point.ci_percent)
            for point in measured.curve[1:]
            if point.ci_percent is not None
        ]
        for found, true, percent in figures:
            assert found == pytest.approx(true, rel=0.08)
            total += 1
            covered += abs(found / true - 1) <= percent / 100
        assert measured.capacity is not None
        assert measured.capacity.boundary == "Plateau"
    assert covered / total >= 0.85


async def test_a_slow_engine_is_measured_with_fewer_tokens_and_says_so() -> None:
    """50 ms a token: 400 of them would take 20 s of 5."""
    slow = replace(LAW, ttft_base_ms=100, ttft_per_token_ms=0, itl_base_ms=50, itl_per_seq_ms=0)
    asked = Workload(input_tokens=64, output_tokens=400)
    result = await probed(slow, 1, workload=asked, streams=2, slots=2, budget=5.0)
    assert result.single_stream is not None
    assert result.single_stream.decode_tokens_per_second == pytest.approx(20, rel=0.05)
    assert "BudgetExhausted" in result.flags
    assert result.workload.output_tokens < 400
    assert "instead of 400" in result.message
    assert [point.concurrency for point in result.curve] == [1, 2]
    assert result.probe_seconds <= 5
    assert result.curve[1].output_tokens_per_second == pytest.approx(40, rel=0.15)


@pytest.mark.parametrize(
    ("slo", "law", "streams", "boundary"),
    [
        (ServiceLevel(tpot_milliseconds=30), LAW, 39, "Edge"),
        (ServiceLevel(ttft_milliseconds=30), LAW, 1, "NeverMet"),
        (
            ServiceLevel(tpot_milliseconds=30, ttft_milliseconds=300),
            replace(LAW, kv_tokens=10_000),
            13,
            "Edge",
        ),
        (
            ServiceLevel(tpot_milliseconds=30),
            replace(LAW, itl_per_seq_ms=0.1, itl_knee=20, itl_per_seq_above_ms=0.4),
            48,
            "Plateau",
        ),
    ],
)
async def test_what_is_carried_at_a_service_level(
    slo: ServiceLevel, law: Law, streams: int, boundary: str
) -> None:
    measured = await probed(law, 3, slo)
    assert measured.capacity is not None
    assert measured.capacity.basis == "SLO"
    if measured.capacity.boundary != boundary:
        # The time may run out before the edge is closed in on: then it is said, and Edge is not claimed.
        assert (measured.capacity.boundary, "BudgetExhausted" in measured.flags) == ("Floor", True)
        assert 8 <= measured.capacity.concurrency <= streams
        return
    assert measured.capacity.concurrency == pytest.approx(streams, rel=0.05)
    assert measured.capacity.verified is not False or boundary == "Plateau"


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"stall_every_ms": 1000.0, "stall_ms": 120.0}, {"NotSteady"}),
        ({"foreign_streams": 4, "foreign_seconds": 99.0}, {"OtherTraffic"}),
        (
            {"foreign_streams": 4, "foreign_from_s": 12.0, "foreign_seconds": 99.0},
            {"OtherTraffic", "NotSteady"},
        ),
        ({"foreign_streams": 1, "foreign_from_s": 20.0, "foreign_seconds": 99.0}, {"OtherTraffic"}),
    ],
)
async def test_what_disturbs_is_flagged(changes: dict[str, Any], wanted: set[str]) -> None:
    for seed in range(4):
        measured = await probed(replace(LAW, **changes), seed)
        assert set(measured.flags) & INVALIDATING == wanted, measured.message
        assert measured.message


async def test_stalls_are_told_beside_the_rate_without_them() -> None:
    measured = await probed(replace(LAW, stall_every_ms=900.0, stall_ms=150.0), 1)
    single = measured.single_stream
    assert single is not None
    assert single.decode_tokens_per_second == pytest.approx(1000 / (1000 * LAW.itl_seconds(1)), rel=0.02)
    assert single.stalls > 2
    assert single.stalled_percent == pytest.approx(100 * 150 / 1050, rel=0.5)


async def test_pauses_are_told_of_the_figures_that_stay_and_not_of_those_that_were_replaced() -> None:
    measured = await probed(replace(LAW, stall_every_ms=900.0, stall_ms=150.0), 1)
    assert measured.single_stream is not None
    told = [clause for clause in measured.message.split("; ") if "stalled" in clause]
    assert len(told) == 1
    assert f"stalled {measured.single_stream.stalls} times" in told[0]


async def test_somebody_who_leaves_in_time_costs_a_second_look_and_no_flag() -> None:
    law = replace(LAW, foreign_streams=1, foreign_from_s=2.5, foreign_seconds=2.5)
    measured = await probed(law, 1)
    assert measured.flags == ()
    single = measured.single_stream
    assert single is not None
    assert single.decode_tokens_per_second == pytest.approx(1000 / (1000 * LAW.itl_seconds(1)), rel=0.02)
    assert "tokens for other clients" in measured.message


async def test_a_halt_to_compile_is_no_prompt_time() -> None:
    engine, findings = VirtualEngine(LAW.changed(cold_ms=500.0), Random(1)), ProbeFindings()
    bench = await bench_of(engine, findings, seconds=45)
    await single_stream.one_stream(bench, ttft=0.05, tpot=0.01)
    levels = _Levels(bench, await engine.steady_loop(WORKLOAD, spread=0.25))
    await levels.time_prompts()
    await levels.loop.close()
    assert levels.prompt_seconds <= LAW.ttft_seconds(WORKLOAD.input_tokens, 0) + 1e-6


async def test_slots_are_the_most_that_is_tried() -> None:
    measured = await probed(LAW, 1, slots=4)
    assert max(point.concurrency for point in measured.curve) == 4
    assert "runs 4 requests at a time" in measured.message


async def test_a_check_is_one_stream_and_one_level() -> None:
    measured = await probed(LAW, 1, level=20)
    assert [point.concurrency for point in measured.curve] == [1, 20]
    assert measured.curve[1].output_tokens_per_second == pytest.approx(rate_of(LAW, 20), rel=0.03)
    assert measured.open_loop is None


async def test_a_limit_that_nobody_told_is_waiting_and_brings_no_more() -> None:
    measured = await probed(replace(LAW, max_num_seqs=8), 1, ServiceLevel(tpot_milliseconds=30))
    assert measured.capacity is not None
    assert (measured.capacity.concurrency, measured.capacity.boundary) == (8, "Plateau")
    assert measured.flags == ()


@pytest.mark.parametrize(
    "law",
    [
        LAW,
        replace(LAW, jitter_cv=0.2),
        replace(LAW, tokens_per_step=2.5),
        replace(LAW, itl_per_seq_ms=3.0),
        replace(LAW, max_num_seqs=128),
    ],
    ids=["even", "jittery", "speculative", "steep", "full"],
)
@pytest.mark.parametrize(("streams", "others"), [(64, 1), (64, 2), (128, 2), (128, 4)])
async def test_little_foreign_traffic_is_flagged_or_within_the_interval(
    law: Law, streams: int, others: int
) -> None:
    clean = 0
    for seed in range(3):
        engine = VirtualEngine(replace(law, foreign_streams=others, foreign_seconds=60.0), Random(seed))
        await engine.pause(1.0)
        trace = await level_of(engine, streams)
        result = evaluate(trace, WORKLOAD, ServiceLevel())
        assert result is not None
        assert result.point.ci_percent is not None
        off = abs(result.point.output_tokens_per_second / rate_of(law, streams) - 1)
        assert off <= result.point.ci_percent / 100 or not result.clean
        clean += result.clean
    assert clean or 100 * others / streams > 3, "too little to be flagged each time"


@pytest.mark.parametrize("every", [600.0, 1500.0])
async def test_levels_that_stall_are_within_their_intervals(every: float) -> None:
    law = replace(LAW, stall_every_ms=every, stall_ms=150.0)
    within = 0
    for seed in range(10):
        engine = VirtualEngine(law, Random(seed))
        trace = await level_of(engine, 16)
        result = evaluate(trace, WORKLOAD, ServiceLevel())
        assert result is not None
        assert result.point.ci_percent is not None
        true = rate_of(law, 16) * every / (every + 150)
        within += abs(result.point.output_tokens_per_second / true - 1) <= result.point.ci_percent / 100
        within += not result.clean
    assert within >= 9


async def test_stalls_of_a_slow_engine_are_told_as_well() -> None:
    law = replace(LAW, itl_base_ms=38.0, stall_every_ms=1400.0, stall_ms=90.0)
    for seed in range(4):
        measured = await probed(law, seed)
        single = measured.single_stream
        assert single is not None
        assert single.stalls
        assert single.decode_tokens_per_second == pytest.approx(1000 / (1000 * law.itl_seconds(1)), rel=0.02)
