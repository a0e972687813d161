"""A namespace that is deleted while a finalizer keeps a pod, on a real API server."""

from __future__ import annotations

import json

import pytest

from tools.cluster.handle import Cluster
from tools.harness.operating import await_condition, bring_up
from tools.harness.operator_process import Kubelet


@pytest.mark.usefixtures("operator", "claim")
def test_the_resource_says_that_its_namespace_is_being_deleted(
    api: Cluster, namespace: str, kubelet: Kubelet
) -> None:
    """ReplicaSets are silent about it, and pods go first: the resource stays as long as one pod does."""
    bring_up(api, kubelet, namespace)
    chosen = ("-n", namespace, "-l", "tacho.dev/role=server")
    (pod,) = api.get("pods", *chosen)["items"]

    def keep(finalizers: list[str] | None) -> None:
        patch = json.dumps({"metadata": {"finalizers": finalizers}})
        api.kubectl("patch", "pod", pod["metadata"]["name"], "-n", namespace, "--type=merge", "-p", patch)

    keep(["example.com/held"])
    try:
        api.kubectl("delete", "namespace", namespace, "--wait=false")
        found = await_condition(api, namespace, "Ready", "False", "NamespaceTerminating")
        assert "because it is being terminated" in found["message"]
    finally:
        keep(None)
