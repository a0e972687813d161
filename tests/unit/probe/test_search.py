from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tacho_contract.measurement import Workload
from tacho_runtime.probe import search

seconds = st.floats(min_value=0.001, max_value=100)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(16, 8192))
def test_a_shape_always_fits_the_context(inputs: int, outputs: int, longest: int) -> None:
    shape = search.fitting_shape(Workload(input_tokens=inputs, output_tokens=outputs), longest)
    got = shape.workload
    assert got.input_tokens >= 1
    assert got.output_tokens >= min(2, outputs)
    if inputs + outputs <= longest - search.MARGIN_TOKENS:
        assert got == Workload(input_tokens=inputs, output_tokens=outputs)
        assert shape.note == ""
    else:
        assert got.input_tokens + got.output_tokens <= longest
        assert f"{inputs}+{outputs}" in shape.note
        assert "maxModelLen" in shape.note


@given(st.integers(1, 2000), seconds, seconds, st.floats(min_value=-10, max_value=100))
def test_output_is_cut_only_where_a_request_takes_too_long(
    outputs: int, ttft: float, tpot: float, left: float
) -> None:
    wanted = search.Shape(workload=Workload(input_tokens=8, output_tokens=outputs))
    shape = search.affordable_shape(wanted, ttft_seconds=ttft, tpot_seconds=tpot, left_seconds=left)
    got = shape.workload.output_tokens
    assert min(outputs, search.MINIMUM_OUTPUT_TOKENS) <= got <= outputs
    assert shape.time_was_short == (got < outputs)
    assert ("budgetSeconds" in shape.note) == (got < outputs)
    if got > search.MINIMUM_OUTPUT_TOKENS:
        assert ttft + (got - 1) * tpot <= max(0.0, search.LEVEL_SHARE_OF_ONE_REQUEST * left) + tpot


@given(st.integers(1, 512), st.integers(0, 6))
def test_levels_start_at_the_top_and_never_repeat(top: int, count: int) -> None:
    levels = search.geometric_levels(top, count)
    assert len(set(levels)) == len(levels) <= count
    assert all(1 < level <= top for level in levels)
    if top > 1 and count:
        assert levels[0] == top


def test_levels_divide_by_ratio() -> None:
    assert search.geometric_levels(64, 3) == (64, 8, 23)
    assert search.geometric_levels(4, 4) == (4, 2, 3)
    assert search.geometric_levels(2, 4) == (2,)


@given(st.integers(1, 512), st.floats(min_value=-5, max_value=60), seconds, seconds)
def test_a_plan_of_levels_stays_within_the_time(
    concurrency: int, left: float, ttft: float, request: float
) -> None:
    plan = search.levels_for(concurrency, left_seconds=left, ttft_seconds=ttft, request_seconds=request)
    assert plan.reason
    assert len(plan.levels) * plan.seconds_each <= max(0.0, left) * 1.0001
    for level in plan.levels:
        assert level <= concurrency
        assert level * ttft <= left / 2, "the prompts alone would take the time"


@pytest.mark.parametrize(
    ("concurrency", "left", "ttft", "request_seconds", "levels", "reason"),
    [
        (16, 30.0, 0.02, 1.0, (16, 4, 8, 2), "4 levels of 7.5 s"),
        (1, 30.0, 0.02, 1.0, (), "one request at a time"),
        (4, 25.0, 0.7, 3.0, (4, 2), "2 levels of 12.5 s"),
        (256, 20.0, 1.0, 10.0, (9,), "256 would spend the time on its first prompts alone"),
        (4, 0.5, 0.02, 1.0, (), "no level above one fits"),
    ],
)
def test_levels_for(
    concurrency: int, left: float, ttft: float, request_seconds: float, levels: tuple[int, ...], reason: str
) -> None:
    plan = search.levels_for(
        concurrency, left_seconds=left, ttft_seconds=ttft, request_seconds=request_seconds
    )
    assert plan.levels == levels
    assert reason in plan.reason


@given(st.integers(1, 4000), st.integers(0, 8192), seconds, st.floats(min_value=-5, max_value=60))
def test_prompt_lengths_fit_and_cost_their_share(inputs: int, longest: int, ttft: float, left: float) -> None:
    sizes, repetitions = search.input_sizes(inputs, longest, ttft_seconds=ttft, left_seconds=left)
    assert list(sizes) == sorted(set(sizes))
    assert not sizes or repetitions >= 1
    if longest:
        assert all(size <= max(longest - search.MARGIN_TOKENS, 0) for size in sizes)
    if repetitions > 1:
        assert repetitions * sum(sizes) * ttft / inputs <= 0.15 * left * 1.01


@given(st.one_of(st.none(), seconds), seconds)
def test_a_window_is_whole_requests_within_the_limit(service: float | None, most: float) -> None:
    target = search.window_target_seconds(service, most_seconds=most)
    assert 0 < target <= most * 1.0001
    if service is not None and service <= most:
        assert target / service == pytest.approx(round(target / service))
        assert target >= min(search.WINDOW_SECONDS, most) - service


@given(st.integers(1, 100), st.integers(1, 500))
def test_first_requests_are_spread_over_one_life(concurrency: int, outputs: int) -> None:
    draws = [search.first_output_tokens(i, concurrency, outputs, 0.5) for i in range(concurrency)]
    assert all(1 <= draw <= outputs for draw in draws)
    assert draws == sorted(draws)
    if concurrency >= 4 and outputs >= 50:
        assert sum(draws) / concurrency == pytest.approx(outputs / 2, rel=0.1)
