"""Moments in between: things on their way out, things said once, things that hold each other up."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tacho_contract.failure import Failure
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core import names
from tacho_operator.core.pods.claims import (
    claim_bound,
    claim_limits,
    claim_names,
    missing_claim,
    not_shareable,
    one_pod_only,
)
from tacho_operator.core.pods.view import PodView, references, views
from tacho_operator.core.reconcile import decide
from tacho_operator.core.types import ChildRefusal, NodeFacts
from tools.harness.pod_states import insufficient
from tools.harness.resources import CLAIM_SPEC, CONFIG, HUB_SPEC, NOW, at, changed, facts, resource
from tools.harness.world import MOCK_SPEC, World

BUSY = Failure(failure_class="HubUnreachable", message="No answer.", next_step="Wait.", retryable=True)
NOT_THERE = Failure(failure_class="ModelNotFound", message="No such file.", next_step="Check it.")


def serving_world(spec: dict[str, Any] | None = None) -> World:
    world = World(spec)
    world.come_up()
    return world


def test_a_pod_on_its_way_out_serves_nobody() -> None:
    world = serving_world()
    (pod,) = world.pods("server")
    pod["metadata"]["deletionTimestamp"] = at(0)
    world.reconcile(1)
    assert world.brief("Ready")[0] == "False"
    assert (world.status["replicas"], world.status["readyReplicas"]) == (0, 0)


def test_what_is_being_deleted_is_not_deleted_again() -> None:
    world = serving_world(changed(MOCK_SPEC, replicas=2))
    world.change(context={"maxModelLen": 1024, "concurrency": 2}, replicas=1)
    world.settle(world.serve_all)
    world.objects["PodDisruptionBudget", "smol"] = {
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "smol", "uid": "u", "deletionTimestamp": at(0)},
    }
    assert decide(world.observed(), CONFIG, world.now).delete == ()
    del world.objects["PodDisruptionBudget", "smol"]["metadata"]["deletionTimestamp"]
    assert [item.kind for item in decide(world.observed(), CONFIG, world.now).delete] == [
        "PodDisruptionBudget"
    ]


def test_a_deployment_on_its_way_out_is_not_counted_as_one() -> None:
    world = serving_world()
    (name,) = world.names("Deployment")
    world.objects["Deployment", name]["metadata"]["deletionTimestamp"] = at(0)
    decision = decide(world.observed(), CONFIG, world.now)
    assert decision.delete == ()
    assert name in [item["metadata"]["name"] for item in decision.apply if item["kind"] == "Deployment"]


def test_the_last_inspection_failure_is_shown_until_the_next_one_ends() -> None:
    world = World()
    world.reconcile()
    world.inspected(BUSY)
    world.reconcile(6)
    for _ in range(4):
        world.reconcile(2)
        assert world.brief("Ready") == ("False", "HubUnreachable")
        assert world.brief("Stalled")[0] == "False"
        assert world.brief("Reconciling") == ("True", "Inspecting")
    assert world.events == [("Warning", "HubUnreachable")]
    world.inspected(facts())
    world.reconcile(1)
    assert world.brief("Planned") == ("True", "PlanReady")


def test_a_failure_is_an_event_once_however_many_conditions_show_it() -> None:
    world = World()
    world.first_pods()
    insufficient(world.pods("server")[0])
    world.reconcile(1)
    world.reconcile(700)
    assert world.brief("Stalled") == ("True", "Unschedulable")
    assert world.events.count(("Warning", "Unschedulable")) == 1


def test_a_service_that_stops_serving_is_an_event_whatever_the_reason() -> None:
    world = serving_world()
    world.events.clear()
    world.remove_pod(world.pods("server")[0])
    world.deployment_controller()
    world.reconcile(1)
    assert world.brief("Ready") == ("False", "Scheduling")
    assert world.events == [("Warning", "Scheduling")]
    world.reconcile(1)
    assert len(world.events) == 1


def test_an_evicted_pod_says_nothing_once_it_is_replaced() -> None:
    world = serving_world()
    (pod,) = world.pods("server")
    pod["status"] = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."}
    world.reconcile(1)
    assert "low on memory" in world.condition("Ready")["message"]
    replacement = copy.deepcopy(pod)
    replacement["metadata"] |= {"name": f"{pod['metadata']['name']}-b", "uid": "uid-b"}
    replacement.pop("status")
    world.objects["Pod", replacement["metadata"]["name"]] = replacement
    world.reconcile(1)
    assert world.brief("Ready") == ("False", "PullingImages")


def test_nothing_is_measured_anew_while_a_revision_takes_over() -> None:
    world = serving_world()
    world.change(
        workload={"inputTokens": 9, "outputTokens": 9}, context={"maxModelLen": 1024, "concurrency": 2}
    )
    world.reconcile(1)
    world.deployment_controller()
    assert len(world.names("Deployment")) == 2
    assert not world.pods("probe"), "the candidate measures the new workload as it starts"
    world.settle(world.serve_all)
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    assert not world.pods("probe")


def test_who_served_is_known_even_if_somebody_wiped_the_annotation() -> None:
    world = serving_world()
    (old,) = world.names("Deployment")
    world.change(context={"maxModelLen": 1024, "concurrency": 2})
    world.reconcile(1)
    del world.service()["metadata"]["annotations"][names.ACTIVE_ANNOTATION]
    world.reconcile(1)
    assert world.selected() == old
    assert world.service()["metadata"]["annotations"][names.ACTIVE_ANNOTATION] == old


def test_a_lost_node_is_named() -> None:
    world = serving_world()
    (pod,) = world.pods("server")
    pod["status"]["conditions"][-1]["status"] = "False"
    world.nodes = (NodeFacts(name="node-1", labels={}, allocatable={}, ready=False),)
    world.reconcile(1)
    assert world.brief("Ready") == ("False", "NodeLost")


def two(count: int = 2) -> LLMDeployment:
    return resource(changed(MOCK_SPEC, replicas=count))


def nodes(ready: int, cordoned: int = 0) -> tuple[NodeFacts, ...]:
    return tuple(
        NodeFacts(name=f"n{number}", labels={}, allocatable={}, unschedulable=number >= ready)
        for number in range(ready + cordoned)
    )


@pytest.mark.parametrize(
    ("modes", "replicas", "found", "shareable"),
    [
        (["ReadWriteMany"], 2, nodes(3), True),
        (["ReadOnlyMany"], 2, nodes(3), True),
        (["ReadWriteOnce", "ReadOnlyMany"], 2, nodes(3), True),
        (["ReadWriteOnce"], 2, nodes(3), False),
        (["ReadWriteOnce"], 2, nodes(1), True),
        (["ReadWriteOnce"], 2, nodes(2), False),
        (["ReadWriteOnce"], 2, nodes(1, cordoned=2), True),
        (
            ["ReadWriteOnce"],
            2,
            (*nodes(1), NodeFacts(name="x", labels={}, allocatable={}, ready=False)),
            True,
        ),
        (["ReadWriteOnce"], 2, None, True),
        (["ReadWriteOnce"], 1, nodes(3), True),
        (["ReadWriteOncePod"], 2, nodes(1), False),
        (["ReadWriteOncePod"], 1, nodes(1), True),
        ([], 2, nodes(3), True),
    ],
)
def test_who_may_share_a_claim(
    modes: list[str], replicas: int, found: tuple[NodeFacts, ...] | None, shareable: bool
) -> None:
    claims = {"models": {"spec": {"accessModes": modes}}}
    bound = claim_bound(two(replicas), claims, found)
    assert (not_shareable(bound, replicas=replicas) is None) is shareable
    assert (one_pod_only(two(replicas), claims, {"models"}) is None) is (modes != ["ReadWriteOncePod"])


def volumes(*claims: str) -> dict[str, Any]:
    """A pod template with a claim for each name; "" is a volume of another kind."""
    return {
        "spec": {
            "volumes": [
                {"name": f"v{number}"}
                | ({"persistentVolumeClaim": {"claimName": claim}} if claim else {"emptyDir": {}})
                for number, claim in enumerate(claims)
            ]
        }
    }


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        (CLAIM_SPEC, ("models",)),
        (HUB_SPEC, ("cache",)),
        (changed(CLAIM_SPEC, cache=HUB_SPEC["cache"]), ("models", "cache")),
        (changed(CLAIM_SPEC, cache={"persistentVolumeClaim": {"claimName": "models"}}), ("models",)),
        (changed(HUB_SPEC, cache=None), ()),
        (changed(HUB_SPEC, cache={"sizeLimit": "10Gi"}), ()),
        (changed(CLAIM_SPEC, podTemplate={"metadata": {"labels": {"team": "ml"}}}), ("models",)),
        (changed(CLAIM_SPEC, podTemplate=volumes("", "lora", "models")), ("models", "lora")),
    ],
)
def test_which_claims_a_spec_names(spec: dict[str, Any], found: tuple[str, ...]) -> None:
    assert claim_names(resource(spec).spec) == found


def test_claims_that_are_in_nobodys_way_limit_nothing() -> None:
    world = serving_world()
    assert claim_limits(world.observed(), active="other", desired="", replicas=1).problems == ()


def test_a_claim_nobody_could_look_up_is_not_missing() -> None:
    assert missing_claim(two(), {}) is None
    assert missing_claim(two(), {"models": {}}) is None
    assert missing_claim(two(), {"models": None}) is not None


def test_a_bare_pod_has_sane_defaults() -> None:
    pod = PodView({"metadata": {"name": "p"}})
    assert (pod.ready, pod.phase, pod.node, pod.role, pod.created, list(pod.containers())) == (
        False,
        "Pending",
        "",
        "",
        None,
        [],
    )


def test_a_bare_pod_has_no_annotations_and_its_containers_have_not_restarted() -> None:
    pod = PodView({"metadata": {"name": "p"}, "status": {"containerStatuses": [{"name": "engine"}]}})
    assert pod.annotation("x") == ""
    assert [container.restarts for container in pod.containers()] == [0]


def test_a_condition_has_a_time_only_while_it_is_true() -> None:
    ready, not_ready = (
        PodView({"status": {"conditions": [{"type": "Ready", "status": value, "lastTransitionTime": at(0)}]}})
        for value in ("True", "False")
    )
    assert (ready.condition_time("Ready"), not_ready.condition_time("Ready")) == (NOW, None)


def test_pods_of_one_role_come_oldest_first_and_those_on_their_way_out_are_not_deleted_again() -> None:
    def made(name: str, seconds: float, role: str = "probe", **metadata: str) -> dict[str, Any]:
        labels = {names.ROLE_LABEL: role}
        return {
            "metadata": {
                "name": name,
                "uid": f"uid-{name}",
                "creationTimestamp": at(seconds),
                "labels": labels,
                **metadata,
            }
        }

    found = views(
        [
            made("a", 2),
            made("c", 1),
            made("b", 1),
            made("d", 0, deletionTimestamp=at(5)),
            made("e", 0, "server"),
        ],
        "probe",
    )
    assert [pod.name for pod in found] == ["d", "b", "c", "a"]
    assert [(item.name, item.uid) for item in references(found)] == [
        ("b", "uid-b"),
        ("c", "uid-c"),
        ("a", "uid-a"),
    ]


def test_what_was_refused_is_asked_for_again_and_what_somebody_else_owns_is_not() -> None:
    world = serving_world()
    for taken in (False, True):
        world.refusals = (ChildRefusal(kind="Service", name="smol", message="no", taken=taken),)
        applied = {item["kind"] for item in decide(world.observed(), CONFIG, world.now).apply}
        assert ("Service" in applied) != taken
        assert "Deployment" in applied


def test_facts_that_no_revision_asks_for_are_forgotten() -> None:
    world = serving_world()
    data = world.objects["ConfigMap", "smol-facts"]["data"]
    before = dict(data)
    data["feedface00"] = "of a model nobody asks for any more"
    world.reconcile(1)
    assert world.objects["ConfigMap", "smol-facts"]["data"] == before


def test_the_log_says_what_is_waited_for() -> None:
    world = World()
    assert world.reconcile().reason.startswith("Starts pod smol-inspect-")
    world.inspected(NOT_THERE)
    assert world.reconcile(1).reason.startswith("Inspection failed (ModelNotFound); the next attempt is in ")
    assert serving_world().reconcile(1).reason.startswith("Revision smol-")


def test_a_record_of_another_schema_is_left_alone() -> None:
    world = serving_world()
    (name,) = world.names("ControllerRevision")
    foreign = copy.deepcopy(world.objects["ControllerRevision", name])
    foreign["metadata"] |= {"name": "smol-future", "uid": "uid-future"}
    foreign["data"]["schema"] = 99
    world.objects["ControllerRevision", "smol-future"] = foreign
    decision = decide(world.observed(), CONFIG, NOW)
    assert decision.delete == ()
    assert "smol-future" not in str(decision.status)


def test_what_serves_is_kept_though_its_record_cannot_be_read() -> None:
    world = serving_world()
    (name,) = world.names("ControllerRevision")
    world.objects["ControllerRevision", name]["data"]["schema"] = 99
    world.change(model={"uri": "pvc://models/other"})
    world.reconcile(1)
    world.inspected(NOT_THERE)
    world.settle()
    assert name in world.names("Deployment")
    assert world.selected() == name
    assert world.brief("Ready") == ("True", "Serving")
    assert world.brief("Stalled") == ("True", "ModelNotFound")


@pytest.mark.parametrize("lost", ["unreadable", "deleted"])
def test_what_serves_keeps_its_service_though_its_record_is_lost(lost: str) -> None:
    """Ready was True by the pods, while nobody restored the Service that had led to them."""
    world = serving_world()
    (name,) = world.names("ControllerRevision")
    if lost == "deleted":
        del world.objects["ControllerRevision", name]
    else:
        world.objects["ControllerRevision", name]["data"]["schema"] = 99
    world.change(model={"uri": "pvc://models/other"})
    world.reconcile(1)
    for kind in ("Service", "NetworkPolicy"):
        del world.objects[kind, "smol"]
    world.reconcile(1)
    assert world.brief("Ready") == ("True", "Serving")
    assert world.selected() == name
    assert world.names("NetworkPolicy") == {"smol"}


def test_a_pod_that_lost_its_readiness_is_not_called_measured() -> None:
    world = serving_world()
    (pod,) = world.pods("server")
    world.runs(pod, "Serving", ready=False)
    world.reconcile(1)
    assert world.brief("Ready") == ("False", "Starting")
    assert "readiness check fails" in world.condition("Ready")["message"]
    world.runs(pod, "Serving", ready=False, message="no token was counted for 601 s")
    world.reconcile(1)
    assert world.condition("Ready")["message"].endswith("It reports: no token was counted for 601 s.")


def test_conditions_of_another_version_do_not_outlive_it() -> None:
    world = serving_world()
    other = {**world.condition("Ready"), "type": "ScalingActive", "reason": "MetricsFound"}
    world.raw["status"]["conditions"].append(other)
    world.reconcile(1)
    assert "ScalingActive" not in {item["type"] for item in world.status["conditions"]}


def test_no_message_is_longer_than_a_condition_may_be() -> None:
    world = World()
    world.reconcile()
    world.inspected(Failure(failure_class="ModelInvalid", message="x" * 9000, next_step="y" * 9000))
    world.reconcile(1)
    lengths = [len(item["message"]) for item in world.status["conditions"]]
    assert max(lengths) > 100, "it is reported"
    assert max(lengths) <= 1024
