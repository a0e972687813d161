"""The scaler against a real API server, with pods that count as engines do: up, blind, killed, down."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tacho_operator.shell.kube import SIZE_MANAGER
from tools.cluster.handle import Cluster
from tools.harness.holding_proxy import HoldingProxy, Request
from tools.harness.operating import MUTATING, NAME, await_condition, bring_up, condition, requests_of_operator
from tools.harness.operator_process import Kubelet, Operator, eventually

pytestmark = pytest.mark.timeout(300)

AUTOSCALING = {
    "minReplicas": 1,
    "maxReplicas": 8,
    "burstMemorySeconds": 0,
    "behavior": {
        "scaleUp": {
            "stabilizationWindowSeconds": 0,
            "policies": [{"type": "Pods", "value": 8, "periodSeconds": 1}],
        },
        "scaleDown": {
            "stabilizationWindowSeconds": 4,
            "policies": [{"type": "Pods", "value": 1, "periodSeconds": 2}],
        },
    },
}
QUIET_SECONDS = 4.0


@pytest.fixture
def scaling_operator(account: Path, tmp_path: Path) -> Operator:
    return Operator(account, tmp_path / "operator.log", TACHO_SCALING_PERIOD_SECONDS="1")


def size(api: Cluster, namespace: str) -> int:
    (deployment,) = api.get("deployments", "-n", namespace)["items"]
    return int(deployment["spec"]["replicas"])


def await_size(api: Cluster, namespace: str, kubelet: Kubelet, wanted: int) -> None:
    def look() -> bool | None:
        kubelet.serve_all()  # another may be made just after
        serving = [pod for pod in kubelet.pods("server") if pod["status"].get("podIP")]
        return (size(api, namespace) == wanted == len(serving)) or None

    eventually(f"{wanted} replicas", look)


def steps(api: Cluster, namespace: str) -> list[tuple[int, int]]:
    """What was decided, the latest first."""
    decisions = api.get("llmd", NAME, "-n", namespace)["status"]["autoscaling"].get("decisions", [])
    return [(made["fromReplicas"], made["toReplicas"]) for made in decisions]


def await_looks(kubelet: Kubelet, pods: int) -> None:
    """Several at each of so many: who has just started knows a rate by two."""
    before = kubelet.loads.reads.copy()
    eventually(
        "a few looks", lambda: sum(n > 2 for n in (kubelet.loads.reads - before).values()) == pods or None
    )


def nothing_written(api: Cluster, namespace: str) -> bool | None:
    """For several looks in a row."""
    began = time.time()
    time.sleep(QUIET_SECONDS)
    verbs = {event["verb"] for event in requests_of_operator(api, namespace, began)}
    return not verbs & MUTATING or None


@pytest.mark.usefixtures("claim")
def test_up_by_need_blind_without_loads_and_down_one_by_one(
    api: Cluster, namespace: str, kubelet: Kubelet, scaling_operator: Operator
) -> None:
    operator = scaling_operator
    operator.start()
    try:
        kubelet.concurrency = 20  # of which a fifth is headroom
        bring_up(api, kubelet, namespace, autoscaling=AUTOSCALING, replicas=7)
        assert size(api, namespace) == 1, "replicas are the scaler's"
        await_condition(api, namespace, "ScalingActive", "True", "ValidMetricFound")

        kubelet.loads.demand = 2.9
        await_size(api, namespace, kubelet, 4)
        operator.kill()  # the decision is in status before its size is written
        operator.start()
        await_looks(kubelet, 4)
        await_condition(api, namespace, "ScalingActive", "True", "ValidMetricFound")
        autoscaling = api.get("llmd", NAME, "-n", namespace)["status"]["autoscaling"]
        assert autoscaling["decisions"][0]["toReplicas"] == 4
        assert "over 0.80 x 1.00 = " in autoscaling["decisions"][0]["reason"]
        told = api.kubectl("describe", "llmd", NAME, "-n", namespace)
        assert "New size: 4; reason: " in told

        eventually("a steady load is nothing to write about", lambda: nothing_written(api, namespace))

        kubelet.loads.silent = True
        kubelet.loads.demand = 0.2
        await_condition(api, namespace, "ScalingActive", "False", "FailedGetPodsMetric")
        operator.kill()
        operator.start()
        await_looks(kubelet, 4)
        time.sleep(QUIET_SECONDS)  # the window in which fewer are held off
        assert condition(api, namespace, "ScalingActive")["status"] == "False"
        assert size(api, namespace) == 4, "unknown is not zero"

        operator.kill()
        api.forget_bursts(namespace, NAME)
        operator.start()
        kubelet.loads.silent = False

        def shrunk() -> bool | None:
            kubelet.serve_all()
            return size(api, namespace) == 1 or None

        eventually("one replica", shrunk)
        eventually("one at a time", lambda: steps(api, namespace)[:3] == [(2, 1), (3, 2), (4, 3)] or None)
    finally:
        operator.kill()
        print(operator.log.read_text()[-20000:])


@pytest.fixture
def proxy(api: Cluster) -> Iterator[HoldingProxy]:
    assert api.api is not None
    with HoldingProxy(api.api).running() as running:
        yield running


@pytest.mark.usefixtures("claim")
@pytest.mark.parametrize("held", ["llmdeployments", "deployments"])
def test_a_kill_between_a_decision_and_its_size_loses_no_record(
    api: Cluster,
    namespace: str,
    account: Path,
    tmp_path: Path,
    proxy: HoldingProxy,
    kubelet: Kubelet,
    held: str,
) -> None:
    """Whichever write is on its way: what was done is told once, and what was not is decided again."""
    variables = {"TACHO_SCALING_PERIOD_SECONDS": "1"}
    operator = Operator(proxy.kubeconfig(account), tmp_path / "operator.log", **variables)
    operator.start()
    try:
        kubelet.concurrency = 20
        bring_up(api, kubelet, namespace, autoscaling=AUTOSCALING)
        await_condition(api, namespace, "ScalingActive", "True", "ValidMetricFound")

        def is_of_the_decision(request: Request) -> bool:
            is_told = SIZE_MANAGER in request.path or b"1 -> " in request.body
            return request.method == "PATCH" and f"/{held}/" in request.path and is_told

        proxy.holds = is_of_the_decision
        kubelet.loads.demand = 2.9
        eventually(f"a write of {held} on its way", lambda: proxy.held or None)
        operator.kill()
        proxy.holds = lambda _: False
        assert size(api, namespace) == 1
        assert [before for before, _ in steps(api, namespace)] == ([1] if held == "deployments" else [])

        operator.start()
        await_size(api, namespace, kubelet, 4)
        found = steps(api, namespace)
        assert (found[0][1], found[-1][0], len(found)) == (4, 1, len(set(found)))
        assert [before for before, _ in found].count(1) == 1
    finally:
        operator.kill()
        print(operator.log.read_text()[-20000:])
