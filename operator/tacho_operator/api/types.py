"""`LLMDeployment`, whole, and every type it is made of: import the API from here."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field

from tacho_contract.measurement import (
    Capacity,
    CurvePoint,
    DeviceMemory,
    Fit,
    Goodput,
    Saturation,
    SingleStream,
)
from tacho_operator.api.base import ApiModel
from tacho_operator.api.kind import (
    API_VERSION,
    CATEGORY,
    GROUP,
    KIND,
    PLURAL,
    SHORT_NAME,
    SINGULAR,
    VERSION,
)
from tacho_operator.api.spec.affinity import (
    Affinity,
    LabelSelector,
    NodeAffinity,
    PodAffinity,
    PodAntiAffinity,
)
from tacho_operator.api.spec.engine import (
    BitsAndBytesSpec,
    ContextSpec,
    CustomEngineSpec,
    EngineName,
    EngineResources,
    EngineSpec,
    GpuSpec,
    KvCacheDtype,
    ParallelismSpec,
    QuantizationMethod,
    QuantizationSpec,
    ResourceClaimUse,
    VolumeMount,
)
from tacho_operator.api.spec.podtemplate import (
    PodSpecSubset,
    PodTemplateMetadata,
    PodTemplateSpec,
    Toleration,
    TopologySpreadConstraint,
    Volume,
)
from tacho_operator.api.spec.service import (
    AutoscalingSpec,
    CostSpec,
    EndpointSpec,
    GateSpec,
    ProbePolicy,
    ProbeSpec,
    RolloutSpec,
    ScalingBehavior,
    ScalingPolicy,
    ScalingRules,
    ScalingSchedule,
    SloSpec,
    TolerancePercent,
    WorkloadSpec,
)
from tacho_operator.api.spec.sources import (
    CaBundleRef,
    CacheClaim,
    CacheSpec,
    EnvVar,
    EnvVarSource,
    HubSpec,
    HubTokenRef,
    ModelSpec,
    SecretKeyRef,
)
from tacho_operator.api.spec.spec import LLMDeploymentSpec
from tacho_operator.api.status.measurement import (
    ComparedQuality,
    Environment,
    KvCache,
    Latency,
    MeasuredMemory,
    MeasuredRun,
    MeasuredWorkload,
    Measurement,
    MeasurementHistory,
    Roofline,
)
from tacho_operator.api.status.plan import (
    Alternative,
    Plan,
    PlanEngine,
    PlanGpu,
    PlanModel,
    PlanParallelism,
    Predicted,
)
from tacho_operator.api.status.status import (
    AutoscalingStatus,
    Condition,
    ConditionStatus,
    LLMDeploymentStatus,
    RevisionStatus,
    ScalingDecision,
    Startup,
    Summary,
)


class ObjectMeta(ApiModel):
    """The part of a Kubernetes object's metadata that tacho reads."""

    name: str
    """Name; at most 40 characters, so that the names of children fit."""
    namespace: str = "default"
    """Namespace of the object."""
    uid: str = ""
    """Unique identifier for the object's lifetime; empty without an API server."""
    generation: int = 0
    """Counts the changes of spec."""
    resource_version: str = ""
    """Version of the stored object."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Labels of the object."""
    annotations: dict[str, str] = Field(default_factory=dict)
    """Annotations of the object."""
    creation_timestamp: str | None = None
    """When the object was created, RFC 3339."""
    deletion_timestamp: str | None = None
    """When deletion was requested, RFC 3339. Absent: it was not."""


class LLMDeployment(ApiModel):
    """An LLM server: its spec, its plan and its measurements."""

    api_version: Literal["tacho.dev/v1alpha1"] = "tacho.dev/v1alpha1"
    """Version of the API."""
    kind: Literal["LLMDeployment"] = "LLMDeployment"
    """Kind of the object."""
    metadata: ObjectMeta
    """Name, namespace and other metadata of the object."""
    spec: LLMDeploymentSpec
    """The desired state."""
    status: LLMDeploymentStatus = Field(default_factory=LLMDeploymentStatus)
    """The observed state."""

    @classmethod
    def read(cls, stored: dict[str, Any]) -> Self:
        """The object from the dictionary the API server (or a YAML file) gives.

        Raises pydantic.ValidationError where the dictionary is not an LLMDeployment; a user's document
        is first checked by `rules.validate_offline`, whose messages say what to do.
        """
        return cls.model_validate(stored)


__all__ = [
    "API_VERSION",
    "CATEGORY",
    "GROUP",
    "KIND",
    "PLURAL",
    "SHORT_NAME",
    "SINGULAR",
    "VERSION",
    "Affinity",
    "Alternative",
    "ApiModel",
    "AutoscalingSpec",
    "AutoscalingStatus",
    "BitsAndBytesSpec",
    "CaBundleRef",
    "CacheClaim",
    "CacheSpec",
    "Capacity",
    "ComparedQuality",
    "Condition",
    "ConditionStatus",
    "ContextSpec",
    "CostSpec",
    "CurvePoint",
    "CustomEngineSpec",
    "DeviceMemory",
    "EndpointSpec",
    "EngineName",
    "EngineResources",
    "EngineSpec",
    "EnvVar",
    "EnvVarSource",
    "Environment",
    "Fit",
    "GateSpec",
    "Goodput",
    "GpuSpec",
    "HubSpec",
    "HubTokenRef",
    "KvCache",
    "KvCacheDtype",
    "LLMDeployment",
    "LLMDeploymentSpec",
    "LLMDeploymentStatus",
    "LabelSelector",
    "Latency",
    "MeasuredMemory",
    "MeasuredRun",
    "MeasuredWorkload",
    "Measurement",
    "MeasurementHistory",
    "ModelSpec",
    "NodeAffinity",
    "ObjectMeta",
    "ParallelismSpec",
    "Plan",
    "PlanEngine",
    "PlanGpu",
    "PlanModel",
    "PlanParallelism",
    "PodAffinity",
    "PodAntiAffinity",
    "PodSpecSubset",
    "PodTemplateMetadata",
    "PodTemplateSpec",
    "Predicted",
    "ProbePolicy",
    "ProbeSpec",
    "QuantizationMethod",
    "QuantizationSpec",
    "ResourceClaimUse",
    "RevisionStatus",
    "RolloutSpec",
    "Roofline",
    "Saturation",
    "ScalingBehavior",
    "ScalingDecision",
    "ScalingPolicy",
    "ScalingRules",
    "ScalingSchedule",
    "SecretKeyRef",
    "SingleStream",
    "SloSpec",
    "Startup",
    "Summary",
    "TolerancePercent",
    "Toleration",
    "TopologySpreadConstraint",
    "Volume",
    "VolumeMount",
    "WorkloadSpec",
]
