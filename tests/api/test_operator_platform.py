"""What the cluster does to pods, on real controllers: told as such, and gone by itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tools.cluster import commands
from tools.cluster.handle import Cluster
from tools.harness.operating import FACTS, await_condition, condition, resource
from tools.harness.operator_process import Kubelet, eventually

NODE_SECONDS = commands.NODE_GRACE_SECONDS + 60.0
"""Until the node controller gives a silent node up, and what a busy machine adds."""


def no_person_needed(api: Cluster, namespace: str) -> bool:
    return condition(api, namespace, "Stalled").get("status") == "False"


@pytest.mark.usefixtures("operator", "claim")
def test_a_quota_is_named_and_its_end_lets_it_go_on(api: Cluster, namespace: str, kubelet: Kubelet) -> None:
    api.apply(resource(namespace))
    kubelet.finish_inspection(FACTS)
    kubelet.await_pod("server")
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "few", "namespace": namespace},
        "spec": {"hard": {"pods": "0"}},
    }
    api.apply(quota)
    api.kubectl("delete", "pods", "--all", "-n", namespace, "--force", "--grace-period=0")
    await_condition(api, namespace, "Stalled", "True", "QuotaExceeded")
    ready = await_condition(api, namespace, "Ready", "False", "QuotaExceeded")
    assert "few" in ready["message"]
    api.kubectl("delete", "resourcequota", "few", "-n", namespace)
    kubelet.serve()
    await_condition(api, namespace, "Ready", "True")
    assert no_person_needed(api, namespace)


@pytest.mark.usefixtures("operator", "claim")
def test_a_policy_that_refuses_pods_is_named_and_its_end_noticed(
    api: Cluster, namespace: str, kubelet: Kubelet
) -> None:
    api.apply(resource(namespace))
    kubelet.finish_inspection(FACTS)
    kubelet.await_pod("server")
    api.kubectl("label", "namespace", namespace, "tests.tacho.dev/closed=yes")
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": f"closed-{namespace}"},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE"],
                        "resources": ["pods"],
                    }
                ]
            },
            "validations": [{"expression": "false", "message": "no pods here, says the policy"}],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": f"closed-{namespace}"},
        "spec": {
            "policyName": f"closed-{namespace}",
            "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"tests.tacho.dev/closed": "yes"}}},
        },
    }
    api.apply(policy, binding)

    def refused() -> dict[str, Any] | None:
        api.kubectl("delete", "pods", "--all", "-n", namespace, "--force", "--grace-period=0")
        found = condition(api, namespace, "Stalled")
        return found if found.get("reason") == "AdmissionDenied" else None

    try:
        assert "no pods here" in eventually("a refusal by the policy", refused)["message"]
    finally:
        name = f"closed-{namespace}"
        api.kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", name)
    kubelet.serve()
    await_condition(api, namespace, "Ready", "True")
    assert no_person_needed(api, namespace)


@pytest.fixture
def node(api: Cluster, namespace: str) -> Iterator[str]:
    """A node that answers once and then is silent."""
    name = f"node-{namespace}"
    api.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
    room = {"cpu": "8", "memory": "16Gi", "pods": "20"}
    patch = json.dumps({"status": {"conditions": [ready], "capacity": room, "allocatable": room}})
    api.kubectl("patch", "node", name, "--subresource=status", "--type=merge", "-p", patch)
    yield name
    api.kubectl("delete", "node", name, "--ignore-not-found")


def bind(api: Cluster, pod: dict[str, Any], node: str) -> None:
    """What the scheduler does."""
    name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
    target = {"apiVersion": "v1", "kind": "Node", "name": node}
    binding = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name, "namespace": namespace},
        "target": target,
    }
    path = f"/api/v1/namespaces/{namespace}/pods/{name}/binding"
    api.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(binding))


@pytest.mark.usefixtures("operator", "claim")
def test_a_drained_pod_is_evicted_and_replaced(
    api: Cluster, namespace: str, kubelet: Kubelet, node: str
) -> None:
    api.apply(resource(namespace))
    kubelet.finish_inspection(FACTS)
    bind(api, kubelet.await_pod("server"), node)
    pod = kubelet.serve()
    await_condition(api, namespace, "Ready", "True")
    name = pod["metadata"]["name"]
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name, "namespace": namespace},
    }
    path = f"/api/v1/namespaces/{namespace}/pods/{name}/eviction"
    api.kubectl("create", "--raw", path, "-f", "-", stdin=json.dumps(eviction))
    told = await_condition(api, namespace, "Ready", "False", "Evicted")
    assert name in told["message"]
    assert no_person_needed(api, namespace)
    api.kubectl("delete", "pod", name, "-n", namespace, "--force", "--grace-period=0")
    kubelet.serve()
    await_condition(api, namespace, "Ready", "True")


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("operator", "claim")
def test_a_lost_node_is_told_and_its_pod_replaced_beside_the_stuck_one(
    api: Cluster, namespace: str, kubelet: Kubelet, node: str
) -> None:
    """A node object without a kubelet, which Kubernetes' own node controller gives up: nothing that simulates
    one could be sooner silent. A real kubelet falls silent, and comes back, in the e2e tier."""
    api.apply(resource(namespace))
    kubelet.finish_inspection(FACTS)
    bind(api, kubelet.await_pod("server"), node)
    kubelet.serve()
    await_condition(api, namespace, "Ready", "True")

    def lost() -> dict[str, Any] | None:
        found = condition(api, namespace, "Ready")
        return found if (found["status"], found["reason"]) == ("False", "NodeLost") else None

    assert node in eventually("the node controller gives the node up", lost, NODE_SECONDS)["message"]
    assert no_person_needed(api, namespace)
    (pod,) = kubelet.pods("server")
    api.kubectl("delete", "pod", pod["metadata"]["name"], "-n", namespace, "--wait=false")

    def stuck() -> str | None:
        found = condition(api, namespace, "Ready")["message"]
        return found if "cannot end" in found else None

    assert "node.kubernetes.io/out-of-service" in eventually("what a person can do", stuck)
    kubelet.serve()
    await_condition(api, namespace, "Ready", "True")
    await_condition(api, namespace, "Reconciling", "False")
    held = api.get("pod", pod["metadata"]["name"], "-n", namespace)
    assert held["metadata"]["deletionTimestamp"], "the operator does not force it"
    assert held["metadata"]["uid"] == pod["metadata"]["uid"]
