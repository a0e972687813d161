"""Policies of the cluster that change what the operator writes, on a real API server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest

from tools.cluster.handle import Cluster
from tools.harness.operating import FACTS, await_condition, resource
from tools.harness.operator_process import Kubelet

KIND = "admissionregistration.k8s.io/v1"
Change = Callable[..., None]


@pytest.fixture
def change(api: Cluster, namespace: str) -> Iterator[Change]:
    """Has a policy of the namespace change pods by a JSON patch, where ``only`` holds."""

    def begin(patch: str, only: str, *operations: str) -> None:
        rule = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": [*operations]}
        where = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
        spec = {
            "matchConstraints": {"resourceRules": [rule], "namespaceSelector": where},
            "matchConditions": [{"name": "only", "expression": only}],
            "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": f"[JSONPatch{{{patch}}}]"}}],
        }
        named = {"apiVersion": KIND, "metadata": {"name": namespace}}
        api.apply({**named, "kind": "MutatingAdmissionPolicy", "spec": spec})
        binding = {"policyName": namespace}
        api.apply({**named, "kind": "MutatingAdmissionPolicyBinding", "spec": binding})
        time.sleep(3)  # the API server reads policies a moment later

    yield begin
    api.kubectl("delete", "mutatingadmissionpolicy,mutatingadmissionpolicybinding", namespace)


ATTEMPT = "'tacho.dev/attempt'"
HAS_ATTEMPT = f"has(object.metadata.annotations) && {ATTEMPT} in object.metadata.annotations"
NO_ATTEMPT = f"op: 'remove', path: '/metadata/annotations/' + jsonpatch.escapeKey({ATTEMPT})"


@pytest.mark.usefixtures("claim", "operator")
def test_one_that_removes_it_once_is_made_good(
    api: Cluster, namespace: str, kubelet: Kubelet, change: Change
) -> None:
    change(NO_ATTEMPT, HAS_ATTEMPT, "CREATE")
    api.apply(resource(namespace))
    kubelet.finish_inspection(FACTS)
    kubelet.serve()
    await_condition(api, namespace, "Ready", "True")
