"""What goes wrong with the Service of a resource: which condition says so, and whether it still serves."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tacho_operator.api.conditions import ConditionType, find_condition
from tacho_operator.core import names
from tacho_operator.core.reconcile import decide
from tacho_operator.core.status.undecided import StoredResource, internal_error, undecided_status
from tacho_operator.core.types import ChildRefusal
from tools.harness.resources import changed, facts
from tools.harness.world import MOCK_SPEC, World


def test_somebody_elses_service_is_named_and_left_alone() -> None:
    world = World()
    world.reconcile()
    world.inspected(facts())
    world.refusals = (ChildRefusal(kind="Service", name="smol", taken=True),)
    world.settle(world.serve_all)
    assert ("Service", "smol") not in world.objects
    assert world.brief("Ready") == ("False", "NameConflict")
    assert world.brief("Stalled") == ("True", "NameConflict")
    assert "Service smol exists" in world.condition("Ready")["message"]
    world.refusals = ()
    world.settle(world.serve_all)
    assert world.brief("Ready") == ("True", "Serving")


def test_a_service_that_quota_refuses_serves_nobody() -> None:
    world = World()
    world.come_up()
    del world.objects["Service", "smol"]
    said = 'services "smol" is forbidden: exceeded quota: q, requested: services=1'
    world.refusals = (ChildRefusal(kind="Service", name="smol", message=said),)
    decision = decide(world.observed(), world.config, world.now)
    assert decision.status is not None
    found = {item.type: (item.status, item.reason) for item in decision.status.conditions}
    assert found["Ready"] == ("False", "QuotaExceeded")
    assert found["Stalled"] == ("True", "QuotaExceeded")


def test_a_service_that_admission_keeps_as_it_is_still_serves() -> None:
    world = World()
    world.come_up()
    world.refusals = (ChildRefusal(kind="Service", name="smol", message="denied by policy"),)
    world.reconcile()
    assert world.brief("Ready") == ("True", "Serving")
    assert world.brief("Stalled") == ("True", "AdmissionDenied")


ELSEWHERE: dict[str, dict[str, Any]] = {
    "other pods": {"selector": {"app": "another"}},
    "a revision without pods": {"selector": {**names.server_selector("smol"), names.REVISION_LABEL: "x"}},
    "no pod": {"selector": None},
}
"""What a Service may be in the cluster that the API server keeps as it is."""


@pytest.mark.parametrize("how", ["refused", "unanswered", "undecided"])
@pytest.mark.parametrize("where", ELSEWHERE)
def test_a_service_that_leads_elsewhere_and_cannot_be_put_right_is_not_ready(where: str, how: str) -> None:
    world = World(changed(MOCK_SPEC, replicas=1))
    world.come_up()
    world.objects["Service", "smol"]["spec"] |= ELSEWHERE[where]
    observed = world.observed()
    refusal = ChildRefusal(kind="Service", name="smol", message="denied by policy")
    if how == "undecided":
        found = StoredResource(
            raw=observed.raw,
            pods=observed.pods,
            deployments=observed.deployments,
            services=observed.services,
        )
        status = undecided_status(found, internal_error(RuntimeError()), world.now)
    else:
        failed = {"unanswered": refusal} if how == "unanswered" else {"refusals": (refusal,)}
        decided = decide(dataclasses.replace(observed, **failed), world.config, world.now).status
        assert decided is not None
        status = decided
    ready = find_condition(status.conditions, ConditionType.READY)
    assert ready is not None
    assert ready.status == "False"
    assert ready.reason != "Serving"
    if how == "unanswered":
        assert ready.message == "Pods are ready, and the Service does not lead to them. See Reconciling."
