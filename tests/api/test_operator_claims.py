"""Claims that pods cannot share, on a real API server: what they hold back, and what lets it go on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tools.cluster.handle import Cluster
from tools.harness.operating import FACTS, NAME, await_condition, condition, resource
from tools.harness.operator_process import Kubelet, eventually


def make_claim(api: Cluster, namespace: str, mode: str) -> None:
    spec = {"accessModes": [mode], "resources": {"requests": {"storage": "1Gi"}}}
    metadata = {"name": "models", "namespace": namespace}
    api.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec})


def sizes(api: Cluster, namespace: str) -> list[int]:
    """Of the resource's Deployments."""
    return [item["spec"]["replicas"] for item in api.get("deployments", "-n", namespace)["items"]]


@pytest.fixture
def two_nodes(api: Cluster, namespace: str) -> Iterator[None]:
    """Nodes that say they are ready, for longer than the test takes."""
    names = [f"node-{number}-{namespace}" for number in (1, 2)]
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
    for name in names:
        api.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
        room = {"cpu": "8", "memory": "16Gi", "pods": "20"}
        patch = json.dumps({"status": {"conditions": [ready], "capacity": room, "allocatable": room}})
        api.kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", patch)
    yield
    api.kubectl("delete", "node", *names, "--ignore-not-found")


def held_back(api: Cluster, namespace: str, *words: str) -> dict[str, Any]:
    stalled = await_condition(api, namespace, "Stalled", "True", "CacheNotShareable")
    missing = [word for word in words if word not in stalled["message"]]
    assert not missing, stalled["message"]
    return stalled


@pytest.mark.usefixtures("operator", "two_nodes")
def test_replicas_on_several_nodes_cannot_share_it(api: Cluster, namespace: str, kubelet: Kubelet) -> None:
    make_claim(api, namespace, "ReadWriteOnce")
    api.apply(resource(namespace, replicas=2))
    kubelet.finish_inspection(FACTS)
    kubelet.serve()
    held_back(api, namespace, "Claim models is ReadWriteOnce", "2 replicas", "ReadWriteMany")
    await_condition(api, namespace, "Ready", "True")  # the one that can serves
    assert sizes(api, namespace) == [1]
    api.apply(resource(namespace, replicas=1))
    eventually("it goes on", lambda: condition(api, namespace, "Stalled").get("status") == "False" or None)


@pytest.mark.usefixtures("operator")
def test_a_new_revision_cannot_start_beside_the_pod_that_holds_it(
    api: Cluster, namespace: str, kubelet: Kubelet
) -> None:
    make_claim(api, namespace, "ReadWriteOncePod")
    api.apply(resource(namespace))
    kubelet.finish_inspection(FACTS)
    kubelet.serve()
    await_condition(api, namespace, "Measured", "True")
    before = api.get("deployments", "-n", namespace)["items"][0]["metadata"]["name"]
    other = {"context": {"maxModelLen": 512, "concurrency": 1}}
    api.apply(resource(namespace, **other))
    held_back(api, namespace, "Claim models is ReadWriteOncePod", "active revision")
    await_condition(api, namespace, "RolloutAccepted", "False", "CacheNotShareable")  # once its plan is made
    assert condition(api, namespace, "Ready")["status"] == "True", "the active revision serves on"
    assert sizes(api, namespace) == [1], "nothing is started that could not mount it"

    api.kubectl("delete", "llmd", NAME, "-n", namespace)
    api.kubectl("delete", "pods", "--all", "-n", namespace, "--force", "--grace-period=0")
    eventually("its children are gone", lambda: sizes(api, namespace) == [] or None)
    api.apply(resource(namespace, **other))
    kubelet.finish_inspection(FACTS)
    pod = kubelet.serve()
    assert not pod["metadata"]["name"].startswith(before)
    await_condition(api, namespace, "Ready", "True")
