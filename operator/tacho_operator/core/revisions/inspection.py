"""Inspection of a model: known facts, a running inspect pod, its result, or the next retry.

No state is kept in the operator: the attempt is an annotation of the inspect pod, and the back-off starts at
that pod's end. A failed pod stays until the next one has ended, so that its error can be read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from tacho_contract import codec
from tacho_contract.failure import Failure, FailureClass
from tacho_contract.model import DEFAULT_REVISION, FULL, HEADERS, InspectConfig, InspectResult, ModelFacts
from tacho_contract.uri import ClaimUri, HubUri
from tacho_engines.registry import engine_profile
from tacho_operator.api.rules.deny_list import ENDPOINT
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core import names, problems as problem
from tacho_operator.core.manifests.environment import hub_endpoint
from tacho_operator.core.manifests.helper_pods import inspect_pod
from tacho_operator.core.manifests.pod_template import inspect_spec
from tacho_operator.core.pauses import doubling_seconds
from tacho_operator.core.pods.deadlines import start_deadline, time_left
from tacho_operator.core.pods.diagnosis import diagnose, disruption, overdue
from tacho_operator.core.pods.view import FINISHED, STUCK_SECONDS, PodView, named, references, views
from tacho_operator.core.problems import Problem
from tacho_operator.core.rollout.reading import lost_nodes
from tacho_operator.core.types import Config, Manifest, Observed, Reference

RETRY_BASE_SECONDS = 5.0
RETRY_LIMIT_SECONDS = 300.0
USER_ACTION_RETRY_SECONDS = 600.0
"""Delay in seconds after a failure to solve outside the cluster, e.g. accept a licence on the hub."""
CLAIM_RETRY_SECONDS = 60.0
"""Delay in seconds after a file was missing on a volume claim. A retry sends a hub no request."""
SCHEDULE_LIMIT_SECONDS = 600.0
CLOCK_AHEAD_SECONDS = 60.0
"""Seconds by which a node's clock may be ahead. A time further in the future is ignored, as it would delay
the next attempt.
"""
CLOCK_BEHIND_SECONDS = 300.0
"""Seconds by which the operator's clock may be behind the API server's. A time further in the future is an
error, and the next attempt starts at once.
"""
ATTEMPT_DIGITS = 253
"""Longest attempt number in digits that is read from a pod's annotation, which a user may have edited.

It is that of a pod's name. Were it shorter, the attempt after a forged one would not be read: the operator
would create and delete its pod for ever.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """The state of a model's inspection, and what to do next: create or delete an inspect pod, or wait."""

    facts: ModelFacts | None = None
    problem: Problem | None = None
    running: bool = False
    apply: tuple[Manifest, ...] = ()
    delete: tuple[Reference, ...] = ()
    requeue_after_seconds: float | None = None
    reason: str


def facts_key(resource: LLMDeployment) -> str:
    """Key of the stored model facts: a hash of the model's source and the replan annotation. The hub token is
    not part of it; a hub that a variable names is, as a commit of one hub need not be on another.
    """
    hub = resource.spec.model.hub
    named = next((item.value for item in (hub.env if hub else ()) if item.name == ENDPOINT), None)
    return names.digest(
        {
            "question": codec.to_dict(inspect_config(resource)),
            "replan": resource.metadata.annotations.get(names.REPLAN_ANNOTATION, ""),
            **({"hub": named} if named else {}),
        },
        16,
    )


def inspect_config(resource: LLMDeployment) -> InspectConfig:
    model, engine = resource.spec.model, resource.spec.engine
    name = (engine.name if engine else None) or ""
    return InspectConfig(
        uri=model.source,
        revision=model.revision or DEFAULT_REVISION,
        files=tuple(model.files),
        engine=name,
        parse=not name or engine_profile(name).predicted,
        trust_remote_code=bool(model.trust_remote_code),
        endpoint=model.hub.endpoint if model.hub else "",
        verification=model.verification or HEADERS,
    )


def request_hash(resource: LLMDeployment, config: Config) -> str:
    """Hash in the inspect pods' names: another Secret, placement or image starts a new series of attempts."""
    model = resource.spec.model
    return names.digest(
        {
            "facts": facts_key(resource),
            "token": model.token_secret_ref.to_wire() if model.token_secret_ref else None,
            "hub": model.hub.to_wire() if model.hub else None,
            "where": inspect_spec(resource),
            "image": config.tacho_image,
        }
    )


def cached(observed: Observed) -> Mapping[str, str]:
    """The data of the facts ConfigMap: packed model facts by key."""
    found = named(observed.config_maps, names.facts_config_name(observed.resource.metadata.name))
    return dict((found or {}).get("data") or {})


def known_facts(observed: Observed) -> ModelFacts | None:
    """The stored facts of this spec's model; None: it has not been inspected yet."""
    packed = cached(observed).get(facts_key(observed.resource))
    if packed is None:
        return None
    try:
        return codec.unpack(ModelFacts, packed)
    except codec.DocumentError:
        return None  # inspected again and overwritten


def inspect(observed: Observed, config: Config, now: datetime) -> Inspection:
    """The facts of the model, or the next step to obtain them: create, delete or wait for an inspect pod."""
    resource = observed.resource
    pods = views(observed.pods, names.ROLE_INSPECT)
    if (facts := known_facts(observed)) is not None:
        return Inspection(facts=facts, delete=references(pods), reason="The model is known.")
    if (refused := _insecure_hub(resource, config)) is not None:
        return Inspection(problem=refused, delete=references(pods), reason=refused.message)
    current = request_hash(resource, config)
    name = partial(names.inspect_pod_name, resource.metadata.name, current)
    mine = sorted((pod for pod in pods if pod.name == name(_attempt(pod))), key=_attempt)
    uids = {pod.uid for pod in mine}
    others = references(pod for pod in pods if pod.uid not in uids)
    if not mine:
        start = _inspect_pod(resource, config, 1)
        return Inspection(
            running=True,
            apply=(start,),
            delete=others,
            reason=f"Starts pod {start['metadata']['name']} to read {_subject(resource)}.",
        )
    *earlier, last = mine
    lost = lost_nodes(observed.nodes)
    if not _has_ended(last) and last.cannot_end(lost, now):
        start = _inspect_pod(resource, config, _attempt(last) + 1)
        reason = f"Starts pod {start['metadata']['name']}: {last.name} cannot end on node {last.node}."
        return Inspection(running=True, apply=(start,), delete=others, reason=reason)
    if not _has_ended(last):
        earlier = [pod for pod in earlier if not pod.cannot_end(lost, now)]
        return _under_way(resource, last, earlier, others, lost, now)
    return _ended(observed, config, last, (*references(earlier), *others), now)


def _has_ended(pod: PodView) -> bool:
    """Whether the pod's inspect container has ended. The pod's phase changes a moment later."""
    container = pod.container(names.INSPECT_CONTAINER)
    return (container is not None and container.ended) or pod.phase in FINISHED


def _subject(resource: LLMDeployment) -> str:
    full = resource.spec.model.verification == FULL
    return "every byte of the model's files" if full else "the model's files and headers"


def _under_way(
    resource: LLMDeployment,
    last: PodView,
    earlier: list[PodView],
    others: tuple[Reference, ...],
    lost: Collection[str],
    now: datetime,
) -> Inspection:
    late = overdue(last, now, SCHEDULE_LIMIT_SECONDS)
    found = diagnose(last, lost_nodes=lost, schedule_overdue=late, now=now)
    if found is None and earlier:
        found = problem.from_failure(result(earlier[-1]).failure or _UNEXPLAINED)
    return Inspection(
        problem=found,
        running=True,
        delete=(*references(earlier[:-1]), *others),
        requeue_after_seconds=time_left(last.ends, STUCK_SECONDS, now)
        if last.ends
        else start_deadline(last, SCHEDULE_LIMIT_SECONDS, now),
        reason=f"Pod {last.name} reads {_subject(resource)}.",
    )


def _ended(
    observed: Observed, config: Config, last: PodView, delete: tuple[Reference, ...], now: datetime
) -> Inspection:
    resource = observed.resource
    outcome = result(last)
    if outcome.facts is not None:
        return Inspection(facts=outcome.facts, delete=delete, reason=f"Pod {last.name} has read the model.")
    failure = outcome.failure or _UNEXPLAINED
    attempt = _attempt(last)
    found = problem.from_failure(failure)
    if not found.kind.tries_again:
        why = (
            f"Inspection failed ({failure.failure_class}). It needs a changed spec or another tacho version."
        )
        return Inspection(problem=found, delete=delete, reason=why)
    on_claim = isinstance(resource.spec.model.source, ClaimUri)
    delay = CLAIM_RETRY_SECONDS if on_claim else USER_ACTION_RETRY_SECONDS
    if not found.needs_user_action:
        delay = doubling_seconds(RETRY_BASE_SECONDS, RETRY_LIMIT_SECONDS, attempt)
    wait = (_ended_at(last, now) + timedelta(seconds=delay) - now).total_seconds()
    if 0 < wait <= delay + CLOCK_BEHIND_SECONDS:
        return Inspection(
            problem=found,
            delete=delete,
            running=not found.needs_user_action,
            requeue_after_seconds=wait,
            reason=f"Inspection failed ({failure.failure_class}); the next attempt is in {wait:.0f} s.",
        )
    return Inspection(
        problem=found,
        running=True,
        apply=(_inspect_pod(resource, config, attempt + 1),),
        delete=delete,
        reason=f"Inspection failed ({failure.failure_class}) and is retried: attempt {attempt + 1}.",
    )


_UNEXPLAINED = Failure(
    failure_class=FailureClass.INSPECTION_TIMEOUT,
    message="The inspect pod ended without a reason.",
    next_step="It is retried. See the pod's log.",
)


def result(pod: PodView) -> InspectResult:
    """Result of an ended inspect pod: its termination message, else the failure in its status."""
    container = pod.container(names.INSPECT_CONTAINER)
    end = container.terminated if container else None
    text = end.message if end else ""
    try:
        return codec.unpack(InspectResult, text.strip())
    except codec.DocumentError as error:
        unusable = str(error)
    if (failure := problem.parse_failure(text)) is not None:
        return InspectResult(failure=failure)
    failure_class, message = _UNEXPLAINED.failure_class, ""
    next_step = "It is retried. Check that the source can be reached from the namespace."
    if (cause := disruption(pod)) is not None:
        failure_class, message, next_step = cause.reason, cause.message, "The inspection is retried."
    elif end is not None and end.exit_code == 0:
        failure_class = FailureClass.MODEL_INVALID
        message = f"Pod {pod.name} read the model, and its result cannot be used: {unusable}."
        next_step = "Check that the model's files are sound; the inspection is retried."
    elif pod.exceeded_deadline:
        message = f"Pod {pod.name} exceeded its deadline."
    else:
        tail = " | ".join(text.strip().splitlines()[-3:]) or pod.message or "no message"
        code = f"{end.exit_code} ({end.reason or 'no reason'})" if end else "unknown"
        message = f"Pod {pod.name} ended with exit code {code}: {tail}."
    failure = Failure(failure_class=failure_class, message=message, next_step=next_step)
    return InspectResult(failure=failure)


def _insecure_hub(resource: LLMDeployment, config: Config) -> Problem | None:
    hub = resource.spec.model.hub
    if not isinstance(resource.spec.model.source, HubUri) or hub is None:
        return None
    if hub.endpoint.startswith("http://") and not config.allow_insecure_hub:
        return Problem(
            reason=FailureClass.INVALID_CONFIG,
            what=f"model.hub.endpoint {hub.endpoint} is not encrypted.",
            next_step="Use https://, or allow an insecure hub in the operator's settings.",
        )
    return None


def _inspect_pod(resource: LLMDeployment, config: Config, attempt: int) -> Manifest:
    name = names.inspect_pod_name(resource.metadata.name, request_hash(resource, config), attempt)
    requested = inspect_config(resource)
    if isinstance(requested.uri, HubUri):
        requested = replace(requested, endpoint=hub_endpoint(resource.spec.model, config.hub_endpoint))
    return inspect_pod(resource, config, requested, name=name, attempt=attempt)


def _attempt(pod: PodView) -> int:
    digits = pod.annotation(names.ATTEMPT_ANNOTATION)
    return int(digits) if digits.isdecimal() and len(digits) <= ATTEMPT_DIGITS else 0


def _ended_at(pod: PodView, now: datetime) -> datetime:
    container = pod.container(names.INSPECT_CONTAINER)
    end = container.terminated if container else None
    finished = end.finished if end else None
    if finished is not None and (finished - now).total_seconds() > CLOCK_AHEAD_SECONDS:
        finished = None
    return finished or pod.created or now
