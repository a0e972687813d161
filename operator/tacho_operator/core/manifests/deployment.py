"""The Deployment of one revision. Its pod template never changes; only its size and deadline do."""

from __future__ import annotations

import copy

from tacho_contract.units import GIB
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.manifests.metadata import child
from tacho_operator.core.names import ROLE_SERVER, server_selector
from tacho_operator.core.types import Manifest

BASE_STARTUP_SECONDS = 30 * 60
STARTUP_SECONDS_PER_GIB = 18
"""A GiB of weights in 18 s is 60 MB/s, a slow link or disk."""
SCHEDULING_SECONDS = 10 * 60
"""Beside the runtime's own budget: finding a node and pulling an image of 10 GB."""


def startup_budget_seconds(resource: LLMDeployment, weights_bytes: int) -> int:
    """How long a pod may take to serve, counted from the runtime's start."""
    if resource.spec.startup_timeout_seconds:
        return resource.spec.startup_timeout_seconds
    return BASE_STARTUP_SECONDS + -(-weights_bytes * STARTUP_SECONDS_PER_GIB // GIB)


def deployment(
    resource: LLMDeployment, *, revision: str, pod_template: Manifest, replicas: int, weights_bytes: int
) -> Manifest:
    manifest = child(resource, "apps/v1", "Deployment", revision, role=ROLE_SERVER, revision=revision)
    manifest["spec"] = {
        "replicas": replicas,
        "revisionHistoryLimit": 1,
        "progressDeadlineSeconds": startup_budget_seconds(resource, weights_bytes) + SCHEDULING_SECONDS,
        "selector": {"matchLabels": server_selector(resource.metadata.name, revision)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": copy.deepcopy(pod_template),
    }
    return manifest
