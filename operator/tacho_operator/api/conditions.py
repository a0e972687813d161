"""The conditions of an LLMDeployment: the contract with users, `kubectl wait`, kstatus, Helm and Flux.

docs/reference/conditions.md has the meaning and the next step of each reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from tacho_contract.units import parse_time
from tacho_operator.api.status.status import Condition


class ConditionType(StrEnum):
    """The types of conditions: each judges one aspect of the resource."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    PLANNED = "Planned"
    MEASURED = "Measured"
    ROLLOUT_ACCEPTED = "RolloutAccepted"
    SCALING_ACTIVE = "ScalingActive"


class Reason(StrEnum):
    """The reasons of conditions that are no failure classes."""

    WAITING_FOR_OPERATOR = "WaitingForOperator"
    SERVING = "Serving"
    PARTLY_SERVING = "PartlyServing"
    SCALED_TO_ZERO = "ScaledToZero"
    DELETING = "Deleting"
    INSPECTING = "Inspecting"
    STARTING = "Starting"
    SCHEDULING = "Scheduling"
    PULLING_IMAGES = "PullingImages"
    DOWNLOADING = "Downloading"
    LOADING = "Loading"
    MEASURING = "Measuring"
    ROLLING_OUT = "RollingOut"
    SCALING = "Scaling"
    RETRYING = "Retrying"
    SETTLED = "Settled"
    FAILED = "Failed"
    PROGRESSING = "Progressing"
    PLAN_READY = "PlanReady"
    NOT_MEASURED_YET = "NotMeasuredYet"
    MEASUREMENT_COMPLETE = "MeasurementComplete"
    MEASUREMENT_PARTIAL = "MeasurementPartial"
    CAPACITY_FLOOR = "CapacityFloor"
    MEASUREMENT_PROVISIONAL = "MeasurementProvisional"
    MEASUREMENT_STALE = "MeasurementStale"
    MEASUREMENT_FAILED = "MeasurementFailed"
    DEVIATES_FROM_BASELINE = "DeviatesFromBaseline"
    REPORT_UNREACHABLE = "ReportUnreachable"
    PROBE_DISABLED = "ProbeDisabled"
    CANNOT_JUDGE = "CannotJudge"
    FIRST_REVISION = "FirstRevision"
    ACCEPTED = "Accepted"
    JUDGING = "Judging"
    ROLLED_BACK = "RolledBack"
    REGRESSION = "Regression"
    NOT_JUDGED = "NotJudged"
    FAILED_UPDATE_SCALE = "FailedUpdateScale"
    REPLICAS_IGNORED = "ReplicasIgnored"
    VALID_METRIC_FOUND = "ValidMetricFound"
    CAPACITY_UNVERIFIED = "CapacityUnverified"
    RECOMMEND_ONLY = "RecommendOnly"
    SLO_UNATTAINABLE = "SLOUnattainable"
    FAILED_GET_PODS_METRIC = "FailedGetPodsMetric"
    TOO_MANY_REPLICAS = "TooManyReplicas"
    INVALID_SCHEDULE = "InvalidSchedule"


def find_condition(conditions: Sequence[Condition], type_: str) -> Condition | None:
    """The condition of type ``type_``; None where the list does not contain it."""
    return next((condition for condition in conditions if condition.type == type_), None)


def set_condition(conditions: Sequence[Condition], judged: Condition) -> list[Condition]:
    """``conditions`` with ``judged`` in place of the former condition of its type, or at the end.

    While the status of a condition stays the same, its lastTransitionTime is kept.
    """
    old = find_condition(conditions, judged.type)
    if old is None:
        return [*conditions, judged]
    if old.status == judged.status and parse_time(old.last_transition_time):  # another one is refused
        judged = judged.model_copy(update={"last_transition_time": old.last_transition_time})
    return [judged if condition.type == judged.type else condition for condition in conditions]


def remove_condition(conditions: Sequence[Condition], type_: str) -> list[Condition]:
    """The conditions, without the condition of type ``type_``."""
    return [condition for condition in conditions if condition.type != type_]
