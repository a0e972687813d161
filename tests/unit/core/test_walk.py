"""Random walks: whatever users, kubelet and time do, these things hold after every decision."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given, strategies as st

from tacho_contract.failure import FAILURE_KINDS, Failure
from tacho_operator.core import names
from tacho_operator.core.reconcile import decide
from tacho_operator.core.revisions.identity import live_config
from tacho_operator.core.types import ChildRefusal
from tests.properties import examples
from tools.harness.figures import point
from tools.harness.pod_states import container_state, insufficient
from tools.harness.resources import facts
from tools.harness.world import World
from tools.troubleshooting import ANY_FAILURE, condition_rows

DOCUMENTED = frozenset((row.kind, row.status, row.reason) for row in condition_rows())
FAILURE = Failure(failure_class="HubUnreachable", message="No answer.", next_step="Wait.", retryable=True)
ACTS = ("serve", "probing", "crash", "stuck", "lose", "disturbed", "checked", "evicted", "silent")
OPERATIONS = st.one_of(
    st.tuples(st.just("context"), st.sampled_from((1024, 2048, 4096))),
    st.tuples(st.just("replicas"), st.integers(0, 3)),
    st.tuples(st.just("workload"), st.sampled_from((64, 128))),
    st.tuples(st.just("model"), st.sampled_from(("pvc://models/smollm2", "pvc://models/other"))),
    st.tuples(st.just("probe"), st.sampled_from(("Auto", "Always", "Disabled"))),
    st.tuples(st.just("inspected"), st.booleans()),
    st.tuples(st.sampled_from(ACTS), st.integers(0, 5)),
    st.tuples(st.just("again"), st.sampled_from(("1", "2", ""))),
    st.tuples(st.just("time"), st.sampled_from((1, 11, 700))),
    st.tuples(st.just("delete"), st.sampled_from(("Service", "ConfigMap", "NetworkPolicy"))),
    st.tuples(st.just("conflict"), st.booleans()),
)


def perform(world: World, name: str, value: Any) -> None:
    """One thing that happens outside the operator."""
    fields: dict[str, Any] = {
        "context": {"maxModelLen": value, "concurrency": 4},
        "replicas": value,
        "workload": {"inputTokens": value, "outputTokens": 64},
        "model": {"uri": value, "servedName": "smollm2"},
        "probe": {"policy": value},
    }
    if name in fields:
        world.change(**{name: fields[name]})
    elif name == "inspected":
        if world.pods("inspect"):
            world.inspected(facts() if value else FAILURE)
    elif name == "again":
        world.raw["metadata"]["annotations"] = {names.MEASURE_AGAIN_ANNOTATION: value} if value else {}
    elif name == "time":
        world.reconcile(value)
    elif name == "conflict":
        stranger = value and ("Service", "smol") not in world.objects
        world.refusals = (ChildRefusal(kind="Service", name="smol", taken=True),) if stranger else ()
    elif name == "delete":
        for key in [key for key in world.objects if key[0] == value][:1]:
            del world.objects[key]
    elif pods := [*world.pods("server"), *world.pods("probe")]:
        act(world, name, pods[value % len(pods)])


def act(world: World, name: str, pod: dict[str, Any]) -> None:
    if ("ControllerRevision", pod["metadata"]["labels"][names.REVISION_LABEL]) not in world.objects:
        return
    if name == "serve":
        world.serves(pod)
    elif name == "disturbed":
        world.serves(pod, flags=("Contended", "NotSteady"))
    elif name == "checked":
        world.serves(pod, kind="Check", capacity=None, curve=(point(4, 130.0),))
    elif name == "evicted":
        pod["status"] = {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}
    elif name == "silent":
        world.reports.pop(pod["metadata"]["uid"], None)
    elif name == "probing":
        world.runs(pod, "Probing")
    elif name == "crash":
        container_state(pod, restartCount=4, state={"terminated": {"exitCode": 3, "message": "out of luck"}})
    elif name == "stuck":
        insufficient(pod)
    else:
        world.remove_pod(pod)


def check(world: World) -> None:
    observed = world.observed()
    assert decide(observed, world.config, world.now) == decide(observed, world.config, world.now)
    world.reconcile()
    conditions = {item["type"]: item for item in world.status["conditions"]}
    true = {kind for kind, item in conditions.items() if item["status"] == "True"}
    assert not {"Reconciling", "Stalled"} <= true
    assert {"Ready", "Reconciling", "Stalled", "Planned"} <= set(conditions)
    assert world.status["observedGeneration"] == world.raw["metadata"]["generation"]
    ready = [pod for pod in world.pods("server") if is_ready(pod)]
    if "Ready" in true:
        assert any(world.selected() in ("", pod["metadata"]["labels"][names.REVISION_LABEL]) for pod in ready)
        assert not world.refusals
    held = {pod["metadata"]["labels"][names.REVISION_LABEL] for pod in ready} & world.names("Deployment")
    if held and world.raw["spec"].get("replicas", 1) and not world.refusals:
        assert "Ready" in true, "some pod is ready, and requests reach nobody"
    if conditions["Ready"]["status"] == "False":
        assert conditions["Ready"]["message"]
    for kind, item in conditions.items():
        reason = ANY_FAILURE if item["reason"] in FAILURE_KINDS else item["reason"]
        assert (kind, item["status"], reason) in DOCUMENTED, item
    if (summary := world.status.get("summary")) and "outputTokensPerSecond" in summary:
        tilde = summary["outputTokensPerSecondShown"].startswith("~")
        assert tilde == (summary["confidence"] == "Provisional")
        assert tilde == (conditions["Measured"]["reason"] == "MeasurementProvisional")
    if world.status.get("summary"):
        live = live_config(world.observed().resource.spec)
        (key,) = {item["measureKey"] for item in world.status["measurements"] if item["state"] != "Stale"}
        assert key == live.measure_key
    assert len(world.status.get("measurements", ())) <= 4
    assert len(world.status.get("revisions", ())) <= 5


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions", ())
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


def fixpoint(world: World) -> None:
    """With the world standing still, the operator comes to rest within a few turns, and stays there."""
    for _ in range(5):
        world.reconcile()
    before = (copy.deepcopy(world.objects), copy.deepcopy(world.raw), world.mutations, len(world.events))
    decision = world.reconcile()
    assert decision.delete == ()
    assert (world.objects, world.raw, world.mutations, len(world.events)) == before


@examples(1)
@given(st.lists(OPERATIONS, max_size=25))
def test_invariants_hold_on_every_walk(operations: list[tuple[str, Any]]) -> None:
    world = World()
    world.reconcile()
    for name, value in [("inspected", True), *operations]:
        perform(world, name, value)
        check(world)
        world.deployment_controller()
    fixpoint(world)


@examples(0.25)
@given(st.lists(OPERATIONS, max_size=15))
def test_whatever_happened_a_healthy_cluster_ends_up_serving(operations: list[tuple[str, Any]]) -> None:
    world = World()
    world.reconcile()
    for name, value in operations:
        perform(world, name, value)
        world.reconcile()
        world.deployment_controller()
    world.refusals = ()
    world.change(replicas=2)

    def heal() -> None:
        for pod in world.pods("inspect"):
            if "status" not in pod:
                world.inspected(facts())
        for pod in [*world.pods("server"), *world.pods("probe")]:
            if ("ControllerRevision", pod["metadata"]["labels"][names.REVISION_LABEL]) in world.objects:
                world.serves(pod)

    for _ in range(4):
        world.reconcile(700)
        world.deployment_controller()
        world.settle(heal)
    assert world.brief("Ready") == ("True", "Serving"), world.status["conditions"]
    assert world.brief("Reconciling") == ("False", "Settled"), world.status["conditions"]
    assert world.brief("Stalled") == ("False", "Progressing")
    assert len(world.names("Deployment")) == 1
    assert world.brief("Measured")[1] in ("MeasurementComplete", "ProbeDisabled")
    assert not world.pods("probe")
    assert not world.pods("inspect")
