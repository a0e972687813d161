"""A node that is deleted under a pod that serves, on a real API server."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.api.scheduling import advertise
from tools.cluster.handle import Cluster
from tools.harness.operating import FACTS, await_condition, resource
from tools.harness.operator_process import Kubelet

GONE, OTHER = "gone-node", "other-node"


@pytest.fixture
def nodes(api: Cluster) -> Iterator[None]:
    for name in (GONE, OTHER):
        advertise(api, name, 0)
    yield
    api.kubectl("delete", "node", GONE, OTHER, "--ignore-not-found")


@pytest.mark.usefixtures("operator", "claim", "nodes")
def test_a_pod_without_a_node_serves_nobody(api: Cluster, namespace: str, kubelet: Kubelet) -> None:
    """Kubernetes leaves it out of its Service at once, and collects it most of a minute later."""
    api.apply(resource(namespace))
    kubelet.finish_inspection(FACTS)
    name = kubelet.await_pod("server")["metadata"]["name"]
    target = {"apiVersion": "v1", "kind": "Node", "name": GONE}
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
    path = f"/api/v1/namespaces/{namespace}/pods/{name}/binding"
    api.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(binding))
    kubelet.serve()
    await_condition(api, namespace, "Ready", "True")
    api.kubectl("delete", "node", GONE)
    await_condition(api, namespace, "Ready", "False", "NodeLost", seconds=10)
    conditions = api.get("pod", name, "-n", namespace)["status"]["conditions"]
    assert ("Ready", "True") in {(item["type"], item["status"]) for item in conditions}
