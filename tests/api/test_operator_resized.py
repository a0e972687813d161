"""A serving pod that is resized in place, on a real API server. There is no kubelet: its status is played."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tacho_contract.measurement import Environment
from tools.cluster.handle import Cluster
from tools.harness.operating import NAME, await_condition, bring_up
from tools.harness.operator_process import Kubelet, eventually


def amounts(cpu: str) -> dict[str, Any]:
    return {key: {"cpu": cpu, "memory": "2Gi"} for key in ("requests", "limits")}


def show(api: Cluster, namespace: str, pod: str, cpu: str) -> None:
    """Like the kubelet, of a container that has this now."""
    found = api.get("pod", pod, "-n", namespace)["status"]["containerStatuses"]
    shown = [{**item, "resources": amounts(cpu)} if item["name"] == "engine" else item for item in found]
    api.patch_status("Pod", namespace, pod, {"containerStatuses": shown})


def resize(api: Cluster, namespace: str, pod: str, cpu: str) -> None:
    """Like a user or a VPA, and then the kubelet."""
    change = {"spec": {"containers": [{"name": "engine", "resources": amounts(cpu)}]}}
    api.kubectl("patch", "pod", pod, "-n", namespace, "--subresource=resize", "-p", json.dumps(change))
    show(api, namespace, pod, cpu)


@pytest.mark.usefixtures("operator", "claim")
def test_figures_of_another_size_are_not_current(api: Cluster, namespace: str, kubelet: Kubelet) -> None:
    """They were shown as Clean, of a pod that had a twentieth of the CPU."""
    kubelet.environment = Environment(cpu_model="test", cpu_count=2, cpu_limit_millis=1000)
    bring_up(api, kubelet, namespace, engine={"name": "llamacpp", "resources": amounts("1")})
    (pod,) = (item["metadata"]["name"] for item in kubelet.pods("server"))
    before = api.get("llmd", NAME, "-n", namespace)["status"]["summary"]
    show(api, namespace, pod, "1")
    resize(api, namespace, pod, "50m")
    stale = await_condition(api, namespace, "Measured", "False", "MeasurementStale")
    assert f"Pod {pod} was resized: CPU limit 50m, measured with 1000m." in stale["message"]
    assert "summary" not in api.get("llmd", NAME, "-n", namespace)["status"]
    resize(api, namespace, pod, "1")
    await_condition(api, namespace, "Measured", "True")

    def shown() -> bool | None:
        return api.get("llmd", NAME, "-n", namespace)["status"].get("summary") == before or None

    eventually("the figures are back", shown)


@pytest.mark.usefixtures("operator", "claim")
def test_figures_are_flagged_where_one_of_two_pods_has_another_size(
    api: Cluster, namespace: str, kubelet: Kubelet
) -> None:
    """They were Clean, and the capacity of both was twice that of the larger."""
    kubelet.environment = Environment(cpu_model="test", cpu_count=2, cpu_limit_millis=1000)
    bring_up(api, kubelet, namespace, engine={"name": "llamacpp", "resources": amounts("1")}, replicas=2)
    kubelet.serve()
    await_condition(api, namespace, "Ready", "True", "Serving")
    pods = sorted(item["metadata"]["name"] for item in kubelet.pods("server"))
    for pod in pods:
        show(api, namespace, pod, "1")
    resize(api, namespace, pods[1], "50m")
    stale = await_condition(api, namespace, "Measured", "False", "MeasurementStale")
    assert f"Pod {pods[1]} was resized: CPU limit 50m, measured with 1000m." in stale["message"]
    status = api.get("llmd", NAME, "-n", namespace)["status"]
    assert status["summary"]["confidence"] == "Provisional"
    assert [item["state"] for item in status["measurements"]] == ["Complete"]
    resize(api, namespace, pods[1], "1")
    await_condition(api, namespace, "Measured", "True")
