"""The user's pod template, merged: where pods run and what else they carry."""

from __future__ import annotations

from tacho_operator.api.types import LLMDeployment, PodSpecSubset
from tacho_operator.core.names import server_selector
from tacho_operator.core.types import Manifest

_INSPECT_FIELDS = (
    "nodeSelector",
    "tolerations",
    "affinity",
    "imagePullSecrets",
    "serviceAccountName",
    "priorityClassName",
    "schedulerName",
)


def template_spec(resource: LLMDeployment) -> Manifest:
    """The user's part of the pod spec, without what says nothing."""
    template = resource.spec.pod_template
    subset = template.spec if template and template.spec else PodSpecSubset()
    written: Manifest = subset.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude_defaults=True
    )
    found = {key: value for key, value in written.items() if value not in ({}, [], "")}
    for constraint in found.get("topologySpreadConstraints", []):
        constraint.setdefault("labelSelector", {"matchLabels": server_selector(resource.metadata.name)})
    return found


def inspect_spec(resource: LLMDeployment) -> Manifest:
    """What of it decides where an inspect pod may run: the same nodes, without GPUs or volumes."""
    return {key: value for key, value in template_spec(resource).items() if key in _INSPECT_FIELDS}


def template_labels(resource: LLMDeployment) -> dict[str, str]:
    template = resource.spec.pod_template
    return dict(template.metadata.labels) if template and template.metadata else {}


def template_annotations(resource: LLMDeployment) -> dict[str, str]:
    template = resource.spec.pod_template
    return dict(template.metadata.annotations) if template and template.metadata else {}
