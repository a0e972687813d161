from __future__ import annotations

from hypothesis import given, strategies as st

from tacho_contract.measurement import Workload
from tacho_runtime.probe import time_plan
from tacho_runtime.probe.target import BY_OPTIONS

seconds = st.floats(min_value=0.001, max_value=100)


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(16, 8192))
def test_a_shape_always_fits_the_context(inputs: int, outputs: int, longest: int) -> None:
    shape = time_plan.fitting_shape(Workload(input_tokens=inputs, output_tokens=outputs), longest)
    got = shape.workload
    assert got.input_tokens >= 1
    assert got.output_tokens >= min(2, outputs)
    if inputs + outputs <= longest - time_plan.MARGIN_TOKENS:
        assert got == Workload(input_tokens=inputs, output_tokens=outputs)
        assert shape.notes == ()
    else:
        assert got.input_tokens + got.output_tokens <= longest
        (note,) = shape.notes
        assert f"{inputs}+{outputs}" in note
        assert "maxModelLen" in note


@given(st.integers(1, 2000), seconds, seconds, st.floats(min_value=-10, max_value=100))
def test_output_is_cut_only_where_a_request_takes_too_long(
    outputs: int, ttft: float, tpot: float, left: float
) -> None:
    wanted = time_plan.RequestShape(workload=Workload(input_tokens=8, output_tokens=outputs))
    shape = time_plan.affordable_shape(wanted, ttft_seconds=ttft, tpot_seconds=tpot, left_seconds=left)
    got = shape.workload.output_tokens
    assert min(outputs, time_plan.MINIMUM_OUTPUT_TOKENS) <= got <= outputs
    assert shape.time_was_short == (got < outputs)
    assert ("budgetSeconds" in "".join(shape.notes)) == (got < outputs)
    if got > time_plan.MINIMUM_OUTPUT_TOKENS:
        assert ttft + (got - 1) * tpot <= max(0.0, time_plan.LEVEL_SHARE_OF_ONE_REQUEST * left) + tpot


@given(
    st.integers(2, 512), st.integers(0, 512), st.floats(0, 1), seconds, st.floats(min_value=-5, max_value=120)
)
def test_a_level_stays_within_the_time_and_is_worth_it(
    streams: int, running: int, prompt: float, request: float, left: float
) -> None:
    terms = time_plan.level_terms(
        streams=streams, former=time_plan.FormerLevel(streams=running, queue_seconds=prompt),
        prompt_seconds=prompt, request_seconds=request, cohort=59, left_seconds=left,
    )  # fmt: skip
    if terms is None:
        assert left < time_plan.SHORTEST_WINDOW_SECONDS / (1 - time_plan.RAMP_SHARE) + 1e-9
        return
    assert terms.window_seconds >= time_plan.SHORTEST_WINDOW_SECONDS
    assert terms.ramp_seconds + terms.window_seconds + terms.follow_seconds <= left + 1e-9
    assert (terms.streams, terms.gap_seconds, terms.cohort) == (streams, prompt, 59)
    assert terms.settle_seconds == (min(3 * prompt, request) if running > streams else 0.0)
    assert terms.least_seconds <= min(terms.window_seconds + terms.follow_seconds, max(1.5, request)) + 1e-9


@given(st.integers(1, 4000), st.integers(0, 8192), seconds, st.floats(min_value=-5, max_value=60))
def test_prompt_lengths_fit_and_cost_their_share(inputs: int, longest: int, ttft: float, left: float) -> None:
    sizes, repetitions = time_plan.input_sizes(inputs, longest, ttft_seconds=ttft, left_seconds=left)
    assert list(sizes) == sorted(set(sizes))
    assert not sizes or repetitions >= 1
    if longest:
        assert all(size <= max(longest - time_plan.MARGIN_TOKENS, 0) for size in sizes)
    if repetitions > 1:
        assert repetitions * sum(sizes) * ttft / inputs <= 0.15 * left * 1.01


def test_of_a_probe_that_is_late_no_time_is_left() -> None:
    asked = time_plan.RequestShape(workload=Workload(input_tokens=8, output_tokens=500))
    (note,) = time_plan.affordable_shape(asked, ttft_seconds=1, tpot_seconds=0.01, left_seconds=-9.0).notes
    assert "a whole request is too long for the 0 s left" in note


def test_whoever_asked_by_options_is_told_of_options() -> None:
    asked = Workload(input_tokens=300, output_tokens=400)
    shape = time_plan.fitting_shape(asked, 256, BY_OPTIONS)
    shape = time_plan.quartered(shape, 5.0, BY_OPTIONS)
    shape = time_plan.affordable_shape(
        shape, ttft_seconds=1.0, tpot_seconds=1.0, left_seconds=10.0, advice=BY_OPTIONS
    )
    assert [note.rpartition("(")[2] for note in shape.notes] == [
        "lower --workload)",
        "raise --budget)",
        "raise --budget)",
    ]
    assert not any("probe." in note or "context." in note for note in shape.notes)
