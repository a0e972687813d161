"""What only the cluster knows is told by Planned, before any pod reads the model, and its end is noticed."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import pytest

from tools.cluster.handle import Cluster
from tools.harness.operating import resource
from tools.harness.operator_process import Kubelet, Operator, eventually

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


ON_TIME_SECONDS = 2.0
"""After apply, on an idle operator."""
TRIES = 3
"""Of which one is not disturbed by the machine's other work."""


def _planned(api: Cluster, namespace: str, name: str) -> dict[str, Any]:
    status = api.get("llmd", name, "-n", namespace).get("status") or {}
    return next((item for item in status.get("conditions") or () if item["type"] == "Planned"), {})


def bounded(api: Cluster, namespace: str) -> None:
    limits = [{"type": "Container", "max": {"memory": "3Gi"}}]
    meta = {"name": "few", "namespace": namespace}
    bounds = {"apiVersion": "v1", "kind": "LimitRange", "metadata": meta, "spec": {"limits": limits}}
    hard = {"requests.nvidia.com/gpu": "1"}
    api.apply(bounds, {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": meta, "spec": {"hard": hard}})


def applied(api: Cluster, namespace: str, name: str, spec: dict[str, Any]) -> None:
    document = resource(namespace, **spec)
    document["metadata"]["name"] = name
    document["spec"] = {key: value for key, value in document["spec"].items() if value is not None}
    api.apply(document)


def refused(api: Cluster, namespace: str, name: str) -> dict[str, Any] | None:
    found = _planned(api, namespace, name)
    return found if found.get("status") == "False" else None


@pytest.mark.nightly
@pytest.mark.usefixtures("claim")
@pytest.mark.parametrize("kind", EARLY)
def test_the_refusal_comes_within_two_seconds(
    api: Cluster, namespace: str, operator: Operator, kind: str
) -> None:
    eventually("it leads", lambda: operator.leads() or None)
    bounded(api, namespace)
    spec, reason, _ = EARLY[kind]
    seconds = []
    for attempt in range(TRIES):
        name = f"{kind}-{attempt}"
        applied(api, namespace, name, spec)
        begun = time.monotonic()
        found = eventually(f"{name} is refused", partial(refused, api, namespace, name))
        seconds.append(time.monotonic() - begun)
        assert found["reason"] == reason
        if seconds[-1] <= ON_TIME_SECONDS:
            break
    print(kind, [f"{one:.2f} s" for one in seconds])
    assert min(seconds) <= ON_TIME_SECONDS


@pytest.mark.usefixtures("operator", "claim")
def test_what_the_cluster_refuses_is_told_before_any_model_is_read(
    api: Cluster, namespace: str, kubelet: Kubelet
) -> None:
    bounded(api, namespace)
    for name, (spec, _, _) in EARLY.items():
        applied(api, namespace, name, spec)
    for name, (_, reason, words) in EARLY.items():
        found = eventually(f"{name} is refused", partial(refused, api, namespace, name))
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
