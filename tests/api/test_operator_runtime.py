"""A tag that is pushed again neither changes nor stops what serves, on a real API server."""

from __future__ import annotations

from typing import Any

import pytest

from tools.cluster.handle import Cluster
from tools.harness.operating import FACTS, NAME, await_condition, resource
from tools.harness.operator_process import Kubelet, eventually

FIRST, SECOND = (f"docker.io/example/tacho@sha256:{digit * 64}" for digit in "ab")
PINNED = FIRST.removeprefix("docker.io/"), SECOND.removeprefix("docker.io/")


def injected(pod: dict[str, Any]) -> str:
    return str(pod["spec"]["initContainers"][0]["image"])


@pytest.mark.usefixtures("operator", "claim")
def test_pods_of_one_revision_run_one_runtime(api: Cluster, namespace: str, kubelet: Kubelet) -> None:
    api.apply(resource(namespace))
    kubelet.finish_inspection(FACTS, image_id=FIRST)
    kubelet.serve()
    await_condition(api, namespace, "Ready", "True")
    # The tag is pushed again from here on.
    api.apply(resource(namespace, replicas=2))
    eventually("a pod of later scaling", lambda: len(kubelet.pods("server")) == 2 or None)
    assert {injected(pod) for pod in kubelet.pods("server")} == {PINNED[0]}
    kubelet.serve_all()

    api.apply(resource(namespace, replicas=2, context={"maxModelLen": 2048, "concurrency": 2}))
    asked = kubelet.finish_inspection(FACTS, image_id=SECOND)
    assert asked["spec"]["containers"][0]["command"][-1] == "--runtime"
    newest = eventually("the new revision's pod", lambda: kubelet.await_pod("server"))
    assert injected(newest) == PINNED[1]
    assert [injected(pod) for pod in kubelet.pods("server")].count(PINNED[0]) == 2

    def shown() -> set[str] | None:
        found = api.get("llmd", NAME, "-n", namespace)["status"]["revisions"]
        return {item["runtime"] for item in found} if len(found) == 2 else None

    assert eventually("both revisions", shown) == set(PINNED)
    await_condition(api, namespace, "Ready", "True")
