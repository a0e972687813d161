"""Why something does not go on, as a condition shows it: a class, words, and whether a person is needed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tacho_contract import codec
from tacho_contract.failure import ENGINE_CRASHED, Failure
from tacho_contract.units import clipped
from tacho_operator.api.failures import FailureClass

_NO_RIGHT = re.compile(r"cannot \w+ resource")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong."""

    reason: str
    """The failure class; CamelCase."""
    message: str
    """What happened and what to do next."""
    stalled: bool
    """True: it does not go on without a person. False: it may heal, or is being tried again."""


def from_failure(failure: Failure, where: str = "", *, hopeless: bool = False) -> Problem:
    """A failure the runtime, fetch, inspection or planning reported.

    ``hopeless``: it was tried so often that trying again alone will not help.
    """
    step = failure.next_step.strip()
    text = f"{_ended(failure.message)} {_ended(step[:1].upper() + step[1:])}".strip()
    if failure.log_tail:
        text += " Last lines: " + " | ".join(line.strip() for line in failure.log_tail[-3:])
    return Problem(
        reason=_word(failure.failure_class),
        message=clipped(f"{where}: {text}" if where else text),
        stalled=hopeless or not failure.retryable,
    )


def _ended(words: str) -> str:
    """Words with a full stop, so that what follows is not read as their end."""
    words = words.strip()
    return words if not words or words[-1] in ".!?…" else f"{words}."


def parse_failure(message: str) -> Failure | None:
    """The failure in a termination message; None where it is something else (a log's tail, nothing)."""
    try:
        return codec.loads(Failure, message)
    except codec.DocumentError:
        return None


def _word(failure_class: str) -> str:
    """A condition's reason must be a CamelCase word, whatever a pod wrote."""
    word = "".join(letter for letter in failure_class if letter.isalnum() and letter.isascii())[:64]
    return word if word[:1].isupper() else ENGINE_CRASHED


def refusal(text: str) -> Problem:
    """What the API server said when it refused to create a pod or another child."""
    lowered = text.lower()
    if "exceeded quota" in lowered or "must specify" in lowered:
        return Problem(
            reason=FailureClass.QUOTA_EXCEEDED,
            message=clipped(f"The namespace's quota refuses it: {text}. Raise the quota or ask for less."),
            stalled=True,
        )
    if _NO_RIGHT.search(lowered):
        return Problem(
            reason=FailureClass.ADMISSION_DENIED,
            message=clipped(f"The operator may not do it: {text}. Install the roles of its chart again."),
            stalled=True,
        )
    return Problem(
        reason=FailureClass.ADMISSION_DENIED,
        message=clipped(f"The cluster's admission refuses it: {text}. Adapt spec or the namespace's policy."),
        stalled=True,
    )
