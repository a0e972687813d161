"""The Service clients use. Which revision it selects is the rollout's decision."""

from __future__ import annotations

from tacho_contract.pod import ENGINE_PORT, RUNTIME_PORT
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.manifests.metadata import child
from tacho_operator.core.names import server_selector, service_name
from tacho_operator.core.rollout.remembered import Serving
from tacho_operator.core.types import Manifest


def service(resource: LLMDeployment, serving: Serving) -> Manifest:
    """What ``serving`` remembers stands in annotations, so that it changes with the selector in one write."""
    manifest = child(
        resource,
        "v1",
        "Service",
        service_name(resource.metadata.name),
        annotations=serving.notes(),
    )
    manifest["spec"] = {
        "type": "ClusterIP",
        "selector": server_selector(resource.metadata.name, serving.selected),
        "ports": [
            {"name": "http", "port": ENGINE_PORT, "targetPort": "http", "protocol": "TCP"},
            {"name": "runtime", "port": RUNTIME_PORT, "targetPort": "runtime", "protocol": "TCP"},
        ],
    }
    return manifest


def url(resource: LLMDeployment) -> str:
    """Where clients inside the cluster find the API."""
    return f"http://{service_name(resource.metadata.name)}.{resource.metadata.namespace}.svc:{ENGINE_PORT}"
