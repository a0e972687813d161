"""The values of absent fields, where the API server sets no default.

Defaults that the runtime needs too are in the contract.
"""

from __future__ import annotations

from typing import Any

from tacho_contract.launch import ProbeSettings, ServiceLevel
from tacho_contract.measurement import Workload
from tacho_contract.model import DEFAULT_REVISION, HEADERS
from tacho_contract.pod import ENGINE_PORT, HEALTH_PATH
from tacho_operator.api.base import ApiModel
from tacho_operator.api.spec.service import ScalingMode
from tacho_operator.api.types import LLMDeploymentSpec

GPU_RESOURCE = "nvidia.com/gpu"
GPU_TOLERATIONS = ({"key": GPU_RESOURCE, "operator": "Exists", "effect": "NoSchedule"},)
"""Tolerations of pods with GPUs: clouds and operators give GPU nodes this taint."""
GRACE_SECONDS = 120
CURRENCY = "USD"
PYTHON = "python3"

MEANT: dict[tuple[str, ...], str | int] = {
    ("model", "revision"): DEFAULT_REVISION,
    ("model", "verification"): HEADERS,
    ("gpu", "resourceName"): GPU_RESOURCE,
    ("parallelism", "pipeline"): 1,
    ("engine", "custom", "healthPath"): HEALTH_PATH,
    ("engine", "custom", "python"): PYTHON,
    ("engine", "custom", "port"): ENGINE_PORT,
    ("podTemplate", "spec", "terminationGracePeriodSeconds"): GRACE_SECONDS,
}
"""Default values of the identity fields, by path. Setting a field to its default makes no new revision.

That of ``parallelism.pipeline`` holds beside ``tensor`` alone.
"""


def workload(spec: LLMDeploymentSpec) -> Workload:
    """The shape of a typical request in ``spec``, with defaults for absent fields."""
    return Workload(**_set_fields(spec.workload))


def service_level(spec: LLMDeploymentSpec) -> ServiceLevel:
    """The SLO of a spec; targets that are not set are 0."""
    return ServiceLevel(**_set_fields(spec.slo))


def probe_settings(spec: LLMDeploymentSpec) -> ProbeSettings:
    """The settings in ``spec`` of the probe that measures a replica, with defaults for absent fields."""
    return ProbeSettings(**_set_fields(spec.probe))


def scaling_mode(spec: LLMDeploymentSpec) -> ScalingMode | None:
    """What the scaler does with its decisions; None: there is no autoscaling."""
    return (spec.autoscaling.mode or "Enforce") if spec.autoscaling else None


def gpu_resource(spec: LLMDeploymentSpec) -> str:
    """The extended resource by which a pod requests its GPUs."""
    return (spec.gpu.resource_name if spec.gpu else None) or GPU_RESOURCE


def grace_seconds(spec: LLMDeploymentSpec) -> int:
    """Seconds from SIGTERM to SIGKILL of a server pod."""
    subset = spec.pod_template.spec if spec.pod_template else None
    return (subset.termination_grace_period_seconds if subset else None) or GRACE_SECONDS


def _set_fields(part: ApiModel | None) -> dict[str, Any]:
    """The fields of ``part`` that are set, under the names of tacho_contract's dataclasses."""
    return part.model_dump(exclude_none=True) if part else {}
