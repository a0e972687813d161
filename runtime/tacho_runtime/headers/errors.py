"""How reading a model's files fails."""

from __future__ import annotations

from tacho_contract.failure import FAILURE_KINDS, FailedError, FailureClass


def invalid(message: str, next_step: str = "") -> FailedError:
    """The model's files are not what they claim to be."""
    return FailedError.of(
        FailureClass.MODEL_INVALID,
        message,
        next_step or "Download or convert the model again, or point spec.model at an intact copy.",
    )


def changed(message: str) -> FailedError:
    """The files are sound as far as can be told, but not those that the plan was made with."""
    return FailedError.of(
        FailureClass.MODEL_CHANGED, message, FAILURE_KINDS[FailureClass.MODEL_CHANGED].next_step
    )


def not_found(message: str, next_step: str) -> FailedError:
    return FailedError.of(FailureClass.MODEL_NOT_FOUND, message, next_step)
