"""What the cluster does to a pod is told from what the pod does, and counts against no revision."""

from __future__ import annotations

from typing import Any

import pytest

from tacho_contract.units import format_time
from tacho_operator.core.autoscaling.target import target_of
from tacho_operator.core.pods.diagnosis import CONDITIONS, REASONS, diagnose, disruption
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.revisions.inspection import result
from tests.unit.core.measured_world import measured_world
from tools.harness.resources import CLAIM_SPEC, changed
from tools.harness.world import World

KILLED = {"name": "engine", "state": {"terminated": {"exitCode": 137, "message": "out of luck"}}}


def pod(**status: Any) -> PodView:
    return PodView({"metadata": {"name": "p"}, "spec": {}, "status": status})


def target(reason: str, status: str = "True") -> dict[str, Any]:
    return {"type": "DisruptionTarget", "status": status, "reason": reason, "message": "Said so."}


@pytest.mark.parametrize(
    "status",
    [
        *({"phase": "Failed", "reason": reason} for reason in [*REASONS, "OutOfcpu", "OutOfnvidia.com/gpu"]),
        *({"phase": "Running", "conditions": [target(reason)]} for reason in CONDITIONS),
        {"phase": "Failed", "conditions": [target("TerminationByKubelet")], "reason": "Terminated"},
    ],
)
def test_what_the_cluster_did_is_not_the_engines_crash(status: dict[str, Any]) -> None:
    found = diagnose(pod(**status, containerStatuses=[KILLED]), lost_nodes=(), schedule_overdue=False)
    assert found is not None
    assert (found.reason, found.needs_user_action, found.kind.by_platform) == ("Evicted", False, True)
    assert "pod p" in found.message
    outcome = result(pod(**status)).failure
    assert outcome is not None
    assert outcome.failure_class == "Evicted"


@pytest.mark.parametrize(
    ("target_reason", "reason", "said"),
    [
        ("TerminationByKubelet", "OutOfcpu", "its node had no capacity"),
        ("EvictionByEvictionAPI", "Evicted", CONDITIONS["EvictionByEvictionAPI"]),
        ("TerminationByKubelet", "DeadlineExceeded", CONDITIONS["TerminationByKubelet"]),
    ],
)
def test_the_more_precise_of_two_reasons_is_said(target_reason: str, reason: str, said: str) -> None:
    found = disruption(pod(phase="Failed", reason=reason, conditions=[target(target_reason)], message=""))
    assert found is not None
    assert found.what == f"The cluster evicted pod p: {said}."


@pytest.mark.parametrize("reason", REASONS)
def test_the_kubelets_reason_is_more_than_that_the_kubelet_ended_it(reason: str) -> None:
    """Its condition is TerminationByKubelet for every cause."""
    found = disruption(
        pod(phase="Failed", reason=reason, conditions=[target("TerminationByKubelet")], message="")
    )
    assert found is not None
    assert found.what == f"The cluster evicted pod p: {REASONS[reason]}."


def test_a_node_that_does_not_answer_is_named_before_what_its_taint_did() -> None:
    status = {"phase": "Running", "conditions": [target("DeletionByTaintManager")]}
    found = diagnose(
        PodView({"metadata": {"name": "p"}, "spec": {"nodeName": "n"}, "status": status}),
        lost_nodes={"n"},
        schedule_overdue=False,
    )
    assert found is not None
    assert found.reason == "NodeLost"


@pytest.mark.parametrize(
    "status",
    [
        {"phase": "Running", "reason": "Evicted"},
        {"phase": "Failed", "reason": "DeadlineExceeded"},
        {"phase": "Failed"},
        {"phase": "Running", "conditions": [target("EvictionByEvictionAPI", "False")]},
        {"phase": "Running", "conditions": [target("SomethingElse")]},
    ],
)
def test_what_the_cluster_did_not_do(status: dict[str, Any]) -> None:
    assert disruption(pod(**status)) is None


@pytest.mark.parametrize(
    "message",
    [
        'Usage of EmptyDir volume "cache" exceeds the limit "10Mi". ',
        "Pod ephemeral local storage usage exceeds the total limit of containers 10Mi. ",
        "Container engine exceeded its local ephemeral storage limit 10Mi. ",
    ],
)
def test_a_pod_evicted_for_what_it_wrote_itself_has_a_full_disk(message: str) -> None:
    found = disruption(pod(phase="Failed", reason="Evicted", message=message))
    assert found is not None
    assert (found.reason, found.kind.by_platform) == ("DiskFull", False)


LOW = "The node was low on resource: {0}. Threshold quantity: 100Mi, available: 86156Ki. "
USING = "Container {0} was using {1}, request is {2}, has larger consumption of {3}. "
"""As the kubelet formats them (pkg/kubelet/eviction/helpers.go)."""
MEMORY = LOW.format("memory") + USING.format("engine", "8521160Ki", "4Gi", "memory")


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (MEMORY, ("memory 8.13 GiB, requested 4.00 GiB", "requests.memory to 8521160Ki")),
        (LOW.format("memory") + USING.format("engine", "9Gi", "0", "memory"), ("requested 0 MiB",)),
        (
            LOW.format("memory")
            + USING.format("fetch", "200Mi", "128Mi", "memory")
            + USING.format("engine", "9Gi", "4Gi", "memory"),
            ("requests.memory to 9Gi",),
        ),
        (
            LOW.format("memory") + "Pod p was using 9Gi, request is 4Gi, has larger consumption of memory. ",
            ("requests.memory to 9Gi",),
        ),
        (
            # kubelet's own test of its manager, with our container
            "The node was low on resource: ephemeral-storage. Threshold quantity: 2Gi, available: 1536Mi. "
            "Container engine was using 700Mi, request is 100Mi, has larger consumption of "
            "ephemeral-storage. ",
            ("ephemeral-storage 700 MiB", "requests.ephemeral-storage to 700Mi"),
        ),
    ],
)
def test_a_pod_evicted_for_using_more_than_it_asked_for_brought_it_about(
    message: str, words: tuple[str, ...]
) -> None:
    found = disruption(pod(phase="Failed", reason="Evicted", message=message))
    assert found is not None
    assert (found.reason, found.caused_by_platform, found.needs_user_action) == ("Evicted", False, False)
    assert all(word in found.message for word in words), found.message


def test_a_kubelets_figures_may_have_any_length() -> None:
    message = USING.format("engine", "9" * 400 + "Ki", "4Gi", "memory")
    found = disruption(pod(phase="Failed", reason="Evicted", message=message))
    assert found is not None
    assert found.reason == "Evicted"
    assert "requested 4.00 GiB" in found.message


@pytest.mark.parametrize(
    "message",
    [
        "",
        LOW.format("memory"),
        LOW.format("memory") + USING.format("fetch", "200Mi", "128Mi", "memory"),
        LOW.format("ephemeral-storage") + USING.format("engine", "12Ki", "0", "ephemeral-storage"),
        "The node was low on resource: inodes. ",
        "The node had condition: [DiskPressure]. ",
    ],
)
def test_a_pod_evicted_for_its_node_is_to_blame_for_nothing(message: str) -> None:
    found = disruption(pod(phase="Failed", reason="Evicted", message=message))
    assert found is not None
    assert (found.reason, found.caused_by_platform) == ("Evicted", True)
    assert "replaced" in found.next_step


def evict(world: World, which: dict[str, Any]) -> None:
    """kubectl drain: the pod is on its way out, and says for what."""
    which["metadata"]["deletionTimestamp"] = "2026-11-20T12:00:00Z"
    which["status"]["conditions"].append(target("EvictionByEvictionAPI"))


def test_a_drained_pod_is_told_and_replaced_without_a_person() -> None:
    world = World()
    world.come_up()
    (before,) = world.pods("server")
    evict(world, before)
    world.reconcile(1)
    assert world.brief("Ready") == ("False", "Evicted")
    assert world.brief("Stalled") == ("False", "Progressing")
    world.remove_pod(before)
    world.deployment_controller()
    world.settle(world.serve_all)
    assert world.brief("Ready") == ("True", "Serving")


def let_in() -> tuple[World, str]:
    """A world whose new revision serves beside the old one."""
    world = World(changed(CLAIM_SPEC, replicas=2, engine=World().raw["spec"]["engine"]))
    world.come_up()
    old = set(world.names("Deployment"))
    world.change(context={"maxModelLen": 4096, "concurrency": 4})
    for _ in range(30):
        world.reconcile(3)
        world.deployment_controller()
        world.serve_all()
        if world.service()["metadata"]["annotations"].get("tacho.dev/admitted-revision"):
            break
    (new,) = world.names("Deployment") - old
    assert world.service()["metadata"]["annotations"]["tacho.dev/admitted-revision"] == new
    return world, new


def evict_for_memory(world: World, which: dict[str, Any], message: str = MEMORY) -> None:
    """The kubelet fails the pod, and it stays there to be read."""
    which["status"] = {
        "phase": "Failed",
        "reason": "Evicted",
        "message": message,
        "conditions": [{**target("TerminationByKubelet"), "lastTransitionTime": format_time(world.now)}],
    }


@pytest.mark.parametrize(("message", "fell"), [(MEMORY, True), (LOW.format("memory"), False)])
def test_a_candidate_that_used_more_than_it_asked_for_waits_before_it_is_let_in_again(
    message: str, fell: bool
) -> None:
    world, new = let_in()
    for item in world.pods("server", new):
        evict_for_memory(world, item, message)
    world.reconcile(1)
    assert ("tacho.dev/rollback" in world.service()["metadata"]["annotations"]) == fell
    assert (world.brief("RolloutAccepted")[1] == "RolledBack") == fell
    assert ("spec.engine.resources.requests.memory" in world.condition("RolloutAccepted")["message"]) == fell


def standing(world: World) -> list[dict[str, Any]]:
    return [item for item in world.pods("server") if item.get("status", {}).get("phase") != "Failed"]


def test_pods_that_are_evicted_for_their_memory_again_and_again_need_a_person() -> None:
    world = World()
    world.come_up()
    for count in range(1, 4):
        (running,) = standing(world)
        evict_for_memory(world, running)
        world.deployment_controller()
        world.reconcile(1)
        assert world.brief("Ready") == ("False", "Evicted")
        assert (world.brief("Stalled") == ("True", "Evicted")) == (count >= 3)
        assert "spec.engine.resources.requests.memory" in world.condition("Ready")["message"]
    world.serves(standing(world)[0])
    world.reconcile(20)
    assert world.brief("Ready") == ("True", "Serving"), "whoever came to serve serves"
    assert world.brief("Stalled") == ("False", "Progressing")


@pytest.mark.parametrize(("by_cluster", "noted"), [(True, False), (False, True)])
def test_an_evicted_candidate_has_not_fallen(by_cluster: bool, noted: bool) -> None:
    world, new = let_in()
    for item in world.pods("server", new):
        if by_cluster:
            evict(world, item)
        else:
            world.crash(item)
    world.reconcile(1)
    notes = world.service()["metadata"]["annotations"]
    assert "tacho.dev/admitted-revision" not in notes, "requests go where they are answered, either way"
    assert ("tacho.dev/rollback" in notes) == noted
    assert (world.brief("RolloutAccepted")[1] == "RolledBack") == noted
    if not by_cluster:
        return
    for item in world.pods("server", new):
        world.remove_pod(item)
    world.deployment_controller()
    world.settle(world.serve_all, turns=40)
    assert world.names("Deployment") == {new}


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_a_pod_that_ended_as_it_was_ready_serves_nothing(phase: str) -> None:
    """A node was deleted: its pods get that phase, and who deletes them may be refused."""
    world = measured_world()
    (pod,) = world.pods("server")
    pod["status"]["phase"] = phase
    world.reconcile(1)
    assert world.brief("Ready")[0] == "False"
    assert world.status["readyReplicas"] == 0
    assert target_of(world.observed()).pods == ()
