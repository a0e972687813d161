"""`status` of an LLMDeployment. It has one writer: the operator."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tacho_operator.api.base import Bytes, Count, Decimal, Seconds, StatusModel, Timestamp, Word
from tacho_operator.api.status.measurement import Measurement
from tacho_operator.api.status.plan import Plan

EPOCH = "1970-01-01T00:00:00Z"

ConditionStatus = Literal["True", "False", "Unknown"]


class Condition(StatusModel):
    """One aspect of the resource's state, as in Kubernetes' metav1.Condition."""

    type: Annotated[str, Field(min_length=1, max_length=64)]
    """What is judged: Ready, Reconciling, Stalled, Planned, Measured, RolloutAccepted, AbleToScale,
    ScalingActive or ScalingLimited."""
    status: ConditionStatus
    """True, False or Unknown."""
    reason: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Z][A-Za-z0-9]*$")]
    """Why, in one word. All words are listed in docs/conditions.md."""
    message: Annotated[str, Field(max_length=4096)] = ""
    """Why, in sentences, and what to do next."""
    last_transition_time: Timestamp
    """When the status last changed."""
    observed_generation: Annotated[int, Field(ge=0, json_schema_extra={"format": "int64"})] | None = None
    """metadata.generation the judgement is about."""


Shown = Annotated[str, Field(max_length=24, pattern=r"^~?\d+(\.\d{1,3})?$")]
"""A Decimal for a person's eye: ~ before one that is provisional."""


Currency = Annotated[str, Field(max_length=3, pattern=r"^[A-Z]{3}$")]
"""An ISO 4217 code."""
ShownCost = Annotated[str, Field(max_length=28, pattern=r"^~?\d+(\.\d{1,3})? [A-Z]{3}$")]


class Summary(StatusModel):
    """The figures of the active revision in short, at the capacity of one replica."""

    output_tokens_per_second: Decimal | None = None
    """Output tokens per second of one replica, all requests together."""
    ttft_milliseconds: Decimal | None = None
    """Median time to the first token, in milliseconds: of requests that arrive by themselves at
    `latency.offeredRequestsPerSecond` where they were tried, else at the same concurrency."""
    confidence: Word | None = None
    """Clean, or Provisional: something other than the engine moved the figures, and they are measured
    again."""
    output_tokens_per_second_shown: Shown | None = None
    """outputTokensPerSecond as `kubectl get` shows it: ~ before a provisional figure."""
    ttft_milliseconds_shown: Shown | None = None
    """ttftMilliseconds as `kubectl get` shows it: ~ before a provisional figure."""
    cost_per_million_output_tokens: Decimal | None = None
    """Cost of a million output tokens of a replica that is loaded as costBasis says. Absent: the price is not
    known, or the figures are not of GPUs."""
    cost_currency: Currency | None = None
    """Its currency: that of spec.cost, else of the operator's table of prices."""
    cost_basis: Word | None = None
    """Which throughput it is of: SLO (the highest that keeps spec.slo) or Saturation (the highest that is
    steady, whatever its latency)."""
    cost_shown: ShownCost | None = None
    """Cost and currency as `kubectl get` shows them: ~ before a provisional figure."""


class Startup(StatusModel):
    """Where the time of the latest start of a pod went. The model is downloaded while images are pulled and
    the machine is checked: the parts together are longer than the whole by overlapSeconds."""

    schedule_seconds: Seconds | None = None
    """Seconds until a node was found."""
    image_seconds: Seconds | None = None
    """Seconds until the images were there."""
    download_seconds: Seconds | None = None
    """Seconds the download of the model took."""
    overlap_seconds: Seconds | None = None
    """Seconds of that download in which something else went on as well: the pull of the engine's image, the
    start of its container, the checks of the machine."""
    preflight_seconds: Seconds | None = None
    """Seconds the checks of container and machine took."""
    verify_seconds: Seconds | None = None
    """Seconds of reading every byte of the model, where model.verification is Full."""
    load_seconds: Seconds | None = None
    """Seconds from the engine's start to its first healthy answer, without compiling and graph capture."""
    compile_seconds: Seconds | None = None
    """Seconds of compiling kernels, where the engine says so; what was in a cache counts as what it took to
    find it."""
    graph_seconds: Seconds | None = None
    """Seconds of capturing CUDA graphs, where the engine says so."""
    probe_seconds: Seconds | None = None
    """Seconds of the measurement."""
    total_seconds: Seconds | None = None
    """Seconds from the pod's creation to its readiness."""
    downloaded_bytes: Bytes | None = None
    """Bytes of the model that are there so far."""
    download_total_bytes: Bytes | None = None
    """Bytes of the model altogether."""


class RevisionStatus(StatusModel):
    """One revision: a version of what the user set that makes pods."""

    name: Annotated[str, Field(max_length=63)]
    """Name of the ControllerRevision that holds its plan."""
    phase: Word | None = None
    """Active serves, Candidate is being started or judged, Retired served before."""
    reason: Word | None = None
    """Why it is in this phase, in one word."""
    outcome: Word | None = None
    """Accepted once it has come to serve. Absent: not yet."""
    message: Annotated[str, Field(max_length=1024)] | None = None
    """Why it is in this phase, in a sentence."""


class ScalingDecision(StatusModel):
    """One change of the number of replicas."""

    time: Timestamp
    """When it was decided."""
    from_replicas: Count | None = None
    """Replicas before."""
    to_replicas: Count | None = None
    """Replicas after."""
    reason: Annotated[str, Field(max_length=512)] | None = None
    """The sum it follows from, in a sentence."""


class AutoscalingStatus(StatusModel):
    """What the scaler does, where spec.autoscaling is present. Figures follow the load in steps: a small move
    is not written."""

    desired_replicas: Count | None = None
    """Replicas the scaler wants."""
    min_replicas: Count | None = None
    """Fewest replicas now, by spec.autoscaling or one of its schedules."""
    max_replicas: Count | None = None
    """Most replicas now."""
    demand_replicas: Decimal | None = None
    """Replicas that the load would fill to the measured capacity, without headroom."""
    utilization_percent: Count | None = None
    """Load as a share of what the serving pods were measured to carry, in percent."""
    requests_per_second_per_replica: Decimal | None = None
    """What one replica is counted on to carry: the lower end of the measured interval, times what was
    learned. Absent: there is no clean measurement."""
    learned_percent: Count | None = None
    """What replicas do in service, in percent of what was measured; from 50 to 130."""
    learned_fingerprint: Annotated[str, Field(max_length=64)] | None = None
    """The measurement that it was learned of."""
    cold_start_seconds: Count | None = None
    """Seconds that nine in ten starts of a pod took at most."""
    reason: Annotated[str, Field(max_length=512)] | None = None
    """The sum behind desiredReplicas, in a sentence."""
    last_scale_time: Timestamp | None = None
    """When the number of replicas last changed."""
    decisions: Annotated[
        list[ScalingDecision], Field(max_length=5, json_schema_extra={"x-kubernetes-list-type": "atomic"})
    ] = Field(default_factory=list)
    """The latest changes, newest first."""


class LLMDeploymentStatus(StatusModel):
    """The observed state. Written by the operator alone."""

    observed_generation: Annotated[int, Field(ge=0, json_schema_extra={"format": "int64"})] | None = None
    """metadata.generation this status is about."""
    replicas: Count | None = None
    """Server pods there are."""
    ready_replicas: Count | None = None
    """Server pods that are ready."""
    selector: Annotated[str, Field(max_length=512)] | None = None
    """Label selector of the server pods, as text; autoscalers read it through /scale."""
    url: Annotated[str, Field(max_length=512)] | None = None
    """Where the OpenAI API answers, inside the cluster. Example: http://mistral-7b.ml.svc:8000."""
    summary: Summary | None = None
    """The figures of the active revision in short."""
    plan: Plan | None = None
    """The plan of the active revision, or of the first candidate until one is active."""
    measurements: Annotated[
        list[Measurement],
        Field(
            max_length=4,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["fingerprint"],
            },
        ),
    ] = Field(default_factory=list)
    """The latest measurements, one for each fingerprint, newest first."""
    startup: Startup | None = None
    """Where the time of the latest start of a pod went."""
    revisions: Annotated[
        list[RevisionStatus],
        Field(
            max_length=5,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = Field(default_factory=list)
    """The latest revisions, newest first."""
    autoscaling: AutoscalingStatus | None = None
    """What the scaler does."""
    conditions: Annotated[
        list[Condition],
        Field(
            max_length=16,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = Field(default_factory=list)
    """The resource's state in aspects, each explained in docs/conditions.md."""
