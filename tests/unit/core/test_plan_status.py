"""The plan in status: what the API could not hold is left out; the rest is written all the same."""

from __future__ import annotations

import dataclasses

import pytest

from tacho_operator.core.status.build import plan_status
from tools.harness.resources import CLAIM_SPEC, changed, plan, resource


@pytest.mark.parametrize("figure", [-1, 2**53, 2**70])
def test_a_figure_that_json_cannot_hold_is_left_out(figure: int) -> None:
    """As of a length and a concurrency that nobody could serve."""
    predicted = dataclasses.replace(plan().predicted, kv_cache_bytes=figure, kv_cache_tokens=figure)
    found = plan_status(plan(predicted=predicted), resource().spec).to_wire()["predicted"]
    assert found["weightsBytes"] == plan().predicted.weights_bytes
    assert not {"kvCacheBytes", "kvCacheTokens"} & set(found)


def test_the_probes_budget_and_its_reason_are_in_the_plan() -> None:
    found = plan_status(plan(), resource(changed(CLAIM_SPEC, probe={"budgetSeconds": 30})).spec).to_wire()
    assert (found["probeBudgetSeconds"], found["probeBudgetMessage"]) == (30, "probe.budgetSeconds sets it.")
    disabled = resource(changed(CLAIM_SPEC, probe={"policy": "Disabled"})).spec
    assert not {"probeBudgetSeconds", "probeBudgetMessage"} & set(plan_status(plan(), disabled).to_wire())
