"""The conditions of an LLMDeployment: the contract with users, `kubectl wait`, kstatus, Helm and Flux."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from tacho_operator.api.status.status import Condition, ConditionStatus


class ConditionType(StrEnum):
    """The aspect that a condition judges."""

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
    RETRYING = "Retrying"
    SETTLED = "Settled"
    FAILED = "Failed"
    PROGRESSING = "Progressing"
    PLAN_READY = "PlanReady"
    NOT_MEASURED_YET = "NotMeasuredYet"
    MEASUREMENT_COMPLETE = "MeasurementComplete"
    MEASUREMENT_PARTIAL = "MeasurementPartial"
    CAPACITY_FLOOR = "CapacityFloor"
    CANNOT_RESUME = "CannotResume"
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
    READY_FOR_NEW_SCALE = "ReadyForNewScale"
    SUCCEEDED_RESCALE = "SucceededRescale"
    RESCALE_RECOMMENDED = "RescaleRecommended"
    SCALE_UP_STABILIZED = "ScaleUpStabilized"
    SCALE_DOWN_STABILIZED = "ScaleDownStabilized"
    FAILED_UPDATE_SCALE = "FailedUpdateScale"
    VALID_METRIC_FOUND = "ValidMetricFound"
    CAPACITY_UNVERIFIED = "CapacityUnverified"
    RECOMMEND_ONLY = "RecommendOnly"
    SLO_UNATTAINABLE = "SLOUnattainable"
    FAILED_GET_PODS_METRIC = "FailedGetPodsMetric"
    DESIRED_WITHIN_RANGE = "DesiredWithinRange"
    TOO_FEW_REPLICAS = "TooFewReplicas"
    TOO_MANY_REPLICAS = "TooManyReplicas"
    SCALE_UP_LIMIT = "ScaleUpLimit"
    SCALE_DOWN_LIMIT = "ScaleDownLimit"
    INVALID_SCHEDULE = "InvalidSchedule"


@dataclass(frozen=True, slots=True)
class ReasonDoc:
    """One reason of a condition: its status, its meaning and the next step."""

    status: ConditionStatus
    reason: str
    meaning: str
    next_step: str


@dataclass(frozen=True, slots=True)
class ConditionDoc:
    """The contract of one condition."""

    type: ConditionType
    meaning: str
    set_by: str
    absent: str
    reasons: tuple[ReasonDoc, ...]
    failures: ConditionStatus | None = None
    """The status with which any failure class may be the reason; None: none may."""


_WAIT = "Nothing; wait."
_NOTHING = "Nothing."
_UNSCALED = "Without spec.autoscaling."
_UNTIL_FIRST = "Until the first reconcile."
_INSPECTED = "The model's files and headers are being read, or its plan is being made."
_C, _R = ConditionType, Reason

CONDITIONS: tuple[ConditionDoc, ...] = (
    ConditionDoc(
        _C.READY,
        "Whether the service answers requests now, independently of work in progress.",
        "The operator, from the readiness of the server pods; before that the CRD's default.",
        "Never.",
        (
            ReasonDoc(
                "Unknown",
                _R.WAITING_FOR_OPERATOR,
                "No operator has reconciled the resource yet.",
                "If it lasts, check that the operator runs and watches this namespace.",
            ),
            ReasonDoc("True", _R.SERVING, "All desired replicas serve.", _NOTHING),
            ReasonDoc(
                "True",
                _R.PARTLY_SERVING,
                "Some, but not all desired replicas serve.",
                "See Reconciling and Stalled for the others.",
            ),
            ReasonDoc("False", _R.SCALED_TO_ZERO, "replicas is 0.", "Scale up to serve."),
            ReasonDoc("False", _R.INSPECTING, _INSPECTED, _WAIT),
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
                "The engine serves and is measured before it receives requests.",
                "Nothing; it ends after probe.timeoutSeconds at the latest.",
            ),
            ReasonDoc(
                "False",
                _R.STARTING,
                "Pods are being created or restarted, or do not pass their readiness check yet.",
                "If it lasts, read the message.",
            ),
        ),
        failures="False",
    ),
    ConditionDoc(
        _C.RECONCILING,
        "Whether work towards spec is in progress.",
        "The operator, at every reconcile.",
        _UNTIL_FIRST,
        (
            ReasonDoc("True", _R.INSPECTING, _INSPECTED, _WAIT),
            ReasonDoc("True", _R.STARTING, "The first revision starts.", _WAIT),
            ReasonDoc("True", _R.ROLLING_OUT, "A new revision starts, is judged or takes over.", _WAIT),
            ReasonDoc("True", _R.SCALING, "Replicas are added or removed.", _WAIT),
            ReasonDoc("True", _R.MEASURING, "The service is measured.", _WAIT),
            ReasonDoc(
                "True",
                _R.RETRYING,
                "The API server did not take a change in three tries: overload, silence, a failing webhook.",
                "Nothing at first; wait. If it lasts, read the message.",
            ),
            ReasonDoc("False", _R.SETTLED, "The cluster matches spec.", _NOTHING),
            ReasonDoc("False", _R.FAILED, "User action is required.", "See Stalled."),
        ),
    ),
    ConditionDoc(
        _C.STALLED,
        "Whether user action is required.",
        "The operator, at every reconcile.",
        _UNTIL_FIRST,
        (ReasonDoc("False", _R.PROGRESSING, "No user action is required.", _NOTHING),),
        failures="True",
    ),
    ConditionDoc(
        _C.PLANNED,
        "Whether there is a plan for spec: engine, quantization, memory.",
        "The operator, when identity fields of spec change.",
        _UNTIL_FIRST,
        (
            ReasonDoc("True", _R.PLAN_READY, "status.plan has the choice and its reasons.", _NOTHING),
            ReasonDoc("Unknown", _R.INSPECTING, _INSPECTED, _WAIT),
        ),
        failures="False",
    ),
    ConditionDoc(
        _C.MEASURED,
        "Whether status.measurements describes the service as it is.",
        "The operator, from the reports of the pods.",
        "Until the first plan.",
        (
            ReasonDoc("Unknown", _R.NOT_MEASURED_YET, "No pod is ready to be measured.", _WAIT),
            ReasonDoc("Unknown", _R.MEASURING, "A measurement is running.", _WAIT),
            ReasonDoc("True", _R.MEASUREMENT_COMPLETE, "The measurement is current.", _NOTHING),
            ReasonDoc(
                "True",
                _R.MEASUREMENT_PARTIAL,
                "The measurement is current, but the time ran out after some levels of concurrency.",
                "Raise probe.budgetSeconds for all of them, and probe.timeoutSeconds where it is set.",
            ),
            ReasonDoc(
                "True",
                _R.CAPACITY_FLOOR,
                "The measurement is current, but its capacity is a lower bound: the time ran out before the "
                "SLO was missed by a little more. Up to three probe pods go on from the known levels, one "
                "after the other; then the lower bound stays.",
                "Nothing at first; wait. If the message says that three went on, raise probe.budgetSeconds.",
            ),
            ReasonDoc(
                "True",
                _R.CANNOT_RESUME,
                "As CapacityFloor, but the probe pod that would go on did not run: no free GPU, no quota, or "
                "a serving pod that waits for a node or for quota. It has no priority over other pods. It is "
                "retried with growing pauses. Or it crashed; after the second crash it is not retried.",
                "Free resources for one more pod; after a crash see its log. To have the time "
                "in one probe, raise probe.budgetSeconds.",
            ),
            ReasonDoc(
                "Unknown",
                _R.MEASUREMENT_PROVISIONAL,
                "There is a measurement, but a flag says that something other than the engine changed it: a "
                "noisy neighbour on the node, concurrent load.",
                "Nothing; a probe pod measures again, with growing pauses, until the measurement is clean. "
                "If it lasts, remove the disturbance that the message names.",
            ),
            ReasonDoc(
                "False",
                _R.MEASUREMENT_STALE,
                "workload, slo, probe, the hardware or the model's files changed since. Except for changed "
                "files, a new measurement follows.",
                "Nothing; wait. If Stalled has the reason ModelChanged, follow its message.",
            ),
            ReasonDoc(
                "False",
                _R.MEASUREMENT_FAILED,
                "The probe had no valid result, or its probe pod crashed twice.",
                "Read the message; the service serves. A new value of the annotation tacho.dev/measure-again "
                "starts another attempt.",
            ),
            ReasonDoc(
                "False",
                _R.DEVIATES_FROM_BASELINE,
                "The check of a started pod differs by more than 15 % from the baseline.",
                "Nothing at first: a probe pod measures in full. If the message says that it did, check the "
                "pod and its node: a noisy neighbour, lowered clocks, other memory.",
            ),
            ReasonDoc(
                "Unknown",
                _R.REPORT_UNREACHABLE,
                "A pod runs, but does not answer the operator.",
                "Check that NetworkPolicies, the operator's own too, admit it to port 9400 of the pods.",
            ),
            ReasonDoc("False", _R.PROBE_DISABLED, "probe.policy is Disabled.", "Set it to Auto to measure."),
            ReasonDoc(
                "False",
                _R.CANNOT_JUDGE,
                "A measurement is due, but its probe pod did not run: no node or quota, an eviction, a lost "
                "node, an image not pulled, or a single crash. It is retried with growing pauses.",
                "Free resources for one more pod, where the message says that there are none.",
            ),
        ),
    ),
    ConditionDoc(
        _C.ROLLOUT_ACCEPTED,
        "Whether the newest revision was admitted.",
        "The operator, once a revision is judged.",
        "Until the first revision serves.",
        (
            ReasonDoc(
                "True", _R.FIRST_REVISION, "There is no earlier revision to compare it with.", _NOTHING
            ),
            ReasonDoc("True", _R.ACCEPTED, "The newest revision serves.", _NOTHING),
            ReasonDoc("Unknown", _R.JUDGING, "The newest revision is starting or being measured.", _WAIT),
            ReasonDoc(
                "False",
                _R.ROLLED_BACK,
                "It was admitted and lost readiness. The active revision serves alone; the candidate is "
                "retried after a pause that doubles with each rollback.",
                "Read the message for the cause. Change or revert spec.",
            ),
        ),
        failures="False",
    ),
    ConditionDoc(
        _C.ABLE_TO_SCALE,
        "Whether the number of replicas can be changed now.",
        "The scaler, with the reasons of a HorizontalPodAutoscaler.",
        _UNSCALED,
        (
            ReasonDoc("True", _R.READY_FOR_NEW_SCALE, "The recommended size is the current size.", _NOTHING),
            ReasonDoc("True", _R.SUCCEEDED_RESCALE, "The number has just been changed.", _NOTHING),
            ReasonDoc(
                "True", _R.RESCALE_RECOMMENDED, "Another number is recommended.", "Set replicas, or enforce."
            ),
            ReasonDoc(
                "True",
                _R.SCALE_UP_STABILIZED,
                "More replicas are needed; less was within the window, or one sample shows no rate.",
                _WAIT,
            ),
            ReasonDoc(
                "True",
                _R.SCALE_DOWN_STABILIZED,
                "Fewer replicas suffice, but more were needed within the window, or the window is not yet "
                "observed.",
                "Nothing; wait. autoscaling.behavior.scaleDown sets the window.",
            ),
            ReasonDoc("False", _R.FAILED_UPDATE_SCALE, "The last change was refused.", "Read the message."),
        ),
    ),
    ConditionDoc(
        _C.SCALING_ACTIVE,
        "Whether replicas follow the load: it is known, and autoscaling.mode enforces it.",
        "The scaler, with the reasons of a HorizontalPodAutoscaler.",
        _UNSCALED,
        (
            ReasonDoc("True", _R.VALID_METRIC_FOUND, "Load metrics are available.", _NOTHING),
            ReasonDoc(
                "True",
                _R.CAPACITY_UNVERIFIED,
                "There is no clean measurement of a replica's capacity, or no pod counts tokens: replicas "
                "follow the concurrent requests and the KV cache.",
                "See Measured.",
            ),
            ReasonDoc(
                "False",
                _R.SLO_UNATTAINABLE,
                "An idle replica misses spec.slo: no number of replicas meets it. Replicas follow the "
                "concurrent requests and the KV cache.",
                "Relax spec.slo, or choose a faster GPU, a smaller model or another quantization method.",
            ),
            ReasonDoc(
                "False",
                _R.RECOMMEND_ONLY,
                "autoscaling.mode is Recommend: the load is known, and replicas are not changed.",
                "Compare status.autoscaling with the replicas; set the mode to Enforce to apply it.",
            ),
            ReasonDoc(
                "False",
                _R.FAILED_GET_PODS_METRIC,
                "No pod serves, or none reports load metrics; the number of replicas stays.",
                "If pods serve, check that port 9400 of the pods is reachable from the operator.",
            ),
        ),
    ),
    ConditionDoc(
        _C.SCALING_LIMITED,
        "Whether something other than the load decides the number of replicas.",
        "The scaler, with the reasons of a HorizontalPodAutoscaler.",
        _UNSCALED,
        (
            ReasonDoc("False", _R.DESIRED_WITHIN_RANGE, "The load alone decides.", _NOTHING),
            ReasonDoc("True", _R.TOO_FEW_REPLICAS, "The load needs fewer than minReplicas.", _NOTHING),
            ReasonDoc(
                "True", _R.TOO_MANY_REPLICAS, "The load needs more than maxReplicas.", "Raise maxReplicas."
            ),
            ReasonDoc("True", _R.SCALE_UP_LIMIT, "A scale-up policy limits the step.", _WAIT),
            ReasonDoc("True", _R.SCALE_DOWN_LIMIT, "A scale-down policy limits the step.", _WAIT),
            ReasonDoc("True", _R.INVALID_SCHEDULE, "A schedule is invalid and is ignored.", "Correct it."),
        ),
        failures="True",
    ),
)


def find_condition(conditions: Sequence[Condition], type_: str) -> Condition | None:
    """The condition of type ``type_``; None where the list does not contain it."""
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
    """The conditions, without the condition of type ``type_``."""
    return [condition for condition in conditions if condition.type != type_]
