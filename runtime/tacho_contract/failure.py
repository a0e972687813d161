"""Failures as data: the classes with their meanings and next steps, and the document of one failure.

Both sides use this table: the runtime reports a class, the operator decides by it, and
docs/reference/conditions.md is made from it.

On the wire a class is a plain string, so that an older operator reads a newer runtime.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from tacho_contract import codec
from tacho_contract.units import clipped

RESTARTS_BEFORE_USER_ACTION = 3
"""Number of restarts after which the kubelet's back-off is some minutes long."""


class FailureClass(str, Enum):
    """Why a resource makes no progress: the reason of Ready, and of Stalled where user action is required."""

    ENGINE_NOT_SUPPORTED = "EngineNotSupported"
    IMPORT_FAILED = "ImportFailed"
    MODEL_NOT_FOUND = "ModelNotFound"
    MODEL_INVALID = "ModelInvalid"
    MODEL_CHANGED = "ModelChanged"
    AUTH_REQUIRED = "AuthRequired"
    HUB_UNREACHABLE = "HubUnreachable"
    UNSUPPORTED_QUANTIZATION = "UnsupportedQuantization"
    UNSUPPORTED_GPU = "UnsupportedGPU"
    DOES_NOT_FIT = "DoesNotFit"
    KV_CACHE_TOO_SMALL = "KVCacheTooSmall"
    GPU_OUT_OF_MEMORY = "GPUOutOfMemory"
    HOST_OUT_OF_MEMORY = "HostOutOfMemory"
    IMAGE_PULL_ERROR = "ImagePullError"
    UNSCHEDULABLE = "Unschedulable"
    NO_SPARE_GPU = "NoSpareGPU"
    POD_NOT_PREPARED = "PodNotPrepared"
    QUOTA_EXCEEDED = "QuotaExceeded"
    ADMISSION_DENIED = "AdmissionDenied"
    ADMISSION_UNAVAILABLE = "AdmissionUnavailable"
    NAMESPACE_TERMINATING = "NamespaceTerminating"
    NAME_CONFLICT = "NameConflict"
    CACHE_NOT_FOUND = "CacheNotFound"
    CACHE_NOT_SHAREABLE = "CacheNotShareable"
    DISK_FULL = "DiskFull"
    ENGINE_CRASHED = "EngineCrashed"
    STARTUP_TIMEOUT = "StartupTimeout"
    INSPECTION_TIMEOUT = "InspectionTimeout"
    GPU_FAULT = "GPUFault"
    NODE_LOST = "NodeLost"
    EVICTED = "Evicted"
    PORT_IN_USE = "PortInUse"
    RUNTIME_CHANGED = "RuntimeChanged"
    QUANTIZATION_NOT_APPLIED = "QuantizationNotApplied"
    INVALID_CONFIG = "InvalidConfig"
    UNREADABLE_SPEC = "UnreadableSpec"
    INTERNAL_ERROR = "InternalError"
    PLANNING_FAILED = "PlanningFailed"

    def __str__(self) -> str:
        return str(self.value)


class Escalation(str, Enum):
    """A circumstance in which a failure requires user action although its class alone does not."""

    RESTARTS = f"after {RESTARTS_BEFORE_USER_ACTION} restarts"
    SCHEDULE_TIMEOUT = "after rollout.scheduleTimeoutSeconds without a node"
    FINAL = "when the message says that a retry cannot help"
    NOT_READY = "when a pod stays unready for longer than a start may take"

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureKind:
    """Meaning, default next step and consequences of a failure class.

    Retrying and user action are independent: the kubelet retries an image pull for ever, and still a user has
    to correct the image's name.
    """

    meaning: str
    next_step: str
    """The next step of a failure that has none of its own."""
    tries_again: bool = True
    """Whether tacho or the kubelet retries with an unchanged spec, so that the resource recovers when the
    cause is removed. False: the cause is in the spec, the image or this version of tacho.
    """
    escalates: tuple[Escalation, ...] | None = None
    """Events after which user action is required; (): none. None: at once, as recovery without user action is
    unlikely."""
    by_platform: bool = False
    """Whether the cluster causes such a failure, so that it does not count against the revision (unless the
    message names the pod as the cause).
    """

    @property
    def needs_user_action(self) -> bool:
        """Whether the class alone requires user action: then Stalled is True at once."""
        return self.escalates is None

    def user_action_needed(self, happened: Collection[Escalation] = ()) -> bool:
        """Whether user action is required, after the events ``happened``."""
        return self.escalates is None or any(item in self.escalates for item in happened)


_F = FailureClass
FAILURE_KINDS: Mapping[FailureClass, FailureKind] = {
    _F.ENGINE_NOT_SUPPORTED: FailureKind(
        meaning="The engine cannot run this model or this hardware, or its image lacks it.",
        next_step="Use another engine.name, or a newer or another engine.image.",
        tries_again=False,
    ),
    _F.IMPORT_FAILED: FailureKind(
        meaning="The engine's image lacks a Python module, or a library of it.",
        next_step="Use an engine.image that has it, or another engine.name or quantization.method.",
        tries_again=False,
    ),
    _F.MODEL_NOT_FOUND: FailureKind(
        meaning="The repository, revision, path or file does not exist, or no glob matches.",
        next_step="Check model.uri, model.revision and model.files against the source.",
    ),
    _F.MODEL_INVALID: FailureKind(
        meaning="A file of the model is truncated, inconsistent or of another format.",
        next_step="Upload or download it again; compare its size and checksum with the source.",
    ),
    _F.MODEL_CHANGED: FailureKind(
        meaning="The model's files are not those that the plan was made with.",
        next_step="Restore the planned files, or set the annotation tacho.dev/replan to a new value.",
    ),
    _F.AUTH_REQUIRED: FailureKind(
        meaning="The source refuses access to the model.",
        next_step="Accept the model's terms; name a Secret with a valid token in model.tokenSecretRef.",
    ),
    _F.HUB_UNREACHABLE: FailureKind(
        meaning="The Hub or mirror did not answer, or answered with an error of its own.",
        next_step="Check model.hub (endpoint, proxy, certificates) and the namespace's egress.",
        escalates=(Escalation.RESTARTS, Escalation.FINAL),
    ),
    _F.UNSUPPORTED_QUANTIZATION: FailureKind(
        meaning="The engine, or this checkpoint, does not support the quantization method.",
        next_step="Choose another quantization.method or engine.name from status.plan.alternatives.",
        tries_again=False,
    ),
    _F.UNSUPPORTED_GPU: FailureKind(
        meaning="The GPU or driver lacks a requirement of engine or method, or is not the planned one.",
        next_step="Choose another product in gpu.products or another quantization.method.",
    ),
    _F.DOES_NOT_FIT: FailureKind(
        meaning="Weights, KV cache and overhead exceed the memory.",
        next_step="Use a shorter context, another quantization, or more or larger GPUs.",
    ),
    _F.KV_CACHE_TOO_SMALL: FailureKind(
        meaning="The KV cache holds fewer tokens than one request of maxModelLen needs.",
        next_step="Set context.maxModelLen to the length in the message, or less.",
        tries_again=False,
    ),
    _F.GPU_OUT_OF_MEMORY: FailureKind(
        meaning="The engine ran out of GPU memory.",
        next_step="Lower context.maxModelLen or context.concurrency, or use a larger GPU.",
    ),
    _F.HOST_OUT_OF_MEMORY: FailureKind(
        meaning="The kernel killed the engine or the container: out of host memory.",
        next_step="Raise engine.resources.limits.memory.",
        escalates=(Escalation.RESTARTS,),
    ),
    _F.IMAGE_PULL_ERROR: FailureKind(
        meaning="An image of the pod cannot be pulled.",
        next_step="Check engine.image, the registry's reachability and podTemplate.spec.imagePullSecrets.",
    ),
    _F.UNSCHEDULABLE: FailureKind(
        meaning="No node accepts the pod for lack of a resource or by a constraint.",
        next_step="Add or free such a node, or relax gpu, engine.resources or podTemplate.",
        escalates=(Escalation.SCHEDULE_TIMEOUT,),
    ),
    _F.NO_SPARE_GPU: FailureKind(
        meaning="No GPU is free for the new revision while the active one holds its own.",
        next_step="Add or free a GPU, or run fewer replicas until it serves. From 1, set 0, then 1 again.",
        escalates=(Escalation.SCHEDULE_TIMEOUT,),
    ),
    _F.POD_NOT_PREPARED: FailureKind(
        meaning="The pod's node does not mount its volumes, set up its network or start a container.",
        next_step="See the pod's events; a ReadWriteOnce claim mounts on one node only.",
    ),
    _F.QUOTA_EXCEEDED: FailureKind(
        meaning="The namespace's ResourceQuota does not admit another pod or object.",
        next_step="Raise the quota, or lower replicas or engine.resources.",
    ),
    _F.ADMISSION_DENIED: FailureKind(
        meaning="An admission policy or a missing permission of the operator refuses an object.",
        next_step="Change spec or the policy, or install the chart's roles again.",
    ),
    _F.ADMISSION_UNAVAILABLE: FailureKind(
        meaning="An admission webhook of the cluster does not answer, so that no object is admitted.",
        next_step="Repair that webhook or its Service. Kubernetes tries again.",
        escalates=(),
        by_platform=True,
    ),
    _F.NAMESPACE_TERMINATING: FailureKind(
        meaning="The namespace is being deleted and takes no new object.",
        next_step="Wait for its end, then create it again.",
        by_platform=True,
    ),
    _F.NAME_CONFLICT: FailureKind(
        meaning="An object with a name that tacho needs exists and has another owner, or none.",
        next_step="Delete or rename that object, or rename this resource.",
    ),
    _F.CACHE_NOT_FOUND: FailureKind(
        meaning="The claim that model.uri or cache names does not exist.",
        next_step="Create the PersistentVolumeClaim, or correct its name.",
    ),
    _F.CACHE_NOT_SHAREABLE: FailureKind(
        meaning="The claim's access mode does not allow several pods or nodes.",
        next_step="Use a claim with ReadWriteMany or ReadOnlyMany, or keep the pods on one node.",
    ),
    _F.DISK_FULL: FailureKind(
        meaning="The volume or disk for the model is full.",
        next_step="Enlarge the claim or the node's disk, or delete unused models.",
    ),
    _F.ENGINE_CRASHED: FailureKind(
        meaning="The engine ended by itself, or answered no request; the message has its last lines.",
        next_step="Read those lines; check engine.extraArgs, engine.env and the model.",
        escalates=(Escalation.RESTARTS, Escalation.FINAL),
    ),
    _F.STARTUP_TIMEOUT: FailureKind(
        meaning="The engine did not serve within the startup budget.",
        next_step="Check the durations in status.startup; raise startupTimeoutSeconds.",
        escalates=(Escalation.RESTARTS, Escalation.NOT_READY),
    ),
    _F.INSPECTION_TIMEOUT: FailureKind(
        meaning="The inspection pod did not finish in time.",
        next_step="Check that it is scheduled and reaches the source; see the events of the namespace.",
        escalates=(),
    ),
    _F.GPU_FAULT: FailureKind(
        meaning="The GPU or its driver reported a fault (XID).",
        next_step="Drain and reset the node; replace the GPU if the fault recurs.",
        escalates=(Escalation.RESTARTS,),
    ),
    _F.NODE_LOST: FailureKind(
        meaning="The node of the pod stopped answering.",
        next_step="Repair the node; if it is off, delete it or taint it node.kubernetes.io/out-of-service.",
        escalates=(),
        by_platform=True,
    ),
    _F.EVICTED: FailureKind(
        meaning="The cluster evicted the pod: drain, preemption, node shutdown or shortage.",
        next_step="Wait for the new pod; if the engine exceeded its requests, raise them.",
        escalates=(Escalation.RESTARTS,),
        by_platform=True,
    ),
    _F.PORT_IN_USE: FailureKind(
        meaning="A port of the engine or the runtime is in use.",
        next_step="Choose another engine.custom.port, or stop the process that listens there.",
        escalates=(Escalation.RESTARTS,),
    ),
    _F.RUNTIME_CHANGED: FailureKind(
        meaning="The operator's image no longer has the runtime that the revision froze.",
        next_step="Restart the operator and set tacho.dev/replan anew; name its image by digest.",
    ),
    _F.QUANTIZATION_NOT_APPLIED: FailureKind(
        meaning="The loaded weights are far larger than the quantization predicts.",
        next_step="Check engine.image and engine.extraArgs: the engine did not apply quantization.method.",
        tries_again=False,
    ),
    _F.INVALID_CONFIG: FailureKind(
        meaning="The API server, engine or runtime refuses a setting, or an object is missing.",
        next_step="Correct that field, engine.extraArgs, engine.env, engine.custom or the object.",
    ),
    _F.UNREADABLE_SPEC: FailureKind(
        meaning="This version of the operator cannot read spec; another version accepted it.",
        next_step="Apply a valid spec, or upgrade the operator.",
    ),
    _F.INTERNAL_ERROR: FailureKind(
        meaning="The operator failed to decide on this resource: a defect of the operator.",
        next_step="Revert the last change of spec; report the error with the operator's log.",
    ),
    _F.PLANNING_FAILED: FailureKind(
        meaning="The planner ended with an error on this model and spec, or took too long.",
        next_step="Change model or spec, or set the annotation tacho.dev/replan to a new value.",
        tries_again=False,
    ),
}

_UNKNOWN = FailureKind(
    meaning="A class that is unknown to this version of tacho.",
    next_step="See the message and the pod's log; this version of tacho does not know the class.",
    escalates=(Escalation.RESTARTS, Escalation.FINAL),
)


def failure_kind(failure_class: str) -> FailureKind:
    """The kind of a failure class. For a class that this version does not know, Failure.retryable decides."""
    try:
        return FAILURE_KINDS[FailureClass(failure_class)]
    except ValueError:
        return _UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a process ended: the content of a termination message."""

    failure_class: str
    """A FailureClass as a plain string, since another version may report a class that is unknown here."""
    message: str
    """Cause of the failure, with names and numbers."""
    next_step: str
    """What the user should do about the failure, as an instruction."""
    retryable: bool | None = None
    """Whether a retry without changes may help. None: as for its class; it is replaced on construction."""
    details: dict[str, str] = field(default_factory=dict)
    """Values that later decisions use, e.g. ``fitsMaxModelLen`` of KVCacheTooSmall."""
    log_tail: tuple[str, ...] = ()
    """The lines of the engine's output that show the cause, at most 10."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "failure_class", str(self.failure_class))
        if self.retryable is None:
            kind = failure_kind(self.failure_class)
            object.__setattr__(self, "retryable", kind is not _UNKNOWN and not kind.needs_user_action)


TERMINATION_LIMIT_BYTES = 3 * 1024
"""Most bytes of a termination message. The kubelet cuts it at 4 KiB per container without a warning; the rest
is for escapes.
"""


LOG_TAIL_LINES = 10
LINE_LIMIT_CHARS = 400
MESSAGE_LIMIT_CHARS = 800


class FailedError(Exception):
    """The exception that carries a Failure up to the end of the process."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.failure_class}: {failure.message}")
        self.failure = failure

    @classmethod
    def of(
        cls, failure_class: str, message: str, next_step: str = "", *, retryable: bool | None = None
    ) -> FailedError:
        """An error with a failure of that class. Without ``next_step``, it has the default one of its
        class."""
        step = next_step or failure_kind(failure_class).next_step
        return cls(Failure(failure_class=failure_class, message=message, next_step=step, retryable=retryable))


def log_tail(lines: Iterable[str], count: int = LOG_TAIL_LINES) -> tuple[str, ...]:
    """The last ``count`` lines that are not empty, each cut to LINE_LIMIT_CHARS."""
    kept = [clipped(line.strip(), LINE_LIMIT_CHARS) for line in lines if line.strip()]
    return tuple(kept[-count:])


def termination_message(failure: Failure, limit_bytes: int = TERMINATION_LIMIT_BYTES) -> str:
    """The failure as JSON of at most ``limit_bytes``.

    Shortened in this order: the log tail, oldest line first; the details; the end of the texts.
    """
    text = codec.dumps(failure)
    while len(text.encode()) > limit_bytes and failure.log_tail:
        failure = dataclasses.replace(failure, log_tail=failure.log_tail[1:])
        text = codec.dumps(failure)
    if len(text.encode()) <= limit_bytes:
        return text
    failure = dataclasses.replace(failure, details={})
    for limit_chars in (MESSAGE_LIMIT_CHARS, MESSAGE_LIMIT_CHARS // 2, MESSAGE_LIMIT_CHARS // 8):
        cut = dataclasses.replace(
            failure,
            failure_class=clipped(failure.failure_class, 64),
            message=clipped(failure.message, limit_chars),
            next_step=clipped(failure.next_step, limit_chars),
        )
        text = codec.dumps(cut)
        if len(text.encode()) <= limit_bytes:
            break
    return text
