"""Who may open connections to the pods that run the engine. Egress is left alone."""

from __future__ import annotations

from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.manifests.metadata import child
from tacho_operator.core.names import (
    DEPLOYMENT_LABEL,
    ROLE_LABEL,
    ROLE_PROBE,
    ROLE_SERVER,
    network_policy_name,
)
from tacho_operator.core.types import Config, Manifest

NAMESPACE_LABEL = "kubernetes.io/metadata.name"


def _from_namespaces(namespaces: list[str]) -> list[Manifest]:
    expression = {"key": NAMESPACE_LABEL, "operator": "In", "values": sorted(set(namespaces))}
    return [{"namespaceSelector": {"matchExpressions": [expression]}}]


def network_policy(resource: LLMDeployment, config: Config) -> Manifest:
    """Port http from endpoint.allowedNamespaces (absent: anyone, empty: nobody); port runtime, which tells
    of load and measurements, only from the operator's and the monitoring namespace."""
    allowed = resource.spec.endpoint.allowed_namespaces if resource.spec.endpoint else None
    rules: list[Manifest] = []
    if allowed is None:
        rules.append({"ports": [{"port": "http", "protocol": "TCP"}]})
    elif allowed:
        rules.append(
            {"ports": [{"port": "http", "protocol": "TCP"}], "from": _from_namespaces(list(allowed))}
        )
    watchers = [space for space in (config.operator_namespace, config.monitoring_namespace) if space]
    rules.append({"ports": [{"port": "runtime", "protocol": "TCP"}], "from": _from_namespaces(watchers)})
    manifest = child(
        resource, "networking.k8s.io/v1", "NetworkPolicy", network_policy_name(resource.metadata.name)
    )
    manifest["spec"] = {
        # Throwaway pods too: where a namespace denies by default, nobody could read what they measured.
        "podSelector": {
            "matchLabels": {DEPLOYMENT_LABEL: resource.metadata.name},
            "matchExpressions": [{"key": ROLE_LABEL, "operator": "In", "values": [ROLE_PROBE, ROLE_SERVER]}],
        },
        "policyTypes": ["Ingress"],
        "ingress": rules,
    }
    return manifest
