"""Ready of a resource without a decision: only what was read tells whether it serves."""

from __future__ import annotations

from typing import Any

import pytest

from tacho_operator.core import names
from tacho_operator.core.problems import Problem
from tacho_operator.core.status.undecided import (
    StoredResource,
    deleting_status,
    undecided_status,
)
from tests.unit.core.scaling import scaled, settled
from tools.harness.resources import NOW

PROBLEM = Problem(reason="InvalidConfig", what="A text.", next_step="Read it.")
FORMER = {
    "type": "Ready",
    "status": "True",
    "reason": "Serving",
    "message": "3 of 3 replicas serve.",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}


def ready(
    *,
    former: bool = False,
    selected: str = "r1",
    pod_is_ready: bool = True,
    **changed: Any,
) -> tuple[str, str, Any]:
    """Status and reason of Ready, and the ready pods, of one pod.

    ``changed``: fields of the Service's spec.
    """
    metadata = {"name": "smol", "namespace": "ml", "uid": "u", "generation": 2}
    status = {"readyReplicas": 3, "conditions": [FORMER]} if former else {}
    labels = names.server_selector("smol", "r1")
    pod = {
        "metadata": {"name": "p", "namespace": "ml", "uid": "p", "labels": labels},
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": str(pod_is_ready)}],
        },
    }
    service = {
        "metadata": {"name": names.service_name("smol")},
        "spec": {
            "selector": names.server_selector("smol", selected),
            **changed,
        },
    }
    found = StoredResource(raw={"metadata": metadata, "status": status}, pods=(pod,), services=(service,))
    told = undecided_status(found, PROBLEM, NOW)
    (condition,) = [item for item in told.conditions if item.type == "Ready"]
    return condition.status, condition.reason, told.ready_replicas


@pytest.mark.parametrize(
    ("selected", "expected"),
    [("r1", ("True", "Serving", 1)), ("r2", ("False", "InvalidConfig", 1)), ("", ("True", "Serving", 1))],
)
def test_a_pod_that_the_service_does_not_select_serves_nobody(selected: str, expected: Any) -> None:
    assert ready(selected=selected) == expected


@pytest.mark.parametrize(
    "changed",
    [
        {"selector": {}},
        {"selector": {"app": "theirs"}},
    ],
)
def test_a_service_that_leads_elsewhere_reaches_no_pod(changed: dict[str, Any]) -> None:
    assert ready(**changed)[:2] == ("False", "InvalidConfig")


def test_a_pod_that_is_not_ready_serves_nobody() -> None:
    assert ready(pod_is_ready=False) == ("False", "InvalidConfig", 0)


def test_what_was_said_before_does_not_stay_where_no_pod_is_reached() -> None:
    assert ready(former=True, selected="r2") == ("False", "InvalidConfig", 1)


def test_the_status_of_a_resource_that_is_being_deleted_is_of_its_last_generation() -> None:
    metadata = {"name": "smol", "namespace": "ml", "uid": "u", "generation": 7}
    working = {**FORMER, "type": "Reconciling", "status": "True", "reason": "Scaling"}
    former = {"observedGeneration": 2, "readyReplicas": 3, "conditions": [FORMER, working]}
    found = StoredResource(raw={"metadata": metadata, "status": former}, pods=(), services=())
    status = deleting_status(found, NOW)
    assert status is not None
    condition, reconciling = status.conditions
    assert (status.observed_generation, condition.observed_generation) == (7, 7)
    assert (condition.reason, status.ready_replicas) == ("Deleting", 0)
    assert (reconciling.status, reconciling.message) == ("False", "It is being deleted."), "no pod is created"


@pytest.mark.parametrize("is_deleted", [False, True])
def test_a_resource_that_is_not_decided_or_is_being_deleted_says_nothing_of_the_scaler(
    is_deleted: bool,
) -> None:
    world = scaled(settled)
    assert world.brief("ScalingActive")[0] == "True"
    observed = world.observed()
    found = StoredResource(
        raw=observed.raw,
        pods=observed.pods,
        deployments=observed.deployments,
        services=observed.services,
    )
    status = deleting_status(found, NOW) if is_deleted else undecided_status(found, PROBLEM, NOW)
    assert status is not None
    world.raw["status"] = status.to_wire()
    assert world.brief("Ready") == ("True", "Serving")
    assert world.brief("ScalingActive") == ("absent", "")
    assert "demandReplicas" not in world.status.get("autoscaling", {})
    assert ("desiredReplicas" in world.status.get("autoscaling", {})) != is_deleted, "for the next decision"
