"""What the operator's ServiceAccount may write, judged by a real API server."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import subprocess
import uuid
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from tacho_operator.core.types import ResourceEvent
from tacho_operator.shell.api_errors import Fenced, Forbidden
from tacho_operator.shell.events import event_manifests, post_events
from tacho_operator.shell.kube import connect
from tacho_operator.shell.lease import trial
from tools.cluster import binaries
from tools.cluster.handle import Cluster
from tools.harness.helm import Helm, kinds
from tools.harness.operating import resource
from tools.harness.operator_process import ACCOUNT, NAMESPACE, PATIENCE_SECONDS, POD, eventually

CHILD = "an LLMDeployment controls"
COST = "controller.kubernetes.io/pod-deletion-cost"
LABEL = "example.com/served"
NO_LABEL = f"this namespace has no label {LABEL}"


@pytest.fixture
def operator_account(api: Cluster, account: Path) -> Iterator[Cluster]:
    """The cluster as the operator sees it while it leads."""
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
    api.apply(
        {**lease, "metadata": {"name": ACCOUNT, "namespace": NAMESPACE}, "spec": {"holderIdentity": POD}}
    )
    yield dataclasses.replace(api, kubeconfig=account)
    api.kubectl("delete", "lease", ACCOUNT, "-n", NAMESPACE)


def refusal(account: Cluster, *arguments: str, document: dict[str, Any] | None = None) -> str:
    """What the API server says against it; "" where it takes it."""
    try:
        account.kubectl(*arguments, stdin=json.dumps(document) if document else None)
    except subprocess.CalledProcessError as error:
        return str(error.stderr)
    return ""


def owned_by(owner: dict[str, Any], name: str, namespace: str, **fields: Any) -> dict[str, Any]:
    reference = {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
    }
    metadata = {"name": name, "namespace": namespace, "ownerReferences": [reference]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **fields}


APPLY = ("apply", "--server-side", "--force-conflicts", "-f", "-")


@pytest.fixture
def opted_in(api: Cluster, operator_account: Cluster) -> Iterator[None]:
    """Namespaces need the label; afterwards none does."""
    owner = {**resource(NAMESPACE), "metadata": {"name": "none", "uid": str(uuid.UUID(int=0))}}
    probe = owned_by(owner, "probe", NAMESPACE)

    def needed(label: str) -> None:
        manifests = Helm(binaries.helm(print)).template({"admissionPolicy": {"namespaceLabel": label}})
        names = {item["metadata"]["name"]: item for item in kinds(manifests, "ValidatingAdmissionPolicy")}
        api.apply(names[f"tacho-children.{NAMESPACE}"])

        def in_force() -> bool:
            said = refusal(operator_account, *APPLY, "--dry-run=server", document=probe)
            return (NO_LABEL in said) == bool(label)

        eventually("the policy is in force", lambda: in_force() or None)

    needed(LABEL)
    yield
    needed("")


@pytest.mark.usefixtures("opted_in")
async def test_nothing_is_written_in_a_namespace_without_the_label(
    api: Cluster, operator_account: Cluster, namespace: str
) -> None:
    api.apply(resource(namespace))
    owner = api.get("llmd", resource(namespace)["metadata"]["name"], "-n", namespace)
    own = owned_by(owner, "own", namespace)
    event = [ResourceEvent(type="Normal", reason="SuccessfulRescale", message="New size: 2")]
    now = datetime.now(timezone.utc)
    async with connect(str(operator_account.kubeconfig)) as kube:
        assert NO_LABEL in refusal(operator_account, *APPLY, document=own)
        await post_events(kube, event_manifests(owner, event, now))  # which logs a refusal
        assert events_about(api, owner) == []
        api.kubectl("label", "namespace", namespace, f"{LABEL}=")
        assert refusal(operator_account, *APPLY, document=own) == ""
        await post_events(kube, event_manifests(owner, event, now))
        assert [item["note"] for item in events_about(api, owner)] == ["New size: 2"]
        api.apply(
            {**own, "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "spec": {"minAvailable": 1}}
        )
        api.kubectl("label", "namespace", namespace, f"{LABEL}-")
        assert NO_LABEL in refusal(operator_account, "delete", "pdb", "own", "-n", namespace)


@pytest.mark.usefixtures("opted_in")
async def test_the_label_does_not_hide_from_a_new_leader_that_another_leads(
    api: Cluster, operator_account: Cluster
) -> None:
    def holds(pod: str) -> None:
        lease = {"spec": {"holderIdentity": pod}}
        api.kubectl("patch", "lease", ACCOUNT, "-n", NAMESPACE, "--type=merge", "-p", json.dumps(lease))

    async with connect(str(operator_account.kubeconfig)) as kube:

        async def admitted() -> bool:
            try:
                await kube.try_create(trial(NAMESPACE))
            except Fenced:
                return False
            return True

        for pod, expected in ((POD, True), ("another", False), (POD, True)):
            holds(pod)
            async with asyncio.timeout(PATIENCE_SECONDS):
                while await admitted() != expected:
                    await asyncio.sleep(0.1)
    real = trial(NAMESPACE)
    assert NO_LABEL in refusal(operator_account, *APPLY, document=real), "it would be written"


def events_about(api: Cluster, owner: dict[str, Any]) -> list[dict[str, Any]]:
    namespace = owner["metadata"]["namespace"]
    listed = json.loads(api.raw(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"))["items"]
    return [item for item in listed if item["regarding"]["kind"] == owner["kind"]]


def test_only_what_an_llmdeployment_controls_is_written(
    api: Cluster, operator_account: Cluster, namespace: str
) -> None:
    api.apply(resource(namespace))
    owner = api.get("llmd", resource(namespace)["metadata"]["name"], "-n", namespace)
    own = owned_by(owner, "own", namespace, data={"a": "b"})
    assert refusal(operator_account, *APPLY, document=own) == ""
    foreign = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "foreign", "namespace": namespace},
    }
    assert CHILD in refusal(operator_account, *APPLY, document=foreign)
    api.apply(foreign)
    assert CHILD in refusal(operator_account, *APPLY, document=owned_by(owner, "foreign", namespace))
    freed = {**own, "metadata": {**own["metadata"], "ownerReferences": []}}
    assert CHILD in refusal(operator_account, *APPLY, document=freed)
    other = {**owner, "apiVersion": "apps/v1", "kind": "Deployment"}
    assert CHILD in refusal(operator_account, *APPLY, document=owned_by(other, "others", namespace))
    system = owned_by(owner, "own", "kube-system")
    assert "the cluster's own namespaces" in refusal(operator_account, *APPLY, document=system)


async def test_a_repeated_event_is_one_object_with_a_series(
    api: Cluster, operator_account: Cluster, namespace: str
) -> None:
    api.apply(resource(namespace))
    owner = api.get("llmd", resource(namespace)["metadata"]["name"], "-n", namespace)
    async with connect(str(operator_account.kubeconfig)) as kube:
        for size in (2, 3, 4):
            message = f"New size: {size}" + "\xfc" * (
                700 if size == 2 else 0
            )  # longer than the API server takes
            event = ResourceEvent(type="Normal", reason="SuccessfulRescale", message=message)
            await post_events(kube, event_manifests(owner, [event], datetime.now(timezone.utc)))
    (found,) = events_about(api, owner)
    assert (found["reason"], found["note"]) == ("SuccessfulRescale", "New size: 4")
    assert found["series"]["count"] == found["deprecatedCount"] == 3
    assert found["series"]["lastObservedTime"] > found["eventTime"]
    named = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "foreign", "namespace": namespace}}
    foreign = {**named, "involvedObject": {"kind": "Pod", "namespace": namespace}, "type": "Normal"}
    api.kubectl("create", "-f", "-", stdin=json.dumps(foreign))
    own = {**named, "metadata": found["metadata"]}
    async with connect(str(operator_account.kubeconfig)) as kube:
        for target, kind in ((foreign, owner["kind"]), (own, "Pod")):
            with pytest.raises(Forbidden, match="events are about LLMDeployments"):
                await kube.merge(target, {"involvedObject": {"kind": kind}})


def test_of_a_server_pod_the_deletion_cost_alone_is_written(
    api: Cluster, operator_account: Cluster, namespace: str
) -> None:
    confined = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    template = {
        "metadata": {"labels": {"tacho.dev/deployment": "smol"}},
        "spec": {
            "schedulerName": "none",
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{"name": "c", "image": "example/c", "securityContext": confined}],
        },
    }
    metadata = {"name": "smol", "namespace": namespace}
    selector = {"matchLabels": template["metadata"]["labels"]}
    replicas = {"replicas": 1, "selector": selector, "template": template}
    api.apply({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": replicas})
    (pod,) = eventually("the pod exists", lambda: api.get("pods", "-n", namespace)["items"] or None)
    name = pod["metadata"]["name"]
    second = {"apiVersion": "v1", "kind": "ConfigMap", "name": "second", "uid": pod["metadata"]["uid"]}

    def patched(patch: dict[str, Any]) -> str:
        return refusal(
            operator_account, "patch", "pod", name, "-n", namespace, "--type=merge", "-p", json.dumps(patch)
        )

    assert patched({"metadata": {"annotations": {COST: "-7"}}}) == ""
    assert patched({"metadata": {"annotations": {COST: None}}}) == ""
    for change in (
        {"metadata": {"annotations": {"other": "x"}}},
        {"metadata": {"labels": {"other": "x"}}},
        {"metadata": {"finalizers": ["example.com/keeps-it"]}},
        {"metadata": {"ownerReferences": [*pod["metadata"]["ownerReferences"], second]}},
        {"spec": {"activeDeadlineSeconds": 60}},
    ):
        assert CHILD in patched(change), change
    assert CHILD in refusal(operator_account, "delete", "pod", name, "-n", namespace)
    another = {
        "apiVersion": "v1",
        "kind": "Pod",
        **template,
        "metadata": {"name": "another", "namespace": namespace},
    }
    assert CHILD in refusal(operator_account, *APPLY, document=another)
