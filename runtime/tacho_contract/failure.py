"""Failures as data: the classes, what each one means for who acts next, and the document of one failure.

Both sides use this table: the runtime reports a class, the operator decides by it, and docs/conditions.md
is made from it. On the wire a class is a plain string, so that an older operator reads a newer runtime.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from tacho_contract import codec
from tacho_contract.units import clipped

RESTARTS_BEFORE_PERSON = 3
"""After so many restarts the kubelet's back-off is minutes long, and a person should look."""


class FailureClass(str, Enum):
    """Why a resource cannot go on; the reason of Ready, and of Stalled where a person is needed."""

    ENGINE_NOT_SUPPORTED = "EngineNotSupported"
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
    QUOTA_EXCEEDED = "QuotaExceeded"
    ADMISSION_DENIED = "AdmissionDenied"
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
    QUANTIZATION_NOT_APPLIED = "QuantizationNotApplied"
    INVALID_CONFIG = "InvalidConfig"

    def __str__(self) -> str:
        return str(self.value)


class Escalation(str, Enum):
    """What makes a failure a person's matter whose class alone is none."""

    RESTARTS = f"after {RESTARTS_BEFORE_PERSON} restarts"
    SCHEDULE_TIMEOUT = "after 10 minutes without a node"
    FINAL = "when the message says that trying again cannot help"

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureKind:
    """What a class means, what to do by default, and who acts next. The two properties are independent:
    a pull is tried again by the kubelet for ever, and still somebody has to correct the image's name."""

    meaning: str
    next_step: str
    """What helps where no better advice is at hand."""
    tries_again: bool = True
    """tacho or the kubelet tries again by itself, with spec as it is, and it goes on once the cause is gone.
    False: the cause is in spec, in the image or in this version of tacho, and only changing that helps."""
    needs_person: bool = True
    """It will not go on, or is unlikely to, before a person acts: Stalled is true from the first time."""
    escalates: tuple[Escalation, ...] = ()
    """What makes it a person's matter later, where it is none from the first time."""
    by_platform: bool = False
    """The cluster caused it, whatever the pod runs: it says nothing about the revision, and never counts
    against it, but where the message says that the pod brought it about."""
    planned: bool = False
    """Nothing raises it yet: the word is reserved, and left out of the documentation."""

    def person_needed(self, happened: Collection[Escalation] = ()) -> bool:
        """Whether a person has to act, with what has ``happened`` to this one failure."""
        return self.needs_person or any(item in self.escalates for item in happened)


_F = FailureClass
FAILURE_KINDS: Mapping[FailureClass, FailureKind] = {
    _F.ENGINE_NOT_SUPPORTED: FailureKind(
        meaning="The plan is made, but this version of tacho cannot run the engine it needs.",
        next_step="Set engine.name to an engine that is supported, or upgrade tacho.",
        tries_again=False,
    ),
    _F.MODEL_NOT_FOUND: FailureKind(
        meaning="The repository, revision, path or file does not exist, or no file matches the globs.",
        next_step="Check model.uri, model.revision and model.files against what the source holds.",
    ),
    _F.MODEL_INVALID: FailureKind(
        meaning="A file of the model is truncated, contradicts itself or is not what its name says.",
        next_step="Upload or download the file again and compare its size and checksum with the source.",
    ),
    _F.MODEL_CHANGED: FailureKind(
        meaning="The model's files are not those that the plan was made with.",
        next_step="Put the planned files back, or have those that are there planned: set the annotation "
        "tacho.dev/replan of the LLMDeployment to a new value.",
    ),
    _F.AUTH_REQUIRED: FailureKind(
        meaning="The source refuses to show the model without a token, or with the one it was given.",
        next_step="Accept the model's terms, and name a Secret that holds a token with access in "
        "model.tokenSecretRef.",
    ),
    _F.HUB_UNREACHABLE: FailureKind(
        meaning="The Hub or mirror did not answer, or answered with an error of its own.",
        next_step="Check model.hub (endpoint, proxy, certificates) and the namespace's egress.",
        needs_person=False,
        escalates=(Escalation.RESTARTS, Escalation.FINAL),
    ),
    _F.UNSUPPORTED_QUANTIZATION: FailureKind(
        meaning="The engine, or this checkpoint, cannot do the quantization method.",
        next_step="Choose another quantization.method or engine.name; status.plan.alternatives lists what "
        "works.",
        tries_again=False,
    ),
    _F.UNSUPPORTED_GPU: FailureKind(
        meaning="The GPU or its driver lacks what engine or method need, such as a compute capability, or it "
        "is not the one that was planned for.",
        next_step="Choose another product in gpu.products, or another quantization.method.",
    ),
    _F.DOES_NOT_FIT: FailureKind(
        meaning="Weights, KV cache and overhead need more memory than there is.",
        next_step="Take what the message says would fit: a shorter context, another quantization, more or "
        "larger GPUs.",
    ),
    _F.KV_CACHE_TOO_SMALL: FailureKind(
        meaning="The engine found less room for the KV cache than one request of maxModelLen needs.",
        next_step="Set context.maxModelLen to the length the message names, or less.",
        tries_again=False,
    ),
    _F.GPU_OUT_OF_MEMORY: FailureKind(
        meaning="The engine ran out of GPU memory.",
        next_step="Lower context.maxModelLen or context.concurrency, or use a larger GPU.",
    ),
    _F.HOST_OUT_OF_MEMORY: FailureKind(
        meaning="The kernel killed the engine, or the container, for lack of main memory.",
        next_step="Raise engine.resources.limits.memory.",
        needs_person=False,
        escalates=(Escalation.RESTARTS,),
    ),
    _F.IMAGE_PULL_ERROR: FailureKind(
        meaning="An image of the pod cannot be pulled.",
        next_step="Check engine.image, the registry's reachability and podTemplate.spec.imagePullSecrets.",
    ),
    _F.UNSCHEDULABLE: FailureKind(
        meaning="No node takes the pod; the message names the resource or constraint that is missing.",
        next_step="Free or add a node with that resource, or relax gpu, engine.resources or podTemplate.",
        needs_person=False,
        escalates=(Escalation.SCHEDULE_TIMEOUT,),
    ),
    _F.NO_SPARE_GPU: FailureKind(
        meaning="The new revision finds no free GPU beside the active one.",
        next_step="Add a GPU or free one; deleted and created anew, the resource makes do with what it has.",
        needs_person=False,
        escalates=(Escalation.SCHEDULE_TIMEOUT,),
    ),
    _F.QUOTA_EXCEEDED: FailureKind(
        meaning="The namespace's ResourceQuota does not admit another pod or object.",
        next_step="Raise the quota, or lower replicas or engine.resources.",
    ),
    _F.ADMISSION_DENIED: FailureKind(
        meaning="An admission policy of the cluster, or a missing right of the operator, refuses an object.",
        next_step="Read what the message names; change the spec or the policy, or install the chart's roles "
        "again.",
    ),
    _F.NAME_CONFLICT: FailureKind(
        meaning="An object with a name tacho needs exists already and belongs to somebody else.",
        next_step="Delete or rename that object, or rename this resource.",
    ),
    _F.CACHE_NOT_FOUND: FailureKind(
        meaning="The claim that model.uri or cache names does not exist.",
        next_step="Create the PersistentVolumeClaim, or correct its name.",
    ),
    _F.CACHE_NOT_SHAREABLE: FailureKind(
        meaning="The claim's access mode does not let the pods of several nodes, or two pods, use it.",
        next_step="Use a claim with ReadWriteMany or ReadOnlyMany, or keep the pods on one node.",
    ),
    _F.DISK_FULL: FailureKind(
        meaning="There is no room left for the model where it is stored.",
        next_step="Enlarge the claim or the node's disk, or delete models that are not used.",
    ),
    _F.ENGINE_CRASHED: FailureKind(
        meaning="The engine ended by itself; the message has its last lines.",
        next_step="Read those lines; check engine.extraArgs, engine.env and the model.",
        needs_person=False,
        escalates=(Escalation.RESTARTS, Escalation.FINAL),
    ),
    _F.STARTUP_TIMEOUT: FailureKind(
        meaning="The engine did not serve within the startup budget.",
        next_step="Look at status.startup for where the time went; raise startupTimeoutSeconds.",
        needs_person=False,
        escalates=(Escalation.RESTARTS,),
    ),
    _F.INSPECTION_TIMEOUT: FailureKind(
        meaning="The pod that reads the model's headers did not finish in time.",
        next_step="Check that it is scheduled and reaches the source; see the events of the namespace.",
        needs_person=False,
    ),
    _F.GPU_FAULT: FailureKind(
        meaning="The GPU or its driver reported a fault (XID).",
        next_step="Drain and reset the node; replace the GPU where it happens again.",
        needs_person=False,
        escalates=(Escalation.RESTARTS,),
    ),
    _F.NODE_LOST: FailureKind(
        meaning="The node of the pod stopped answering.",
        next_step="Check the node; the pod is replaced once the node is gone or back.",
        needs_person=False,
        by_platform=True,
    ),
    _F.EVICTED: FailureKind(
        meaning="The cluster took the pod away: a drain, a preemption, a node short of memory or disk, or "
        "one that shuts down.",
        next_step="Nothing; the pod is replaced as soon as there is room for it. Where the engine used more "
        "than it had asked for, raise engine.resources.requests to what the message says.",
        needs_person=False,
        escalates=(Escalation.RESTARTS,),
        by_platform=True,
    ),
    _F.PORT_IN_USE: FailureKind(
        meaning="A port the engine or the runtime needs is taken.",
        next_step="Choose another engine.custom.port, or stop what listens there.",
        needs_person=False,
        escalates=(Escalation.RESTARTS,),
    ),
    _F.QUANTIZATION_NOT_APPLIED: FailureKind(
        meaning="The loaded weights are far larger than the quantization should leave them.",
        next_step="Check engine.image and engine.extraArgs: the engine did not apply quantization.method.",
        tries_again=False,
    ),
    _F.INVALID_CONFIG: FailureKind(
        meaning="The engine, or tacho's runtime, refuses its settings, or an object they name is missing.",
        next_step="Correct what the message names, most often in engine.extraArgs, engine.env or "
        "engine.custom.",
    ),
}

_UNKNOWN = FailureKind(
    meaning="A class that this version of tacho does not know.",
    next_step="See the message and the pod's log; this class is not known to this version of tacho.",
    needs_person=False,
    escalates=(Escalation.RESTARTS, Escalation.FINAL),
)


def failure_kind(failure_class: str) -> FailureKind:
    """What is known of a class. One of another version is taken at its own word: see Failure.retryable."""
    try:
        return FAILURE_KINDS[FailureClass(failure_class)]
    except ValueError:
        return _UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why something cannot go on: the content of a termination message."""

    failure_class: str
    """A FailureClass, kept as a plain string: a newer version may name one that is not known here."""
    message: str
    """What happened, with the names and numbers a person needs."""
    next_step: str
    """What to do about it, as an instruction."""
    retryable: bool | None = None
    """Whether trying again soon and unchanged may help. Said only where it is known better than by the class
    (a hub's certificate that is not trusted); filled in from the class otherwise, never None afterwards."""
    details: dict[str, str] = field(default_factory=dict)
    """Figures later decisions use, e.g. ``fitsMaxModelLen`` of KVCacheTooSmall."""
    log_tail: tuple[str, ...] = ()
    """The lines of the engine's output that show the cause, at most 10."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "failure_class", str(self.failure_class))
        if self.retryable is None:
            kind = failure_kind(self.failure_class)
            object.__setattr__(self, "retryable", kind is not _UNKNOWN and not kind.needs_person)


TERMINATION_LIMIT_BYTES = 3 * 1024
"""The kubelet cuts messages at 4 KiB a container without a warning; this leaves room for escapes."""


LOG_TAIL_LINES = 10
LINE_LIMIT_CHARS = 400
MESSAGE_LIMIT_CHARS = 800


class FailedError(Exception):
    """Carries a Failure up to where the process ends."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.failure_class}: {failure.message}")
        self.failure = failure

    @classmethod
    def of(
        cls, failure_class: str, message: str, next_step: str, *, retryable: bool | None = None
    ) -> FailedError:
        """Of a failure without details."""
        return cls(
            Failure(failure_class=failure_class, message=message, next_step=next_step, retryable=retryable)
        )


def log_tail(lines: Iterable[str], count: int = LOG_TAIL_LINES) -> tuple[str, ...]:
    """The last ``count`` lines that say something, each cut to LINE_LIMIT_CHARS."""
    kept = [clipped(line.strip(), LINE_LIMIT_CHARS) for line in lines if line.strip()]
    return tuple(kept[-count:])


def termination_message(failure: Failure, limit_bytes: int = TERMINATION_LIMIT_BYTES) -> str:
    """The failure as JSON of at most ``limit_bytes``.

    What is given up first is the log tail, oldest line first, then the details, then the end of the
    texts: class, message and next step are what a person cannot do without.
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
