"""Failure classes, the document of a failure, and the size a termination message may have."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field

from tacho_contract import codec
from tacho_contract.units import clipped

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
