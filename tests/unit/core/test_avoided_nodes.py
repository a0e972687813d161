"""After a GPU fault, new pods avoid its node: for a while, by preference, and without a restart."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_contract import codec
from tacho_contract.failure import Failure, FailureClass
from tacho_operator.core import names
from tacho_operator.core.manifests.helper_pods import marker_pod
from tacho_operator.core.pods.avoided_nodes import AVOID_SECONDS, avoiding, mark_nodes
from tacho_operator.core.pods.nodes import tolerates
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.types import ChildRefusal, NodeFacts
from tests.unit.core.pod_security import violations
from tools.harness.resources import CONFIG, NOW, at, changed, resource
from tools.harness.world import MOCK_SPEC, World

GPU_SPEC = changed(MOCK_SPEC, gpu={"count": 1, "resourceName": "example.com/gpu"})
NODE = NodeFacts(name="node-1", labels={}, allocatable={})


def fault(failure_class: str = FailureClass.GPU_FAULT) -> str:
    return codec.dumps(Failure(failure_class=failure_class, message="Xid 79", next_step="n"))


def crash(pod: dict[str, Any], moment: str, message: str) -> None:
    """The engine has ended with this message and is about to be started again."""
    pod.setdefault("spec", {})["nodeName"] = "node-1"
    ended = {"exitCode": 1, "message": message, "finishedAt": moment}
    engine = {
        "name": "engine",
        "restartCount": 1,
        "state": {"waiting": {}},
        "lastState": {"terminated": ended},
    }
    pod["status"] = {"phase": "Running", "containerStatuses": [engine]}


def world() -> World:
    found = World(GPU_SPEC)
    found.come_up()
    return found


def crash_in(found: World, message: str) -> None:
    crash(found.pods("server")[0], at((found.now - NOW).total_seconds()), message)


def avoided(found: World) -> list[tuple[str, str]]:
    return [event for event in found.events if event[1] == "NodeAvoided"]


def test_a_gpu_fault_marks_its_node_once_and_restarts_nothing() -> None:
    found = world()
    crash_in(found, fault())
    before = {key: item for key, item in found.objects.items() if key[0] == "Deployment"}
    event = next(item for item in found.reconcile(1).events if item.reason == "NodeAvoided")
    assert (
        f"Pod {found.pods('server')[0]['metadata']['name']} had a GPU fault on node node-1" in event.message
    )
    assert "for 30 minutes, new pods prefer other nodes" in event.message
    (marker,) = found.pods("avoid")
    assert marker["spec"]["nodeName"] == "node-1"
    for _ in range(3):
        found.reconcile(60)
    assert len(avoided(found)) == 1
    assert before == {key: item for key, item in found.objects.items() if key[0] == "Deployment"}
    assert found.status["replicas"] == 1, "a marker serves nothing"


def test_the_fault_of_one_replica_is_counted_while_another_serves_until_pod_and_marker_are_gone() -> None:
    found = World(changed(GPU_SPEC, replicas=2))
    found.come_up()
    assert found.reconcile(1).gpu_fault_nodes == 0
    crash_in(found, fault())
    assert found.reconcile(1).gpu_fault_nodes == 1
    assert found.brief("Ready")[0] == "True"
    found.pods("server")[0]["status"] = found.pods("server")[1]["status"]
    assert found.reconcile(1).gpu_fault_nodes == 1, "the marker still tells of it"
    assert found.reconcile(AVOID_SECONDS + 1).gpu_fault_nodes == 0


def test_a_marker_ends_and_a_fault_that_recurs_sets_it_anew() -> None:
    found = world()
    crash_in(found, fault())
    found.reconcile(1)
    found.reconcile(AVOID_SECONDS + 1)
    assert not found.pods("avoid"), "forgotten, also where no kubelet has ended it"
    crash_in(found, fault())
    found.reconcile(1)
    (marker,) = found.pods("avoid")
    marker["status"] = {"phase": "Failed", "reason": "DeadlineExceeded"}
    found.reconcile(1)
    found.reconcile(1)
    for _ in range(5):
        found.reconcile(1)
    assert len(avoided(found)) == 2, "one that a kubelet refuses is not made again"


@pytest.mark.parametrize("message", ["", fault(FailureClass.ENGINE_CRASHED), "NVRM: Xid 79"])
def test_another_failure_marks_no_node(message: str) -> None:
    found = world()
    crash_in(found, message)
    found.reconcile(1)
    assert not found.pods("avoid")
    assert not avoided(found)


def test_a_refused_marker_is_another_event_and_leaves_the_service_as_it_is() -> None:
    found = world()
    crash_in(found, fault())
    name = names.marker_pod_name("smol", "node-1")
    found.refusals = (ChildRefusal(kind="Pod", name=name, role="avoid", message="exceeded quota: q"),)
    decision = found.reconcile(1)
    assert not [item for item in decision.events if item.reason == "NodeAvoided"]
    (event,) = [item for item in decision.events if item.reason == "NodeNotAvoided"]
    assert (event.type, "node-1" in event.message) == ("Warning", True)
    assert "exceeded quota: q" in event.message
    assert found.brief("Ready")[1] == "GPUFault"
    assert found.brief("Stalled")[0] == "False"
    message = found.condition("Reconciling")["message"]
    assert "had a GPU fault on node node-1, and new pods may start there" in message
    assert "exceeded quota: q" in message
    found.refusals = ()
    found.reconcile(1)
    assert "GPU fault" not in found.condition("Reconciling")["message"]


def test_a_marker_whose_name_is_taken_is_an_event() -> None:
    found = world()
    crash_in(found, fault())
    name = names.marker_pod_name("smol", "node-1")
    found.refusals = (ChildRefusal(kind="Pod", name=name, role="avoid", taken=True),)
    (event,) = [item for item in found.reconcile(1).events if item.reason == "NodeNotAvoided"]
    assert "has another owner" in event.message


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(-2 * AVOID_SECONDS, 2 * AVOID_SECONDS)), max_size=6),
    st.sets(st.sampled_from("abc")),
    st.none() | st.sets(st.sampled_from("abc")),
)
def test_a_node_has_one_marker_for_a_bounded_time(
    faults: list[tuple[str, float]], marked: set[str], ready: set[str] | None
) -> None:
    pods = []
    for index, (node, seconds) in enumerate(faults):
        pod: dict[str, Any] = {"metadata": {"name": f"p-{index}", "uid": f"u-{index}"}}
        crash(pod, at(seconds), fault())
        pod["spec"]["nodeName"] = node
        pods.append(PodView(pod))
    markers = [
        PodView({"metadata": {"name": names.marker_pod_name("x", node), "creationTimestamp": at(0)}})
        for node in sorted(marked)
    ]
    nodes = None if ready is None else [dataclasses.replace(NODE, name=item) for item in sorted(ready)]
    found = mark_nodes("x", pods, markers, nodes, now=NOW)
    recent = {node for node, seconds in faults if abs(round(seconds)) < AVOID_SECONDS - 1}
    possible = {node for node, seconds in faults if abs(seconds) <= AVOID_SECONDS + 1}
    usable = set("abc") if ready is None else ready
    assert (recent & usable) - marked <= set(found.nodes) <= (possible & usable) - marked
    assert len(set(found.nodes)) == len(found.nodes) == len(found.events)
    assert not found.expired


def test_what_the_user_prefers_stays_beside_it() -> None:
    own = {
        "nodeAffinity": {"x": 1},
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [1],
            "preferredDuringSchedulingIgnoredDuringExecution": [2],
        },
    }
    found = avoiding(own, "x")
    assert found["nodeAffinity"] == own["nodeAffinity"]
    assert found["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"] == [1]
    assert found["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0] == 2


def test_a_probe_pods_fault_marks_its_node_too() -> None:
    found = world()
    probe = copy.deepcopy(found.pods("server")[0])
    probe["metadata"] |= {"name": "smol-probe", "uid": "u-probe"}
    probe["metadata"]["labels"][names.ROLE_LABEL] = names.ROLE_PROBE
    found.objects["Pod", "smol-probe"] = probe
    crash(probe, at((found.now - NOW).total_seconds()), fault())
    (event,) = [item for item in found.reconcile(1).events if item.reason == "NodeAvoided"]
    assert "smol-probe" in event.message
    assert [item["spec"]["nodeName"] for item in found.pods("avoid")] == ["node-1"]


def test_no_taint_evicts_a_marker_or_it_would_be_made_again() -> None:
    own = [{"key": "maintenance", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]
    marker = marker_pod(resource(changed(GPU_SPEC, podTemplate={"spec": {"tolerations": own}})), CONFIG, "n")
    for taint in ("maintenance", "node.kubernetes.io/unreachable"):
        matching = [
            item
            for item in marker["spec"]["tolerations"]
            if tolerates({"key": taint, "effect": "NoExecute"}, [item])
        ]
        assert matching
        assert not [item for item in matching if "tolerationSeconds" in item]


def test_a_marker_passes_pod_security_and_ends_by_itself() -> None:
    spec = marker_pod(resource(GPU_SPEC), CONFIG, "node-1")["spec"]
    assert violations({"initContainers": [], **spec}) == []
    assert spec["activeDeadlineSeconds"] == AVOID_SECONDS


@pytest.mark.parametrize("changes", [{}, {"unschedulable": True}, {"ready": False}])
def test_a_node_that_takes_no_pods_needs_no_marker(changes: dict[str, bool]) -> None:
    pod = world().pods("server")[0]
    crash(pod, at(0), fault())
    nodes = [dataclasses.replace(NODE, **changes)]
    found = mark_nodes("x", [PodView(pod)], (), nodes, now=NOW)
    assert found.nodes == (() if changes else ("node-1",))
