"""Why something does not go on, as a condition shows it: a class, words, and what has happened to it.

Whether a person is needed is nobody's opinion here: it follows from the class (tacho_contract.failure).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tacho_contract import codec
from tacho_contract.failure import (
    RESTARTS_BEFORE_PERSON,
    Escalation,
    Failure,
    FailureClass,
    FailureKind,
    failure_kind,
)
from tacho_contract.units import clipped
from tacho_operator.api.conditions import Reason
from tacho_operator.core.types import Refusal

_NO_FAILURES = frozenset(map(str, Reason))
_NO_RIGHT = re.compile(r"cannot \w+ resource")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong."""

    reason: str
    """The failure class; CamelCase."""
    message: str
    """What happened and what to do next."""
    happened: frozenset[Escalation] = frozenset()
    """What makes it a person's matter where its class alone does not."""
    own_doing: bool = False
    """True: the cluster acted, and what the pod did brought it about; by its class alone it would not count
    against the revision."""
    missing_resources: tuple[str, ...] = ()
    """Of Unschedulable: the resources of which no node has enough, e.g. nvidia.com/gpu."""

    @property
    def kind(self) -> FailureKind:
        return failure_kind(self.reason)

    @property
    def blameless(self) -> bool:
        """The cluster caused it, whatever the pod runs: it says nothing about the revision."""
        return self.kind.by_platform and not self.own_doing

    @property
    def needs_person(self) -> bool:
        """True: it does not go on without a person. False: it may heal, or is being tried again."""
        return self.kind.person_needed(self.happened)


def most_pressing(problems: Iterable[Problem]) -> Problem | None:
    """The first that only a person can help, else the first; None where there is none."""
    found = tuple(problems)
    return next((problem for problem in found if problem.needs_person), found[0] if found else None)


def from_failure(failure: Failure, where: str = "", *, restarts: int = 0) -> Problem:
    """A failure the runtime, fetch, inspection or planning reported, after so many ``restarts``."""
    kind = failure_kind(failure.failure_class)
    step = failure.next_step.strip() or kind.next_step
    what = failure.message.strip() or kind.meaning
    text = f"{ended(what)} {ended(step[:1].upper() + step[1:])}"
    if failure.log_tail:
        text += " Last lines: " + " | ".join(line.strip() for line in failure.log_tail[-3:])
    final = () if failure.retryable else (Escalation.FINAL,)
    return Problem(
        reason=_word(failure.failure_class),
        message=clipped(f"{where}: {text}" if where else text),
        happened=after_restarts(restarts).union(final),
    )


def after_restarts(restarts: int) -> frozenset[Escalation]:
    """What so many restarts of a container have made happen."""
    return frozenset({Escalation.RESTARTS} if restarts >= RESTARTS_BEFORE_PERSON else ())


def ended(words: str) -> str:
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
    """A condition's reason must be a CamelCase word, and not one that says that all is well, whatever a pod
    wrote."""
    word = "".join(letter for letter in failure_class if letter.isalnum() and letter.isascii())[:64]
    return word if word[:1].isupper() and word not in _NO_FAILURES else FailureClass.ENGINE_CRASHED


def refused_child(refusal: Refusal) -> Problem:
    """Why a child could not be had."""
    if not refusal.taken:
        return refusal_said(f"{refusal.kind}/{refusal.name}: {refusal.message}")
    return Problem(
        reason=FailureClass.NAME_CONFLICT,
        message=f"{refusal.kind} {refusal.name} exists in this namespace and belongs to somebody else. "
        f"Delete or rename that {refusal.kind}, or give this resource another name.",
    )


def refusal_said(text: str) -> Problem:
    """What the API server said when it refused to create a pod or another child, which is all there is to
    tell a quota, an admission policy and a missing right apart by."""
    lowered = text.lower()
    if "exceeded quota" in lowered or "must specify" in lowered:
        return Problem(
            reason=FailureClass.QUOTA_EXCEEDED,
            message=clipped(f"The namespace's quota refuses it: {text}. Raise the quota or ask for less."),
        )
    if _NO_RIGHT.search(lowered):
        return Problem(
            reason=FailureClass.ADMISSION_DENIED,
            message=clipped(f"The operator may not do it: {text}. Install the roles of its chart again."),
        )
    return Problem(
        reason=FailureClass.ADMISSION_DENIED,
        message=clipped(f"The cluster's admission refuses it: {text}. Adapt spec or the namespace's policy."),
    )
