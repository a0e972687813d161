"""A probe that ran out of its time, and those that go on from its levels."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from tacho_contract.launch import LiveConfig, ServiceLevel
from tacho_contract.measurement import KnownLevels, Measurement
from tacho_operator.core.measurement.attempts import ATTEMPTS
from tacho_operator.core.measurement.entry import PodReport, measurement_entry
from tacho_operator.core.measurement.known_levels import known_levels
from tacho_runtime.probe.phases.known_levels import disagreement
from tacho_runtime.probe.rates import DecodeRate
from tacho_runtime.probe.report import assemble
from tacho_runtime.probe.sequence import MeasureOptions, measure
from tacho_runtime.probe.session import SPREAD, ProbeClock, ProbeFindings, contradict
from tests.unit.probe.probing import ENDED, WORKLOAD
from tests.unit.probe.reporting import result
from tools.harness.documents import plain_report
from tools.mock.engine_law import Law
from tools.mock.virtual_engine import VirtualEngine

SLOW = Law(kv_tokens=1_000_000, itl_base_ms=38, itl_per_seq_ms=0.3, ttft_base_ms=40, prefill_blocks=True)
MANY = replace(SLOW, itl_per_seq_ms=0.15, ttft_base_ms=20)
SLO = ServiceLevel(tpot_milliseconds=80)
BOUNDED = ("Edge", "Plateau")


async def probed(
    law: Law, seed: int, *, known: KnownLevels | None = None, budget: float = 45.0
) -> Measurement:
    """What engines as slow as this begin in time they end a request later."""
    engine, findings = VirtualEngine(law, Random(seed)), ProbeFindings()
    live = LiveConfig(measure_key="m", workload=WORKLOAD, slo=SLO)
    clock = ProbeClock(now=engine.now_seconds, budget_ends=0.97 * budget, timeout_ends=2 * budget)
    question = MeasureOptions(live=live, max_model_len=4096, streams=8, known=known)
    await measure(engine, question, findings, clock)
    seconds = engine.now_seconds()
    return assemble(findings, live, plan_key="p", ended=ENDED, probe_seconds=seconds, spread=SPREAD)


def passed_on(measured: Measurement) -> KnownLevels | None:
    """As the operator keeps it in status and passes it on."""
    report = plain_report(observed_time=measured.observed_time, measurement=measured)
    entry = measurement_entry(PodReport(report=report, image_id="i"), None)
    assert entry is not None
    return known_levels(entry)


@pytest.mark.parametrize("law", [SLOW, MANY], ids=["slow", "many"])
async def test_a_slow_engine_ends_at_the_edge_of_one_long_probe_within_three_attempts(law: Law) -> None:
    long = (await probed(law, 9, budget=240)).capacity
    assert long is not None
    assert long.boundary in BOUNDED
    for seed in range(3):
        measured = await probed(law, seed)
        known = passed_on(measured)
        for attempt in range(ATTEMPTS):
            assert known is not None, measured.message
            assert measured.capacity is not None
            assert measured.capacity.boundary == "Floor"
            assert measured.capacity.concurrency <= 1.06 * long.concurrency
            measured = await probed(law, 100 * seed + attempt, known=known)
            if measured.capacity is not None and measured.capacity.boundary in BOUNDED:
                break
            known = passed_on(measured) or known  # of a provisional one the clean one stays
        assert measured.capacity is not None
        assert measured.capacity.boundary in BOUNDED
        assert measured.capacity.output_tokens_per_second == pytest.approx(
            long.output_tokens_per_second, rel=0.06
        )


async def test_known_levels_are_among_those_of_the_next_probe_with_the_known_single_stream() -> None:
    first = await probed(SLOW, 1)
    known = passed_on(first)
    assert known is not None
    second = await probed(SLOW, 2, known=known)
    former = {item.concurrency: item.output_tokens_per_second for item in known.levels}
    here = {item.concurrency: item.output_tokens_per_second for item in second.curve}
    assert former.items() <= here.items()
    assert len(here) > len(former)
    assert second.single_stream is not None
    assert second.single_stream.requests == known.single_stream.requests
    several = len(known.levels) - 1
    said = (
        f"{several} levels and the single stream are those of 2026-01-02T00:00:00Z: one request alone agrees"
    )
    assert said in second.message


@pytest.mark.parametrize("rate", [1e300, 0.0, -1.0])
async def test_known_levels_that_no_engine_has_are_not_told(rate: float) -> None:
    """Their document may be of another release, or edited: no search meets the levels to see that."""
    known = passed_on(await probed(SLOW, 1))
    assert known is not None
    *lower, top = known.levels
    levels = (*lower, replace(top, output_tokens_per_second=rate), replace(top, concurrency=0))
    measured = await probed(SLOW, 2, known=replace(known, levels=levels))
    assert measured.capacity is not None
    assert not {rate}.intersection(point.output_tokens_per_second for point in measured.curve)
    assert measured.capacity.output_tokens_per_second < 2 * (top.output_tokens_per_second or 0)
    assert ("of 2026-01-02T00:00:00Z were dropped" in measured.message) == (rate > 1)


@pytest.mark.parametrize("change", [0.9, 1.1])
async def test_known_levels_of_a_faster_or_slower_pod_are_dropped_and_that_is_said(change: float) -> None:
    known = passed_on(await probed(SLOW, 1))
    assert known is not None
    other = replace(SLOW, itl_base_ms=SLOW.itl_base_ms * change)
    measured = await probed(other, 1, known=known)
    fresh = await probed(other, 1)
    assert "the known levels of 2026-01-02T00:00:00Z were dropped: one stream decoded" in measured.message
    assert measured.single_stream is not None
    assert fresh.single_stream is not None
    assert measured.single_stream.decode_tokens_per_second == pytest.approx(
        fresh.single_stream.decode_tokens_per_second, rel=0.02
    )


async def test_dropped_levels_leave_the_workload_as_it_was() -> None:
    known = passed_on(await probed(SLOW, 1))
    assert known is not None
    shorter = replace(known.workload, output_tokens=known.workload.output_tokens // 2)
    other = replace(SLOW, itl_base_ms=SLOW.itl_base_ms * 1.1)
    dropped = await probed(other, 1, known=replace(known, workload=shorter))
    assert dropped.workload == (await probed(other, 1)).workload


async def test_a_difference_of_over_a_tenth_is_within_no_interval() -> None:
    known = passed_on(await probed(SLOW, 1))
    assert known is not None
    single = replace(known.single_stream, decode_tokens_per_second=100.0, decode_ci_percent=30.0)
    rates = (
        DecodeRate(
            tokens_per_second=rate,
            ci_percent=1.0,
            stalls=0,
            stalled_percent=0.0,
            itl_milliseconds_p50=None,
            itl_milliseconds_p95=None,
        )
        for rate in (109.0, 111.0)
    )
    found = [disagreement(replace(known, single_stream=single), rate, 512.0) for rate in rates]
    assert [bool(why) for why in found] == [False, True]


async def test_a_small_difference_of_the_pods_widens_the_intervals() -> None:
    known = passed_on(await probed(SLOW, 1))
    assert known is not None
    measured = await probed(replace(SLOW, itl_base_ms=38.8), 1, known=known)
    assert "one request alone agrees" in measured.message
    (alone,) = [item.ci_percent for item in measured.curve if item.concurrency == 1]
    (former,) = [item.ci_percent for item in known.levels if item.concurrency == 1]
    assert alone is not None
    assert former is not None
    assert alone - former == pytest.approx(100 * 0.8 / 38.3, abs=0.3)


async def test_prompts_of_another_length_are_another_measurement() -> None:
    known = passed_on(await probed(SLOW, 1))
    assert known is not None
    other = replace(known, workload=replace(known.workload, input_tokens=300))
    measured = await probed(SLOW, 1, known=other)
    assert "prompts had 300 tokens then and 512 now" in measured.message


@pytest.mark.parametrize(
    "change",
    [
        {"itl_per_seq_ms": 0.9, "itl_base_ms": 37.4},
        {"max_num_seqs": 4},
        {"itl_per_seq_ms": 0.02, "itl_base_ms": 38.28, "ttft_per_token_ms": 0.001},
    ],
    ids=["slower", "fewer", "faster"],
)
async def test_known_levels_of_a_pod_that_differs_under_load_are_dropped(change: dict[str, Any]) -> None:
    """One stream agrees: 707 tokens/s at 48 streams were told of a pod with 430, as its edge and without a
    flag."""
    first = await probed(SLOW, 1)
    known = passed_on(first)
    assert known is not None
    measured = await probed(replace(SLOW, **change), 5, known=known)
    assert "the known levels were dropped: " in measured.message
    assert "the single stream is that of 2026-01-02T00:00:00Z: one request alone agrees" in measured.message
    assert "levels and the single stream are" not in measured.message
    former = {(item.concurrency, item.output_tokens_per_second) for item in known.levels}
    here = {(item.concurrency, item.output_tokens_per_second) for item in measured.curve}
    assert {streams for streams, _ in former & here} == {1}


async def test_a_throughput_that_falls_far_beyond_a_known_level_contradicts_nothing() -> None:
    """As where a cache is full; a little beyond it does."""
    low, near, far = (result(streams, rate).point for streams, rate in ((40, 700), (56, 600), (100, 500)))
    assert contradict(low, near)
    assert contradict(near, low)
    assert not contradict(low, far)
    assert contradict(low, result(100, 1950).point)


async def test_two_levels_whose_intervals_explain_the_difference_do_not_contradict() -> None:
    """15 % each, as of short windows: a loop measured twice differs by 14 % in one pair of five."""
    low, high = (
        replace(result(streams, rate).point, ci_percent=15.0) for streams, rate in ((40, 700), (56, 600))
    )
    assert not contradict(low, high)
    assert contradict(low, replace(high, output_tokens_per_second=500.0))
    for certain, uncertain in ((1.5, 20.0), (20.0, 1.5)):
        one, other = replace(low, ci_percent=certain), replace(high, ci_percent=uncertain)
        assert not contradict(one, replace(other, output_tokens_per_second=570.0))


def test_one_stream_measured_again_drops_no_level_of_several() -> None:
    """Its prompts and gaps count in its rate: ten times as much from eight streams is no contradiction."""
    found = ProbeFindings(results={8: result(8, 700)}, known_streams={8})
    found.add_level(result(1, 70))
    assert set(found.results) == {1, 8}


def test_a_known_level_that_was_measured_here_is_not_dropped_with_the_others() -> None:
    """As by ``refine``: a rate of this pod is neither told as one of then, nor lost."""
    found = ProbeFindings(results={n: result(n, rate) for n, rate in ((8, 300), (16, 500), (40, 700))})
    found.known_streams = {8, 16, 40}
    found.add_level(result(40, 690))
    found.add_level(result(20, 400))
    assert {n: one.point.output_tokens_per_second for n, one in found.results.items()} == {20: 400, 40: 690}
    (note,) = found.notes
    assert "16 streams had 500 tokens/s then" in note


@pytest.mark.parametrize(
    ("flags", "steady", "dropped"),
    [
        ((), True, True),
        (("NotSteady",), False, True),
        (("NotSteady",), True, False),
        (("Contended",), True, False),
        (("Contended", "NotSteady"), False, False),
    ],
)
def test_a_level_that_something_else_slowed_down_drops_no_known_one(
    flags: tuple[str, ...], steady: bool, dropped: bool
) -> None:
    """As where a kernel was compiled in its window: its second try tells what this pod has."""
    found = ProbeFindings(results={40: result(40, 700)}, known_streams={40})
    slow = result(44, 500, flags=flags)
    found.add_level(replace(slow, point=replace(slow.point, steady=steady)))
    assert (40 not in found.results) is dropped
    assert bool(found.notes) is dropped
