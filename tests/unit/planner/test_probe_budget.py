"""The probe's budget: by what the plan expects, what the user sets, and what a timeout can hold."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, strategies as st

from benchmarks.planner.models import facts
from tacho_contract.launch import ProbeSettings, ServiceLevel
from tacho_contract.measurement import Workload, samples_for
from tacho_operator.core.planner import probe_budget as formula
from tacho_operator.core.planner.plan import plan_model
from tacho_operator.core.planner.probe_budget import (
    BUDGETS_SECONDS,
    ProbeBudget,
    RequestTimes,
    budget_of,
    planned_probe,
    probe_budget,
    probe_time,
    request_times,
)
from tacho_operator.core.planner.types import ModelPlan, PlanFailure, Prediction
from tacho_operator.core.revisions.identity import live_config
from tacho_runtime.probe import open_loop, sequence, time_plan
from tacho_runtime.probe.phases import arrivals
from tools.mock.specs import CONFIG, spec

LEVEL = ServiceLevel(tpot_milliseconds=50)
SHAPE = Workload()
H200 = {"count": 1, "products": ["NVIDIA-H200"]}
TWO_H200 = {"count": 2, "products": ["NVIDIA-H200"]}
seconds = st.floats(0.0005, 5.0)


def expected(alone: float, loaded: float, streams: int = 64) -> Prediction:
    """``alone``, ``loaded``: seconds a token of one stream, and of one of ``streams``."""
    return Prediction(
        expected_decode_tokens_per_second=1 / alone,
        expected_capacity_tokens_per_second=streams / loaded,
        expected_capacity_concurrency=streams,
        prefill_tokens_per_second=5000.0,
    )


def budget(found: Prediction, shape: Workload = SHAPE, level: ServiceLevel = LEVEL) -> ProbeBudget:
    return budget_of(request_times(found, shape, level))


@given(seconds, seconds, st.floats(1.0, 3.0), st.integers(1, 2048), st.integers(2, 4000), st.integers(50, 99))
def test_slower_steps_longer_answers_and_larger_cohorts_never_shorten_the_budget(
    alone: float, more: float, slower: float, streams: int, tokens: int, percentile: int
) -> None:
    shape = Workload(output_tokens=tokens)
    level = ServiceLevel(tpot_milliseconds=50, percentile=percentile)
    found = budget(expected(alone, alone + more, streams), shape, level)
    others = (
        budget(expected(slower * alone, slower * (alone + more), streams), shape, level),
        budget(expected(alone, slower * (alone + more), streams), shape, level),
        budget(expected(alone, alone + more, streams), Workload(output_tokens=round(slower * tokens)), level),
        budget(expected(alone, alone + more, streams), shape, dataclasses.replace(level, percentile=99)),
    )
    assert all(found.seconds <= other.seconds for other in others)


@given(seconds, seconds, st.integers(0, 2048), st.integers(2, 4000))
def test_a_default_is_one_of_three_and_its_reason_says_which_is_the_largest(
    alone: float, more: float, streams: int, tokens: int
) -> None:
    times = request_times(expected(alone, alone + more, streams), Workload(output_tokens=tokens), LEVEL)
    found = budget_of(times)
    assert times is not None
    assert found.seconds in BUDGETS_SECONDS
    needed = sum(probe_time(times))
    suffices = needed <= 0.97 * found.seconds
    assert suffices or found.seconds == BUDGETS_SECONDS[-1]
    assert ("largest default; set probe.budgetSeconds" in found.message) != suffices
    assert f"About {needed:.0f} s" in found.message
    assert ("59 requests have arrived" in found.message) == (streams > 0)
    assert len(found.message) <= 256


def test_the_formula_counts_as_the_probe_does() -> None:
    assert formula.USABLE_SHARE == 1 - sequence.CLOSING_SHARE
    assert formula.SINGLE_SECONDS == time_plan.SINGLE_STREAM_SECONDS
    assert formula.CLOSING_REQUESTS == arrivals.CLOSING_REQUESTS
    assert samples_for(95) == 59
    times = request_times(expected(0.04, 0.05), SHAPE, LEVEL)
    assert times is not None
    waits = open_loop.seconds_for(
        open_loop.LOAD_SHARE * times.streams / times.loaded_seconds,
        request_seconds=times.loaded_seconds,
        left_seconds=1e9,
        slo=LEVEL,
    )
    assert probe_time(times)[2] == pytest.approx(waits)


def test_prompts_of_many_lengths_take_no_more_than_their_share_of_the_time() -> None:
    times = request_times(expected(0.04, 0.05), SHAPE, LEVEL)
    assert times is not None
    slow, slower = (
        probe_time(dataclasses.replace(times, prompt_seconds=seconds))[0] for seconds in (1.0, 2.0)
    )
    assert slower - slow == pytest.approx(formula.FIRST_PROMPTS)


def test_a_request_beside_others_takes_as_long_as_their_rate_says() -> None:
    times = request_times(expected(0.01, 0.03), Workload(input_tokens=500, output_tokens=200), LEVEL)
    assert times is not None
    assert (times.alone_seconds, times.loaded_seconds) == (pytest.approx(2.1), pytest.approx(6.0))


@pytest.mark.parametrize("found", [Prediction(), Prediction(expected_decode_tokens_per_second=9.0)])
def test_without_an_expected_speed_it_is_the_least_and_says_so(found: Prediction) -> None:
    assert budget(found).seconds == 45
    assert "expects no speed" in budget(found).message


def planned(model: str, **fields: object) -> ModelPlan | PlanFailure:
    asked = spec(engine={"name": "vllm"}, context={"maxModelLen": 4096}, **fields)
    return plan_model(asked, facts(model), nodes=None, history=(), config=CONFIG)


def test_a_small_model_needs_45_seconds_and_larger_ones_more() -> None:
    """Of 37 searches of an 8B on an H200 with 45 s ten were cut; with 60 s two of two took 54 and 58 s."""
    small = planned("qwen3-0.6b", gpu=H200, slo={"tpotMilliseconds": 6})
    middle = planned("llama-3.1-8b", gpu=H200, slo={"ttftMilliseconds": 1000, "tpotMilliseconds": 25})
    large = planned("llama-3.1-70b", gpu=TWO_H200, slo={"tpotMilliseconds": 50})
    for found, least in ((small, 45), (middle, 90), (large, 120)):
        assert isinstance(found, ModelPlan)
        budget = probe_budget(spec(slo={"tpotMilliseconds": 25}), found)
        assert budget is not None
        assert budget.seconds == least


def test_a_search_for_the_knee_takes_whole_windows() -> None:
    """A pod of an 8B in FP8 on an H200 ran out of 45 s at its sixth level."""
    times = RequestTimes(
        prompt_seconds=0.02, alone_seconds=0.7, loaded_seconds=3.6, streams=152, cohort=59, limited=False
    )
    assert formula.KNEE_LEVEL_SECONDS == time_plan.WINDOW_SECONDS
    assert budget_of(times).seconds == 90
    faster = dataclasses.replace(times, loaded_seconds=2.0)
    assert budget_of(faster).seconds == 90
    assert budget_of(dataclasses.replace(faster, limited=True)).seconds == 45
    unlimited = request_times(expected(0.004, 0.02), SHAPE, ServiceLevel())
    assert unlimited is not None
    assert not unlimited.limited


SLOW = Prediction(
    expected_decode_tokens_per_second=26.0,
    expected_capacity_tokens_per_second=1260.0,
    expected_capacity_concurrency=63,
)


def slow_plan() -> ModelPlan:
    found = planned("llama-3.1-8b", gpu=H200)
    assert isinstance(found, ModelPlan)
    return dataclasses.replace(found, predicted=SLOW)


@pytest.mark.parametrize(
    ("probe", "settings"),
    [
        ({}, (120, 240)),
        ({"policy": "Always"}, (120, 240)),
        ({"budgetSeconds": 45}, (45, 90)),
        ({"budgetSeconds": 18}, (18, 90)),
        ({"budgetSeconds": 300}, (300, 600)),
        ({"timeoutSeconds": 150}, (120, 150)),
        ({"timeoutSeconds": 60}, (60, 60)),
        ({"budgetSeconds": 30, "timeoutSeconds": 40}, (30, 40)),
    ],
    ids=str,
)
def test_what_the_user_sets_rules_and_the_timeout_holds_the_budget(
    probe: dict[str, object], settings: tuple[int, int]
) -> None:
    found = planned_probe(spec(probe=probe), slow_plan())
    assert (found.budget_seconds, found.timeout_seconds) == settings
    why = probe_budget(spec(probe=probe), slow_plan())
    assert why is not None
    assert why.seconds == found.budget_seconds
    assert ("timeoutSeconds ends the probe after 60 s instead of 120" in why.message) == (
        settings == (60, 60)
    )


def test_a_probe_that_is_disabled_has_no_budget() -> None:
    disabled = spec(probe={"policy": "Disabled"})
    assert probe_budget(disabled, slow_plan()) is None
    assert planned_probe(disabled, slow_plan()) == ProbeSettings(policy="Disabled")


def test_a_plan_moves_no_key_and_what_the_user_sets_does() -> None:
    """What was measured stays, whatever a later formula or plan says."""
    silent, aloud = spec(), spec(probe={"budgetSeconds": 120})
    assert live_config(silent, slow_plan()).probe.budget_seconds == 120
    assert live_config(silent, slow_plan()).measure_key == live_config(silent).measure_key
    assert live_config(aloud, slow_plan()).measure_key != live_config(silent).measure_key


def test_a_timeout_below_a_default_budget_is_the_budget_and_the_message_says_so() -> None:
    """A default that grows refuses no resource."""
    fields = {"gpu": TWO_H200, "slo": {"tpotMilliseconds": 50}, "probe": {"timeoutSeconds": 60}}
    found = planned("llama-3.1-70b", **fields)
    assert isinstance(found, ModelPlan)
    budget = probe_budget(spec(**fields), found)
    assert budget is not None
    assert budget.seconds == 60
    assert (
        "probe.timeoutSeconds ends the probe after 60 s instead of 120: raise it for more." in budget.message
    )


def test_a_search_for_the_knee_takes_no_less_than_one_for_the_edge() -> None:
    """Few streams: the cohort takes longer than six windows."""
    times = RequestTimes(
        prompt_seconds=0.02, alone_seconds=4.0, loaded_seconds=5.0, streams=4, cohort=59, limited=False
    )
    limited = probe_time(dataclasses.replace(times, limited=True))
    assert limited[1] > formula.LEVELS * (formula.KNEE_LEVEL_SECONDS + 0.6 * 5.0) + 0.08
    assert probe_time(times) == limited
