"""/scale: kubectl, the raw subresource, and real autoscalers that follow metrics."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.api.metrics_api import Metrics, registered
from tests.api.test_crd import apply_status, create, read
from tools.cluster.handle import Cluster
from tools.harness.operating import NAME, await_condition, bring_up
from tools.harness.operator_process import Kubelet, eventually

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "autoscaling" / "horizontal-pod-autoscaler.yaml"
SELECTOR = "tacho.dev/deployment=smollm2,tacho.dev/role=server"


def scale_of(api: Cluster, namespace: str) -> dict[str, Any]:
    """GET /scale."""
    path = f"/apis/tacho.dev/v1alpha1/namespaces/{namespace}/llmdeployments/smollm2/scale"
    scale: dict[str, Any] = json.loads(api.raw(path))
    return scale


def test_scale_reads_and_writes_replicas(api: Cluster, namespace: str) -> None:
    create(api, namespace)
    assert scale_of(api, namespace)["spec"] == {"replicas": 1}
    api.kubectl("scale", "-n", namespace, "llmd/smollm2", "--replicas=3")
    assert read(api, namespace)["spec"]["replicas"] == 3
    apply_status(api, namespace, "tacho", {"replicas": 2, "selector": SELECTOR})
    scale = scale_of(api, namespace)
    assert scale["spec"] == {"replicas": 3}
    assert scale["status"] == {"replicas": 2, "selector": SELECTOR}


def test_scale_refuses_what_spec_refuses(api: Cluster, namespace: str) -> None:
    create(api, namespace)
    with pytest.raises(subprocess.CalledProcessError) as refused:
        api.kubectl("scale", "-n", namespace, "llmd/smollm2", "--replicas=1001")
    assert "less than or equal to 1000" in refused.value.stderr
    api.kubectl("scale", "-n", namespace, "llmd/smollm2", "--replicas=0")
    assert read(api, namespace)["spec"]["replicas"] == 0


@pytest.fixture
def metrics(api: Cluster) -> Iterator[Metrics]:
    with registered(api, Metrics(api, NAME)) as found:
        yield found


class Autoscaler:
    """A HorizontalPodAutoscaler over the resource; it follows one metric and gives way at once."""

    def __init__(self, api: Cluster, namespace: str, metric: dict[str, Any]) -> None:
        self._api, self._namespace = api, namespace
        target = {"apiVersion": "tacho.dev/v1alpha1", "kind": "LLMDeployment", "name": NAME}
        api.apply(
            {
                "apiVersion": "autoscaling/v2",
                "kind": "HorizontalPodAutoscaler",
                "metadata": {"name": NAME, "namespace": namespace},
                "spec": {
                    "scaleTargetRef": target,
                    "minReplicas": 1,
                    "maxReplicas": 5,
                    "metrics": [metric],
                    "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
                },
            }
        )

    def await_wanted(self, replicas: int) -> None:
        """It has written this number to spec.replicas."""

        def look() -> bool | None:
            return self._api.get("llmd", NAME, "-n", self._namespace)["spec"]["replicas"] == replicas or None

        try:
            eventually(f"spec.replicas {replicas}", look)
        except AssertionError as error:
            error.add_note(json.dumps(self._status(), indent=1))
            raise

    def await_steady(self, replicas: int, average: str) -> None:
        """It sees this many replicas and this average of each, and wants no other number."""
        seen: dict[str, Any] = {}

        def look() -> bool | None:
            seen.update(self._status())
            (metric,) = seen.get("currentMetrics") or [{"type": "none"}]
            current = metric.get(metric["type"].lower(), {}).get("current", {})
            counts = (seen.get("currentReplicas"), seen.get("desiredReplicas"))
            return (counts == (replicas, replicas) and current.get("averageValue") == average) or None

        try:
            eventually(f"an autoscaler content with {replicas} replicas at {average}", look)
        except AssertionError as error:
            error.add_note(json.dumps(seen, indent=1))
            raise
        conditions = {item["type"]: (item["status"], item["reason"]) for item in seen["conditions"]}
        assert conditions["ScalingActive"] == ("True", "ValidMetricFound")
        assert conditions["AbleToScale"][0] == "True"

    def _status(self) -> dict[str, Any]:
        return self._api.get("hpa", NAME, "-n", self._namespace).get("status") or {}


def busy_neighbour(api: Cluster, namespace: str, name: str, **labels: str) -> None:
    """A running pod of somebody else's that an inexact selector would take for a server of the deployment."""
    closed = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    labels = {f"tacho.dev/{key}": value for key, value in labels.items()}
    api.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {
                "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{"name": "c", "image": "example/c:test", "securityContext": closed}],
            },
        }
    )
    running = {"status": {"phase": "Running", "podIP": "127.0.0.1", "podIPs": [{"ip": "127.0.0.1"}]}}
    api.kubectl(
        "patch", "pod", name, "-n", namespace, "--subresource=status", "--type=merge", "-p",
        json.dumps(running),
    )  # fmt: skip


@pytest.mark.usefixtures("operator", "claim")
def test_an_autoscaler_follows_the_pods_that_status_selects(
    api: Cluster, namespace: str, kubelet: Kubelet, metrics: Metrics
) -> None:
    busy_neighbour(api, namespace, "other", deployment="other", role="server")
    busy_neighbour(api, namespace, "client", deployment=NAME, role="client")
    bring_up(api, kubelet, namespace)
    target = {"type": "AverageValue", "averageValue": "200m"}
    autoscaler = Autoscaler(
        api, namespace, {"type": "Resource", "resource": {"name": "cpu", "target": target}}
    )
    metrics.millicores = 600
    autoscaler.await_wanted(3)
    kubelet.serve()
    kubelet.serve()
    autoscaler.await_steady(3, "200m")
    metrics.millicores = 300
    autoscaler.await_wanted(2)
    autoscaler.await_steady(2, "150m")
    (deployment,) = api.get("deployments", "-n", namespace)["items"]
    assert deployment["spec"]["replicas"] == 2
    assert metrics.selectors == {f"tacho.dev/deployment={NAME},tacho.dev/role=server"}


@pytest.mark.usefixtures("operator", "claim")
def test_an_autoscaler_divides_what_waits_by_the_replicas_that_status_counts(
    api: Cluster, namespace: str, kubelet: Kubelet, metrics: Metrics
) -> None:
    metrics.external["requests-waiting"] = 10
    bring_up(api, kubelet, namespace)
    target = {"type": "AverageValue", "averageValue": "10"}
    autoscaler = Autoscaler(
        api,
        namespace,
        {"type": "External", "external": {"metric": {"name": "requests-waiting"}, "target": target}},
    )
    autoscaler.await_steady(1, "10")
    metrics.external["requests-waiting"] = 30
    autoscaler.await_wanted(3)
    kubelet.serve()
    kubelet.serve()
    # A tenth more than it should be is within the tolerance; without a count it would be four replicas.
    metrics.external["requests-waiting"] = 32
    autoscaler.await_steady(3, "10667m")
    metrics.external["requests-waiting"] = 11
    autoscaler.await_wanted(2)
    autoscaler.await_steady(2, "5500m")


@pytest.mark.usefixtures("operator", "claim")
def test_the_example_of_an_autoscaler_keeps_replicas_to_four_fifths(
    api: Cluster, namespace: str, kubelet: Kubelet, metrics: Metrics
) -> None:
    (metric,) = yaml.safe_load(EXAMPLE.read_text())["spec"]["metrics"]
    series = metric["external"]["metric"]["name"]
    metrics.external[series] = 1
    bring_up(api, kubelet, namespace)
    autoscaler = Autoscaler(api, namespace, metric)
    autoscaler.await_wanted(2)
    metrics.external[series] = 2
    autoscaler.await_wanted(3)
    kubelet.serve()
    kubelet.serve()
    autoscaler.await_steady(3, "667m")
    metrics.external[series] = 0
    autoscaler.await_wanted(1)


@pytest.mark.usefixtures("operator", "claim")
def test_an_autoscaler_beside_the_scaler_is_told_of(
    api: Cluster, namespace: str, kubelet: Kubelet, metrics: Metrics
) -> None:
    """It was content: it compares what it wants with spec.replicas, which nothing follows."""
    metrics.external["requests-waiting"] = 30
    bring_up(api, kubelet, namespace, autoscaling={"minReplicas": 1, "maxReplicas": 2})
    external = {
        "metric": {"name": "requests-waiting"},
        "target": {"type": "AverageValue", "averageValue": "10"},
    }
    Autoscaler(api, namespace, {"type": "External", "external": external}).await_wanted(3)
    found = await_condition(api, namespace, "ScalingActive", "True", "ReplicasIgnored")
    assert found["message"].startswith("spec.replicas was changed to 3, to no effect")
    (deployment,) = api.get("deployments", "-n", namespace)["items"]
    assert deployment["spec"]["replicas"] <= 2
