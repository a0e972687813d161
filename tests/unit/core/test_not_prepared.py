"""A pod whose node cannot mount its volumes, as of a ReadWriteOnce claim that another node mounts."""

from __future__ import annotations

from typing import Any

import pytest

from tacho_operator.core.pods.deadlines import PREPARE_SECONDS
from tests.unit.core.measured_world import measured_world
from tools.harness.resources import CLAIM_SPEC
from tools.harness.world import MOCK_SPEC, World


def claim(mode: str) -> dict[str, Any]:
    return {"models": {"spec": {"accessModes": [mode]}}}


def waiting(world: World, role: str = "server") -> dict[str, Any]:
    """The youngest pod of that role is on a node that prepares it."""
    pod = world.pods(role)[-1]
    since = {"lastTransitionTime": world.now.strftime("%Y-%m-%dT%H:%M:%SZ")}
    pod["spec"]["nodeName"] = "node-2"
    pod["status"] = {
        "phase": "Pending",
        "conditions": [
            {"type": "PodScheduled", "status": "True", **since},
            {"type": "PodReadyToStartContainers", "status": "False", **since},
        ],
        "containerStatuses": [{"name": "engine", "state": {"waiting": {"reason": "PodInitializing"}}}],
    }
    return pod


@pytest.mark.parametrize(("mode", "is_named"), [("ReadWriteOnce", True), ("ReadWriteMany", False)])
def test_it_pulls_no_image_and_is_told_after_eight_minutes(mode: str, is_named: bool) -> None:
    world = World(MOCK_SPEC)
    world.claims = claim(mode)
    world.first_pods()
    waiting(world)
    decision = world.reconcile(PREPARE_SECONDS - 1)
    assert world.brief("Ready") == ("False", "Starting")
    assert "mounts the volumes" in world.condition("Ready")["message"]
    assert decision.requeue_after_seconds is not None
    assert decision.requeue_after_seconds < 2
    world.reconcile(decision.requeue_after_seconds)
    assert world.brief("Ready") == ("False", "PodNotPrepared")
    assert world.brief("Stalled") == ("True", "PodNotPrepared")
    assert ("claim models" in world.condition("Ready")["message"]) == is_named
    world.serves(world.pods("server")[-1])
    world.reconcile(20)
    assert world.brief("Ready") == ("True", "Serving")
    assert world.brief("Stalled")[0] == "False"


def test_beside_a_pod_that_serves_the_service_is_ready_and_says_what_is_missing() -> None:
    world = measured_world({**MOCK_SPEC, "replicas": 2, "model": CLAIM_SPEC["model"]})
    world.claims = claim("ReadWriteOnce")
    waiting(world)
    world.reconcile(PREPARE_SECONDS + 1)
    assert world.brief("Ready") == ("True", "PartlyServing")
    assert "node-2 cannot mount" in world.condition("Ready")["message"]


def test_images_are_pulled_once_it_is_prepared() -> None:
    world = World(MOCK_SPEC)
    world.first_pods()
    pod = waiting(world)
    pod["status"]["conditions"][-1]["status"] = "True"
    world.reconcile(PREPARE_SECONDS + 1)
    assert world.brief("Ready") == ("False", "PullingImages")


def test_a_pod_that_reads_the_model_is_told_as_late() -> None:
    world = World(MOCK_SPEC)
    world.reconcile()
    waiting(world, "inspect")
    decision = world.reconcile(PREPARE_SECONDS - 1)
    assert world.brief("Stalled")[0] == "False"
    assert decision.requeue_after_seconds is not None
    assert decision.requeue_after_seconds < 2
    world.reconcile(decision.requeue_after_seconds)
    assert world.brief("Stalled") == ("True", "PodNotPrepared")
