"""A pod that neither ends nor gets ready: after the longest start, status says which one, since when, and
what helps."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tacho_contract.units import format_time
from tacho_operator.core.rollout.reading import SCHEDULE_TIMEOUT_SECONDS
from tacho_operator.core.types import NodeFacts
from tests.unit.core.measured_world import measured_world
from tools.harness.pod_states import container_state
from tools.harness.world import World


def starting() -> World:
    world = World()
    world.first_pods()
    return world


def deadline(world: World) -> float:
    (found,) = [item for (kind, _), item in world.objects.items() if kind == "Deployment"]
    return float(found["spec"]["progressDeadlineSeconds"])


@pytest.mark.parametrize("phase", ["Preflight", "WaitingForModel", "Starting", "Probing", "Serving", "Later"])
def test_a_pod_that_reports_a_phase_for_ever(phase: str) -> None:
    world = starting()
    (pod,) = world.pods("server")
    world.now += timedelta(hours=3)  # it waited for a node, which is no part of this time
    since = format_time(world.now)
    world.runs(pod, phase, message="busy")
    world.reconcile(deadline(world) - 1)
    assert world.brief("Stalled")[0] == "False"
    world.reconcile(2)
    assert world.brief("Stalled") == ("True", "StartupTimeout")
    assert world.brief("Reconciling")[0] == "False"
    message = world.condition("Stalled")["message"]
    assert f"Unready since {since}" in message
    assert pod["metadata"]["name"] in message
    assert "then delete the pod" in message
    assert f"phase {phase}: busy" in message
    world.serves(pod)
    world.reconcile(1)
    assert world.brief("Ready") == ("True", "Serving")
    assert world.brief("Stalled")[0] == "False"


def test_a_ready_pod_without_an_address_gets_no_request() -> None:
    """It was counted, and Ready was True: no EndpointSlice has it."""
    world = World()
    world.come_up()
    (pod,) = world.pods("server")
    del pod["status"]["podIP"]
    world.reconcile(1)
    assert world.brief("Ready")[0] == "False"
    assert world.status["readyReplicas"] == 0
    assert "the pod is not: it has no IP address." in world.condition("Ready")["message"]


def test_a_pod_that_lost_its_address_after_days_is_no_slow_start() -> None:
    world = World()
    world.come_up()
    world.reconcile(2 * 86400)
    (pod,) = world.pods("server")
    del pod["status"]["podIP"]
    world.reconcile(1)
    assert world.brief("Ready")[0] == "False"
    assert "longer than a start may take" not in world.condition("Ready")["message"]
    assert world.brief("Stalled")[0] == "False"


GATE = 'the status of pod readiness gate "example.com/target" is not "True", but False'


@pytest.mark.parametrize("words", [GATE, "containers with unready status: [istio-proxy]"])
def test_what_a_webhook_added_to_a_pod_and_keeps_it_unready_is_told_in_the_kubelets_words(words: str) -> None:
    world = starting()
    (pod,) = world.pods("server")
    world.serves(pod)
    pod["status"]["conditions"][-1] |= {"status": "False", "message": words}
    world.reconcile(1)
    told = f"Pod {pod['metadata']['name']}: the engine is ready, the pod is not: {words}."
    assert world.condition("Ready")["message"] == told
    world.reconcile(deadline(world))
    assert world.brief("Stalled") == ("True", "StartupTimeout")
    assert f"Details: {words}; phase Serving" in world.condition("Stalled")["message"]


def test_of_its_engine_that_is_not_ready_the_runtime_tells() -> None:
    world = starting()
    (pod,) = world.pods("server")
    world.runs(pod, "Starting", message="busy")
    pod["status"]["conditions"][-1]["message"] = "containers with unready status: [engine]"
    world.reconcile(deadline(world) + 1)
    assert world.condition("Stalled")["message"].endswith("Details: phase Starting: busy")


def test_a_node_that_pulls_images_for_ever_is_told_without_an_event_of_the_cluster() -> None:
    world = starting()
    (pod,) = world.pods("server")
    container_state(pod, state={"waiting": {"reason": "ContainerCreating"}})
    pod["status"]["phase"] = "Pending"
    pod["status"]["conditions"] = [
        {"type": kind, "status": status, "lastTransitionTime": format_time(world.now)}
        for kind, status in (("PodScheduled", "True"), ("Ready", "False"))
    ]
    decision = world.reconcile(1)
    assert world.brief("Ready") == ("False", "PullingImages")
    assert decision.requeue_after_seconds == pytest.approx(deadline(world), abs=2)
    world.reconcile(decision.requeue_after_seconds or 0)
    assert world.brief("Stalled") == ("True", "StartupTimeout")


def test_a_pod_that_loses_its_readiness_has_the_same_time_from_then_on() -> None:
    world = measured_world()
    (pod,) = world.pods("server")
    world.now += timedelta(days=3)
    world.runs(pod, "Probing")
    world.reconcile(deadline(world) - 1)
    assert world.brief("Stalled")[0] == "False"
    world.reconcile(2)
    assert world.brief("Stalled") == ("True", "StartupTimeout")


@pytest.mark.parametrize(("restarts", "stalled"), [(0, "True"), (1, "False"), (2, "False"), (3, "True")])
def test_a_restarted_engine_has_its_time_again(restarts: int, stalled: str) -> None:
    """As where a download outlasts the first startup budget, and goes on. Ready stays false meanwhile."""
    world = starting()
    (pod,) = world.pods("server")
    world.runs(pod, "WaitingForModel")
    conditions = pod["status"]["conditions"]
    world.reconcile(deadline(world) - 10)
    world.runs(pod, "WaitingForModel")
    pod["status"]["conditions"] = conditions
    (engine,) = pod["status"]["containerStatuses"]
    engine["restartCount"] = restarts
    world.reconcile(20)
    assert world.brief("Stalled")[0] == stalled
    world.reconcile(deadline(world))
    assert world.brief("Stalled")[0] == "True"


@pytest.mark.parametrize("restarts", [0, 1, 2])
def test_an_engine_that_waits_for_its_restart_is_not_accused_of_its_earlier_starts(restarts: int) -> None:
    """As after liveness ended it: the runtime drains and ends with 0, and Ready stays false."""
    world = starting()
    (pod,) = world.pods("server")
    world.runs(pod, "Starting")
    world.reconcile(deadline(world) + 1)
    ended = {"terminated": {"exitCode": 0, "reason": "Completed", "finishedAt": format_time(world.now)}}
    (engine,) = pod["status"]["containerStatuses"]
    engine["restartCount"] = restarts
    engine["lastState" if restarts else "state"] = ended
    if restarts:
        engine["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
    world.reconcile(20)
    assert world.brief("Stalled")[0] == "False"
    world.reconcile(deadline(world))
    assert world.brief("Stalled") == ("True", "StartupTimeout")


@pytest.mark.parametrize("reason", ["Error", "OOMKilled"])
def test_an_earlier_crash_does_not_hide_a_run_that_never_gets_ready(reason: str) -> None:
    world = starting()
    (pod,) = world.pods("server")
    world.runs(pod, "Probing")
    (engine,) = pod["status"]["containerStatuses"]
    engine["restartCount"] = 1
    engine["lastState"] = {"terminated": {"exitCode": 137, "reason": reason}}
    world.reconcile(deadline(world) - 1)
    assert world.brief("Stalled")[0] == "False"
    assert world.brief("Ready")[1] in ("EngineCrashed", "HostOutOfMemory")
    world.reconcile(2)
    assert world.brief("Stalled") == ("True", "StartupTimeout")
    assert "phase Probing" in world.condition("Stalled")["message"]
    world.nodes = (NodeFacts(name="node-1", labels={}, allocatable={}, ready=False),)
    world.reconcile(1)
    assert world.brief("Ready") == ("False", "NodeLost")


def test_a_node_whose_clock_is_behind_accuses_no_pod_that_has_just_begun() -> None:
    world = starting()
    (pod,) = world.pods("server")
    world.runs(pod, "Starting")
    for item in pod["status"]["conditions"]:
        item["lastTransitionTime"] = format_time(world.now - timedelta(days=1))
    world.reconcile(1)
    assert world.brief("Stalled")[0] == "False"


def test_a_pod_that_no_scheduler_takes_up() -> None:
    """As of a schedulerName that nothing answers to."""
    world = starting()
    world.reconcile(SCHEDULE_TIMEOUT_SECONDS - 1)
    assert world.brief("Ready") == ("False", "Scheduling")
    world.reconcile(2)
    assert world.brief("Stalled") == ("True", "Unschedulable")
    assert "schedulerName" in world.condition("Stalled")["message"]
