"""Measured speed against the plan's: one stream, the planned concurrency, the capacity."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_contract.measurement import Capacity, CurvePoint
from tacho_operator.api.status.measurement import AgainstPlan
from tacho_operator.core.measurement.efficiency import against_plan, rate_at
from tacho_operator.core.revisions.controller_revision import new_revision, read
from tacho_operator.core.revisions.identity import live_config
from tests.unit.core.test_roofline import measured, planned, revision
from tools.harness.resources import CONFIG, HUB_SPEC, changed, facts, resource


def levels(**rates: float) -> tuple[CurvePoint, ...]:
    """``at4=100.0``: 100 tokens per second with 4 streams."""
    return tuple(
        CurvePoint(concurrency=int(name.removeprefix("at")), output_tokens_per_second=rate)
        for name, rate in rates.items()
    )


def scored(capacity: Capacity | None = None, **rates: float) -> AgainstPlan | None:
    plan = planned(context={"maxModelLen": 4096, "concurrency": 16})
    predicted = dataclasses.replace(
        plan.predicted,
        expected_decode_tokens_per_second=200.0,
        expected_output_tokens_per_second=1000.0,
        expected_capacity_tokens_per_second=8000.0,
    )
    found = dataclasses.replace(measured(210.0), curve=levels(**rates), capacity=capacity)
    return against_plan(found, revision(dataclasses.replace(plan, predicted=predicted)))


def test_each_rate_is_a_share_of_the_expected_one() -> None:
    edge = Capacity(concurrency=200, output_tokens_per_second=7200.0, boundary="Edge")
    assert scored(edge, at16=900.0) == AgainstPlan(
        decode_percent=105.0, output_percent=90.0, capacity_percent=90.0
    )


@pytest.mark.parametrize(
    ("boundary", "percent"), [("Edge", 90.0), ("Plateau", 90.0), ("Floor", None), ("NeverMet", None)]
)
def test_a_lower_limit_of_the_capacity_is_not_scored(boundary: str, percent: float | None) -> None:
    found = scored(Capacity(concurrency=200, output_tokens_per_second=7200.0, boundary=boundary))
    assert found is not None
    assert found.capacity_percent == percent


@pytest.mark.parametrize(
    ("streams", "rates", "rate"),
    [
        (16, {"at16": 900.0, "at32": 1000.0}, 900.0),
        (3, {"at1": 100.0, "at5": 250.0}, 200.0),
        (3, {"at4": 100.0, "at5": 100.0}, None),
        (6, {"at4": 100.0, "at5": 100.0}, None),
        (5, {}, None),
    ],
)
def test_between_levels_the_time_from_token_to_token_is_linear(
    streams: int, rates: dict[str, float], rate: float | None
) -> None:
    assert rate_at(levels(**rates), streams) == (None if rate is None else pytest.approx(rate))


@pytest.mark.parametrize("unknown", [{"steady": False}, {"ci_percent": 150.0}])
def test_a_level_whose_rate_is_not_known_decides_nothing(unknown: dict[str, Any]) -> None:
    one, four, eight = levels(at1=100.0, at4=1.0, at8=800.0)
    curve = (one, dataclasses.replace(four, **unknown), eight)
    assert rate_at(curve, 4) == pytest.approx(400.0)


@given(st.dictionaries(st.integers(1, 300), st.floats(0.1, 1e6), max_size=6), st.integers(1, 300))
def test_a_rate_between_levels_has_a_gap_between_theirs(rates: dict[int, float], streams: int) -> None:
    found = rate_at(levels(**{f"at{n}": rate for n, rate in rates.items()}), streams)
    if found is not None:
        gaps = [n / rate for n, rate in rates.items()]
        assert min(gaps) * 0.999 <= streams / found <= max(gaps) * 1.001


def test_nothing_is_scored_where_nothing_was_expected() -> None:
    plan = planned()
    nothing: dict[str, Any] = dict.fromkeys(
        ("expected_decode_tokens_per_second", "expected_output_tokens_per_second")
    )
    unknown = dataclasses.replace(plan.predicted, expected_capacity_tokens_per_second=None, **nothing)
    assert against_plan(measured(210.0), revision(dataclasses.replace(plan, predicted=unknown))) is None
    assert against_plan(measured(210.0), None) is None


@pytest.mark.parametrize("fields", [{"workload": {"inputTokens": 77}}, {"slo": {"tpotMilliseconds": 33}}])
def test_another_workload_or_service_level_is_not_scored(fields: dict[str, Any]) -> None:
    planned_for, changed_to = resource(HUB_SPEC), resource(changed(HUB_SPEC, **fields))
    frozen = new_revision(planned_for, planned(), facts(), facts_key="f", number=1, config=CONFIG)
    found = read(frozen)
    now, then = (
        dataclasses.replace(measured(210.0), measure_key=live_config(item.spec).measure_key)
        for item in (changed_to, planned_for)
    )
    assert against_plan(then, found) is not None
    assert against_plan(now, found) is None
