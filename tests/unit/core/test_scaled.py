"""A resource that is scaled: who decides how many, what is shown, which pod goes."""

from __future__ import annotations

import copy
import dataclasses
from datetime import timedelta

import pytest

from tacho_contract.units import format_time, parse_time
from tacho_operator.core.autoscaling.algorithm.types import Point, Sample, Track
from tacho_operator.core.autoscaling.status_view import scaled as shown
from tacho_operator.core.autoscaling.target import (
    TargetPod,
    desired_replicas,
    policy_of,
    target_of,
    victims,
)
from tacho_operator.core.names import DELETION_COST_ANNOTATION, REVISION_LABEL
from tacho_operator.core.pods.claims import claim_bound_of
from tacho_operator.core.types import NodeFacts
from tests.unit.core.scaling import (
    idle,
    rising,
    scaled,
    settled,
    told,
)
from tools.harness.world import World, world_of


def size(world: World) -> int:
    ((_, item),) = [(key, item) for key, item in world.objects.items() if key[0] == "Deployment"]
    return int(item["spec"]["replicas"])


def test_the_scaler_decides_and_not_spec() -> None:
    world = world_of()
    assert size(world) == 1
    world.scaling = dataclasses.replace(settled(), replicas=4)
    world.reconcile(1)
    assert size(world) == 4
    assert world.condition("Reconciling")["message"].startswith("1 of 4 replicas are ready.")


def test_after_a_restart_there_are_as_many_as_there_were() -> None:
    world = world_of()
    world.scaling = dataclasses.replace(settled(), replicas=4)
    world.reconcile(1)
    world.scaling = None
    world.reconcile(1)
    assert size(world) == 4
    assert desired_replicas(world.observed()) == 4


@pytest.mark.parametrize(("scheduled", "most"), [(2, 8), (20, 20)])
def test_what_somebody_scaled_meanwhile_is_no_more_than_the_maximum(scheduled: int, most: int) -> None:
    world = world_of(schedules=[{"schedule": "0 8 * * *", "maxReplicas": scheduled}])
    for revisions in (1, 2):
        for name in world.sizes():
            world.objects["Deployment", name]["spec"]["replicas"] = 100_000
        world.reconcile(1)
        assert (len(world.sizes()), max(world.sizes().values())) == (revisions, most)
        world.roll_out()
        assert max(world.sizes().values()) == most


def test_until_the_scaler_has_looked_again_its_last_words_stand() -> None:
    world = scaled(rising)
    before = world.status
    world.scaling = None
    world.reconcile(5)
    assert world.status["autoscaling"] == before["autoscaling"]
    assert world.brief("ScalingActive") == ("True", "ValidMetricFound")


def test_without_autoscaling_nothing_of_it_is_left() -> None:
    world = scaled(rising)
    world.raw["spec"].pop("autoscaling")
    world.scaling = None
    world.reconcile(1)
    assert "autoscaling" not in world.status
    assert world.condition("ScalingActive") == {}


def test_a_change_is_an_event_with_its_sum() -> None:
    world = scaled(rising)
    assert ("Normal", "SuccessfulRescale") in world.events
    (decision, *_) = world.status["autoscaling"]["decisions"]
    assert (decision["fromReplicas"], decision["toReplicas"]) == (1, 5)
    assert "load of" in decision["reason"]
    world.events.clear()
    world.reconcile(1)
    assert world.events == []


def test_status_is_written_when_a_decision_or_a_rounded_figure_changes() -> None:
    fleet = idle(seconds=400)
    first = told(fleet)
    for demand in (0.10, 0.14, 0.18, 0.12):
        fleet.run(lambda _, demand=demand: demand, 10)
        assert told(fleet, previous=first) is first
    fleet.run(lambda _: 1.0, 120)
    second = told(fleet, previous=first)
    assert second is not first
    assert second.autoscaling.utilization_percent is not None


def test_who_is_asked() -> None:
    world = world_of()
    for pod in world.pods("server"):
        pod["status"]["podIP"] = "10.0.0.7"
    target = target_of(world.observed())
    assert [(pod.address, pod.revision) for pod in target.pods] == [("10.0.0.7", world.selected())]
    assert target.held == ""
    assert target.capacity.unverified == ""
    world.change(context={"maxModelLen": 1024, "concurrency": 2})
    world.reconcile(1)
    assert target_of(world.observed()).held == ""


def scaled_up(replicas: int) -> World:
    """A resource whose scaler has asked for that many replicas, which serve."""
    world = world_of()
    world.scaling = dataclasses.replace(settled(), replicas=replicas)
    world.settle(world.serve_all)
    return world


def test_a_candidate_that_waits_for_a_gpu_keeps_no_replica_from_leaving() -> None:
    world = scaled_up(4)
    world.roll_out()
    (active,) = [name for name, replicas in world.sizes().items() if replicas == 4]
    target = target_of(world.observed())
    assert (target.held, len(target.pods), world.selected()) == ("", 4, active)
    world.scaling = dataclasses.replace(settled(), replicas=1)
    world.reconcile(60)
    assert set(world.sizes().values()) == {1}
    assert world.brief("Ready")[0] == "True"


def test_a_candidate_that_was_rolled_back_keeps_no_replica_from_leaving() -> None:
    world = scaled_up(2)
    world.roll_out()
    (candidate,) = [pod for pod in world.pods("server") if "status" not in pod]
    world.serves(candidate)
    world.reconcile(11)
    assert target_of(world.observed()).held == "requests are moving to another revision"
    world.crash(candidate)
    (ready,) = [item for item in candidate["status"]["conditions"] if item["type"] == "Ready"]
    ready["status"] = "False"
    world.settle(seconds=1, turns=3)
    assert world.brief("RolloutAccepted") == ("False", "RolledBack")
    assert target_of(world.observed()).held == ""


def test_bounds_and_paces_are_those_of_spec_and_the_hour() -> None:
    world = world_of(
        behavior={"scaleUp": {"stabilizationWindowSeconds": 0, "tolerance": "0.1"}},
        schedules=[{"schedule": "* * * * *", "minReplicas": 3}, {"schedule": "? * * * *", "minReplicas": 4}],
    )
    policy, problems = policy_of(target_of(world.observed()), world.now)
    assert (policy.bounds.least, policy.bounds.most) == (3, 8)
    assert (policy.up.window_seconds, policy.up.tolerance, policy.down.window_seconds) == (0, 0.1, 300)
    assert len(problems) == 1


DEFAULTS = {
    "scaleUp": {
        "stabilizationWindowSeconds": 0,
        "selectPolicy": "Max",
        "tolerance": "0",
        "policies": [
            {"type": "Percent", "value": 100, "periodSeconds": 15},
            {"type": "Pods", "value": 4, "periodSeconds": 15},
        ],
    },
    "scaleDown": {
        "stabilizationWindowSeconds": 300,
        "selectPolicy": "Max",
        "tolerance": "0",
        "policies": [
            {"type": "Percent", "value": 100, "periodSeconds": 15},
        ],
    },
}


@pytest.mark.parametrize(
    ("direction", "field"), [(direction, field) for direction, rules in DEFAULTS.items() for field in rules]
)
def test_each_documented_default_typed_changes_nothing(direction: str, field: str) -> None:
    plain, _ = policy_of(target_of(world_of().observed()), world_of().now)
    typed = world_of(behavior={direction: {field: DEFAULTS[direction][field]}})
    assert policy_of(target_of(typed.observed()), typed.now) == (plain, ())


def test_a_window_switches_the_memory_of_bursts_neither_off_nor_on() -> None:
    short = world_of(behavior={"scaleDown": {"stabilizationWindowSeconds": 0}})
    policy, _ = policy_of(target_of(short.observed()), short.now)
    assert (policy.down.window_seconds, policy.burst_memory_seconds) == (0, 2700)
    off = world_of(burstMemorySeconds=0)
    policy, _ = policy_of(target_of(off.observed()), off.now)
    assert (policy.down.window_seconds, policy.burst_memory_seconds) == (300, 0)


def test_the_pod_with_the_least_to_finish_goes_and_one_that_is_silent_last() -> None:
    pods = [TargetPod(uid=uid, name=f"pod-{uid}", address="") for uid in "abcd"]
    tracks = {
        "a": Track(Sample(time_seconds=0, running=3, waiting=1)),
        "b": Track(Sample(time_seconds=0, running=0)),
        "c": Track(Sample(time_seconds=0, running=2, waiting=0)),
    }
    assert victims(pods, tracks, 3) == ("pod-b", "pod-c", "pod-a")
    assert victims(pods, tracks, -1) == ()


def test_a_victim_is_marked_before_it_goes_and_no_longer_than_it_is_one() -> None:
    world = world_of()
    (pod,) = world.pods("server")
    name = pod["metadata"]["name"]
    world.scaling = dataclasses.replace(settled(), victims=(name,))
    assert world.reconcile(1).deletion_costs == {name: "-1"}
    pod["metadata"].setdefault("annotations", {})[DELETION_COST_ANNOTATION] = "-1"
    assert world.reconcile(1).deletion_costs == {}
    world.scaling = settled()
    assert world.reconcile(1).deletion_costs == {name: "0"}


def test_victims_stay_until_the_next_decision() -> None:
    fleet = idle(3, 300)
    fleet.run(lambda _: 0.1, 20)
    chosen = shown(
        fleet.decisions[-1],
        fleet.state,
        bounds=fleet.policy.bounds,
        problems=(),
        victims=("pod-2",),
        previous=None,
    )
    limited = dataclasses.replace(fleet.state, ups=(Point(0, 1.0),))
    moved = dataclasses.replace(
        fleet.decisions[-1], figures=dataclasses.replace(fleet.decisions[-1].figures, utilization=0.9)
    )
    again = shown(moved, limited, bounds=fleet.policy.bounds, problems=(), victims=(), previous=chosen)
    assert again is not chosen
    assert again.victims == ("pod-2",)


def test_a_pod_on_its_way_out_still_takes_its_quota() -> None:
    world = world_of()
    (name,) = world.names("Deployment")
    world.objects["ReplicaSet", f"{name}-1"] = {
        "kind": "ReplicaSet",
        "metadata": {"name": f"{name}-1", "labels": {REVISION_LABEL: name}},
        "status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]},
    }
    (pod,) = world.pods("server")
    for index in range(2):
        going = copy.deepcopy(pod)
        going["metadata"].update(
            name=f"going-{index}", uid=f"going-{index}", deletionTimestamp="2026-01-01T00:00:00Z"
        )
        world.objects["Pod", f"going-{index}"] = going
    assert target_of(world.observed()).refused_above == 3
    world.objects["Pod", "going-0"]["status"]["phase"] = "Failed"
    assert target_of(world.observed()).refused_above == 2


def test_a_pod_that_was_ready_before_tells_no_start() -> None:
    """A day of serving and one late probe are no start of a day: nothing would go for two days."""
    world = world_of()
    (pod,) = world.pods("server")
    pod["status"]["podIP"] = "10.0.0.7"
    begun = parse_time(pod["metadata"]["creationTimestamp"])
    assert begun is not None
    pod["status"]["containerStatuses"][0]["state"] = {"running": {"startedAt": format_time(begun)}}
    (ready,) = [item for item in pod["status"]["conditions"] if item["type"] == "Ready"]
    ready["lastTransitionTime"] = format_time(begun + timedelta(minutes=20))
    assert target_of(world.observed()).pods[0].start_seconds == 1200
    ready["lastTransitionTime"] = format_time(begun + timedelta(days=1))
    assert target_of(world.observed()).pods[0].start_seconds is None


def test_a_claim_of_one_pod_bounds_the_scaler_and_is_named() -> None:
    world = world_of(minReplicas=2)
    assert target_of(world.observed()).claim is None
    world.claims = {"models": {"spec": {"accessModes": ["ReadWriteOncePod"]}}}
    policy, _ = policy_of(target_of(world.observed()), world.now)
    assert (policy.bounds.least, policy.bounds.most) == (1, 1)
    assert policy.bounds.source == "Claim models is ReadWriteOncePod, which"
    world.scaling = dataclasses.replace(settled(), replicas=3)
    world.reconcile(1)
    assert size(world) == 1
    assert world.brief("Stalled") == ("True", "CacheNotShareable")
    assert "3 replicas cannot share it" in world.condition("Stalled")["message"]


NODES = tuple(NodeFacts(name=name, labels={}, allocatable={}) for name in ("one", "two"))


def sharing(count: int, node: str = "one") -> World:
    """As many replicas of one node that share a ReadWriteOnce claim."""
    world = world_of()
    world.claims = {"models": {"spec": {"accessModes": ["ReadWriteOnce"]}}}
    world.nodes = NODES[:1]
    world.scaling = dataclasses.replace(settled(), replicas=count)
    world.settle(world.serve_all)
    for pod in world.pods("server"):
        pod["spec"]["nodeName"] = node
        pod["status"]["phase"] = "Running"
    return world


def test_a_node_that_joins_takes_nothing_from_replicas_that_share_a_claim() -> None:
    world = sharing(3)
    assert len(world.pods("server")) == size(world) == 3
    world.nodes = NODES
    world.reconcile(2)
    assert size(world) == 3
    assert world.brief("Stalled")[0] == "False"
    policy, _ = policy_of(target_of(world.observed()), world.now)
    assert (policy.bounds.least, policy.bounds.most) == (1, 3)
    assert policy.bounds.source == "Claim models is ReadWriteOnce, which"


def test_more_than_share_a_claim_are_not_begun_where_there_is_another_node() -> None:
    world = sharing(3)
    world.nodes = NODES
    world.scaling = dataclasses.replace(settled(), replicas=5)
    world.reconcile(2)
    assert size(world) == 3
    assert "5 replicas cannot share it, at most 3 can" in world.condition("Stalled")["message"]


@pytest.mark.parametrize(
    ("node", "phase", "most"),
    [("", "Pending", 3), ("one", "Pending", 3), ("two", "Pending", 2), ("one", "Failed", 3)],
    ids=["not placed yet", "starts beside them", "waits for the volume elsewhere", "its successor comes"],
)
def test_which_pods_share_a_claim(node: str, phase: str, most: int) -> None:
    world = sharing(3)
    world.nodes = NODES
    last = world.pods("server")[-1]
    last["spec"]["nodeName"], last["status"]["phase"] = node, phase
    bound = target_of(world.observed()).claim
    assert bound is not None
    assert bound.max_replicas == most


def test_a_lost_pod_takes_no_replica_with_it_before_its_successor_is_made() -> None:
    world = sharing(3)
    world.nodes = NODES
    world.reconcile(1)
    lost = world.pods("server")[-1]
    lost["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    bound = target_of(world.observed()).claim
    assert bound is not None
    assert bound.max_replicas == size(world) == 3


def test_the_narrowest_of_several_claims_bounds() -> None:
    world = sharing(3)
    world.nodes = NODES
    world.raw["spec"]["cache"] = {"persistentVolumeClaim": {"claimName": "kept"}}
    world.claims["kept"] = {"spec": {"accessModes": ["ReadWriteOncePod"]}}
    bound = claim_bound_of(world.observed())
    assert bound is not None
    assert (bound.max_replicas, bound.claim) == (1, "Claim kept is ReadWriteOncePod")


def test_a_bound_that_a_person_set_lower_than_the_claim_s_stays_theirs() -> None:
    world = sharing(3)
    world.raw["spec"]["autoscaling"]["maxReplicas"] = 2
    world.nodes = NODES
    policy, _ = policy_of(target_of(world.observed()), world.now)
    assert (policy.bounds.most, policy.bounds.source) == (2, "spec.autoscaling")
