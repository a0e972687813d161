"""How inspecting and fetching refuse: one exception that carries the failure a person will read."""

from __future__ import annotations

from tacho_contract.failure import Failure, FailureClass


class Refused(Exception):
    """A class, what happened, and what to do next. The only exception this package lets out on purpose."""

    def __init__(
        self, failure_class: str, message: str, next_step: str, *, retryable: bool | None = None
    ) -> None:
        super().__init__(message)
        self.failure = Failure(
            failure_class=failure_class, message=message, next_step=next_step, retryable=retryable
        )


def invalid(message: str, next_step: str = "") -> Refused:
    """The model's files are not what they claim to be."""
    return Refused(
        FailureClass.MODEL_INVALID,
        message,
        next_step or "Download or convert the model again, or point spec.model at an intact copy.",
    )


def not_found(message: str, next_step: str) -> Refused:
    return Refused(FailureClass.MODEL_NOT_FOUND, message, next_step)


def listing(names: list[str], limit: int = 8) -> str:
    """Names for a message: the first few, and how many more there are. Long names are shortened."""
    shown = [name if len(name) <= 80 else f"{name[:38]}…{name[-40:]}" for name in names[:limit]]
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(shown) + more
