"""`spec.autoscaling`: between which bounds, how fast, and at which times of day."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tacho_operator.api.base import ApiModel, Decimal

Replicas = Annotated[int, Field(ge=0, le=1000, json_schema_extra={"format": "int32"})]
ScalingSelect = Literal["Max", "Min", "Disabled"]
ScalingPolicyType = Literal["Pods", "Percent"]


class ScalingPolicy(ApiModel):
    """A pace: at most so many pods, or percent of the pods there are, within a period."""

    type: ScalingPolicyType
    """Pods or Percent. Example: Pods."""
    value: Annotated[int, Field(ge=1, le=1000, json_schema_extra={"format": "int32"})]
    """How many, or how many percent. Example: 1."""
    period_seconds: Annotated[int, Field(ge=1, le=1800, json_schema_extra={"format": "int32"})]
    """Seconds within which at most so many change. Example: 60."""


class ScalingRules(ApiModel):
    """How replicas may change in one direction, as in a HorizontalPodAutoscaler."""

    stabilization_window_seconds: (
        Annotated[int, Field(ge=0, le=3600, json_schema_extra={"format": "int32"})] | None
    ) = None
    """Seconds for which a recommendation must hold. Absent: 15 upwards; downwards 300, or twice the time that
    a replica takes to start where that is longer. Example: 300."""
    select_policy: ScalingSelect | None = None
    """Which of several policies counts: Max the one that changes the most, Min the least; Disabled forbids
    this direction. Absent: Max."""
    policies: (
        Annotated[
            list[ScalingPolicy], Field(max_length=8, json_schema_extra={"x-kubernetes-list-type": "atomic"})
        ]
        | None
    ) = None
    """Paces. Absent: upwards 100 percent in 15 seconds, downwards one pod in each window."""
    tolerance: Decimal | None = None
    """Where what is needed and what is there differ by no more than this share, nothing changes. Absent: 0.
    Example: "0.05"."""


class ScalingBehavior(ApiModel):
    """How fast replicas change."""

    scale_up: ScalingRules | None = None
    """Towards more replicas."""
    scale_down: ScalingRules | None = None
    """Towards fewer replicas."""


class ScalingSchedule(ApiModel):
    """Bounds that hold from certain times on, until another schedule begins or this one is over."""

    schedule: Annotated[str, Field(min_length=9, max_length=128, pattern=r"^\S+( +\S+){4}$")]
    """When they begin, as cron writes it: minute, hour, day of the month, month, day of the week.
    Example: 0 8 * * MON-FRI."""
    time_zone: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_+/-]+$")] | None = None
    """Name of the time zone in the IANA database. Absent: Etc/UTC. Example: Europe/Berlin."""
    duration_seconds: (
        Annotated[int, Field(ge=60, le=2_678_400, json_schema_extra={"format": "int32"})] | None
    ) = None
    """Seconds after which they are over. Absent: when another schedule begins. Example: 36000."""
    min_replicas: Replicas | None = None
    """Fewest replicas, at least 1. Absent: that of autoscaling. Example: 2."""
    max_replicas: Replicas | None = None
    """Most replicas. Absent: that of autoscaling. Example: 8."""


class AutoscalingSpec(ApiModel):
    """tacho scales between two bounds by the measured capacity; `replicas` is ignored."""

    min_replicas: Replicas | None = None
    """Fewest replicas, at least 1. Absent: 1. Example: 1."""
    max_replicas: Annotated[int, Field(ge=1, le=1000, json_schema_extra={"format": "int32"})]
    """Most replicas. Example: 8."""
    behavior: ScalingBehavior | None = None
    """How fast replicas change, in the fields of a HorizontalPodAutoscaler. Absent: fast upwards, one by one
    downwards."""
    schedules: (
        Annotated[
            list[ScalingSchedule],
            Field(max_length=16, json_schema_extra={"x-kubernetes-list-type": "atomic"}),
        ]
        | None
    ) = None
    """Other bounds at certain times. Absent: none."""
