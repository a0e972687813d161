"""What a deleted resource left, on a real API server whose garbage collector does nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.cluster.binaries import Binaries
from tools.cluster.controlplane import ControlPlane
from tools.cluster.handle import Cluster
from tools.harness.definition import install_definition
from tools.harness.operating import NAME, OPERATOR_USER, await_condition, resource
from tools.harness.operator_process import Operator, eventually, install_rights

TEAM = "team"
LABELS = {"tacho.dev/deployment": NAME}
KINDS = ",".join(
    ("deployments", "replicasets", "pods", "services", "configmaps", "controllerrevisions", "networkpolicies")
)
REFUSED = {"limits": {"memory": "2Gi", "hugepages-2Mi": "1Mi"}}
"""Resources that the rules accept and the API server refuses."""


@pytest.fixture
def cluster(cluster_binaries: Binaries) -> Iterator[Cluster]:
    with ControlPlane(cluster_binaries, collects=False) as found:
        install_definition(found)
        found.create_namespace(TEAM)
        claim = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
        metadata = {"name": "models", "namespace": TEAM}
        found.apply(
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": claim}
        )
        yield found


def children(owner: dict[str, Any], prefix: str) -> list[dict[str, Any]]:
    """One of each kind, of that LLMDeployment."""
    reference = {key: owner[key] for key in ("apiVersion", "kind")}
    reference |= {"name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"], "controller": True}
    confined = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {"name": "main", "image": "example/a:1", "securityContext": confined}
    pod = {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "schedulerName": "none",
    }
    selector = {"matchLabels": LABELS}
    template = {"metadata": {"labels": LABELS}, "spec": pod}
    made: list[dict[str, Any]] = [
        {"apiVersion": "apps/v1", "kind": "Deployment",
         "spec": {"replicas": 2, "selector": selector, "template": template}},
        {"apiVersion": "apps/v1", "kind": "ControllerRevision", "revision": 1, "data": {"a": "b"}},
        {"apiVersion": "v1", "kind": "Pod", "spec": pod},
        {"apiVersion": "v1", "kind": "Service", "spec": {"selector": LABELS, "ports": [{"port": 80}]}},
        {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}},
        {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"podSelector": selector}},
    ]  # fmt: skip
    for item in made:
        name = f"{prefix}-{item['kind'].lower()}"
        item["metadata"] = {"name": name, "namespace": TEAM, "labels": LABELS, "ownerReferences": [reference]}
    return made


def made(cluster: Cluster, name: str, **spec: Any) -> dict[str, Any]:
    document = resource(TEAM, **spec)
    document["metadata"]["name"] = name
    cluster.apply(document)
    return dict(cluster.get("llmd", name, "-n", TEAM))


def names(cluster: Cluster) -> set[str]:
    found = cluster.get(KINDS, "-n", TEAM, "-l", f"tacho.dev/deployment={NAME}")["items"]
    return {item["metadata"]["name"] for item in found}


def test_former_children_go_while_the_successor_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    cluster.apply(*children(made(cluster, NAME), "former"))
    eventually("the Deployment has pods", lambda: len(names(cluster)) == 9 or None)
    cluster.kubectl("delete", "llmd", NAME, "-n", TEAM, "--timeout=20s")
    engine = {**resource(TEAM)["spec"]["engine"], "resources": REFUSED}
    made(cluster, NAME, engine=engine)
    # Of a name that nobody has, and of an owner that lives, though under another name.
    gone, lives = made(cluster, "gone"), made(cluster, "lives")
    config_map = next(item for item in children(gone, "gone") if item["kind"] == "ConfigMap")
    service = next(item for item in children(lives, "lives") if item["kind"] == "Service")
    cluster.apply(config_map, service)
    cluster.kubectl("delete", "llmd", "gone", "-n", TEAM, "--timeout=20s")
    operator = Operator(install_rights(cluster), tmp_path / "operator.log")
    operator.start()
    try:
        await_condition(cluster, TEAM, "Stalled", "True", "InvalidConfig")

        def former() -> list[str]:
            return [name for name in names(cluster) if name.startswith("former")]

        eventually("all of the former resource but its empty ReplicaSet is gone",
                   lambda: len(former()) == 1 or None)  # fmt: skip
    finally:
        operator.kill()
        print(operator.log.read_text()[-20000:])
    (left,) = cluster.get("replicasets", "-n", TEAM)["items"]
    assert former() == [left["metadata"]["name"]]
    assert left["spec"]["replicas"] == 0
    assert {config_map["metadata"]["name"], service["metadata"]["name"]} <= names(cluster)
    requests = [item for item in cluster.audit_events() if item["user"]["username"] == OPERATOR_USER]
    assert not [item for item in requests if item.get("responseStatus", {}).get("code") == 403]
    of_it = [
        item["verb"]
        for item in requests
        if item.get("objectRef", {}).get("name") == "former-deployment" and item["verb"] != "get"
    ]
    assert of_it == ["patch", "delete"]
