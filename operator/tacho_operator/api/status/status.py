"""`status` of an LLMDeployment. It has one writer: the operator."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tacho_operator.api.base import (
    Bytes,
    Count,
    Decimal,
    Seconds,
    StatusModel,
    Timestamp,
    Word,
    integer,
    items,
)
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.api.status.plan import Plan

EPOCH = "1970-01-01T00:00:00Z"

ConditionStatus = Literal["True", "False", "Unknown"]


class Condition(StatusModel):
    """One aspect of the resource's state, as in Kubernetes' metav1.Condition."""

    type: Annotated[str, Field(min_length=1, max_length=64)]
    """Aspect: Ready, Reconciling, Stalled, Planned, Measured, RolloutAccepted or ScalingActive."""
    status: ConditionStatus
    """True, False or Unknown."""
    reason: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Z][A-Za-z0-9]*$")]
    """Why, in one word; docs/reference/conditions.md lists all."""
    message: Annotated[str, Field(max_length=4096)]
    """Figure, reason and next step; quotations follow, at most 1,024 characters in all."""
    last_transition_time: Timestamp
    """When the status last changed."""
    observed_generation: Annotated[int, integer(0, form="int64")] | None = None
    """metadata.generation that was judged."""

    @model_validator(mode="before")
    @classmethod
    def _always_has_a_message(cls, given: Any) -> Any:
        """Without one the API server refuses the whole status. Another writer may have stored none."""
        lacks = isinstance(given, dict) and not given.get("message")
        return {**given, "message": given.get("reason")} if lacks else given


Shown = Annotated[str, Field(max_length=24, pattern=r"^~?[0-9]+(\.[0-9]{1,3})?$")]
"""A Decimal for a printer column."""


Currency = Annotated[str, Field(max_length=3, pattern=r"^[A-Z]{3}$")]
"""Currency as an ISO 4217 code."""
ShownCost = Annotated[str, Field(max_length=28, pattern=r"^~?[0-9]+(\.[0-9]{1,3})? [A-Z]{3}$")]


class Summary(StatusModel):
    """Key metrics of the active revision, at the capacity of one replica."""

    output_tokens_per_second: Decimal | None = None
    """Aggregate output tokens per second of one replica."""
    ttft_milliseconds: Decimal | None = None
    """Median time to the first token, in milliseconds: of open-loop requests at
    `latency.offeredRequestsPerSecond`, else at the concurrency of the summary's throughput."""
    confidence: Word | None = None
    """Clean, or Provisional: something other than the engine changed the result, and it is measured again."""
    output_tokens_per_second_shown: Shown | None = None
    """outputTokensPerSecond as `kubectl get` shows it."""
    ttft_milliseconds_shown: Shown | None = None
    """ttftMilliseconds as `kubectl get` shows it."""
    cost_per_million_output_tokens: Decimal | None = None
    """Cost of a million output tokens at the load of costBasis. Absent: the price is not known, or the
    replica has no GPU."""
    cost_currency: Currency | None = None
    """Currency of the cost, from spec.cost or the operator's price table."""
    cost_basis: Word | None = None
    """Throughput that it is based on: SLO (the highest that meets spec.slo) or Saturation (the highest steady
    one, at any latency)."""
    cost_shown: ShownCost | None = None
    """costPerMillionOutputTokens and costCurrency as `kubectl get` shows them."""


class Startup(StatusModel):
    """Durations of the latest start of a pod. The download runs while images are pulled and the machine is
    checked: the sum of the parts exceeds the total by overlapSeconds."""

    schedule_seconds: Seconds | None = None
    """Seconds until a node was found."""
    image_seconds: Seconds | None = None
    """Seconds until the images were pulled."""
    download_seconds: Seconds | None = None
    """Seconds the download of the model took."""
    overlap_seconds: Seconds | None = None
    """Seconds of the download in parallel with the pull of the engine's image, the start of its container
    and the checks of the machine."""
    preflight_seconds: Seconds | None = None
    """Seconds the checks of container and machine took."""
    verify_seconds: Seconds | None = None
    """Seconds of reading every byte of the model, where model.verification is Full."""
    load_seconds: Seconds | None = None
    """Seconds from the engine's start to its first healthy answer, without compiling and graph capture."""
    compile_seconds: Seconds | None = None
    """Seconds of compiling kernels, or of loading them from a cache, where the engine reports it."""
    graph_seconds: Seconds | None = None
    """Seconds of capturing CUDA graphs, where the engine reports it."""
    probe_seconds: Seconds | None = None
    """Seconds of the measurement."""
    total_seconds: Seconds | None = None
    """Seconds from the pod's creation to its readiness."""
    downloaded_bytes: Bytes | None = None
    """Bytes of the model that are already downloaded."""
    download_total_bytes: Bytes | None = None
    """Total bytes of the model."""


class RevisionStatus(StatusModel):
    """One revision: a version of the identity fields of spec."""

    name: Annotated[str, Field(max_length=63)]
    """Name of the ControllerRevision that holds its plan."""
    phase: Word | None = None
    """Active serves, Candidate is being started or judged, Retired served before, Rejected is refused by
    rollout.gate."""
    reason: Word | None = None
    """Why it is in this phase, in one word."""
    outcome: Word | None = None
    """Accepted once it has served. Absent: not yet."""
    message: Annotated[str, Field(max_length=1024)] | None = None
    """Why it is in this phase, in a sentence."""
    runtime: Annotated[str, Field(max_length=512)] | None = None
    """Image that injects tacho's runtime into its pods. Without a digest the hash of the runtime's file
    follows. Absent: an earlier operator wrote this status."""


class ScalingDecision(StatusModel):
    """One change of the number of replicas, or the recommendation of one."""

    time: Timestamp
    """Time of the decision."""
    mode: Word | None = None
    """Recommend: it was not applied. Absent: it was."""
    from_replicas: Count | None = None
    """Replicas before the decision."""
    to_replicas: Count | None = None
    """Replicas after the decision."""
    cause: Word | None = None
    """Work, Concurrency or KVCache (the term that needed more replicas), LowDemand, Bounds or Quota."""
    reason: Annotated[str, Field(max_length=512)] | None = None
    """The calculation behind it."""


class SLOAttainment(StatusModel):
    """SLO attainment of the last minutes, exponentially weighted with five minutes."""

    percent: Count | None = None
    """Lower bound of the share of requests that met the SLO, in percent. Absent: the engine has no histogram
    for a target."""
    requests: Count | None = None
    """Weighted number of requests that percent rests on, when it last changed."""
    ttft_source: Word | None = None
    """Where the times to the first token are from: Histogram or None."""
    tpot_source: Word | None = None
    """Where the times per further token are from: Histogram or None."""


class ScalingBurst(StatusModel):
    """A burst of the load."""

    begin_time: Timestamp | None = None
    """When the load had doubled."""
    end_time: Timestamp
    """When the load fell to half of its peak. While the burst lasts: a time of it."""
    replicas: float
    """Replicas that its peak filled."""


class AutoscalingStatus(StatusModel):
    """State of the scaler, where spec.autoscaling is present. Values change in steps: a small change of
    the load is not written."""

    mode: Word | None = None
    """Recommend: the decisions are not applied. Absent: they are."""
    desired_replicas: Count | None = None
    """Replicas that the scaler requests or, with mode Recommend, would request."""
    min_replicas: Count | None = None
    """Minimum replicas at present, from spec.autoscaling or one of its schedules."""
    max_replicas: Count | None = None
    """Maximum replicas now."""
    demand_replicas: Decimal | None = None
    """Replicas that the load would fill to the measured capacity, without headroom."""
    utilization_percent: Count | None = None
    """Load in percent of the measured capacity of the serving pods."""
    requests_per_second_per_replica: Decimal | None = None
    """Capacity of one replica for scaling: lower confidence bound x speed in service x correction. Absent:
    no clean measurement."""
    capacity_correction_percent: Count | None = None
    """Capacity in service, estimated from the SLO attainment, in percent of the measured capacity."""
    capacity_correction_fingerprint: Annotated[str, Field(max_length=64)] | None = None
    """Measurement that the correction applies to."""
    attainment: SLOAttainment | None = None
    """Share of requests that met spec.slo. Absent: spec.slo has no target."""
    speed_percent: Count | None = None
    """Tokens per second in service, in percent of the rate that the measurement predicts for that load."""
    input_tokens: float | None = None
    """Mean prompt length in service."""
    output_tokens: float | None = None
    """Mean answer length in service."""
    bursts: Annotated[list[ScalingBurst], items(8)] = Field(default_factory=list)
    """The latest bursts of the load, newest first."""
    low_replicas: float | None = None
    """Lowest load since the latest burst, in replicas, at most. Absent: the burst lasts."""
    cold_start_seconds: Count | None = None
    """90th percentile of the time from a pod's creation to its readiness, in seconds."""
    reason: Annotated[str, Field(max_length=512)] | None = None
    """The calculation behind desiredReplicas."""
    last_scale_time: Timestamp | None = None
    """When the number of replicas last changed."""
    refused_above: Count | None = None
    """Number of server pods when quota or admission last refused another. The scaler stays at or below it for
    ten minutes."""
    refused_time: Timestamp | None = None
    """When quota or admission last refused a server pod."""
    decisions: Annotated[list[ScalingDecision], items(10)] = Field(default_factory=list)
    """The latest changes and recommendations, newest first."""


class LLMDeploymentStatus(StatusModel):
    """The observed state. Written by the operator alone."""

    observed_generation: Annotated[int, integer(0, form="int64")] | None = None
    """metadata.generation that this status describes."""
    replicas: Count | None = None
    """Number of server pods."""
    ready_replicas: Count | None = None
    """Server pods that are ready."""
    selector: Annotated[str, Field(max_length=512)] | None = None
    """Label selector of the server pods, as text; autoscalers read it through /scale."""
    url: Annotated[str, Field(max_length=512)] | None = None
    """URL of the OpenAI API inside the cluster. Example: http://mistral-7b.ml.svc:8000."""
    summary: Summary | None = None
    """Key metrics of the active revision. A printer column shows one string field: those …Shown are made for
    the columns, with ~ before a provisional value."""
    plan: Plan | None = None
    """The plan of the active revision, or of the first candidate until one is active."""
    measurements: Annotated[list[MeasurementEntry], items(4, key="fingerprint")] = Field(default_factory=list)
    """The latest measurements, one for each fingerprint, newest first. Of several that are current, that of
    most serving pods is first."""
    startup: Startup | None = None
    """Durations of the latest start of a pod."""
    revisions: Annotated[list[RevisionStatus], items(5, key="name")] = Field(default_factory=list)
    """The latest revisions, newest first."""
    autoscaling: AutoscalingStatus | None = None
    """State of the scaler."""
    conditions: Annotated[list[Condition], items(16, key="type")] = Field(default_factory=list)
    """The resource's state by aspect; see docs/reference/conditions.md."""
