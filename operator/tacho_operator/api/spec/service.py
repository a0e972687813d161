"""Workload, SLO, probe, rollout, cost, endpoint and autoscaling of the service."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from tacho_operator.api.base import NO_BLANK, ApiModel, Decimal, Label63, integer, items

ProbePolicy = Literal["Auto", "Always", "Disabled"]

PERCENT_PATTERN = r"^(0|[1-9][0-9]{0,2})%$"

Milliseconds = Annotated[int, integer(1, 3_600_000)]


Replicas = Annotated[int, integer(0, 1000)]
ScalingSelect = Literal["Max", "Min", "Disabled"]
ScalingPolicyType = Literal["Pods", "Percent"]
ScalingMode = Literal["Enforce", "Recommend"]
GateAction = Literal["Reject", "Record"]
Tolerance = Annotated[int, integer(0, 1000)]
MaxSurge = Annotated[
    Annotated[int, Field(ge=0, le=1000, strict=True)] | Annotated[str, Field(pattern=PERCENT_PATTERN)],
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "pattern": PERCENT_PATTERN,
            "maxLength": 4,
            "minimum": 0,
            "maximum": 1000,
        }
    ),
]
"""A number of pods, or a share of replicas in percent."""


class WorkloadSpec(ApiModel):
    """The shape of a typical request, for the probe and the scaler."""

    input_tokens: Annotated[int, integer(1, 50_000_000, form="int64")] | None = None
    """Tokens of a prompt. Absent: 512. Example: 512."""
    output_tokens: Annotated[int, integer(2, 50_000_000, form="int64")] | None = None
    """Tokens of an answer; the time per token needs at least 2. Absent: 200. Example: 200."""


class SloSpec(ApiModel):
    """Latency targets, at a percentile of requests."""

    ttft_milliseconds: Milliseconds | None = None
    """Maximum time to the first token, in milliseconds. Absent: no target. Example: 500."""
    tpot_milliseconds: Milliseconds | None = None
    """Maximum time per further token, in milliseconds. Absent: no target. Example: 50."""
    percentile: Annotated[int, integer(50, 99)] | None = None
    """Share of requests that must meet the targets, in percent. Absent: 95. Example: 95."""


MAX_BUDGET_SECONDS = 3600


class ProbeSpec(ApiModel):
    """How a replica is measured while it warms up."""

    policy: ProbePolicy | None = None
    """Auto measures each configuration once and checks later pods against it; Always measures every pod in
    full; Disabled measures nothing. Absent: Auto."""
    budget_seconds: Annotated[int, integer(5, MAX_BUDGET_SECONDS)] | None = None
    """Target duration of a full measurement, in seconds. Absent: 45, 90 or 120 by the plan's expected speed,
    see status.plan.probeBudgetSeconds. Example: 60."""
    timeout_seconds: Annotated[int, integer(5, 7200)] | None = None
    """Seconds after which the pod becomes ready whatever the measurement says; not less than
    budgetSeconds, and a default budget is cut to it. Absent: twice the budget, at least 90. Example: 240."""


class GateTolerance(ApiModel):
    """By how much a figure may be worse than the active revision's, in percent of it. A tolerance that is set
    also holds between different models, quantization methods and GPUs."""

    throughput: Annotated[int, integer(0, 99)] | None = None
    """Output tokens per second at the capacity. Absent: 10. Example: 5."""
    ttft: Tolerance | None = None
    """Time to the first token of one request alone. Absent: 20. Example: 30."""
    tpot: Tolerance | None = None
    """Time per further token, of one request alone and under load. Absent: 10. Example: 5."""
    perplexity: Tolerance | None = None
    """Perplexity of the probe's fixed text. Absent: 2. Example: 1."""


class GateSpec(ApiModel):
    """Compares a new revision's measurement with the active one's before it receives requests."""

    on_regression: GateAction | None = None
    """Reject keeps the active revision and deletes the new one's pod; Record admits it and says what was
    found. Absent: Reject."""
    tolerance_percent: GateTolerance | None = None
    """Absent: the default of each figure."""


class RolloutSpec(ApiModel):
    """How a new revision replaces the active one, which serves until pods of the new one are available."""

    schedule_timeout_seconds: Annotated[int, integer(10, 86400)] | None = None
    """Seconds a pod may wait for a node, node autoscalers included, before Stalled is true. Absent: 600.
    Example: 1800."""
    max_surge: MaxSurge | None = None
    """Pods that all revisions together may have beyond replicas. Absent: 25%. Example: 1."""
    gate: GateSpec | None = None
    """Judges a new revision before it receives requests. Absent: it takes over once it is ready."""


class CostSpec(ApiModel):
    """Hardware cost, for the cost of tokens. Absent: the operator's price table, where it has the GPU."""

    price_per_gpu_hour: Annotated[
        Decimal, Field(alias="pricePerGPUHour", serialization_alias="pricePerGPUHour")
    ]
    """Price of one GPU (or slice, or share) for one hour, as a decimal string. Example: "1.20"."""
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$", max_length=3)] | None = None
    """Currency as its ISO 4217 code; only shown, never converted. Absent: USD. Example: USD."""


class EndpointSpec(ApiModel):
    """Access to the service."""

    allowed_namespaces: Annotated[list[Label63], items(64, unique=True)] | None = None
    """Namespaces whose pods may connect to the engine, by a NetworkPolicy. Absent: all; empty: none.
    Example: [web]."""


class ScalingPolicy(ApiModel):
    """Maximum change within a period, in pods or in percent of the current pods."""

    type: ScalingPolicyType
    """Pods or Percent. Example: Pods."""
    value: Annotated[int, integer(1, 1000)]
    """Maximum change: pods or percent. Example: 1."""
    period_seconds: Annotated[int, integer(1, 1800)]
    """Length of the period, in seconds. Example: 60."""


class ScalingRules(ApiModel):
    """How replicas may change in one direction, as in a HorizontalPodAutoscaler."""

    stabilization_window_seconds: Annotated[int, integer(0, 3600)] | None = None
    """Seconds for which a recommendation must hold. Absent: 0 upwards, 300 downwards. Example: 300."""
    select_policy: ScalingSelect | None = None
    """Which of several policies applies: Max the largest change, Min the smallest; Disabled forbids this
    direction. Absent: Max."""
    policies: Annotated[list[ScalingPolicy], items(8)] | None = None
    """Scaling policies. Absent: upwards 100 percent or 4 pods in 15 seconds; downwards 100 percent in 15
    seconds."""
    tolerance: Decimal | None = None
    """Share by which needed and current replicas may differ without a change. Absent: 0. Example: "0.05"."""


class ScalingBehavior(ApiModel):
    """How fast replicas change."""

    scale_up: ScalingRules | None = None
    """Towards more replicas."""
    scale_down: ScalingRules | None = None
    """Towards fewer replicas."""


class ScalingSchedule(ApiModel):
    """Bounds that apply from certain times on, until another schedule begins or this one ends."""

    schedule: Annotated[
        str, Field(min_length=9, max_length=128, pattern=f"^{NO_BLANK}+( +{NO_BLANK}+){{4}}$")
    ]
    """When the bounds begin to apply, in cron syntax: minute, hour, day of the month, month, day of the week.
    Example: 0 8 * * MON-FRI."""
    time_zone: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_+/-]+$")] | None = None
    """Name of the time zone in the IANA database. Absent: Etc/UTC. Example: Europe/Berlin."""
    duration_seconds: Annotated[int, integer(60, 2_678_400)] | None = None
    """Seconds after which the bounds end. Absent: when another schedule begins. Example: 36000."""
    min_replicas: Replicas | None = None
    """Minimum replicas, at least 1. Absent: that of autoscaling. Example: 2."""
    max_replicas: Replicas | None = None
    """Maximum replicas. Absent: that of autoscaling. Example: 8."""


class AutoscalingSpec(ApiModel):
    """Scaling between two bounds by measured capacity. With mode Enforce, `replicas` is ignored."""

    mode: ScalingMode | None = None
    """Enforce changes the replicas; Recommend only reports, and `replicas` applies. Absent: Enforce."""

    min_replicas: Replicas | None = None
    """Minimum replicas, at least 1. Absent: 1. Example: 1."""
    max_replicas: Annotated[int, integer(1, 1000)]
    """Maximum replicas. Example: 8."""
    behavior: ScalingBehavior | None = None
    """How fast replicas change, in the fields of a HorizontalPodAutoscaler. Absent: the default of each
    field."""
    burst_memory_seconds: Annotated[int, integer(0, 2700)] | None = None
    """Seconds for which the replicas that a burst of load needed stay after it; 0: as after any load. Absent:
    2700. Example: 900."""
    schedules: Annotated[list[ScalingSchedule], items(16)] | None = None
    """Other bounds at certain times. Absent: none."""
