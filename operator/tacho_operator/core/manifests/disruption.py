"""The PodDisruptionBudget: one server pod at a time may be drained off its node."""

from __future__ import annotations

from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.manifests.metadata import child
from tacho_operator.core.names import disruption_budget_name, server_selector
from tacho_operator.core.types import Manifest


def disruption_budget(resource: LLMDeployment) -> Manifest:
    """Only for two replicas and more: with one it would make every node drain hang."""
    manifest = child(
        resource, "policy/v1", "PodDisruptionBudget", disruption_budget_name(resource.metadata.name)
    )
    manifest["spec"] = {
        "maxUnavailable": 1,
        # A pod that does not serve must not keep a node from being drained.
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": server_selector(resource.metadata.name)},
    }
    return manifest
