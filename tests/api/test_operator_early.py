"""What only the cluster knows is told by Planned, before any pod reads the model, and its end is noticed."""

from __future__ import annotations

from typing import Any

import pytest

from tools.cluster.handle import Cluster
from tools.harness.operating import resource
from tools.harness.operator_process import Kubelet, eventually

MOCK = {
    "name": "custom",
    "image": "registry.example/mock:1",
    "custom": {"command": ["serve"], "port": 8000},
    "resources": {"limits": {"memory": "1Gi"}},
}
APPARMOR = "container.apparmor.security.beta.kubernetes.io/engine"
EARLY: dict[str, tuple[dict[str, Any], str, str]] = {
    "claim": ({"model": {"uri": "pvc://absent/demo"}}, "CacheNotFound", "absent"),
    "device": (
        {"quantization": None, "engine": {"name": "vllm"}, "gpu": {"count": 1}},
        "UnsupportedGPU",
        "GPU",
    ),
    "priority": ({"podTemplate": {"spec": {"priorityClassName": "nobody"}}}, "AdmissionDenied", "nobody"),
    "limit": (
        {"engine": {"name": "llamacpp", "resources": {"limits": {"memory": "4Gi"}}}},
        "AdmissionDenied",
        "maximum memory usage per Container is 3Gi",
    ),
    "quota": ({"engine": MOCK, "quantization": None, "gpu": {"count": 2}}, "QuotaExceeded", "few"),
    "security": (
        {"podTemplate": {"metadata": {"annotations": {APPARMOR: "unconfined"}}}},
        "AdmissionDenied",
        "violates PodSecurity",
    ),
}
"""By name: fields of spec, the reason, and words of the message."""
MENDED = {"priority", "limit", "quota"}
"""What the test mends: the first trial is repeated after 30 s."""


def _planned(api: Cluster, namespace: str, name: str) -> dict[str, Any]:
    status = api.get("llmd", name, "-n", namespace).get("status") or {}
    return next((item for item in status.get("conditions") or () if item["type"] == "Planned"), {})


@pytest.mark.usefixtures("operator", "claim")
def test_what_the_cluster_refuses_is_told_before_any_model_is_read(
    api: Cluster, namespace: str, kubelet: Kubelet
) -> None:
    limits = [{"type": "Container", "max": {"memory": "3Gi"}}]
    meta = {"name": "few", "namespace": namespace}
    bounds = {"apiVersion": "v1", "kind": "LimitRange", "metadata": meta, "spec": {"limits": limits}}
    hard = {"requests.nvidia.com/gpu": "1"}
    api.apply(bounds, {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": {"hard": hard}})
    for name, (spec, _, _) in EARLY.items():
        document = resource(namespace, **spec)
        document["metadata"]["name"] = name
        document["spec"] = {key: value for key, value in document["spec"].items() if value is not None}
        api.apply(document)
    for name, (_, reason, words) in EARLY.items():

        def refused(name: str = name) -> dict[str, Any] | None:
            found = _planned(api, namespace, name)
            return found if found.get("status") == "False" else None

        found = eventually(f"{name} is refused", refused)
        assert (found["reason"], words in found["message"]) == (reason, True), found
    assert kubelet.pods("inspect") == []

    api.kubectl("delete", "limitrange,resourcequota", "few", "-n", namespace)
    important = {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": "nobody"},
    }
    api.apply({**important, "value": 1})
    try:
        for name in MENDED:
            eventually(
                f"{name} is inspected",
                lambda name=name: next(
                    (
                        pod
                        for pod in kubelet.pods("inspect")
                        if pod["metadata"]["labels"]["tacho.dev/deployment"] == name
                    ),
                    None,
                ),
            )
    finally:
        api.kubectl("delete", "priorityclass", "nobody")
    left = {pod["metadata"]["labels"]["tacho.dev/deployment"] for pod in kubelet.pods("inspect")}
    assert left == MENDED
