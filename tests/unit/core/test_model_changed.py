"""A model that was replaced in its claim: told, its figures stale, and two ways out that work."""

from __future__ import annotations

import dataclasses
from typing import Any

from tacho_contract import codec
from tacho_contract.failure import FAILURE_KINDS, Failure, FailureClass
from tacho_operator.core import names
from tools.harness.pod_states import container_state
from tools.harness.resources import facts
from tools.harness.world import World

CHANGED = Failure(
    failure_class=FailureClass.MODEL_CHANGED,
    message="/models/smollm2 has other files than the 92 bytes of the plan. Found: none of them.",
    next_step=FAILURE_KINDS[FailureClass.MODEL_CHANGED].next_step,
)


def refuses(world: World, pod: dict[str, Any]) -> None:
    """The runtime ended before it started the engine, and the kubelet waits before it tries again."""
    ended = {"exitCode": 1, "message": codec.dumps(CHANGED)}
    container_state(pod, restartCount=1, state={"waiting": {}}, lastState={"terminated": ended})
    world.reports.pop(pod["metadata"]["uid"], None)


def replaced() -> World:
    world = World()
    world.come_up()
    assert world.status["summary"]
    (pod,) = world.pods("server")
    refuses(world, pod)
    world.reconcile(1)
    return world


def states(world: World) -> dict[str, str]:
    return {item["planKey"]: item["state"] for item in world.status["measurements"]}


def test_a_replaced_model_is_told_and_its_figures_are_stale() -> None:
    world = replaced()
    assert world.brief("Ready") == ("False", "ModelChanged")
    assert world.brief("Stalled") == ("True", "ModelChanged")
    assert names.REPLAN_ANNOTATION in world.condition("Stalled")["message"]
    assert world.brief("Measured") == ("False", "MeasurementStale")
    assert "files changed" in world.condition("Measured")["message"]
    assert "summary" not in world.status
    assert set(states(world).values()) == {"Stale"}


def test_the_planned_files_put_back_are_served_with_their_old_figures() -> None:
    world = replaced()
    (pod,) = world.pods("server")
    world.runs(pod, "Serving", ready=True)
    world.reconcile(1)
    assert world.brief("Ready") == ("True", "Serving")
    assert world.brief("Stalled") == ("False", "Progressing")
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    assert world.status["summary"]


def test_the_annotation_has_the_new_files_planned_measured_and_served() -> None:
    world = replaced()
    (before,) = world.names("Deployment")
    old = world.plan_key(before)
    world.raw["metadata"]["annotations"] = {names.REPLAN_ANNOTATION: "1"}
    world.reconcile(1)
    assert world.pods("inspect"), "the model is looked at again, though its facts are known"
    found = facts()
    world.inspected(dataclasses.replace(found, files=dataclasses.replace(found.files, digest="e" * 64)))
    for _ in range(25):
        world.reconcile(3)
        world.deployment_controller()
        world.serve_all()
    (after,) = world.names("Deployment")
    assert after != before
    assert world.brief("Ready") == ("True", "Serving")
    assert world.brief("Stalled") == ("False", "Progressing")
    assert states(world)[old] == "Stale"
    assert states(world)[world.plan_key(after)] == "Complete"
