"""Decisions at their limits that no other test meets."""

from __future__ import annotations

from typing import Any

import pytest

from tacho_operator.core.names import REVISION_LABEL
from tacho_operator.core.pods.claims import claim_bound
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.types import ChildRefusal
from tests.unit.core.measured_world import measured_world
from tests.unit.core.test_edges import nodes, two
from tools.harness.resources import at

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
