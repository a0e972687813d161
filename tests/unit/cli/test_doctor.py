"""``tacho doctor``: findings from facts, and the trial of NetworkPolicies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_cli.doctor.checks import CHECKS, LLMDEPLOYMENTS, MONITORS, OPERATORS, diagnosis
from tacho_cli.doctor.findings import Facts, UnreadError
from tacho_cli.doctor.nodes import check_nodes
from tests.unit.cli.commands import call, play_kubectl

L4 = {
    "nvidia.com/gpu.present": "true",
    "nvidia.com/gpu.product": "NVIDIA-L4",
    "nvidia.com/cuda.driver-version.major": "580",
    "nvidia.com/cuda.driver-version.minor": "65",
    "nvidia.com/cuda.runtime-version.major": "13",
    "nvidia.com/cuda.runtime-version.minor": "0",
}


def node(
    labels: dict[str, str] | None = None, gpus: dict[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    offered = {"nvidia.com/gpu": "2"} if gpus is None else gpus
    return {
        "metadata": {"name": "n1", "labels": L4 | (labels or {})},
        "spec": more.get("spec", {}),
        "status": {
            "allocatable": offered,
            "capacity": more.get("capacity", offered),
            "conditions": [{"type": "Ready", "status": more.get("ready", "True")}],
        },
    }


def bare(ready: str = "True", **spec: Any) -> dict[str, Any]:
    """A node without GPUs."""
    return node(gpus={}, spec=spec, ready=ready) | {"metadata": {"name": "cpu-1", "labels": {}}}


def named(name: str, space: str = "ml", **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": space}, **more}


OPERATOR = named(
    "tacho",
    "tacho-system",
    spec={"replicas": 1, "template": {"spec": {"containers": [{"image": "reg/tacho:1"}]}}},
    status={"readyReplicas": 1},
)
DEFAULT = {"storageclass.kubernetes.io/is-default-class": "true"}
NFS = {"metadata": {"name": "nfs", "annotations": DEFAULT}, "provisioner": "nfs.csi.k8s.io"}
CLAIM = named("models", spec={"accessModes": ["ReadWriteOnce"]}, status={"phase": "Bound"})
MODEL = named("mistral", spec={"model": {"uri": "pvc://models/m"}})
TWO = MODEL | {"spec": MODEL["spec"] | {"replicas": 2}}
SCALED = MODEL | {"spec": MODEL["spec"] | {"autoscaling": {"maxReplicas": 4}}}
ADVISED = MODEL | {"spec": MODEL["spec"] | {"autoscaling": {"maxReplicas": 4, "mode": "Recommend"}}}
SKU = {"key": "sku", "value": "gpu", "effect": "NoSchedule"}
GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
SHARED = {"nvidia.com/gpu.replicas": "4"}
OLD = {"nvidia.com/cuda.runtime-version.major": "12"}
FORBIDDEN = (
    'Error from server (Forbidden): nodes is forbidden: User "x" cannot list resource "nodes" in API group '
    '"" at the cluster scope'
)
HEALTHY: dict[str, Any] = {
    LLMDEPLOYMENTS: (MODEL,),
    OPERATORS: (OPERATOR,),
    "nodes": (node(),),
    "storageclasses": (NFS,),
    "persistentvolumeclaims": (CLAIM,),
    "resourcequotas": (),
    MONITORS: (named("tacho"),),
}


def full(key: str, used: str, hard: str) -> dict[str, Any]:
    return named("q", status={"used": {key: used}, "hard": {key: hard}})


def found(check: str, **changes: Any) -> list[tuple[str, str]]:
    """(state, message) of one check, of a healthy cluster with changes."""
    objects = HEALTHY | {
        (LLMDEPLOYMENTS if key == "models" else key): value for key, value in changes.items()
    }
    rights = {"create llmdeployments.tacho.dev": True}
    return [
        (item.state, item.message)
        for item in diagnosis(Facts(objects=objects, rights=rights))
        if item.check == check
    ]


def test_a_healthy_cluster_has_no_complaint() -> None:
    findings = diagnosis(Facts(objects=HEALTHY, rights={"list pods": True}))
    assert {item.state for item in findings} == {"ok"}
    assert {item.check for item in findings} == set(CHECKS)


@pytest.mark.parametrize(
    ("check", "changes", "state", "words"),
    [
        ("operator", {"models": None}, "fail", "no LLMDeployments"),
        ("operator", {OPERATORS: ()}, "fail", "No operator is installed"),
        ("operator", {OPERATORS: (OPERATOR | {"status": {}},)}, "fail", "0 of 1 pods"),
        ("GPUs", {"nodes": (node(spec={"taints": [SKU]}),)}, "warn", "has the taint sku=gpu:NoSchedule"),
        ("GPUs", {"nodes": (node(spec={"taints": [GPU_TAINT]}),)}, "ok", "2 x NVIDIA-L4 on 1 node"),
        ("GPUs", {"nodes": (node(SHARED),)}, "ok", "L4 (each GPU shared by 4 pods)"),
        ("GPUs", {"nodes": (node(gpus={"nvidia.com/gpu.shared": "4"}),)}, "ok", "not nvidia.com/gpu"),
        ("nodes", {"nodes": (node(), bare(unschedulable=True))}, "ok", "1 of 2 nodes can take new pods"),
        ("nodes", {"nodes": (node(), bare(unschedulable=True))}, "warn", "Cordoned: cpu-1."),
        ("nodes", {"nodes": (bare(unschedulable=True),)}, "warn", "0 of 1 node can take new pods"),
        ("nodes", {"nodes": (bare(ready="Unknown"),)}, "warn", "Not ready: cpu-1."),
        ("GPUs", {"nodes": ()}, "warn", "models run on CPUs"),
        ("GPUs", {"nodes": (node(gpus={}),)}, "fail", "has a GPU and offers none"),
        ("GPUs", {"nodes": (node(capacity={"nvidia.com/gpu": "8"}),)}, "warn", "nvidia.com/gpu 2 of 8"),
        ("GPUs", {"nodes": (node(spec={"unschedulable": True}),)}, "warn", "is cordoned"),
        ("GPUs", {"nodes": (node(ready="False"),)}, "warn", "is not ready"),
        ("driver", {"nodes": (node(OLD),)}, "warn", "supports CUDA 12.0"),
        ("MIG", {"nodes": (node({"nvidia.com/mig.config.state": "failed"}),)}, "fail", "node n1 failed"),
        ("MIG", {"nodes": (node({"nvidia.com/mig.config.state": "pending"}),)}, "warn", "is pending"),
        ("MIG", {"nodes": (node(gpus={"nvidia.com/mig-1g.10gb": "7"}),)}, "ok", "7 x nvidia.com/mig-1g.10gb"),
        ("storage", {"storageclasses": ()}, "warn", "no StorageClass"),
        ("storage", {"storageclasses": ({**NFS, "metadata": {"name": "nfs"}},)}, "warn", "is the default"),
        ("storage", {"storageclasses": (NFS | {"provisioner": "ebs.csi.aws.com"},)}, "ok", "ReadWriteOnce"),
        ("claims", {"persistentvolumeclaims": ()}, "fail", "does not exist in ml"),
        ("claims", {"persistentvolumeclaims": (CLAIM | {"status": {}},)}, "warn", "not bound"),
        ("claims", {"models": (TWO,)}, "warn", "several replicas"),
        ("claims", {"models": (SCALED,)}, "warn", "several replicas"),
        ("claims", {"models": (ADVISED,)}, "ok", "is bound"),
        ("quota", {"resourcequotas": (full("requests.nvidia.com/gpu", "4", "4"),)}, "fail", "gpu 4 of 4"),
        ("quota", {"resourcequotas": (full("memory", "2048Mi", "2Gi"),)}, "warn", "memory 2048Mi of 2Gi"),
        ("quota", {"resourcequotas": (full("services.nodeports", "0", "0"),)}, "ok", "has room"),
        ("Prometheus", {MONITORS: None}, "warn", "no Prometheus operator"),
        ("Prometheus", {MONITORS: ()}, "warn", "No ServiceMonitor selects"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_found(check: str, changes: dict[str, Any], state: str, words: str) -> None:
    assert any(one == state and words in message for one, message in found(check, **changes))


def test_a_claim_without_a_volume_names_where_the_reason_is() -> None:
    claim = named("models", spec={"storageClassName": "nfs"}, status={"phase": "Pending"})
    objects = HEALTHY | {"persistentvolumeclaims": (claim,)}
    (step,) = [
        item.next_step for item in diagnosis(Facts(objects=objects, rights={})) if item.check == "claims"
    ]
    assert step.startswith("kubectl describe pvc models -n ml has")


def test_a_claim_that_waits_for_its_first_pod_is_in_order() -> None:
    claim = named("models", spec={"storageClassName": "nfs"}, status={"phase": "Pending"})
    late = NFS | {"volumeBindingMode": "WaitForFirstConsumer"}
    ((state, message),) = (
        item
        for item in found("claims", persistentvolumeclaims=(claim,), storageclasses=(late,))
        if "Claim models" in item[1]
    )
    assert (state, "waits for the first pod" in message) == ("ok", True)


@pytest.mark.parametrize("is_hidden", [False, True], ids=["a pod is placed", "classes may not be read"])
def test_a_claim_that_may_lack_its_provisioner_is_a_warning(is_hidden: bool) -> None:
    noted = {} if is_hidden else {"volume.kubernetes.io/selected-node": "node-1"}
    claim = named("models", spec={"storageClassName": "nfs"}, status={"phase": "Pending"})
    claim["metadata"]["annotations"] = noted
    late = NFS | {"volumeBindingMode": "WaitForFirstConsumer"}
    classes = UnreadError("may not list storageclasses") if is_hidden else (late,)
    objects = HEALTHY | {"persistentvolumeclaims": (claim,), "storageclasses": classes}
    assert [
        item.state for item in diagnosis(Facts(objects=objects, rights={})) if item.check == "claims"
    ] == ["warn"]


def test_the_command_for_an_operator_that_is_not_ready_has_its_namespace() -> None:
    objects = HEALTHY | {OPERATORS: (OPERATOR | {"status": {}},)}
    first = next(item for item in diagnosis(Facts(objects=objects, rights={})) if item.check == "operator")
    assert first.next_step.startswith("kubectl describe deployment tacho -n tacho-system")


def test_gpus_without_labels_cannot_be_planned_for() -> None:
    bare = node()
    bare["metadata"]["labels"] = {}
    assert found("GPUs", nodes=(bare,))[0][0] == "fail"
    assert found("driver", nodes=(bare,))[0] == (
        "unknown",
        "Driver unknown of n1: no label has its CUDA version.",
    )


def test_the_right_that_lacks_is_named_by_each_check_that_needs_it() -> None:
    lacking = UnreadError("nodes is forbidden")
    for check in ("nodes", "GPUs", "driver", "MIG"):
        assert found(check, nodes=lacking) == [("unknown", str(lacking))]
    assert found("storage", nodes=lacking)[0][0] == "ok"
    refused = diagnosis(Facts(objects=HEALTHY, rights={"create x": True, "get pods/log": False}))
    (rights,) = [item for item in refused if item.check == "rights"]
    assert (rights.state, rights.message) == ("warn", "You may not: get pods/log.")


@given(st.dictionaries(st.sampled_from(sorted(HEALTHY)), st.sampled_from([(), None, UnreadError("no")])))
def test_any_cluster_is_judged_by_every_check(changes: dict[str, Any]) -> None:
    findings = diagnosis(Facts(objects=HEALTHY | changes, rights={}))
    assert {item.check for item in findings} == set(CHECKS)
    assert all(item.next_step for item in findings if item.state in ("fail", "warn"))


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubectl that may not read nodes."""
    program = f"""case "$*" in
*" get deployments "*) echo '{json.dumps({"items": [OPERATOR]})}';;
*" get nodes "*) echo '{FORBIDDEN}' >&2; exit 1;;
*" get servicemonitors"*) echo "error: the server doesn't have a resource type" >&2; exit 1;;
*) echo '{{"items": []}}';;
esac
"""
    return play_kubectl(tmp_path, monkeypatch, program)


def test_a_check_without_a_right_is_unknown_and_says_which(
    kubectl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = call(capsys, "doctor", "-n", "ml", "-o", "json")
    findings = {item["check"]: item for item in json.loads(told.out)["findings"]}
    assert 'cannot list resource "nodes"' in findings["GPUs"]["message"]


def test_the_table_has_a_state_and_a_step_for_each_finding(
    kubectl: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = call(capsys, "doctor")
    assert "GPUs" in told.out
    assert "-> Install a provisioner" in told.out


def test_a_cordoned_node_that_is_not_ready_is_told_once() -> None:
    (_, first, _), (_, second, _) = check_nodes(
        Facts(objects={"nodes": (bare("False", unschedulable=True),)}, rights={})
    )
    assert (first, second) == ("0 of 1 node can take new pods.", "Not ready: cpu-1.")
