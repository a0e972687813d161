"""Failure classes and the document of a failure. Part of the contract: import it from there."""

from __future__ import annotations

from dataclasses import dataclass, field

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
DISK_FULL = "DiskFull"
ENGINE_CRASHED = "EngineCrashed"
STARTUP_TIMEOUT = "StartupTimeout"
GPU_FAULT = "GPUFault"
PORT_IN_USE = "PortInUse"
QUANTIZATION_NOT_APPLIED = "QuantizationNotApplied"
INVALID_CONFIG = "InvalidConfig"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why something cannot go on: the content of a termination message."""

    failure_class: str
    """One of the classes above; becomes the reason of Ready."""
    message: str
    """What happened, with the names and numbers a person needs."""
    next_step: str
    """What to do about it, as an instruction."""
    retryable: bool = False
    """True when trying again unchanged may help (a hub that did not answer), False when it cannot."""
    details: dict[str, str] = field(default_factory=dict)
    """Figures later decisions use, e.g. ``fitsMaxModelLen`` of KVCacheTooSmall."""
    log_tail: tuple[str, ...] = ()
    """The lines of the engine's output that show the cause, at most 10."""
