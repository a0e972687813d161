"""A pod that terminates on a node that does not answer: it serves nothing, and holds up no other."""

from __future__ import annotations

from typing import Any

import pytest

from tacho_contract.units import format_time
from tacho_operator.core import names
from tacho_operator.core.autoscaling.target import target_of
from tacho_operator.core.pods.deadlines import PREPARE_SECONDS
from tacho_operator.core.pods.view import STUCK_SECONDS
from tacho_operator.core.types import NodeFacts
from tests.unit.core.inspecting import look, step
from tests.unit.core.measured_world import measured_world
from tools.harness.pod_states import insufficient
from tools.harness.resources import at, facts
from tools.harness.world import World, world_of

LOST = NodeFacts(name="node-1", labels={}, allocatable={}, ready=False)
UNREACHABLE, NOT_READY = (
    {"key": f"node.kubernetes.io/{why}", "operator": "Exists", "effect": "NoExecute"}
    for why in ("unreachable", "not-ready")
)
OTHER = NodeFacts(name="node-2", labels={}, allocatable={})


def lose(world: World, pod: dict[str, Any]) -> None:
    """Its node stops answering, and it is deleted; its readiness is as the kubelet last wrote it."""
    world.nodes = (LOST, OTHER)
    pod.setdefault("spec", {})["nodeName"] = "node-1"
    pod["metadata"]["deletionTimestamp"] = at(0)
    conditions = pod.setdefault("status", {}).setdefault("conditions", [])
    conditions.append({"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"})


def replace(world: World, pod: dict[str, Any]) -> dict[str, Any]:
    """What the ReplicaSet's controller does: a terminating pod does not count."""
    kept = world.objects.pop(("Pod", pod["metadata"]["name"]))
    before = {item["metadata"]["name"] for item in world.pods("server")}
    world.deployment_controller()
    world.objects["Pod", pod["metadata"]["name"]] = kept
    (made,) = [
        item
        for item in world.pods("server")
        if item["metadata"]["name"] not in before | {kept["metadata"]["name"]}
    ]
    return made


def test_it_is_no_ready_pod_and_a_person_learns_what_to_do() -> None:
    world = measured_world()
    (pod,) = world.pods("server")
    lose(world, pod)
    world.reconcile(1)
    assert world.brief("Ready") == ("False", "NodeLost")
    assert "delete it or taint it node.kubernetes.io/out-of-service" in world.condition("Ready")["message"]
    assert world.brief("Stalled")[0] == "False"
    assert (world.status["replicas"], world.status.get("readyReplicas", 0)) == (0, 0)
    made = replace(world, pod)
    world.serves(made)
    made["spec"]["nodeName"] = "node-2"
    decision = world.reconcile(60)
    assert world.brief("Ready") == ("True", "Serving")
    assert world.brief("Reconciling")[0] == "False"
    assert (world.status["replicas"], world.status["readyReplicas"]) == (1, 1)
    assert not decision.delete, "no pod is forced to end"


@pytest.mark.parametrize(
    ("tolerations", "stays"),
    [
        ([], False),
        ([{"key": "example.com/x", "operator": "Exists"}], False),
        ([{"operator": "Exists"}], True),
        ([{"operator": "Exists", "effect": "NoSchedule"}], False),
        ([{**UNREACHABLE, "tolerationSeconds": 300}, {**NOT_READY, "tolerationSeconds": 300}], False),
        ([{**UNREACHABLE, "tolerationSeconds": 0}, {"operator": "Exists", "tolerationSeconds": 9}], False),
        ([UNREACHABLE, NOT_READY], True),
        ([{**UNREACHABLE, "tolerationSeconds": 300}, {"operator": "Exists"}], False),
        ([UNREACHABLE, {**NOT_READY, "tolerationSeconds": 300}], False),
        ([UNREACHABLE], False),
        ([NOT_READY], False),
        ([{"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}, UNREACHABLE], False),
    ],
)
def test_a_pod_that_tolerates_it_for_ever_is_not_said_to_be_evicted(
    tolerations: list[dict[str, Any]], stays: bool
) -> None:
    world = measured_world()
    (pod,) = world.pods("server")
    pod["spec"] = {"nodeName": "node-1", "tolerations": tolerations}
    pod["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    world.nodes = (LOST, OTHER)
    world.reconcile(1)
    assert world.brief("Ready") == ("False", "NodeLost")
    message = world.condition("Ready")["message"]
    assert ("delete the pod: its tolerations keep it there for ever" in message) is stays
    assert ("replaced once it is evicted" in message) is not stays


def test_a_successor_without_room_names_the_node_that_may_hold_it() -> None:
    world = measured_world()
    (pod,) = world.pods("server")
    lose(world, pod)
    insufficient(replace(world, pod))
    world.reconcile(1)
    assert world.brief("Ready") == ("False", "Unschedulable")
    assert "Repair node node-1, where a pod cannot end" in world.condition("Ready")["message"]
    world.nodes = (OTHER,)
    world.reconcile(1)
    assert "Repair node" not in world.condition("Ready")["message"]


def test_a_successor_without_its_volume_names_the_node_that_may_hold_it() -> None:
    world = measured_world()
    (pod,) = world.pods("server")
    lose(world, pod)
    made = replace(world, pod)
    made["spec"]["nodeName"] = "node-2"
    since = {"lastTransitionTime": format_time(world.now)}
    waits = {"type": "PodReadyToStartContainers", "status": "False", **since}
    made["status"] = {"phase": "Pending", "conditions": [waits]}
    world.reconcile(6 * 60 + 30)
    assert world.brief("Stalled")[0] == "False", "Kubernetes detaches it by force after six minutes"
    world.reconcile(PREPARE_SECONDS)
    assert world.brief("Ready") == ("False", "PodNotPrepared")
    assert "Repair node node-1, where a pod cannot end" in world.condition("Ready")["message"]


def test_a_rollout_goes_on_without_it() -> None:
    world = measured_world()
    (old,) = world.pods("server")
    world.roll_out()
    (new,) = [item for item in world.pods("server") if item is not old]
    lose(world, old)
    world.serves(new)
    new["spec"]["nodeName"] = "node-2"
    revision = new["metadata"]["labels"][names.REVISION_LABEL]
    for _ in range(30):
        world.reconcile(3)
        if world.selected() == revision:
            break
    assert world.selected() == revision
    assert world.brief("Ready") == ("True", "Serving")


def test_it_is_no_capacity_of_the_scaler() -> None:
    world = world_of()
    gone = world.pods("server")[0]
    lose(world, gone)
    target = target_of(world.observed())
    assert gone["metadata"]["name"] not in {pod.name for pod in target.pods}
    assert len(target.pods) == len(world.pods("server")) - 1


def test_its_silence_is_not_called_a_network_that_blocks_the_operator() -> None:
    world = World()
    world.first_pods()
    (pod,) = world.pods("server")
    world.runs(pod, "Serving", ready=True)
    world.reports.clear()
    pod["status"]["conditions"][-1]["status"] = "False"
    world.nodes = (LOST, OTHER)
    world.reconcile(600)
    assert world.brief("Measured")[1] != "ReportUnreachable"
    assert world.brief("Ready") == ("False", "NodeLost")


def test_a_lost_inspect_pod_has_a_successor_of_another_name() -> None:
    world = World()
    step(world)
    (pod,) = world.pods("inspect")
    world.nodes = (LOST, OTHER)
    pod["spec"]["nodeName"] = "node-1"
    waits = look(world, 60)
    assert not waits.apply, "its node may come back"
    assert waits.problem is not None
    assert waits.problem.reason == "NodeLost"
    lose(world, pod)
    step(world)
    (made,) = [item for item in world.pods("inspect") if item is not pod]
    assert made["metadata"]["annotations"][names.ATTEMPT_ANNOTATION] == "2"
    again = step(world, 1)
    assert not again.apply
    assert again.problem is None
    world.inspected(facts())
    assert look(world, 1).facts is not None


def deleted(world: World, role: str) -> dict[str, Any]:
    """A pod that is being deleted, and of which nobody confirms the end; no node can be read."""
    (pod,) = world.pods(role)
    pod["metadata"]["deletionTimestamp"] = format_time(world.now)
    world.reconcile(STUCK_SECONDS - 5)
    assert world.pods(role) == [pod], "it may still end"
    decision = world.reconcile(1)
    assert decision.requeue_after_seconds is not None
    world.reconcile(decision.requeue_after_seconds)
    return pod


def test_an_inspect_pod_that_does_not_end_has_a_successor() -> None:
    world = World()
    world.reconcile()
    pod = deleted(world, "inspect")
    (made,) = [item for item in world.pods("inspect") if item is not pod]
    assert made["metadata"]["name"] != pod["metadata"]["name"]
    world.inspected(facts())
    world.settle(world.serve_all)
    assert world.brief("Ready") == ("True", "Serving")


def test_a_probe_pod_that_does_not_end_has_a_successor() -> None:
    world = World()
    world.come_up()
    world.raw["metadata"]["annotations"] = {names.MEASURE_AGAIN_ANNOTATION: "now"}
    world.reconcile(1)
    pod = deleted(world, "probe")
    (made,) = [item for item in world.pods("probe") if item is not pod]
    assert made["metadata"]["name"] != pod["metadata"]["name"]
    before = world.status["measurements"][0]["observedTime"]
    world.serves(made)
    world.reconcile(1)
    world.reconcile(1)
    assert world.pods("probe") == [pod]
    assert world.status["measurements"][0]["observedTime"] != before
