"""Time to spare makes the capacity's rate more certain."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from benchmarks.probe.drawn import KINDS, case_of
from benchmarks.probe.virtual import probed
from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Measurement, Workload
from tacho_runtime.probe import time_plan
from tacho_runtime.probe.phases import concurrency_levels
from tests.unit.probe import probing
from tools.mock import engine_truth
from tools.mock.engine_law import Law

UNEVEN = case_of(7, 14, KINDS[0], tokens_per_second=6000.0)
"""Its first window leaves the rate of its knee uncertain by a fifth."""


async def at_the_knee(budget_seconds: int) -> tuple[float, float, float]:
    """(window in seconds, half the interval in percent, error in percent) of the capacity's level."""
    case = replace(UNEVEN, slo=ServiceLevel())
    found: Measurement = await probed(case, 7016, budget_seconds=budget_seconds)
    assert found.capacity is not None
    point = next(one for one in found.curve if one.concurrency == found.capacity.concurrency)
    assert found.open_loop is not None, "arrivals keep their time"
    true = engine_truth.level(case.law, case.workload, point.concurrency).output_tokens_per_second
    assert point.window_seconds is not None
    assert point.ci_percent is not None
    return point.window_seconds, point.ci_percent, 100 * abs((point.output_tokens_per_second or 0) / true - 1)


async def test_the_level_of_the_capacity_is_measured_for_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    window, interval, error = await at_the_knee(90)
    assert window > time_plan.LONGER * time_plan.WINDOW_SECONDS
    assert error <= interval <= 1.5 * time_plan.DESIRED_PERCENT
    monkeypatch.setattr(time_plan, "DESIRED_PERCENT", 100.0)
    short, wide, _ = await at_the_knee(90)
    assert short < window
    assert wide > 2 * interval


SLOW = Law(
    ttft_base_ms=180.0, ttft_per_token_ms=0.2, itl_base_ms=108.0, itl_per_seq_ms=0.42, kv_tokens=10_000_000,
    max_num_seqs=512,
)  # fmt: skip
"""A request among the 218 streams of its knee takes 13 s."""


async def test_a_slow_engine_without_an_slo_is_measured_for_longer_too() -> None:
    """The search has ended: no further level is reserved, and none of the window's requests is followed."""
    workload = Workload(input_tokens=512, output_tokens=64)
    found = await probing.probed(SLOW, 1, workload=workload, budget=120)
    assert found.open_loop is not None, "arrivals keep their time"
    assert window_of(found) > time_plan.LONGER * time_plan.WINDOW_SECONDS


async def test_arrivals_that_would_not_end_in_time_keep_none() -> None:
    """59 arrivals of so few streams, of 18 s each, take longer than the whole budget."""
    law = Law(
        ttft_base_ms=94.0, ttft_per_token_ms=0.15, itl_base_ms=23.4, itl_per_seq_ms=5.9, max_num_seqs=16,
        jitter_cv=0.09, kv_tokens=10_000_000,
    )  # fmt: skip
    found = await probing.probed(law, 2, slots=16, budget=90)
    assert found.open_loop is None
    assert window_of(found) > time_plan.LONGER * (time_plan.WINDOW_SECONDS - 0.1)


BLOCKING = Law(
    ttft_base_ms=5.5, ttft_per_token_ms=0.0114, prefill_blocks=True, itl_base_ms=20.3, itl_per_seq_ms=0.317,
    max_num_seqs=256, jitter_cv=0.293, kv_tokens=10_000_000, seed=1014,
)  # fmt: skip
"""Its knee seems a little lower in a longer window: the search would go on."""


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_search_that_had_ended_stays_complete(seed: int) -> None:
    workload = Workload(input_tokens=256, output_tokens=128)
    found = await probing.probed(BLOCKING, seed, slots=256, workload=workload, budget=90)
    assert (found.state, found.flags) == ("Complete", ())
    assert found.capacity is not None
    assert found.capacity.boundary == "Plateau"
    assert window_of(found) > time_plan.LONGER * time_plan.WINDOW_SECONDS
    assert concurrency_levels.ENDED_BEFORE in found.message
    assert f"{found.capacity.concurrency} streams reach" in found.message
    cycle = 256 * BLOCKING.ttft_seconds(256, 0) + 127 * BLOCKING.itl_seconds(256)
    knee = 0.9 * 256 * 128 / cycle
    assert found.capacity.output_tokens_per_second == pytest.approx(knee, rel=0.05)


def window_of(found: Measurement) -> float:
    """The window of the capacity's level, in seconds."""
    assert found.capacity is not None
    point = next(one for one in found.curve if one.concurrency == found.capacity.concurrency)
    return point.window_seconds or 0.0


STEPS_DOWN = case_of(7, 0, KINDS[0], tokens_per_second=2500.0)
"""Its knee lies below the level that was measured last."""


@pytest.mark.parametrize("most_levels", [time_plan.MAX_LEVELS, 0])
async def test_streams_that_are_too_many_end_before_it(
    most_levels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A level more is no level of the search: that has ended, however few it may have."""
    case = replace(STEPS_DOWN, slo=ServiceLevel())
    plain = await probed(case, 7000, budget_seconds=90)
    monkeypatch.setattr(time_plan, "DESIRED_PERCENT", 1.0)
    monkeypatch.setattr(time_plan, "MAX_LEVELS", most_levels or len(plain.curve) - 1)
    found = await probed(case, 7000, budget_seconds=90)
    assert (found.state, found.flags) == (plain.state, plain.flags)
    assert plain.capacity is not None
    assert found.capacity is not None
    windows = [
        next(one.window_seconds or 0 for one in each.curve if one.concurrency == plain.capacity.concurrency)
        for each in (plain, found)
    ]
    assert windows[1] > time_plan.LONGER * windows[0]


@pytest.mark.parametrize("slo", [ServiceLevel(), UNEVEN.slo])
async def test_levels_that_are_given_share_the_budget(slo: ServiceLevel) -> None:
    case, streams = replace(UNEVEN, slo=slo), (8, 16, 32)
    found = await probed(case, 7014, budget_seconds=90, given=streams)
    assert [one.concurrency for one in found.curve] == [1, *streams]
    assert found.single_stream is not None
    assert found.single_stream.prefill_tokens_per_second
    windows = [one.window_seconds or 0 for one in found.curve[1:]]
    assert min(windows) > 2 * time_plan.WINDOW_SECONDS
    assert max(windows) < 1.5 * min(windows)
    assert found.probe_seconds is not None
    assert found.probe_seconds <= 90


@pytest.mark.parametrize("slo", [ServiceLevel(), UNEVEN.slo])
async def test_a_given_level_that_is_faster_than_predicted_uses_its_whole_share(slo: ServiceLevel) -> None:
    """As with a mixture of experts, whose time per token hardly grows once every expert is in use."""
    law = UNEVEN.law.changed(
        itl_base_ms=4.0, itl_per_seq_ms=1.2, itl_knee=8, itl_per_seq_above_ms=-1.1, ttft_per_token_ms=0.05
    )
    workload = Workload(input_tokens=512, output_tokens=200)
    case = replace(UNEVEN, law=law, workload=workload, slo=slo)
    found = await probed(case, 7014, budget_seconds=90, given=(8, 48, 128))
    windows = [one.window_seconds or 0 for one in found.curve[1:]]
    assert len(windows) == 3
    assert max(windows) < 1.3 * min(windows)
    assert found.probe_seconds is not None
    assert found.probe_seconds <= 90


@pytest.mark.parametrize("percentile", [95, 99])
async def test_the_last_requests_of_given_levels_end_within_the_budget(percentile: int) -> None:
    """A request of 18 s that is sent as the share ends would be awaited after it."""
    law = UNEVEN.law.changed(itl_base_ms=90.0, itl_per_seq_ms=0.05, itl_knee=64, itl_per_seq_above_ms=0.05)
    slo = ServiceLevel(ttft_milliseconds=3000, tpot_milliseconds=200, percentile=percentile)
    case = replace(UNEVEN, law=law, workload=Workload(input_tokens=512, output_tokens=200), slo=slo)
    found = await probed(case, 7014, budget_seconds=90, given=(8,))
    assert found.probe_seconds is not None
    assert found.probe_seconds <= 90
    assert (found.curve[1].window_seconds or 0) > 45


@given(st.floats(0.5, 30), st.floats(0.3, 60), st.floats(-10, 120))
def test_a_longer_window_is_as_long_as_its_interval_takes(
    window: float, percent: float, spare: float
) -> None:
    found = time_plan.longer_window(window_seconds=window, interval_percent=percent, spare_seconds=spare)
    if found is None:
        assert (
            percent <= time_plan.DESIRED_PERCENT
            or min(spare, 20.0, window * (percent / time_plan.DESIRED_PERCENT) ** 2)
            < time_plan.LONGER * window
        )
        return
    assert time_plan.LONGER * window <= found <= min(spare, time_plan.LONGEST_WINDOW_SECONDS)
    assert percent * (window / found) ** 0.5 >= time_plan.DESIRED_PERCENT - 1e-9
