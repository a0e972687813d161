"""What conditions say in words, which transitions are events, and when status is looked at again."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from itertools import pairwise

import pytest

from tacho_contract.failure import Failure
from tacho_contract.fetch import FetchProgress
from tacho_contract.report import Report
from tacho_contract.units import format_time
from tacho_operator.api.status.status import Condition, ConditionStatus, LLMDeploymentStatus
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.status.events import transition_events
from tacho_operator.core.status.progress import downloading, progress
from tacho_operator.core.status.requeue import (
    LONG_SECONDS,
    MOVING_SECONDS,
    SLOW_SECONDS,
    STALLED_SECONDS,
    UNMEASURED_SECONDS,
)
from tools.harness.documents import plain_report
from tools.harness.figures import CAPACITY
from tools.harness.pod_states import container_state
from tools.harness.resources import NOW, changed, facts
from tools.harness.world import MOCK_SPEC, World


def settled(**spec: object) -> World:
    world = World(changed(MOCK_SPEC, **spec))
    world.come_up()
    world.settle(world.serve_all)
    return world


def first_pod(**measurement: object) -> World:
    """Its first pod has come to ``measurement``."""
    world = World()
    world.first_pods()
    world.serves(world.pods("server")[0], **measurement)
    world.settle()
    return world


FLAT = dataclasses.replace(CAPACITY, boundary="Plateau")


# --- conditions -----------------------------------------------------------------------------------------
def test_a_plan_is_told_with_its_revision() -> None:
    world = settled()
    (revision,) = world.names("Deployment")
    assert world.condition("Planned")["message"].startswith(f"Revision {revision}: A custom engine: ")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "204.8 output tokens per second."),
        ({"capacity": None}, "Measured."),
        (
            {"state": "Partial", "capacity": FLAT},
            "204.8 output tokens per second; levels of concurrency are missing: the time ran out.",
        ),
        (
            {"state": "Partial", "capacity": FLAT, "message": "too slow"},
            "204.8 output tokens per second; levels of concurrency are missing: too slow.",
        ),
        (
            {
                "state": "Partial",
                "capacity": FLAT,
                "message": "no time was left: more streams",
                "flags": ("BudgetExhausted",),
            },
            "204.8 output tokens per second; levels of concurrency are missing: no time was left: more "
            "streams. Raise probe.budgetSeconds above 45.",
        ),
        (
            {"flags": ("Contended", "SharedGPU"), "message": "pod x loaded beside it"},
            "~204.8 output tokens per second, provisional (Contended): pod x loaded beside it. "
            "It is measured again.",
        ),
        (
            {"flags": ("NotSteady", "Throttled"), "capacity": None},
            "Measured, provisional (NotSteady, Throttled). It is measured again.",
        ),
    ],
)
def test_what_is_said_of_a_measurement(fields: dict[str, object], message: str) -> None:
    assert first_pod(**fields).condition("Measured")["message"] == message


def test_what_follows_stale_figures() -> None:
    world = settled()
    world.change(workload={"inputTokens": 900, "outputTokens": 10})
    world.reconcile(1)
    assert world.condition("Measured")["message"].endswith(" A probe pod measures again.")
    (probe,) = world.pods("probe")
    world.remove_pod(probe)
    (server,) = world.pods("server")
    server["status"]["conditions"][-1]["status"] = "False"
    world.reconcile(1)
    assert world.condition("Measured")["message"].endswith(" A new measurement follows.")


@pytest.mark.parametrize(
    ("replicas", "wanted", "message"),
    [
        (1, 3, "1 of 3 replicas are ready. Pods are being created."),
        (3, 1, "spec.replicas is 1; 3 pods exist."),
        (1, 0, "spec.replicas is 0; 1 pod exists."),
    ],
)
def test_scaling_in_words(replicas: int, wanted: int, message: str) -> None:
    world = settled(replicas=replicas)
    world.change(replicas=wanted)
    world.reconcile(1)
    assert world.brief("Reconciling") == ("True", "Scaling")
    assert world.condition("Reconciling")["message"] == message


# --- revisions ------------------------------------------------------------------------------------------
def test_the_way_of_a_revision_in_status() -> None:
    def shown(world: World) -> list[tuple[str, ...]]:
        return [
            (item["phase"], item["reason"], item.get("outcome", ""), item["message"])
            for item in world.status["revisions"]
        ]

    no_image = {"waiting": {"reason": "ErrImagePull", "message": "no"}}
    serves = ("Active", "Serving", "Accepted", "It serves.")
    gone = ("Retired", "Superseded", "", "Another revision replaced it.")
    world = settled()
    (first,) = world.names("Deployment")
    assert shown(world) == [serves]
    assert world.status["url"] == "http://smol.ml.svc:8000"
    world.change(context={"maxModelLen": 1024, "concurrency": 2})
    world.reconcile(1)
    (second,) = world.names("Deployment") - {first}
    starts = f"Revision {first} serves while {second} starts."
    assert shown(world) == [("Candidate", "Starting", "", starts), serves]
    world.deployment_controller()
    container_state(world.pods("server", second)[0], state=no_image)
    world.reconcile(1)
    assert [item[:3] for item in shown(world)] == [("Candidate", "ImagePullError", ""), serves[:3]]
    accepted = world.condition("RolloutAccepted")
    assert accepted["message"].startswith(f"Revision {second}: Image ")
    assert accepted["observedGeneration"] == 2
    world.change(context={"maxModelLen": 512, "concurrency": 2})
    world.settle(world.serve_all)
    assert shown(world) == [serves, gone, (*gone[:2], "Accepted", gone[3])], "the first has served"


def test_a_first_revision_that_fails_is_a_candidate_with_its_reason() -> None:
    world = World()
    world.first_pods()
    container_state(world.pods("server")[0], state={"waiting": {"reason": "ErrImagePull", "message": "no"}})
    world.reconcile(1)
    (found,) = world.status["revisions"]
    assert (found["phase"], found["reason"]) == ("Candidate", "ImagePullError")


# --- progress -------------------------------------------------------------------------------------------
RUNS = {"running": {"startedAt": format_time(NOW)}}
PAUSES = {"waiting": {"reason": "CrashLoopBackOff"}}
WAITS = {"waiting": {"reason": "PodInitializing"}}


UNPREPARED = {"type": "PodReadyToStartContainers", "status": "False", "lastTransitionTime": format_time(NOW)}


def pod(
    name: str = "p", node: str = "n", gone: bool = False, state: object = None, **status: object
) -> PodView:
    metadata = {"name": name, "uid": name} | ({"deletionTimestamp": format_time(NOW)} if gone else {})
    return PodView(
        {
            "metadata": metadata,
            "spec": {"nodeName": node} if node else {},
            "status": status | ({"containerStatuses": [{"name": "engine", "state": state}]} if state else {}),
        }
    )


def report(phase: str, fetch: FetchProgress | None = None, *, ready: bool = False) -> Report:
    return plain_report(phase=phase, observed_time=format_time(NOW), fetch=fetch, ready=ready)


@pytest.mark.parametrize(
    ("found", "reported", "reason", "message"),
    [
        (pod(node=""), None, "Scheduling", "Pod p waits for a node."),
        (pod(node="", phase="Unknown"), None, "Starting", "The state of pod p is unknown."),
        (pod(), None, "PullingImages", "Node n pulls the images of pod p."),
        (pod(state=WAITS), None, "PullingImages", "Node n pulls the images of pod p."),
        (pod(state=PAUSES), None, "Starting", "Pod p restarts after a pause."),
        (pod(state=PAUSES), report("Probing"), "Starting", "Pod p restarts after a pause."),
        (pod(state=RUNS), None, "Loading", "Pod p runs; the engine starts."),
        (
            pod(state=RUNS),
            report("Preflight"),
            "Starting",
            "Pod p: the runtime checks the container and the machine.",
        ),
        (pod(state=RUNS), report("Starting"), "Loading", "Pod p: the engine loads the model."),
        (pod(state=RUNS), report("Probing"), "Measuring", "Pod p is measured before it receives requests."),
        (pod(state=RUNS), report("Draining"), "Starting", "Pod p is in phase Draining."),
        (
            pod(state=RUNS),
            report("Serving"),
            "Starting",
            "Pod p: the engine serves, but the readiness check fails.",
        ),
        (
            pod(state=RUNS),
            report("Serving", ready=True),
            "Starting",
            "Pod p: the engine is ready, which the kubelet's readiness check has yet to confirm.",
        ),
        (pod(state=RUNS), report("WaitingForModel"), "Downloading", "Pod p: downloading the model."),
    ],
)
def test_how_far_a_pod_has_come(found: PodView, reported: Report | None, reason: str, message: str) -> None:
    step = progress([found], {"p": reported} if reported else {})
    assert (step.reason, step.message) == (reason, message)


def test_the_pod_nearest_to_serving_is_told_of() -> None:
    pods = [pod("a", node=""), pod("b", state=RUNS), pod("c"), pod("d", gone=True, state=RUNS)]
    step = progress(pods, {"d": report("Probing")})
    assert step.message == "Pod b runs; the engine starts."


NEARER_AND_NEARER = (
    (pod("p", node="", phase="Unknown"), ""),
    (pod("p", node=""), ""),
    (pod("p", phase="Pending", conditions=[UNPREPARED]), ""),
    (pod("p", state=PAUSES), ""),
    (pod("p"), ""),
    (pod("p", state=RUNS), "Preflight"),
    (pod("p", state=RUNS), "WaitingForModel"),
    (pod("p", state=RUNS), "Starting"),
    (pod("p", state=RUNS), "Probing"),
    (pod("p", state=RUNS), "Serving"),
)


@pytest.mark.parametrize(("farther", "nearer"), list(pairwise(NEARER_AND_NEARER)))
def test_each_step_of_a_start_is_nearer_to_serving(
    farther: tuple[PodView, str], nearer: tuple[PodView, str]
) -> None:
    def of(*steps: tuple[PodView, str]) -> str:
        pods = [PodView({**found.raw, "metadata": {"name": "p", "uid": phase}}) for found, phase in steps]
        return progress(pods, {phase: report(phase) for _, phase in steps if phase}).message

    assert of(farther, nearer) == of(nearer, farther) == of(nearer) != of(farther)


@pytest.mark.parametrize(
    ("fetch", "words"),
    [
        (None, "downloading the model"),
        (FetchProgress(state="Listing"), "downloading the model"),
        (
            FetchProgress(state="Downloading", bytes_done=10**9, bytes_total=4 * 10**9),
            "downloading 1.0 of 4.0 GB (25 %)",
        ),
        (
            FetchProgress(
                state="Downloading", bytes_done=10**9, bytes_total=4 * 10**9, resumed_bytes=5 * 10**8
            ),
            "downloading 1.0 of 4.0 GB (25 %, 0.5 of 4.0 GB resumed)",
        ),
    ],
)
def test_a_download_in_words(fetch: FetchProgress | None, words: str) -> None:
    assert downloading(fetch) == words


# --- events ---------------------------------------------------------------------------------------------
Said = tuple[str, ConditionStatus, str]


def status(*said: Said) -> LLMDeploymentStatus:
    return LLMDeploymentStatus(
        conditions=[
            Condition(
                type=kind, status=value, reason=reason, message="m", last_transition_time=format_time(NOW)
            )
            for kind, value, reason in said
        ]
    )


@pytest.mark.parametrize(
    ("before", "now", "events"),
    [
        ((), ("Ready", "True", "Serving"), "Normal Serving"),
        ((), ("Ready", "False", "Inspecting"), ""),
        ((), ("Ready", "False", "NodeLost"), "Warning NodeLost"),
        ((("Ready", "True", "Serving"),), ("Ready", "True", "Serving"), ""),
        ((("Ready", "True", "Serving"),), ("Ready", "False", "Starting"), "Warning Starting"),
        ((("Ready", "True", "Serving"),), ("Ready", "False", "ScaledToZero"), "Normal ScaledToZero"),
        ((("Ready", "True", "PartlyServing"),), ("Ready", "True", "Serving"), "Normal Serving"),
        ((("Measured", "True", "MeasurementComplete"),), ("Measured", "False", "ProbeDisabled"), ""),
        (
            (("Measured", "True", "MeasurementComplete"),),
            ("Measured", "False", "MeasurementStale"),
            "Normal MeasurementStale",
        ),
        ((), ("Measured", "False", "CannotJudge"), "Warning CannotJudge"),
        ((), ("RolloutAccepted", "False", "RolledBack"), "Warning RolledBack"),
        ((), ("RolloutAccepted", "Unknown", "Judging"), "Normal Judging"),
        # A failure that another condition told of already is no news; one it only suspected is.
        ((("Ready", "False", "NodeLost"),), ("Stalled", "True", "NodeLost"), ""),
        (
            (("Planned", "Unknown", "HubUnreachable"),),
            ("Stalled", "True", "HubUnreachable"),
            "Warning HubUnreachable",
        ),
    ],
)
def test_which_transitions_are_events(before: tuple[Said, ...], now: Said, events: str) -> None:
    found = transition_events(status(*before), status(now))
    assert " ".join(f"{event.type} {event.reason}" for event in found) == events


# --- when to look again -----------------------------------------------------------------------------------
def test_what_serves_unmeasured_is_looked_at_until_it_is_measured() -> None:
    world = settled()
    assert world.reconcile(1).requeue_after_seconds is None
    unmeasured = first_pod(state="Running")
    assert unmeasured.brief("Ready")[0] == "True"
    assert unmeasured.reconcile(1).requeue_after_seconds == UNMEASURED_SECONDS


def test_what_a_person_must_mend_is_looked_at_only_where_the_cluster_tries_again() -> None:
    starting = World()
    starting.reconcile()
    starting.inspected(facts())
    starting.reconcile(1)
    starting.deployment_controller()
    (pod,) = starting.pods("server")
    container_state(pod, state={"waiting": {"reason": "CreateContainerConfigError", "message": "no secret"}})
    assert starting.reconcile(1).requeue_after_seconds == STALLED_SECONDS
    refused = World()
    refused.reconcile()
    refused.inspected(Failure(failure_class="UnsupportedQuantization", message="No.", next_step="Change."))
    refused.reconcile(1)
    assert refused.reconcile(1).requeue_after_seconds is None
    assert (starting.brief("Stalled")[0], refused.brief("Stalled")[0]) == ("True", "True")


def test_what_has_moved_for_exactly_so_long_still_moves_fast() -> None:
    world = World()
    world.reconcile()
    world.inspected(facts())
    world.reconcile()
    world.deployment_controller()
    world.reconcile()
    (pod,) = world.pods("server")
    world.runs(pod, "WaitingForModel")
    world.reconcile()
    started = world.condition("Reconciling")["lastTransitionTime"]
    world.now = NOW + timedelta(seconds=LONG_SECONDS)
    assert started == format_time(NOW)
    assert world.reconcile().requeue_after_seconds == MOVING_SECONDS
    assert world.reconcile(1).requeue_after_seconds == SLOW_SECONDS
