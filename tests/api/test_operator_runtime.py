"""A tag that is pushed again neither changes nor stops what serves, on a real API server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.cluster.handle import Cluster
from tools.harness.operating import FACTS, NAME, await_condition, resource
from tools.harness.operator_process import IMAGE, NAMESPACE, POD, Kubelet, Operator, eventually

FIRST, SECOND = (f"docker.io/example/tacho@sha256:{digit * 64}" for digit in "ab")
PINNED = FIRST.removeprefix("docker.io/"), SECOND.removeprefix("docker.io/")


def show_image(api: Cluster, image_id: str) -> None:
    """The operator's own pod runs this image."""
    container = {"name": "operator", "image": IMAGE, "imageID": image_id, "ready": True, "restartCount": 0}
    api.patch_status("Pod", NAMESPACE, POD, {"containerStatuses": [container]})


@pytest.fixture
def operator(api: Cluster, account: Path, tmp_path: Path) -> Iterator[Operator]:
    show_image(api, FIRST)
    process = Operator(account, tmp_path / "operator.log")
    process.start()
    yield process
    process.kill()
    show_image(api, "")
    print(process.log.read_text()[-20000:])


def injected(pod: dict[str, Any]) -> str:
    return str(pod["spec"]["initContainers"][0]["image"])


@pytest.mark.usefixtures("claim")
def test_pods_of_one_revision_run_one_runtime(
    api: Cluster, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    api.apply(resource(namespace))
    kubelet.finish_inspection(FACTS)
    kubelet.serve()
    await_condition(api, namespace, "Ready", "True")
    # The tag is pushed again, and the operator starts from it.
    operator.stop()
    show_image(api, SECOND)
    operator.start()
    api.apply(resource(namespace, replicas=2))
    eventually("a pod of later scaling", lambda: len(kubelet.pods("server")) == 2 or None)
    assert {injected(pod) for pod in kubelet.pods("server")} == {PINNED[0]}
    kubelet.serve_all()

    api.apply(resource(namespace, replicas=2, context={"maxModelLen": 2048, "concurrency": 2}))
    newest = eventually("the new revision's pod", lambda: kubelet.await_pod("server"))
    assert injected(newest) == PINNED[1]
    assert [injected(pod) for pod in kubelet.pods("server")].count(PINNED[0]) == 2

    def shown() -> set[str] | None:
        found = api.get("llmd", NAME, "-n", namespace)["status"]["revisions"]
        return {item["runtime"] for item in found} if len(found) == 2 else None

    assert eventually("both revisions", shown) == set(PINNED)
    await_condition(api, namespace, "Ready", "True")
