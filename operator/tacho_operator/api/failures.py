"""The classes of failure: each has a name, a meaning and a next step for the person who meets it.

The class is the reason of Ready (and of Stalled, where nobody but a person can help); the message carries
the details and the next step.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FailureClass(StrEnum):
    """Why a resource cannot go on."""

    ENGINE_NOT_SUPPORTED = "EngineNotSupported"
    MODEL_NOT_FOUND = "ModelNotFound"
    MODEL_INVALID = "ModelInvalid"
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
    PORT_IN_USE = "PortInUse"
    QUANTIZATION_NOT_APPLIED = "QuantizationNotApplied"
    INVALID_CONFIG = "InvalidConfig"


@dataclass(frozen=True, slots=True)
class FailureDoc:
    """What a class means, and what helps by default where no better advice is at hand."""

    meaning: str
    next_step: str
    retried: bool
    """True: tacho or the kubelet tries again by itself. False: something has to change first."""


_F = FailureClass
FAILURES: dict[FailureClass, FailureDoc] = {
    _F.ENGINE_NOT_SUPPORTED: FailureDoc(
        "The plan is made, but this version of tacho cannot run the engine it needs.",
        "Set engine.name to an engine that is supported, or upgrade tacho.",
        retried=False,
    ),
    _F.MODEL_NOT_FOUND: FailureDoc(
        "The repository, revision, path or file does not exist, or no file matches the globs.",
        "Check model.uri, model.revision and model.files against what the source holds.",
        retried=False,
    ),
    _F.MODEL_INVALID: FailureDoc(
        "A file of the model is truncated, contradicts itself or is not what its name says.",
        "Upload or download the file again and compare its size and checksum with the source.",
        retried=False,
    ),
    _F.AUTH_REQUIRED: FailureDoc(
        "The source refuses to show the model without a token, or with the one it was given.",
        "Accept the model's terms, and name a Secret that holds a token with access in model.tokenSecretRef.",
        retried=False,
    ),
    _F.HUB_UNREACHABLE: FailureDoc(
        "The Hub or mirror did not answer, or answered with an error of its own.",
        "Check model.hub (endpoint, proxy, certificates) and the namespace's egress.",
        retried=True,
    ),
    _F.UNSUPPORTED_QUANTIZATION: FailureDoc(
        "The engine, or this checkpoint, cannot do the quantization method.",
        "Choose another quantization.method or engine.name; status.plan.alternatives lists what works.",
        retried=False,
    ),
    _F.UNSUPPORTED_GPU: FailureDoc(
        "The GPU lacks what engine or method need, such as a compute capability.",
        "Choose another product in gpu.products, or another quantization.method.",
        retried=False,
    ),
    _F.DOES_NOT_FIT: FailureDoc(
        "Weights, KV cache and overhead need more memory than there is.",
        "Take what the message says would fit: a shorter context, another quantization, more or larger GPUs.",
        retried=False,
    ),
    _F.KV_CACHE_TOO_SMALL: FailureDoc(
        "The engine found less room for the KV cache than one request of maxModelLen needs.",
        "Set context.maxModelLen to the length the message names, or less.",
        retried=False,
    ),
    _F.GPU_OUT_OF_MEMORY: FailureDoc(
        "The engine ran out of GPU memory.",
        "Lower context.maxModelLen or context.concurrency, or use a larger GPU.",
        retried=True,
    ),
    _F.HOST_OUT_OF_MEMORY: FailureDoc(
        "The kernel killed the engine, or the container, for lack of main memory.",
        "Raise engine.resources.limits.memory.",
        retried=True,
    ),
    _F.IMAGE_PULL_ERROR: FailureDoc(
        "An image of the pod cannot be pulled.",
        "Check engine.image, the registry's reachability and podTemplate.spec.imagePullSecrets.",
        retried=True,
    ),
    _F.UNSCHEDULABLE: FailureDoc(
        "No node takes the pod; the message names the resource or constraint that is missing.",
        "Free or add a node with that resource, or relax gpu, engine.resources or podTemplate.",
        retried=True,
    ),
    _F.NO_SPARE_GPU: FailureDoc(
        "The new revision finds no free GPU beside the active one.",
        "Add a GPU, or set rollout.strategy to Recreate and rollout.allowDowntime to true.",
        retried=True,
    ),
    _F.QUOTA_EXCEEDED: FailureDoc(
        "The namespace's ResourceQuota does not admit another pod or object.",
        "Raise the quota, or lower replicas or engine.resources.",
        retried=True,
    ),
    _F.ADMISSION_DENIED: FailureDoc(
        "An admission policy of the cluster, or a missing right of the operator, refuses an object.",
        "Read what the message names; change the spec or the policy, or install the chart's roles again.",
        retried=True,
    ),
    _F.NAME_CONFLICT: FailureDoc(
        "An object with a name tacho needs exists already and belongs to somebody else.",
        "Delete or rename that object, or rename this resource.",
        retried=True,
    ),
    _F.CACHE_NOT_FOUND: FailureDoc(
        "The claim that model.uri or cache names does not exist.",
        "Create the PersistentVolumeClaim, or correct its name.",
        retried=True,
    ),
    _F.CACHE_NOT_SHAREABLE: FailureDoc(
        "The claim's access mode does not let the pods of several nodes, or two pods, use it.",
        "Use a claim with ReadWriteMany or ReadOnlyMany, or keep the pods on one node.",
        retried=False,
    ),
    _F.DISK_FULL: FailureDoc(
        "There is no room left for the model where it is stored.",
        "Enlarge the claim or the node's disk, or delete models that are not used.",
        retried=True,
    ),
    _F.ENGINE_CRASHED: FailureDoc(
        "The engine ended by itself; the message has its last lines.",
        "Read those lines; check engine.extraArgs, engine.env and the model.",
        retried=True,
    ),
    _F.STARTUP_TIMEOUT: FailureDoc(
        "The engine did not serve within the startup budget.",
        "Look at status.startup for where the time went; raise startupTimeoutSeconds.",
        retried=True,
    ),
    _F.INSPECTION_TIMEOUT: FailureDoc(
        "The pod that reads the model's headers did not finish in time.",
        "Check that it is scheduled and reaches the source; see the events of the namespace.",
        retried=True,
    ),
    _F.GPU_FAULT: FailureDoc(
        "The GPU or its driver reported a fault (XID).",
        "Drain and reset the node; replace the GPU where it happens again.",
        retried=True,
    ),
    _F.NODE_LOST: FailureDoc(
        "The node of the pod stopped answering.",
        "Check the node; the pod is replaced once the node is gone or back.",
        retried=True,
    ),
    _F.PORT_IN_USE: FailureDoc(
        "A port the engine or the runtime needs is taken.",
        "Choose another engine.custom.port, or stop what listens there.",
        retried=False,
    ),
    _F.QUANTIZATION_NOT_APPLIED: FailureDoc(
        "The loaded weights are far larger than the quantization should leave them.",
        "Check engine.image and engine.extraArgs: the engine did not apply quantization.method.",
        retried=False,
    ),
    _F.INVALID_CONFIG: FailureDoc(
        "The engine, or tacho's runtime, refuses its settings.",
        "Correct what the message names, most often in engine.extraArgs, engine.env or engine.custom.",
        retried=False,
    ),
}


def next_step(failure_class: str) -> str:
    """The default advice for a class; general advice for one this version does not know."""
    try:
        return FAILURES[FailureClass(failure_class)].next_step
    except ValueError:
        return "See the message and the pod's log; this class is not known to this version of tacho."
