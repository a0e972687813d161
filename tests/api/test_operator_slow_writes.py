"""Ready on a real API server while a write of a child hangs, as where a webhook takes half a minute."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.cluster.handle import Cluster
from tools.harness.holding_proxy import HoldingProxy
from tools.harness.operating import NAME, await_condition, bring_up, condition
from tools.harness.operator_process import Kubelet, Operator, eventually

HANGS_SECONDS = 20.0
TOLD_SECONDS = 2.0
"""From the pod's change to the status that says so. The check is once a second."""


@pytest.fixture
def proxy(api: Cluster) -> Iterator[HoldingProxy]:
    assert api.api is not None
    with HoldingProxy(api.api).running() as running:
        yield running


@pytest.fixture
def behind(account: Path, tmp_path: Path, proxy: HoldingProxy) -> Iterator[Operator]:
    """The operator behind the proxy."""
    process = Operator(proxy.kubeconfig(account), tmp_path / "operator.log")
    process.start()
    yield process
    process.kill()
    print(process.log.read_text()[-20000:])


@pytest.mark.usefixtures("behind", "claim")
def test_a_lost_ready_waits_for_no_write_of_a_child(
    api: Cluster, namespace: str, kubelet: Kubelet, proxy: HoldingProxy
) -> None:
    bring_up(api, kubelet, namespace)
    await_condition(api, namespace, "Ready", "True")
    (pod,) = kubelet.pods("server")
    proxy.holds = lambda one: one.method == "PATCH" and f"/namespaces/{namespace}/deployments/" in one.path
    (deployment,) = api.get("deployments", "-n", namespace)["items"]
    name = deployment["metadata"]["name"]
    change = json.dumps({"spec": {"minReadySeconds": 7, "revisionHistoryLimit": 3}})
    api.kubectl("patch", "deployment", name, "-n", namespace, "--type=merge", "-p", change)
    api.kubectl("patch", "llmd", NAME, "-n", namespace, "--type=merge", "-p", '{"spec":{"replicas":2}}')
    eventually("an apply of the Deployment hangs", lambda: proxy.held or None)
    hangs_until = time.monotonic() + HANGS_SECONDS
    conditions = [
        {**item, "status": "False" if item["type"] in ("Ready", "ContainersReady") else item["status"]}
        for item in pod["status"]["conditions"]
    ]
    status = {**pod["status"], "conditions": conditions}
    api.patch_status("Pod", namespace, pod["metadata"]["name"], status)
    lost = time.monotonic()
    await_condition(api, namespace, "Ready", "False", seconds=HANGS_SECONDS + 20.0)
    seconds = time.monotonic() - lost
    print(f"Ready was False after {seconds:.2f} s")
    assert seconds < TOLD_SECONDS
    assert (len(proxy.held), proxy.held[0].answered.is_set()) == (1, False)
    while time.monotonic() < hangs_until:
        assert condition(api, namespace, "Ready")["status"] == "False"
        time.sleep(1.0)
    proxy.release()
    eventually(
        "it has its size",
        lambda: api.get("deployment", name, "-n", namespace)["spec"]["replicas"] == 2 or None,
    )
    assert condition(api, namespace, "Ready")["status"] == "False"
    kubelet.gets_ready(pod)
    await_condition(api, namespace, "Ready", "True")
    version = api.get("llmd", NAME, "-n", namespace)["metadata"]["resourceVersion"]
    time.sleep(3.0)
    assert api.get("llmd", NAME, "-n", namespace)["metadata"]["resourceVersion"] == version, "it is settled"
