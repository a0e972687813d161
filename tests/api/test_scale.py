"""/scale: kubectl, the raw subresource, and a real HorizontalPodAutoscaler of the controller manager."""

from __future__ import annotations

import json
import subprocess
import time
from typing import Any

import pytest

from tests.api.test_crd import apply_status, create, read
from tests.cluster.handle import Cluster

SELECTOR = "tacho.dev/deployment=smollm2,tacho.dev/role=server"
SYNC_SECONDS = 15
"""The controller manager looks at an autoscaler this often."""


def scale_of(api: Cluster, namespace: str) -> dict[str, Any]:
    """GET /scale."""
    path = f"/apis/tacho.dev/v1alpha1/namespaces/{namespace}/llmdeployments/smollm2/scale"
    scale: dict[str, Any] = json.loads(api.kubectl("get", "--raw", path))
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


def test_an_autoscaler_reads_and_writes_scale(api: Cluster, namespace: str) -> None:
    create(api, namespace)
    apply_status(api, namespace, "tacho", {"replicas": 1, "selector": SELECTOR})
    api.apply(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "smollm2", "namespace": namespace},
            "spec": {
                "scaleTargetRef": {
                    "apiVersion": "tacho.dev/v1alpha1",
                    "kind": "LLMDeployment",
                    "name": "smollm2",
                },
                "minReplicas": 2,
                "maxReplicas": 4,
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {
                            "name": "cpu",
                            "target": {"type": "Utilization", "averageUtilization": 80},
                        },
                    }
                ],
            },
        }
    )
    conditions: dict[str, tuple[str, str]] = {}
    deadline = time.monotonic() + 6 * SYNC_SECONDS
    while "AbleToScale" not in conditions and time.monotonic() < deadline:
        time.sleep(1)
        status = api.get("hpa", "smollm2", "-n", namespace).get("status", {})
        conditions = {c["type"]: (c["status"], c["reason"]) for c in status.get("conditions", [])}
    assert conditions["AbleToScale"][0] == "True"
    assert conditions["AbleToScale"][1] in {"SucceededGetScale", "SucceededRescale"}
    assert read(api, namespace)["spec"]["replicas"] == 2
