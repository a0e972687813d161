"""A change of several replicas on a real API server: how many pods there are meanwhile."""

from __future__ import annotations

import pytest

from tools.cluster.handle import Cluster
from tools.harness.operating import FACTS, await_condition, resource
from tools.harness.operator_process import Kubelet, eventually


@pytest.mark.timeout(240)
@pytest.mark.usefixtures("operator", "claim")
def test_a_rollout_of_six_replicas_has_two_pods_more(api: Cluster, namespace: str, kubelet: Kubelet) -> None:
    seen: list[int] = []

    def sizes() -> list[int]:
        """The size of each Deployment, oldest first."""
        found = api.get("deployments", "-n", namespace)["items"]
        found.sort(key=lambda item: (item["metadata"]["creationTimestamp"], item["metadata"]["name"]))
        seen.append(sum(item["spec"]["replicas"] for item in found))
        kubelet.serve_all()
        return [item["spec"]["replicas"] for item in found]

    api.apply(resource(namespace, replicas=6))
    kubelet.finish_inspection(FACTS)
    eventually("six serve", lambda: sizes() == [6] or None)
    await_condition(api, namespace, "Ready", "True")
    api.apply(resource(namespace, replicas=6, context={"maxModelLen": 512, "concurrency": 1}))
    eventually("all are new", lambda: sizes()[1:] == [6] or None, seconds=120)
    assert max(seen) == 8, "25 % of six, rounded up"
