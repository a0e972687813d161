"""The conditions of an LLMDeployment: a contract with people, `kubectl wait`, kstatus, Helm and Flux."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tacho_operator.api.status.status import Condition, ConditionStatus


class ConditionType(StrEnum):
    """What is judged."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    PLANNED = "Planned"
    MEASURED = "Measured"
    ROLLOUT_ACCEPTED = "RolloutAccepted"
    ABLE_TO_SCALE = "AbleToScale"
    SCALING_ACTIVE = "ScalingActive"
    SCALING_LIMITED = "ScalingLimited"


class Reason(StrEnum):
    """Why, in one word; a FailureClass is a reason too."""

    WAITING_FOR_OPERATOR = "WaitingForOperator"
    SERVING = "Serving"
    PARTLY_SERVING = "PartlyServing"
    SCALED_TO_ZERO = "ScaledToZero"
    INSPECTING = "Inspecting"
    STARTING = "Starting"
    SCHEDULING = "Scheduling"
    PULLING_IMAGES = "PullingImages"
    DOWNLOADING = "Downloading"
    LOADING = "Loading"
    MEASURING = "Measuring"
    ROLLING_OUT = "RollingOut"
    SCALING = "Scaling"
    SETTLED = "Settled"
    FAILED = "Failed"
    PROGRESSING = "Progressing"
    REVISION_REJECTED = "RevisionRejected"
    PAUSED = "Paused"
    PLAN_READY = "PlanReady"
    NOT_MEASURED_YET = "NotMeasuredYet"
    MEASUREMENT_COMPLETE = "MeasurementComplete"
    MEASUREMENT_PARTIAL = "MeasurementPartial"
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
    FELL_BACK = "FellBack"
    READY_FOR_NEW_SCALE = "ReadyForNewScale"
    SUCCEEDED_RESCALE = "SucceededRescale"
    SCALE_UP_STABILIZED = "ScaleUpStabilized"
    SCALE_DOWN_STABILIZED = "ScaleDownStabilized"
    FAILED_UPDATE_SCALE = "FailedUpdateScale"
    VALID_METRIC_FOUND = "ValidMetricFound"
    CAPACITY_UNVERIFIED = "CapacityUnverified"
    FAILED_GET_PODS_METRIC = "FailedGetPodsMetric"
    DESIRED_WITHIN_RANGE = "DesiredWithinRange"
    TOO_FEW_REPLICAS = "TooFewReplicas"
    TOO_MANY_REPLICAS = "TooManyReplicas"
    SCALE_UP_LIMIT = "ScaleUpLimit"
    SCALE_DOWN_LIMIT = "ScaleDownLimit"
    INVALID_SCHEDULE = "InvalidSchedule"


@dataclass(frozen=True, slots=True)
class ReasonDoc:
    """One reason of a condition: the status it comes with, what it means, what to do next."""

    status: ConditionStatus
    reason: str
    meaning: str
    next_step: str
    planned: bool = False
    """Nothing gives it yet: the word is reserved, and left out of the documentation."""


@dataclass(frozen=True, slots=True)
class ConditionDoc:
    """The contract of one condition."""

    type: ConditionType
    meaning: str
    set_by: str
    absent: str
    reasons: tuple[ReasonDoc, ...]
    failures: ConditionStatus | None = None
    """The status with which any class of failure may be the reason; None: none may."""
    planned: bool = False
    """Nothing sets it yet: the type is reserved, and left out of the documentation."""


_WAIT = "Nothing; wait."
_NOTHING = "Nothing."
_UNSCALED = "Without spec.autoscaling."
_C, _R = ConditionType, Reason

CONDITIONS: tuple[ConditionDoc, ...] = (
    ConditionDoc(
        _C.READY,
        "Whether the service answers requests now, whatever else is under way.",
        "The operator, from the readiness of the server pods; before that the CRD's default.",
        "Never.",
        (
            ReasonDoc(
                "Unknown",
                _R.WAITING_FOR_OPERATOR,
                "No operator has looked at the resource yet.",
                "If it lasts, check that the operator runs and watches this namespace.",
            ),
            ReasonDoc("True", _R.SERVING, "All wanted replicas serve.", _NOTHING),
            ReasonDoc(
                "True",
                _R.PARTLY_SERVING,
                "Some, but not all wanted replicas serve.",
                "See Reconciling and Stalled for the others.",
            ),
            ReasonDoc("False", _R.SCALED_TO_ZERO, "replicas is 0.", "Scale up to serve."),
            ReasonDoc("False", _R.INSPECTING, "The model's files and headers are being read.", _WAIT),
            ReasonDoc("False", _R.SCHEDULING, "The pods wait for a node.", "If it lasts, read the message."),
            ReasonDoc("False", _R.PULLING_IMAGES, "The node pulls the images.", _WAIT),
            ReasonDoc(
                "False",
                _R.DOWNLOADING,
                "The model is being downloaded; status.startup counts the bytes.",
                _WAIT,
            ),
            ReasonDoc("False", _R.LOADING, "The engine loads the model.", _WAIT),
            ReasonDoc(
                "False",
                _R.MEASURING,
                "The engine serves and is measured before traffic reaches it.",
                "Nothing; it ends after probe.timeoutSeconds at the latest.",
            ),
            ReasonDoc(
                "False",
                _R.STARTING,
                "Pods are being created or started again, or do not pass their readiness check yet.",
                "If it lasts, read the message.",
            ),
        ),
        failures="False",
    ),
    ConditionDoc(
        _C.RECONCILING,
        "Whether work is under way towards what spec asks for.",
        "The operator, at every look.",
        "Until the operator's first look.",
        (
            ReasonDoc("True", _R.INSPECTING, "The model's files and headers are being read.", _WAIT),
            ReasonDoc("True", _R.STARTING, "The first revision starts.", _WAIT),
            ReasonDoc("True", _R.ROLLING_OUT, "A new revision starts, is judged or takes over.", _WAIT),
            ReasonDoc("True", _R.SCALING, "Replicas are added or removed.", _WAIT),
            ReasonDoc("True", _R.MEASURING, "The service is measured.", _WAIT),
            ReasonDoc("False", _R.SETTLED, "Everything is as spec asks for.", _NOTHING),
            ReasonDoc("False", _R.FAILED, "It cannot go on without a person.", "See Stalled."),
        ),
    ),
    ConditionDoc(
        _C.STALLED,
        "Whether it cannot go on without a person.",
        "The operator, at every look.",
        "Until the operator's first look.",
        (
            ReasonDoc("False", _R.PROGRESSING, "No person is needed.", _NOTHING),
            ReasonDoc(
                "True",
                _R.REVISION_REJECTED,
                "The gate rejected the new revision; the old one serves.",
                "Read RolloutAccepted; change or revert spec.",
                planned=True,
            ),
            ReasonDoc(
                "True",
                _R.PAUSED,
                "A rollout waits for a person.",
                "Set rollout.paused to false, or revert spec.",
                planned=True,
            ),
        ),
        failures="True",
    ),
    ConditionDoc(
        _C.PLANNED,
        "Whether there is a plan for what spec asks for: engine, quantization, memory.",
        "The operator, when identity fields of spec change.",
        "Until the operator's first look.",
        (
            ReasonDoc("True", _R.PLAN_READY, "status.plan says what was chosen and why.", _NOTHING),
            ReasonDoc("Unknown", _R.INSPECTING, "The model's files and headers are being read.", _WAIT),
        ),
        failures="False",
    ),
    ConditionDoc(
        _C.MEASURED,
        "Whether status.measurements describes the service as it is.",
        "The operator, from the reports of the pods.",
        "Until the first plan.",
        (
            ReasonDoc("Unknown", _R.NOT_MEASURED_YET, "No pod has come far enough to be measured.", _WAIT),
            ReasonDoc("Unknown", _R.MEASURING, "A measurement is running.", _WAIT),
            ReasonDoc("True", _R.MEASUREMENT_COMPLETE, "The figures are current.", _NOTHING),
            ReasonDoc(
                "True",
                _R.MEASUREMENT_PARTIAL,
                "The figures are current, but the time ran out after some levels.",
                "Raise probe.budgetSeconds and probe.timeoutSeconds for all of them.",
            ),
            ReasonDoc(
                "Unknown",
                _R.MEASUREMENT_PROVISIONAL,
                "There are figures, but a flag says that something other than the engine moved them: a "
                "neighbour on its node, other traffic.",
                "Nothing; a throwaway pod measures again, with growing pauses, until the figures are clean. "
                "Where it lasts, the message says what disturbs: move that away.",
            ),
            ReasonDoc(
                "False",
                _R.MEASUREMENT_STALE,
                "workload, slo, probe, the hardware or the model's files changed since; but for the files, "
                "a new measurement follows.",
                "Nothing; wait. Where Stalled says ModelChanged, what its message says.",
            ),
            ReasonDoc(
                "False",
                _R.MEASUREMENT_FAILED,
                "The probe got nothing it could use, or its throwaway pod crashed twice.",
                "Read the message; the service serves all the same. A new value of the annotation "
                "tacho.dev/measure-again has it tried once more.",
            ),
            ReasonDoc(
                "False",
                _R.DEVIATES_FROM_BASELINE,
                "A pod that was checked at its start is more than 15 % off what was measured on the like.",
                "Nothing at first: a throwaway pod measures in full. Where the message says that one did, "
                "look at the pod and its node: a neighbour, lowered clocks, other memory.",
            ),
            ReasonDoc(
                "Unknown",
                _R.REPORT_UNREACHABLE,
                "A pod runs, but the operator gets no answer from it.",
                "Check that NetworkPolicies, the operator's own too, let it reach port 9400 of the pods.",
            ),
            ReasonDoc("False", _R.PROBE_DISABLED, "probe.policy is Disabled.", "Set it to Auto to measure."),
            ReasonDoc(
                "False",
                _R.CANNOT_JUDGE,
                "A measurement is due, but no throwaway pod came to it: no node or quota, an eviction, a "
                "lost node, an image not pulled, or one crash, which may be chance. It is tried again with "
                "growing pauses.",
                "Make room for one more pod, where the message says that there is none.",
            ),
        ),
    ),
    ConditionDoc(
        _C.ROLLOUT_ACCEPTED,
        "Whether the newest revision was let through.",
        "The operator, once a revision is judged.",
        "Until the first revision serves.",
        (
            ReasonDoc("True", _R.FIRST_REVISION, "There was nothing to compare it with.", _NOTHING),
            ReasonDoc("True", _R.ACCEPTED, "The newest revision serves.", _NOTHING),
            ReasonDoc("Unknown", _R.JUDGING, "The newest revision is starting or being measured.", _WAIT),
            ReasonDoc(
                "Unknown",
                _R.CANNOT_JUDGE,
                "There is no comparable measurement.",
                "Read the message; it says what is missing.",
                planned=True,
            ),
            ReasonDoc(
                "False",
                _R.REVISION_REJECTED,
                "It measured worse than the active one, twice.",
                "Change or revert spec, or widen rollout.gate.tolerancePercent.",
                planned=True,
            ),
            ReasonDoc(
                "False",
                _R.PAUSED,
                "It waits for a person.",
                "Set rollout.paused to false, or revert.",
                planned=True,
            ),
            ReasonDoc(
                "False",
                _R.FELL_BACK,
                "It was let in beside the active one and lost its pods; the active one serves alone, and "
                "after a pause that grows with each fall it is tried again.",
                "Read the message: it says what its pods died of. Change or revert spec.",
            ),
        ),
        failures="False",
    ),
    ConditionDoc(
        _C.ABLE_TO_SCALE,
        "Whether the number of replicas can be changed now.",
        "The scaler, in the words of a HorizontalPodAutoscaler.",
        _UNSCALED,
        (
            ReasonDoc("True", _R.READY_FOR_NEW_SCALE, "There are as many as are recommended.", _NOTHING),
            ReasonDoc("True", _R.SUCCEEDED_RESCALE, "The number has just been changed.", _NOTHING),
            ReasonDoc("True", _R.SCALE_UP_STABILIZED, "More are asked for, but not for long yet.", _WAIT),
            ReasonDoc(
                "True",
                _R.SCALE_DOWN_STABILIZED,
                "Fewer would do, but more were needed within the window, or nobody has looked for as long.",
                "Nothing; wait. autoscaling.behavior.scaleDown sets the window.",
            ),
            ReasonDoc("False", _R.FAILED_UPDATE_SCALE, "The last change was refused.", "Read the message."),
        ),
    ),
    ConditionDoc(
        _C.SCALING_ACTIVE,
        "Whether the load is known well enough to scale by it.",
        "The scaler, in the words of a HorizontalPodAutoscaler.",
        _UNSCALED,
        (
            ReasonDoc("True", _R.VALID_METRIC_FOUND, "Pods tell their load.", _NOTHING),
            ReasonDoc(
                "True",
                _R.CAPACITY_UNVERIFIED,
                "There is no clean measurement of what a replica carries: replicas follow the requests at "
                "the same time and the KV cache.",
                "See Measured.",
            ),
            ReasonDoc(
                "False",
                _R.FAILED_GET_PODS_METRIC,
                "No pod serves, or none tells its load; replicas are held.",
                "If pods serve, check that port 9400 of the pods is reachable from the operator.",
            ),
        ),
    ),
    ConditionDoc(
        _C.SCALING_LIMITED,
        "Whether something other than the load decides the number of replicas.",
        "The scaler, in the words of a HorizontalPodAutoscaler.",
        _UNSCALED,
        (
            ReasonDoc("False", _R.DESIRED_WITHIN_RANGE, "The load alone decides.", _NOTHING),
            ReasonDoc("True", _R.TOO_FEW_REPLICAS, "The load asks for fewer than the least.", _NOTHING),
            ReasonDoc(
                "True", _R.TOO_MANY_REPLICAS, "The load asks for more than the most.", "Raise maxReplicas."
            ),
            ReasonDoc("True", _R.SCALE_UP_LIMIT, "More at once are not allowed.", _WAIT),
            ReasonDoc("True", _R.SCALE_DOWN_LIMIT, "Fewer at once are not allowed.", _WAIT),
            ReasonDoc(
                "True",
                _R.INVALID_SCHEDULE,
                "A schedule cannot be read; it counts for nothing.",
                "Correct it.",
            ),
        ),
        failures="True",
    ),
)


def find_condition(conditions: Sequence[Condition], type_: str) -> Condition | None:
    """The condition of a type; None where there is none."""
    return next((condition for condition in conditions if condition.type == type_), None)


def set_condition(conditions: Sequence[Condition], judged: Condition) -> list[Condition]:
    """The conditions with one set: in its old place, or last where it is new.

    ``judged.last_transition_time`` is when it was judged; it stays the former one's while the status does.
    """
    old = find_condition(conditions, judged.type)
    if old is None:
        return [*conditions, judged]
    if old.status == judged.status:
        judged = judged.model_copy(update={"last_transition_time": old.last_transition_time})
    return [judged if condition.type == judged.type else condition for condition in conditions]


def remove_condition(conditions: Sequence[Condition], type_: str) -> list[Condition]:
    """The conditions without those of a type."""
    return [condition for condition in conditions if condition.type != type_]
