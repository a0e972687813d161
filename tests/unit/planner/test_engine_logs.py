"""The memory model of vLLM against real starts: published logs and our own measurements.

No constant was fitted on the held-out half; these bounds are what it measured there, rounded up.
"""

from __future__ import annotations

from statistics import median

import pytest

from benchmarks.planner.cases import (
    Case,
    called_fitting,
    cases,
    is_held_out,
    kv_error,
    name_hash,
    planned,
    weights_error,
)
from tacho_operator.core.planner.types import ModelPlan, PlanFailure

OWN = "own measurement, H200, vLLM 0.26"
FAILED = [case for case in cases() if case.row["started"] is False]
"""``started`` is null where the log shows the weights only."""
STARTED = [case for case in cases() if case.row["started"] is True]
SIZED = [case for case in cases() if case.actual.get("weightsGiB")]
WORST_WEIGHTS = 0.012
SMALL_GIB = 0.11
"""What a load takes beside the tensors; of a small model it is more than that share."""
WORST_TOKENS = 0.27
"""Held out. The worst is Llama-3.1-70B in 8 bits on one 80 GB GPU: what is left for the cache is small, and
the prediction is below it."""
UNMODELLED = {"deepseek-r1-8xh200": (0.064, 0.84)}
"""Errors of weights and tokens above the bounds, with a cause that is known and not in the formulas: vLLM 0.7
keeps the absorbed projections of latent attention beside the stored ones, and pads the cache's rows to 256
bytes."""


def names(found: list[Case]) -> list[str]:
    return [case.name for case in found]


def test_the_cases_are_what_the_proof_asks_for():
    every = cases()
    published = [c for c in every if c.row["source"] != OWN]
    assert len(published) >= 15
    assert all(c.row["source"].startswith("https://") for c in published)
    assert len({c.name for c in every}) == len(every)
    assert len([c for c in published if c in FAILED]) >= 5
    products = " ".join(c.row["gpu"] for c in every)
    assert all(gpu in products for gpu in ("T4", "L4", "A100", "H100", "H200"))
    for gpu in ("T4", "H200"):
        assert len([c for c in published if gpu in c.row["gpu"]]) >= 3


def test_the_recorded_split_is_that_of_the_hashes():
    """The first cases, whose split is recorded: the half whose hashes sort first."""
    recorded = [c for c in cases() if "heldOut" in c.row]
    order = sorted(recorded, key=lambda c: name_hash(c.name))
    assert [c.held_out for c in order] == [True] * 20 + [False] * 21


def test_a_later_case_is_held_out_by_its_name_alone():
    later = [c for c in cases() if "heldOut" not in c.row]
    assert later
    assert all(c.held_out is (name_hash(c.name) % 2 == 0) for c in later)
    assert {is_held_out({"name": name}) for name in ("a", "b", "c", "d")} == {True, False}


@pytest.mark.parametrize("case", SIZED, ids=names(SIZED))
def test_weights(case):
    bound, _ = UNMODELLED.get(case.name, (WORST_WEIGHTS, 0.0))
    error = abs(weights_error(case) or 0.0)
    assert error <= bound or error * case.actual["weightsGiB"] <= SMALL_GIB


def test_kv_cache_tokens_on_the_held_out_half():
    errors = {c.name: abs(e) for c in cases() if c.held_out and (e := kv_error(c)) is not None}
    assert len(errors) >= 10
    assert median(errors.values()) <= 0.08
    assert max(error for name, error in errors.items() if name not in UNMODELLED) <= WORST_TOKENS


@pytest.mark.parametrize("name", UNMODELLED)
def test_what_is_not_modelled_is_as_far_off_as_said(name):
    """So that the exception goes when the formulas learn it."""
    case = next(c for c in cases() if c.name == name)
    weights, tokens = UNMODELLED[name]
    assert WORST_WEIGHTS < abs(weights_error(case) or 0.0) <= weights
    assert WORST_TOKENS < abs(kv_error(case) or 0.0) <= tokens


@pytest.mark.parametrize("case", FAILED, ids=names(FAILED))
def test_no_start_that_failed_is_called_fitting(case):
    assert not called_fitting(case)


@pytest.mark.parametrize("case", FAILED, ids=names(FAILED))
def test_no_start_that_failed_is_planned(case):
    assert isinstance(planned(case), PlanFailure)


@pytest.mark.parametrize("case", STARTED, ids=names(STARTED))
def test_starts_that_worked_are_called_fitting(case):
    assert called_fitting(case)


@pytest.mark.parametrize("case", STARTED, ids=names(STARTED))
def test_starts_that_worked_are_planned(case):
    found = planned(case)
    assert isinstance(found, ModelPlan), found
