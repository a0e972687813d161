"""The type of a whole `LLMDeployment`: metadata, spec and status."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field

from tacho_contract.launch import LONGEST_STARTUP_SECONDS
from tacho_operator.api.base import ApiModel, integer, nulls_as_empty
from tacho_operator.api.spec.engine import ContextSpec, EngineSpec, GpuSpec, ParallelismSpec, QuantizationSpec
from tacho_operator.api.spec.podtemplate import PodTemplateSpec
from tacho_operator.api.spec.service import (
    AutoscalingSpec,
    CostSpec,
    EndpointSpec,
    ProbeSpec,
    RolloutSpec,
    SloSpec,
    WorkloadSpec,
)
from tacho_operator.api.spec.sources import CacheSpec, ModelSpec
from tacho_operator.api.status.status import LLMDeploymentStatus


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
    labels: Annotated[dict[str, str], BeforeValidator(nulls_as_empty)] = Field(default_factory=dict)
    """Labels of the object."""
    annotations: Annotated[dict[str, str], BeforeValidator(nulls_as_empty)] = Field(default_factory=dict)
    """Annotations of the object."""
    managed_fields: list[dict[str, Any]] = Field(default_factory=list)
    """Who wrote which fields; of the stored ones only whether somebody wrote /scale."""
    deletion_timestamp: str | None = None
    """When deletion was requested, RFC 3339. Absent: it was not."""


class LLMDeploymentSpec(ApiModel):
    """The desired service. tacho chooses the value of an absent field. Every field may change later."""

    model: ModelSpec
    """Model source and access."""
    cache: CacheSpec | None = None
    """Storage for downloaded models. Absent: in each pod, deleted with it."""
    quantization: QuantizationSpec | None = None
    """How the weights are stored in memory. Absent: tacho ranks the methods that fit."""
    engine: EngineSpec | None = None
    """The program that serves the model. Absent: tacho ranks engine and quantization method together."""
    gpu: GpuSpec | None = None
    """The GPUs of one replica. Absent: the fewest that fit."""
    parallelism: ParallelismSpec | None = None
    """How the model is spread over the GPUs of a replica. Absent: chosen by attention heads and memory."""
    context: ContextSpec | None = None
    """The context length and concurrency that must fit. Absent: the longest that fits."""
    workload: WorkloadSpec | None = None
    """The shape of a typical request. Absent: 512 tokens in, 200 out."""
    slo: SloSpec | None = None
    """Latency targets. Absent: none; the knee of the throughput curve is the capacity."""
    replicas: Annotated[int, integer(0, 1000)] = 1
    """Pods that serve. Owned by the writer of /scale (kubectl, HPA, KEDA) unless autoscaling enforces
    another number. Example: 1."""
    autoscaling: AutoscalingSpec | None = None
    """Scaling by measured capacity. Absent: replicas applies."""
    probe: ProbeSpec | None = None
    """How a replica is measured while it warms up. Absent: Auto, within 45 to 120 seconds by the expected
    speed."""
    rollout: RolloutSpec | None = None
    """How a new revision replaces the active one, which serves until pods of the new one are available."""
    cost: CostSpec | None = None
    """Price of the GPUs that spec asks for. Absent, and for a revision on others: the operator's price
    table; without a price, status has no cost."""
    endpoint: EndpointSpec | None = None
    """Access to the service. Absent: every pod in the cluster."""
    startup_timeout_seconds: Annotated[int, integer(10, LONGEST_STARTUP_SECONDS)] | None = None
    """Seconds a pod may take from its start to serving. Absent: 30 minutes and 18 seconds for each GiB of
    weights. Example: 3600."""
    pod_template: PodTemplateSpec | None = None
    """Additions to every pod: labels, placement, volumes."""


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
