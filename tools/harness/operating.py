"""One resource of the operator's tests: applying it, waiting for its conditions, reading its audit log."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tacho_contract.model import StoredQuantization
from tacho_contract.uri import ClaimUri
from tools.cluster.handle import Cluster
from tools.harness.operator_process import ACCOUNT, NAMESPACE, PATIENCE_SECONDS, Kubelet, eventually
from tools.mock.specs import smollm2

MUTATING = {"create", "update", "patch", "delete", "deletecollection"}
OPERATOR_USER = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
NAME = "demo"

_SMALL = smollm2()
FACTS = replace(
    _SMALL,
    uri=ClaimUri("models", "demo"),
    files=replace(
        _SMALL.files,
        commit="",
        digest="d" * 64,
        globs=("demo.gguf",),
        total_bytes=100_000_000,
        model_file="demo.gguf",
    ),
    quantization=StoredQuantization(method="gguf", scheme="Q4_1"),
    tensors=_SMALL.tensors[:1],
)


def resource(namespace: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "tacho.dev/v1alpha1",
        "kind": "LLMDeployment",
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": {
            "model": {"uri": "pvc://models/demo"},
            "quantization": {"method": "gguf"},
            "engine": {"name": "llamacpp", "resources": {"limits": {"memory": "2Gi"}}},
            "gpu": {"count": 0},
            "context": {"maxModelLen": 1024, "concurrency": 2},
            **spec,
        },
    }


def condition(cluster: Cluster, namespace: str, kind: str) -> dict[str, Any]:
    status = cluster.get("llmd", NAME, "-n", namespace).get("status") or {}
    return next((item for item in status.get("conditions") or () if item["type"] == kind), {})


def await_condition(
    cluster: Cluster,
    namespace: str,
    kind: str,
    status: str,
    reason: str = "",
    seconds: float = PATIENCE_SECONDS,
) -> dict[str, Any]:
    def matching() -> dict[str, Any] | None:
        found = condition(cluster, namespace, kind)
        matches = found.get("status") == status and reason in ("", found.get("reason"))
        return found if matches else None

    return eventually(f"{kind}={status} {reason}", matching, seconds)


def bring_up(cluster: Cluster, kubelet: Kubelet, namespace: str, **spec: Any) -> None:
    cluster.apply(resource(namespace, **spec))
    kubelet.finish_inspection(FACTS)
    kubelet.serve()
    await_condition(cluster, namespace, "Measured", "True")


def requests_of_operator(cluster: Cluster, namespace: str, since: float) -> list[dict[str, Any]]:
    """In one namespace: those of earlier tests may still be on their way out."""
    # The audit log has microseconds: a request of the same second, but before, is none of these.
    stamp = datetime.fromtimestamp(since, UTC).isoformat(timespec="microseconds")
    return [
        event
        for event in cluster.audit_events()
        if event["user"]["username"] == OPERATOR_USER
        and event["requestReceivedTimestamp"] >= stamp
        and f"/namespaces/{namespace}/" in event["requestURI"]
    ]
