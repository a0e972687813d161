"""`spec` of an LLMDeployment. Absent means: tacho chooses."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tacho_operator.api.base import ApiModel
from tacho_operator.api.spec.engine import ContextSpec, EngineSpec, GpuSpec, ParallelismSpec, QuantizationSpec
from tacho_operator.api.spec.podtemplate import PodTemplateSpec
from tacho_operator.api.spec.scaling import AutoscalingSpec
from tacho_operator.api.spec.service import (
    CostSpec,
    EndpointSpec,
    ProbeSpec,
    RolloutSpec,
    SloSpec,
    WorkloadSpec,
)
from tacho_operator.api.spec.sources import CacheSpec, ModelSpec


class LLMDeploymentSpec(ApiModel):
    """What the user wants. A field left out is a choice left to tacho. Everything may be changed later."""

    model: ModelSpec
    """Which model is served, and how it is read."""
    cache: CacheSpec | None = None
    """Where downloaded models live. Absent: in each pod, and gone with it."""
    quantization: QuantizationSpec | None = None
    """How the weights are stored in memory. Absent: tacho ranks the methods that fit."""
    engine: EngineSpec | None = None
    """The program that serves the model. Absent: tacho ranks engine and quantization method together."""
    gpu: GpuSpec | None = None
    """The GPUs of one replica. Absent: the fewest that fit."""
    parallelism: ParallelismSpec | None = None
    """How the model is spread over the GPUs of a replica. Absent: from head counts and memory."""
    context: ContextSpec | None = None
    """The context length and concurrency that must fit. Absent: the longest useful that fits."""
    workload: WorkloadSpec | None = None
    """The shape of a typical request. Absent: 512 tokens in, 200 out."""
    slo: SloSpec | None = None
    """What users are promised. Absent: no promise, the knee of the curve is used."""
    replicas: Annotated[int, Field(ge=0, le=1000, json_schema_extra={"format": "int32"})] = 1
    """Pods that serve. Owned by whoever writes /scale (kubectl, HPA, KEDA) unless autoscaling is present.
    Example: 1."""
    autoscaling: AutoscalingSpec | None = None
    """tacho scales by the measured capacity. Absent: replicas holds."""
    probe: ProbeSpec | None = None
    """How a replica is measured while it warms up. Absent: Auto, 45 seconds."""
    rollout: RolloutSpec | None = None
    """How a new revision replaces the active one. Absent: Surge, with a gate that rolls back."""
    cost: CostSpec | None = None
    """What the hardware costs. Absent: no costs are shown."""
    endpoint: EndpointSpec | None = None
    """Who may reach the service. Absent: everyone in the cluster, without a key."""
    startup_timeout_seconds: (
        Annotated[int, Field(ge=10, le=604800, json_schema_extra={"format": "int32"})] | None
    ) = None
    """Seconds a pod may take from its start to serving. Absent: 30 minutes and 18 seconds for each GiB of
    weights. Example: 3600."""
    pod_template: PodTemplateSpec | None = None
    """What is added to every pod: labels, placement, volumes."""
