"""A problem of a resource: its failure class, condition message and event. The failure class
(tacho_contract.failure) says whether the user has to act.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tacho_contract import codec
from tacho_contract.failure import (
    RESTARTS_BEFORE_USER_ACTION,
    Escalation,
    Failure,
    FailureClass,
    FailureKind,
    failure_kind,
)
from tacho_contract.units import clipped
from tacho_operator.api.conditions import Reason
from tacho_operator.core.names import DELETION_COST_ANNOTATION
from tacho_operator.core.types import ChildRefusal

DETAILS = " Details: "
"""Separates the operator's message from the quoted text of the API server, the kubelet or an engine."""
QUOTED_CHARS = 300
"""Characters of a log that a condition's message has place for."""
_NO_FAILURES = frozenset(map(str, Reason))
_NO_PERMISSION = re.compile(r"cannot \w+ resource")
_NAMESPACE_ENDS = "because it is being terminated"
_UNANSWERED = re.compile(r'^(?:Internal error occurred: )?failed calling webhook "([^"]{1,253})"')
"""Matches the API server's error about a webhook that failed or did not answer. It begins with that: a
webhook's own refusal may contain any words.
"""
_DENIED = re.compile(r"denied (the )?request|\bis forbidden\b")
_UNSET_AMOUNT = re.compile(r"failed quota: \S{1,253}: must specify ")
"""Matches the refusal of a quota that counts what a container does not set."""
_LIMIT_RANGE = re.compile(
    r"is forbidden: \[?(?:(?:minimum|maximum) \S{1,253} usage|\S{1,253} max limit to request ratio)"
    r" per (?:Container|Pod) is "
)
"""Matches the refusal of a LimitRange (plugin/pkg/admission/limitranger). Its amounts may be those of a
container that spec does not describe, as of the inspect pod.
"""
_ABOVE_LIMIT = re.compile(
    r"(initContainers\[\d{1,4}\])?\.resources\.requests: Invalid value: .{1,100}: "
    r"must be less than or equal to "
)
"""Matches the API server's error about a request above its limit, which may be a LimitRange's default.

Those of init containers are not in spec.
"""
_TOO_LARGE = re.compile(
    r"request is too large|message larger than max|entity too large|\[\]: Too long:", re.I
)
"""Matches the errors of etcd, its client and the API server about an object that is too large as a whole. An
error about annotations names the field and does not match.
"""
_INVALID = re.compile(
    r" is invalid: \[?([^:]{1,200}):"
    r"| typed patch object \([^)]{0,400}\): (?:errors:\s{1,4})?\.?([^:\s][^:]{0,199}):"
)
"""Matches the API server's errors about an invalid field, and a server-side apply's error about a repeated
list item. A policy's refusal of a pod, in the status of a ReplicaSet, may have a megabyte of a user's text.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One problem of a resource: failure class, description, next step and quotation."""

    reason: str
    """The failure class in CamelCase, used as the reason of a condition."""
    what: str
    """What is wrong, as a sentence for the condition's message."""
    next_step: str = ""
    """What the user can do to solve the problem, as a sentence; "": nothing."""
    quotation: str = ""
    """Quoted text of another program: the API server, the kubelet or an engine's last lines."""
    escalations: frozenset[Escalation] = frozenset()
    """Circumstances that require user action where the failure class alone does not, e.g. many restarts."""
    caused_by_pod: bool = False
    """Whether the cluster evicted the pod because the pod itself used too much. Such an eviction counts as a
    fault of the revision.
    """
    missing_resources: tuple[str, ...] = ()
    """Resources that no node has enough of now, e.g. nvidia.com/gpu; only for Unschedulable."""

    @property
    def message(self) -> str:
        """The complete message: the failure, the next step and the quotation."""
        text = " ".join(filter(None, (with_full_stop(self.what), with_full_stop(self.next_step))))
        return clipped(f"{text}{DETAILS}{self.quotation}" if self.quotation else text)

    @property
    def kind(self) -> FailureKind:
        return failure_kind(self.reason)

    @property
    def caused_by_platform(self) -> bool:
        """Whether the cluster caused the problem, so that any other revision would have the same problem."""
        return self.kind.by_platform and not self.caused_by_pod

    @property
    def needs_user_action(self) -> bool:
        """Whether only a user can solve the problem. False: it may end by itself, or the operator retries."""
        return self.kind.user_action_needed(self.escalations)


def most_pressing(problems: Iterable[Problem]) -> Problem | None:
    """The first problem that requires user action, else the first problem; None where the list is empty."""
    found = tuple(problems)
    return next((problem for problem in found if problem.needs_user_action), found[0] if found else None)


def from_failure(failure: Failure, where: str = "", *, restarts: int = 0) -> Problem:
    """The problem for a failure that the runtime, an inspect pod or the planner reported. ``restarts``: how
    often the container restarted.
    """
    kind = failure_kind(failure.failure_class)
    step = failure.next_step.strip() or kind.next_step
    what = failure.message.strip() or kind.meaning
    final = () if failure.retryable else (Escalation.FINAL,)
    return Problem(
        reason=_word(failure.failure_class),
        what=f"{with_full_stop(what)} From {with_full_stop(where)}" if where else with_full_stop(what),
        next_step=with_full_stop(step[:1].upper() + step[1:]),
        quotation=_quoted(failure.log_tail),
        escalations=after_restarts(restarts).union(final),
    )


def _quoted(log_tail: Sequence[str]) -> str:
    """The last line of a failure's log, which shows its cause, after up to two others if they are short."""
    shown = log_tail[-1].strip() if log_tail else ""
    for line in reversed(log_tail[-3:-1]):
        if len(line) + len(shown) > QUOTED_CHARS:
            break
        shown = f"{line.strip()} | {shown}"
    return shown


def after_restarts(restarts: int) -> frozenset[Escalation]:
    """What requires user action after ``restarts`` restarts of a container; empty while they are few."""
    return frozenset({Escalation.RESTARTS} if restarts >= RESTARTS_BEFORE_USER_ACTION else ())


def with_full_stop(text: str) -> str:
    """``text`` with a full stop at its end."""
    text = text.strip()
    return text if not text or text[-1] in ".!?…" else f"{text}."


def parse_failure(message: str) -> Failure | None:
    """The failure in a termination message; None where the message is another text, for example the end of a
    log."""
    return codec.read(Failure, message)


def _word(failure_class: str) -> str:
    """A valid condition reason made from ``failure_class``, which a pod reported: CamelCase, and none that a
    healthy condition uses.
    """
    word = "".join(letter for letter in failure_class if letter.isalnum() and letter.isascii())[:64]
    return word if word[:1].isupper() and word not in _NO_FAILURES else FailureClass.ENGINE_CRASHED


def refused_child(refusal: ChildRefusal) -> Problem:
    """The problem of a child that the API server refused, or whose name is taken."""
    if not refusal.taken:
        return refusal_problem(f"{refusal.kind}/{refusal.name}: {refusal.message}", invalid=refusal.invalid)
    owner = "no owner" if refusal.unowned else "another owner"
    put_back = " put its owner reference to this resource back," if refusal.unowned else ""
    return Problem(
        reason=FailureClass.NAME_CONFLICT,
        what=f"{refusal.kind} {refusal.name} exists in this namespace and has {owner}.",
        next_step=f"Delete that {refusal.kind},{put_back} or rename this resource.",
    )


def refusal_problem(text: str, *, invalid: bool = False) -> Problem:
    """The problem that the API server's refusal text describes.

    Only the text distinguishes quota, admission policy, missing permission and invalid field. ``invalid``:
    the HTTP status says that the object is wrong; webhooks use that status for their refusals, too.
    """
    lowered = text.lower()
    reason = FailureClass.ADMISSION_DENIED
    field = _INVALID.search(text)
    if webhook := _UNANSWERED.match(text):
        reason = FailureClass.ADMISSION_UNAVAILABLE
        what = f"The cluster's admission webhook {webhook[1]} does not answer, so that nothing is admitted."
        next_step = "Repair that webhook or its Service. Kubernetes tries again."
    elif "exceeded quota" in lowered or _UNSET_AMOUNT.search(text):
        reason = FailureClass.QUOTA_EXCEEDED
        what, next_step = "The namespace's quota refuses an object.", "Raise the quota or lower the requests."
        if _UNSET_AMOUNT.search(text):
            what = "The namespace's quota counts an amount that a container does not set."
            next_step = "Create a LimitRange with a default of it, or take it out of the quota."
    elif _NAMESPACE_ENDS in lowered:
        reason = FailureClass.NAMESPACE_TERMINATING
        what, next_step = "The namespace is being deleted.", "Wait for its end, then create it again."
    elif _NO_PERMISSION.search(lowered):
        what, next_step = "The operator lacks a permission.", "Install the roles of its chart again."
    elif (invalid or field or _TOO_LARGE.search(text)) and not _DENIED.search(text):
        reason = FailureClass.INVALID_CONFIG
        what, next_step = (
            "The API server refuses an object as invalid.",
            "Change spec as the API server's message says.",
        )
        if _TOO_LARGE.search(text):
            what, next_step = "An object is too large for the API server.", "Shorten spec."
        elif field is not None:
            what = f"The API server refuses a field: {field[1] or field[2]}."
            next_step = "Correct that field in spec, or in the object if something else wrote it there."
            if above := _ABOVE_LIMIT.findall(text):
                in_spec = "" if all(above) else "spec.engine.resources, or "
                next_step = f"Correct {in_spec}the default of the namespace's LimitRange."
        if text.startswith("status: ") and "field not declared in schema" in text:
            next_step = "Install the CRD of this operator's version."
    else:
        what = "The cluster's admission refuses an object."
        next_step = "Change spec, or the namespace's policy."
        if _LIMIT_RANGE.search(text):
            what = "A LimitRange of the namespace refuses a pod."
            next_step = "Change it: in spec only the engine's amounts can be set (engine.resources)."
    return Problem(reason=reason, what=what, next_step=next_step, quotation=text)


def unmarked_pod(name: str, refusal: str) -> Problem:
    """The problem of a pod whose mark, by which the pods to be deleted are chosen, cannot be changed.
    ``refusal``: the API server's text."""
    return replace(
        refusal_problem(refusal),
        what=f"A busy pod may be deleted before an idle one: a change of {name} is refused.",
        next_step=f"Admit that the operator changes {DELETION_COST_ANNOTATION} of pods.",
    )


_PASSING = re.compile(
    r"^(?:Internal error occurred: |Timeout: |etcdserver: |Operation cannot be fulfilled on resourcequotas"
    r"|the server |Too many requests|rpc error: |context |client rate limiter |http2: |(?:Post|Put) \")"
    r"|^(?:pods|replicasets\.apps) \S+ is forbidden: "
    r"(?:status unknown for quota|not yet ready to handle request)"
)
"""Errors of the API server, or on the way to it, that are no refusals: a webhook is away, a quota was just
changed or made, the server starts or has too much to do. The next try may succeed.
"""


def may_pass(refusal: Problem) -> bool:
    """Whether the API server's words are of an error that may pass, and not of quota or admission."""
    return _PASSING.match(refusal.quotation) is not None
