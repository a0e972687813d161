"""What is wrong with a pod, row by row."""

from __future__ import annotations

from typing import Any

import pytest

from tacho_contract.failure import FAILURE_KINDS
from tacho_contract.fetch import FetchProgress
from tacho_operator.core.pods.diagnosis import diagnose, overdue
from tacho_operator.core.pods.view import PodView
from tools.harness.resources import NOW, at

FAILURE = '{"failureClass":"DiskFull","message":"No room.","nextStep":"Enlarge it.","retryable":true}'

HUB = '{"failureClass":"HubUnreachable","message":"No answer.","nextStep":"Look.","retryable":true}'


def pod(**status: Any) -> PodView:
    node = {"nodeName": status.pop("node")} if "node" in status else {}
    return PodView({"metadata": {"name": "p"}, "spec": node, "status": status})


def waiting(reason: str, message: str = "", name: str = "engine", key: str = "containerStatuses") -> PodView:
    state = {"waiting": {"reason": reason, "message": message}}
    return pod(**{key: [{"name": name, "image": "img:1", "state": state}]})


def ended(restarts: int = 0, **terminated: Any) -> PodView:
    state = {"terminated": terminated}
    return pod(containerStatuses=[{"name": "engine", "restartCount": restarts, "lastState": state}])


def unscheduled(message: str) -> PodView:
    return pod(conditions=[{"type": "PodScheduled", "status": "False", "message": message}])


# pod -> class, stalled, words that must be in the message
ROWS: dict[str, tuple[PodView, str, bool, tuple[str, ...]]] = {
    "GPU missing": (
        unscheduled("0/3 nodes are available: 3 Insufficient nvidia.com/gpu, 1 Insufficient memory."),
        "Unschedulable",
        False,
        ("nvidia.com/gpu", "memory", "pod p"),
    ),
    "held by a gate": (
        pod(
            conditions=[
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "SchedulingGated",
                    "message": "Scheduling is blocked due to non-empty scheduling gates",
                }
            ]
        ),
        "Unschedulable",
        False,
        ("Scheduling gates hold pod p. See what set its spec.schedulingGates",),
    ),
    "claim not bound": (
        unscheduled('persistentvolumeclaim "models" not found'),
        "Unschedulable",
        False,
        ("models",),
    ),
    "pull error, to which the kubelet goes back between two pauses": (
        waiting("ErrImagePull", "not found"),
        "ImagePullError",
        True,
        ("img:1", "not found"),
    ),
    "pull backed off": (waiting("ImagePullBackOff", "back-off"), "ImagePullError", True, ("img:1",)),
    "registry away, as CRI-O says": (waiting("RegistryUnavailable"), "ImagePullError", True, ("img:1",)),
    "bad signature": (waiting("SignatureValidationFailed"), "ImagePullError", True, ("img:1",)),
    "bad image name": (waiting("InvalidImageName", "bad"), "ImagePullError", True, ("img:1",)),
    "secret of the engine missing": (
        waiting("CreateContainerConfigError", 'secret "k" not found'),
        "InvalidConfig",
        True,
        ("Container engine of pod p lacks a Secret", "Create it", 'Details: secret "k"'),
    ),
    "folder of a subPath that the kubelet cannot make, as on NFS": (
        waiting(
            "CreateContainerConfigError",
            'failed to create subPath directory for volumeMount "tacho-cache" of container "engine"',
        ),
        "PodNotPrepared",
        True,
        ("Check that volume: the kubelet makes the folder", "tacho-cache"),
    ),
    "container that the kubelet cannot configure": (
        waiting("CreateContainerConfigError", "services have not yet been read at least once"),
        "PodNotPrepared",
        True,
        ("See kubectl describe pod p.", "not yet been read"),
    ),
    "container that lacks what the kubelet does not name": (
        waiting("CreateContainerConfigError"),
        "InvalidConfig",
        True,
        ("Container engine of pod p lacks a Secret, a ConfigMap",),
    ),
    "folder of a subPath in a volume that is named like a Secret": (
        waiting(
            "CreateContainerConfigError",
            'failed to prepare subPath for volumeMount "my-secret" of container "engine"',
        ),
        "PodNotPrepared",
        True,
        ("Check that volume: the kubelet makes the folder", "my-secret"),
    ),
    "Secret missing that is named like a subPath": (
        waiting("CreateContainerConfigError", "couldn't find key subpath in Secret ml/subpath"),
        "InvalidConfig",
        True,
        ("Container engine of pod p lacks a Secret",),
    ),
    "hub token missing": (
        waiting("CreateContainerConfigError", 'secret "hf" not found', "inspect"),
        "AuthRequired",
        True,
        ('Details: secret "hf" not found',),
    ),
    "config map of inspection missing": (
        waiting("CreateContainerConfigError", 'configmap "ca" not found', "inspect"),
        "InvalidConfig",
        True,
        ('Details: configmap "ca" not found',),
    ),
    "key of a secret missing": (
        waiting("CreateContainerConfigError", "couldn't find key HF_TOKEN in Secret ns/hf", "inspect"),
        "AuthRequired",
        True,
        ("Details: couldn't find key HF_TOKEN in Secret ns/hf",),
    ),
    "image not to be pulled and not there": (
        waiting("ErrImageNeverPull"),
        "ImagePullError",
        True,
        ("img:1", "ErrImageNeverPull"),
    ),
    "image that cannot be looked at": (waiting("ImageInspectError", "x"), "ImagePullError", True, ("img:1",)),
    "container cannot be created": (
        waiting("CreateContainerError", "no command specified"),
        "InvalidConfig",
        True,
        ("no command specified", "spec.engine.custom.python"),
    ),
    "container that a node's runtime cannot create": (
        waiting("CreateContainerError", "context deadline exceeded"),
        "PodNotPrepared",
        True,
        ("context deadline exceeded", "container runtime"),
    ),
    "container for which the kubelet has no CPU": (
        waiting("PreCreateHookError", "not enough cpus available to satisfy request"),
        "PodNotPrepared",
        True,
        ("Node", "cannot start container engine of pod p", "not enough cpus"),
    ),
    "container for which the kubelet has no device": (
        waiting("PreStartHookError", "device plugin PreStartContainer rpc failed"),
        "PodNotPrepared",
        True,
        ("Repair that node", "PreStartContainer rpc failed"),
    ),
    "hook of a webhook's that fails": (
        waiting("PostStartHookError", "Exec lifecycle hook failed"),
        "InvalidConfig",
        True,
        ("Container engine cannot start", "See what set its postStart hook", "Exec lifecycle hook failed"),
    ),
    "GPU that a node's hook does not find": (
        ended(exitCode=128, reason="StartError", message="nvidia-container-cli: driver/library mismatch"),
        "PodNotPrepared",
        True,
        ("driver/library mismatch", "GPU driver"),
    ),
    "no python in the image, found by the runtime": (
        ended(exitCode=128, reason="StartError", message="exec: python3: not found\n"),
        "InvalidConfig",
        True,
        ("not found", "spec.engine.custom.python"),
    ),
    "no python in the image, found by an older runtime": (
        ended(exitCode=127, reason="ContainerCannotRun", message="python3: not found"),
        "InvalidConfig",
        True,
        ("python3: not found",),
    ),
    "no python in the image": (
        waiting("RunContainerError", 'exec: "python3": executable file not found in $PATH'),
        "InvalidConfig",
        True,
        ("python3", "spec.engine.custom.python"),
    ),
    "fetch failed": (
        pod(
            initContainerStatuses=[
                {
                    "name": "fetch",
                    "restartCount": 1,
                    "lastState": {"terminated": {"exitCode": 1, "message": FAILURE}},
                }
            ]
        ),
        "DiskFull",
        True,
        ("No room. From fetch in pod p (1 restart). Enlarge it.",),
    ),
    "hub away": (ended(2, exitCode=1, message=HUB), "HubUnreachable", False, ("No answer.",)),
    "hub away again and again": (ended(3, exitCode=1, message=HUB), "HubUnreachable", True, ("No answer.",)),
    "a certificate that will not do": (
        ended(exitCode=1, message=HUB.replace("true", "false")),
        "HubUnreachable",
        True,
        ("No answer.",),
    ),
    "out of memory": (ended(exitCode=137, reason="OOMKilled"), "HostOutOfMemory", False, ("limits.memory",)),
    "out of memory for ever": (ended(3, exitCode=137, reason="OOMKilled"), "HostOutOfMemory", True, ()),
    "out of memory in a process of its own, after which it ended well": (
        ended(exitCode=0, reason="OOMKilled"),
        "HostOutOfMemory",
        False,
        ("limits.memory",),
    ),
    "out of memory in a container that a webhook added": (
        pod(
            containerStatuses=[
                {"name": "istio-proxy", "state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
            ]
        ),
        "HostOutOfMemory",
        False,
        ("istio-proxy in pod p. That limit is not in spec",),
    ),
    "out of memory, with an explanation of its own": (
        ended(exitCode=137, reason="OOMKilled", message=HUB),
        "HubUnreachable",
        False,
        ("No answer.",),
    ),
    "crashed without a word": (
        ended(exitCode=3),
        "EngineCrashed",
        False,
        ("engine in pod p: exit code 3. See kubectl logs",),
    ),
    "crashed again and again": (
        ended(3, exitCode=3),
        "EngineCrashed",
        True,
        ("engine in pod p (3 restarts)",),
    ),
    "crashed less often": (ended(2, exitCode=3), "EngineCrashed", False, ("engine in pod p (2 restarts)",)),
    "crashed with a long log": (
        ended(exitCode=2, message="\nfirst\n a\nb \nsegfault\n"),
        "EngineCrashed",
        False,
        ("exit code 2.", "a | b | segfault"),
    ),
    "crashed with a log": (
        ended(exitCode=2, message="a\nb\nsegfault"),
        "EngineCrashed",
        False,
        ("segfault", "2"),
    ),
    "a class nobody knows": (
        ended(exitCode=1, message='{"failureClass":"New-Class!","message":"m","nextStep":"n"}'),
        "NewClass",
        True,
        ("m. From engine in pod p. N.",),
    ),
    "a class that is no word": (
        ended(exitCode=1, message='{"failureClass":"","message":"m","nextStep":"n"}'),
        "EngineCrashed",
        True,
        (),
    ),
    "node lost": (pod(node="n1"), "NodeLost", False, ("Node n1",)),
    "node lost, says the pod": (pod(reason="NodeLost", node="n2"), "NodeLost", False, ("Node n2",)),
    "node shut down": (pod(reason="NodeShutdown", phase="Failed"), "Evicted", False, ()),
    "failed with a word": (pod(phase="Failed", reason="Odd"), "EngineCrashed", False, ("Odd",)),
    "failed without a word": (pod(phase="Failed"), "EngineCrashed", False, ("no reason was given",)),
    "the first container that is wrong is named": (
        pod(
            initContainerStatuses=[
                {"name": "inject", "state": {"terminated": {"exitCode": 0}}},
                {"name": "fetch", "state": {"terminated": {"exitCode": 1, "message": FAILURE}}},
            ],
            containerStatuses=[{"name": "engine", "state": {"waiting": {"reason": "PodInitializing"}}}],
        ),
        "DiskFull",
        True,
        ("fetch in pod p",),
    ),
    "evicted": (
        pod(phase="Failed", message="The node was low on disk."),
        "EngineCrashed",
        False,
        ("low on disk",),
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_what_is_wrong(row: str) -> None:
    view, reason, stalled, words = ROWS[row]
    found = diagnose(view, lost_nodes={"n1"}, schedule_overdue=False)
    assert found is not None
    assert (found.reason, found.needs_user_action) == (reason, stalled), found
    assert all(word in found.message for word in words), found.message
    assert len(found.message) <= 2048


def test_a_pod_that_has_ended_is_not_being_prepared() -> None:
    """The kubelet takes that condition back when it removes the pod's network."""
    removed = {"type": "PodReadyToStartContainers", "status": "False", "lastTransitionTime": at(-9999)}
    status = {"phase": "Failed", "conditions": [removed]}
    raw = {"metadata": {"name": "p"}, "spec": {"nodeName": "n"}, "status": status}
    found = diagnose(PodView(raw), lost_nodes=(), schedule_overdue=False, now=NOW)
    assert found is not None
    assert found.reason == "EngineCrashed"


@pytest.mark.parametrize(("age", "late"), [(599, False), (600, False), (601, True)])
def test_a_pod_is_overdue_when_it_has_waited_longer_than_the_limit(age: float, late: bool) -> None:
    view = PodView({"metadata": {"name": "p", "creationTimestamp": at(-age)}})
    assert overdue(view, NOW, 600) == late


def test_a_pod_without_a_time_is_not_overdue() -> None:
    assert not overdue(PodView({"metadata": {"name": "p"}}), NOW, 0)


@pytest.mark.parametrize(
    "view",
    [
        pod(),
        pod(phase="Pending"),
        waiting("ContainerCreating"),
        waiting("PodInitializing"),
        pod(conditions=[{"type": "PodScheduled", "status": "True"}]),
        ended(exitCode=0),
        ended(exitCode=0, reason="Completed", message="done"),
        pod(phase="Succeeded"),
        pod(reason="Evicted"),
        waiting("CrashLoopBackOff", "back-off 10s restarting failed container"),
        pod(conditions=[{"type": "Initialized", "status": "False", "message": "Insufficient patience"}]),
        pod(
            podIP="10.0.0.1",
            conditions=[{"type": "Ready", "status": "True"}],
            containerStatuses=[{"name": "engine", "lastState": {"terminated": {"exitCode": 1}}}],
        ),
    ],
)
def test_what_only_takes_its_time_is_no_problem(view: PodView) -> None:
    assert diagnose(view, lost_nodes=(), schedule_overdue=False) is None


def test_every_class_diagnosis_gives_is_in_the_contract() -> None:
    given = {row[1] for row in ROWS.values()} - {"NewClass"}
    assert given <= set(FAILURE_KINDS)


@pytest.mark.parametrize(
    ("container", "state", "running", "named"),
    [
        ("fetch", "Downloading", True, False),
        ("fetch", "Complete", True, False),
        ("fetch", "Listing", True, True),
        ("fetch", "Failed", True, True),
        ("fetch", "Downloading", False, True),
        ("fetch", "", True, True),
        ("engine", "Downloading", True, True),
    ],
)
def test_why_fetch_ended_is_history_once_it_brings_the_model_again(
    container: str, state: str, running: bool, named: bool
) -> None:
    now = {"running": {"startedAt": "2026-01-01T00:00:00Z"}} if running else {"waiting": {"reason": "x"}}
    status = {"name": container, "restartCount": 1, "state": now}
    status["lastState"] = {"terminated": {"exitCode": 1, "message": FAILURE}}
    found = diagnose(
        pod(initContainerStatuses=[status]),
        lost_nodes=(),
        schedule_overdue=False,
        fetch=FetchProgress(state=state) if state else None,
    )
    assert (found is not None) == named
