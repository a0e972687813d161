"""Decisions at their limits that no other test meets."""

from __future__ import annotations

from typing import Any

import pytest

from tacho_contract.measurement import Capacity
from tacho_operator.api.conditions import ConditionType, find_condition
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.core.measurement.cost import Price, cost_of, holdings_of
from tacho_operator.core.measurement.records import summary_of
from tacho_operator.core.names import REVISION_LABEL
from tacho_operator.core.pods.claims import claim_bound
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.types import ChildRefusal
from tests.unit.core.measured_world import NEW_WORKLOAD, measured_world
from tests.unit.core.test_edges import nodes, two
from tools.harness.resources import CONFIG, at, changed
from tools.harness.world import MOCK_SPEC, World

ONE_NODE_CLAIM = {"models": {"spec": {"accessModes": ["ReadWriteOnce"]}}}


def on(node: str, phase: str = "Running", **metadata: Any) -> PodView:
    labels = {REVISION_LABEL: "smol-1"}
    return PodView(
        {
            "metadata": {"name": "p", "labels": labels, **metadata},
            "spec": {"nodeName": node},
            "status": {"phase": phase},
        }
    )


@pytest.mark.parametrize(
    "gone",
    [on("n1", deletionTimestamp=at(0)), on("n1", "Failed"), on("n1", "Succeeded")],
    ids=["is being deleted", "failed", "has ended"],
)
def test_a_pod_that_leaves_shares_no_claim(gone: PodView) -> None:
    bound = claim_bound(two(), ONE_NODE_CLAIM, nodes(2), (on("n0"), gone), {"smol-1": 1})
    assert bound is not None
    assert bound.max_replicas == 1


def test_a_pod_that_serves_although_none_shall_is_counted() -> None:
    world = measured_world()
    (name,) = world.names("Deployment")
    world.change(replicas=0)
    world.refusals = (ChildRefusal(kind="Deployment", name=name, message="denied the request"),)
    pods = world.pods("server")
    world.reconcile(1)
    for pod in pods:
        world.objects["Pod", pod["metadata"]["name"]] = pod
    world.reconcile(1)
    assert world.condition("Ready")["message"].startswith("1 of 0 replicas serve.")


def test_a_cost_below_what_a_decimal_holds_is_unknown_and_not_nothing() -> None:
    found = MeasurementEntry(
        fingerprint="f",
        state="Complete",
        capacity=Capacity(concurrency=1, output_tokens_per_second=1e9, basis="SLO", boundary="Edge"),
    )
    assert cost_of(found, 1, Price(per_gpu_hour=0.001)) is None


def test_a_cost_above_what_a_decimal_holds_is_unknown() -> None:
    """A typing error in spec.cost: the API server accepts 20 digits."""
    found = MeasurementEntry(
        fingerprint="f",
        state="Complete",
        capacity=Capacity(concurrency=1, output_tokens_per_second=1.0, basis="SLO", boundary="Edge"),
    )
    price = Price(per_gpu_hour=float("9" * 20))
    assert cost_of(found, 1, price) is None
    summary = summary_of([found], gpu_count=1, price=price)
    assert summary is not None
    assert summary.cost_shown is None


def test_a_pod_that_is_measured_uses_its_gpu_for_that() -> None:
    """A serving pod that measures itself, and a probe pod that has not answered yet."""
    world = World(changed(MOCK_SPEC, gpu={"count": 1, "products": ["NVIDIA-L4"]}))
    world.come_up()
    (server,) = world.pods("server")
    world.change(workload=NEW_WORKLOAD)
    world.settle()
    (probe,) = world.pods("probe")
    probe["spec"]["nodeName"] = "node-1"
    world.runs(server, "Probing")
    (found,) = holdings_of(world.observed(), CONFIG)
    uses = dict(found.pods)
    assert set(uses.values()) == {"probing"}
    assert len(uses) == 2


def test_a_pod_too_many_is_told_while_all_that_shall_serve_do() -> None:
    world = measured_world(changed(MOCK_SPEC, replicas=3))
    world.change(replicas=2)
    for pod in world.pods("server")[2:]:
        pod["status"]["conditions"][-1]["status"] = "False"
    decision = world.decision()
    assert decision.status is not None
    found = find_condition(decision.status.conditions, ConditionType.RECONCILING)
    assert found is not None
    assert found.message == "spec.replicas is 2; 3 pods exist."


@pytest.mark.parametrize("replicas", [0, 1])
def test_a_resource_that_is_scaled_to_zero_is_inspected_whatever_its_quota(replicas: int) -> None:
    world = World(changed(MOCK_SPEC, replicas=replicas))
    trial = world.decision().trial
    assert trial is not None
    assert trial.needs_quota == bool(replicas)
