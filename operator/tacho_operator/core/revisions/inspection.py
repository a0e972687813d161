"""Finding out about a model: is it known, is a pod at it, what did the last one say, when to try again.

Nothing is remembered between decisions: the attempt is an annotation of the pod, the back-off counts from
the time it ended, and a failed pod stays until its successor has ended, so that the reason stays visible.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tacho_contract import codec
from tacho_contract.failure import Failure, FailureClass
from tacho_contract.inspection import DEFAULT_REVISION, FULL, HEADERS, InspectConfig, InspectResult
from tacho_contract.model import ModelFacts
from tacho_contract.times import parse_time
from tacho_contract.uri import ClaimUri, HubUri
from tacho_engines.registry import engine_row
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core import names, problems as problem
from tacho_operator.core.manifests.pod import inspectpod
from tacho_operator.core.manifests.pod.placement import inspect_spec
from tacho_operator.core.pods.diagnosis import diagnose, overdue
from tacho_operator.core.pods.disruption import disruption
from tacho_operator.core.pods.view import PodView, references, views
from tacho_operator.core.pods.waiting import schedule_deadline
from tacho_operator.core.problems import Problem
from tacho_operator.core.revisions.awaited import pause_seconds
from tacho_operator.core.types import Config, Manifest, Observed, Reference, Waiting

RETRY_BASE_SECONDS = 5.0
RETRY_LIMIT_SECONDS = 300.0
PERSON_RETRY_SECONDS = 600.0
"""What trying again unchanged cannot mend may be mended elsewhere: a licence accepted on the hub."""
CLAIM_RETRY_SECONDS = 60.0
"""A file that is missing on a claim is about to be copied there, and looking costs nobody a request."""
SCHEDULE_LIMIT_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What is known of the model now, and what to do to know more."""

    facts: ModelFacts | None = None
    problem: Problem | None = None
    running: bool = False
    apply: tuple[Manifest, ...] = ()
    delete: tuple[Reference, ...] = ()
    look_again_seconds: float | None = None
    reason: str


def facts_key(resource: LLMDeployment) -> str:
    """The question the facts answer. The token is not part of it: it opens the door, it is not the room."""
    return names.digest(
        {
            "question": codec.to_dict(inspect_config(resource)),
            "replan": resource.metadata.annotations.get(names.REPLAN_ANNOTATION, ""),
        },
        16,
    )


def inspect_config(resource: LLMDeployment) -> InspectConfig:
    model, engine = resource.spec.model, resource.spec.engine
    name = (engine.name if engine else None) or ""
    return InspectConfig(
        uri=model.uri,
        revision=model.revision or DEFAULT_REVISION,
        files=tuple(model.files),
        engine=name,
        parse=not name or engine_row(name).predicted,
        endpoint=model.hub.endpoint if model.hub else "",
        verification=model.verification or HEADERS,
    )


def request_hash(resource: LLMDeployment, config: Config) -> str:
    """Names the pods of one way of asking: another Secret, placement or image is worth a fresh try."""
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
    """Packed facts by key, from the facts ConfigMap."""
    name = names.facts_config_name(observed.resource.metadata.name)
    found = next((item for item in observed.config_maps if item["metadata"]["name"] == name), None)
    return dict((found or {}).get("data") or {})


def known_facts(observed: Observed) -> ModelFacts | None:
    """The facts this spec asks for, where they were found before."""
    packed = cached(observed).get(facts_key(observed.resource))
    if packed is None:
        return None
    try:
        return codec.unpack(ModelFacts, packed)
    except codec.DocumentError:
        return None  # asked again and overwritten


def inspect(observed: Observed, config: Config, now: datetime) -> Inspection:
    """Facts, or the next step towards them."""
    resource = observed.resource
    pods = views(observed.pods, names.ROLE_INSPECT)
    if (facts := known_facts(observed)) is not None:
        return Inspection(facts=facts, delete=references(pods), reason="The model is known.")
    if (refused := _cannot_ask(resource, config)) is not None:
        return Inspection(problem=refused, delete=references(pods), reason=refused.message)
    asked = request_hash(resource, config)
    mine = sorted((pod for pod in pods if _asks(pod, resource, asked)), key=_attempt)
    others = references(pod for pod in pods if pod not in mine)
    if not mine:
        start = _start(resource, config, 1)
        return Inspection(
            running=True,
            apply=(start,),
            delete=others,
            reason=f"Starts pod {start['metadata']['name']} to read {_what(resource)}.",
        )
    *earlier, last = mine
    if not _over(last):
        return _under_way(resource, last, earlier, others, now)
    return _ended(observed, config, last, (*references(earlier), *others), now)


def _over(pod: PodView) -> bool:
    """Its one container has ended; the pod's phase says so a moment later."""
    container = pod.container(names.INSPECT_CONTAINER)
    ended = container is not None and "terminated" in (container.raw.get("state") or {})
    return ended or pod.phase in ("Succeeded", "Failed")


def _what(resource: LLMDeployment) -> str:
    full = resource.spec.model.verification == FULL
    return "every byte of the model's files" if full else "the model's files and headers"


def _under_way(
    resource: LLMDeployment,
    last: PodView,
    earlier: list[PodView],
    others: tuple[Reference, ...],
    now: datetime,
) -> Inspection:
    late = overdue(last, now, SCHEDULE_LIMIT_SECONDS)
    found = diagnose(last, lost_nodes=(), schedule_overdue=late)
    if found is None and earlier:
        found = problem.from_failure(result(earlier[-1]).failure or _UNEXPLAINED)
    return Inspection(
        problem=found,
        running=True,
        delete=(*references(earlier[:-1]), *others),
        look_again_seconds=schedule_deadline(last, SCHEDULE_LIMIT_SECONDS, now),
        reason=f"Pod {last.name} reads {_what(resource)}.",
    )


def _pause_seconds(pod: PodView, waiting: Waiting, since: datetime) -> float:
    """After a failure at ``since`` that may end by itself, for whose end all of ``waiting`` wait."""
    attempt = _attempt(pod)
    alone = min(RETRY_LIMIT_SECONDS, RETRY_BASE_SECONDS * 2.0 ** min(attempt - 1, 10))
    apart = int(names.digest([pod.uid, attempt], 8), 16) / 16**8
    return pause_seconds(alone, waiting, since, apart=apart)


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
        why = f"Inspection failed ({failure.failure_class}): only another spec or another tacho can help."
        return Inspection(problem=found, delete=delete, reason=why)
    on_claim = isinstance(resource.spec.model.source, ClaimUri)
    delay = CLAIM_RETRY_SECONDS if on_claim else PERSON_RETRY_SECONDS
    if not found.needs_person:
        others = observed.waiting.get(found.reason, Waiting())
        delay = _pause_seconds(last, others, _ended_at(last, now))
    wait = (_ended_at(last, now) + timedelta(seconds=delay) - now).total_seconds()
    if wait > 0:
        return Inspection(
            problem=found,
            delete=delete,
            running=not found.needs_person,
            look_again_seconds=wait,
            reason=f"Inspection failed ({failure.failure_class}); the next try is in {wait:.0f} s.",
        )
    return Inspection(
        problem=found,
        running=True,
        apply=(_start(resource, config, attempt + 1),),
        delete=delete,
        reason=f"Inspection failed ({failure.failure_class}) and is tried again: attempt {attempt + 1}.",
    )


_UNEXPLAINED = Failure(
    failure_class=FailureClass.INSPECTION_TIMEOUT,
    message="The inspect pod ended without saying why.",
    next_step="It is tried again; see the pod's log.",
)


def result(pod: PodView) -> InspectResult:
    """What an ended inspect pod found, in its termination message or between the lines."""
    container = pod.container(names.INSPECT_CONTAINER)
    ended = (container.terminated if container else None) or {}
    said = str(ended.get("message", ""))
    try:
        return codec.unpack(InspectResult, said.strip())
    except codec.DocumentError:
        pass
    if (failure := problem.parse_failure(said)) is not None:
        return InspectResult(failure=failure)
    if (gone := disruption(pod)) is not None:
        return InspectResult(
            failure=Failure(
                failure_class=gone.reason, message=gone.message, next_step="The inspection is tried again."
            )
        )
    if pod.status.get("reason") == "DeadlineExceeded" and ended and not ended.get("startedAt"):
        why = (
            f"Pod {pod.name} ran out of its time before its container could start: the image, a Secret or "
            f"a volume was missing; kubectl describe pod {pod.name} has the events."
        )
    elif pod.status.get("reason") == "DeadlineExceeded":
        why = f"Pod {pod.name} ran out of its time: the model's source did not answer."
    elif ended.get("reason") == "OOMKilled":
        why = f"Pod {pod.name} ran out of memory while reading the model's headers."
    else:
        tail = " | ".join(said.strip().splitlines()[-3:]) or pod.status.get("message") or "nothing was said"
        why = f"Pod {pod.name} ended with exit code {ended.get('exitCode', 'unknown')}: {tail}."
    return InspectResult(
        failure=Failure(
            failure_class=_UNEXPLAINED.failure_class,
            message=why,
            next_step="It is tried again; check that the source can be reached from the namespace.",
        )
    )


def _cannot_ask(resource: LLMDeployment, config: Config) -> Problem | None:
    hub = resource.spec.model.hub
    if not isinstance(resource.spec.model.source, HubUri) or hub is None:
        return None
    if hub.endpoint.startswith("http://") and not config.allow_insecure_hub:
        return Problem(
            reason=FailureClass.INVALID_CONFIG,
            message=f"model.hub.endpoint {hub.endpoint} is not encrypted: a token and the model could be "
            "read or replaced on the way. Use https://, or allow an insecure hub in the operator's settings.",
        )
    return None


def _start(resource: LLMDeployment, config: Config, attempt: int) -> Manifest:
    name = names.inspect_pod_name(resource.metadata.name, request_hash(resource, config), attempt)
    return inspectpod.inspect_pod(resource, config, inspect_config(resource), name=name, attempt=attempt)


def _asks(pod: PodView, resource: LLMDeployment, asked: str) -> bool:
    """Whether the pod asks in the present way: its name is the one that way gives at its attempt."""
    return pod.name == names.inspect_pod_name(resource.metadata.name, asked, _attempt(pod))


def _attempt(pod: PodView) -> int:
    digits = pod.annotation(names.ATTEMPT_ANNOTATION)
    return int(digits) if digits.isdecimal() else 0


def _ended_at(pod: PodView, now: datetime) -> datetime:
    container = pod.container(names.INSPECT_CONTAINER)
    ended = (container.terminated if container else None) or {}
    return parse_time(ended.get("finishedAt")) or pod.created or now
