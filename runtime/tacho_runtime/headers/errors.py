"""How reading a model's files fails."""

from __future__ import annotations

from tacho_contract.failure import FailedError, FailureClass


def invalid(message: str, next_step: str = "") -> FailedError:
    """The model's files are not what they claim to be."""
    return FailedError.of(
        FailureClass.MODEL_INVALID,
        message,
        next_step or "Download or convert the model again, or point spec.model at an intact copy.",
    )


def not_found(message: str, next_step: str) -> FailedError:
    return FailedError.of(FailureClass.MODEL_NOT_FOUND, message, next_step)
