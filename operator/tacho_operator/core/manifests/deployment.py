"""The Deployment of one revision. Its pod template never changes; only its size and deadline do."""

from __future__ import annotations

import copy

from tacho_contract.launch import startup_budget_seconds
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.manifests.metadata import child
from tacho_operator.core.names import ROLE_SERVER, server_selector
from tacho_operator.core.rollout.times import MIN_READY_SECONDS
from tacho_operator.core.types import Manifest

SCHEDULING_SECONDS = 10 * 60
"""Beside the runtime's own budget: finding a node and pulling an image of 10 GB."""


def deployment(
    resource: LLMDeployment, *, revision: str, pod_template: Manifest, replicas: int, weights_bytes: int
) -> Manifest:
    manifest = child(resource, "apps/v1", "Deployment", revision, role=ROLE_SERVER, revision=revision)
    budget_seconds = startup_budget_seconds(weights_bytes, resource.spec.startup_timeout_seconds)
    manifest["spec"] = {
        "replicas": replicas,
        "minReadySeconds": MIN_READY_SECONDS,
        "revisionHistoryLimit": 1,
        "progressDeadlineSeconds": budget_seconds + SCHEDULING_SECONDS,
        "selector": {"matchLabels": server_selector(resource.metadata.name, revision)},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
        "template": copy.deepcopy(pod_template),
    }
    return manifest
