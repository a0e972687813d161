"""A NetworkPolicy that the API server refuses, beside other refused children: each keeps its own cause."""

from __future__ import annotations

from tacho_operator.core.types import ChildRefusal
from tests.unit.core.measured_world import measured_world
from tools.harness.world import MOCK_SPEC, changed

POLICY = ChildRefusal(kind="NetworkPolicy", name="smol", message="policies are used up")
BUDGET = ChildRefusal(kind="PodDisruptionBudget", name="smol", message="budgets are used up")


def test_a_refused_policy_that_bounds_nobody_is_told_as_any_child() -> None:
    world = measured_world()
    world.refusals = (POLICY,)
    world.reconcile(1)
    assert world.brief("Stalled")[0] == "True"
    assert POLICY.message in world.condition("Stalled")["message"]
    assert "reaches the pods" not in world.condition("Ready")["message"]


def test_a_policy_that_bounds_clients_hides_no_other_refusal() -> None:
    world = measured_world(changed(MOCK_SPEC, endpoint={"allowedNamespaces": []}))
    world.refusals = (BUDGET, POLICY)
    world.reconcile(1)
    assert BUDGET.message in world.condition("Stalled")["message"]
    assert "endpoint.allowedNamespaces is not in force" in world.condition("Ready")["message"]
    world.refusals = (POLICY,)
    world.reconcile(1)
    assert "endpoint.allowedNamespaces is not in force" in world.condition("Stalled")["message"]
