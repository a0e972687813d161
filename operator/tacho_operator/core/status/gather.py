"""Puts together what the judgements look at: who serves, what is wrong, what was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from tacho_contract.failure import FailureClass
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core import names, problems as problem
from tacho_operator.core.manifests.containers import FETCH_NAME
from tacho_operator.core.measurement.keys import live_config
from tacho_operator.core.measurement.records import measurements_view
from tacho_operator.core.measurement.remeasure import remeasure
from tacho_operator.core.pods.view import PodView, views
from tacho_operator.core.problems import Problem
from tacho_operator.core.revisions.frozen import Revision
from tacho_operator.core.rollout.serving import (
    alive,
    beside_active,
    lost_nodes,
    revision_problem,
    schedule_timeout_seconds,
)
from tacho_operator.core.rollout.steps import Rollout
from tacho_operator.core.status.progress import progress
from tacho_operator.core.status.situation import Planning, Situation
from tacho_operator.core.types import Manifest, Observed


def gather(
    observed: Observed,
    planning: Planning,
    rollout: Rollout,
    revisions: Mapping[str, Revision],
    *,
    replicas: int,
    blocking: tuple[Problem, ...],
    now: datetime,
) -> Situation:
    """The situation after this decision's rollout step."""
    resource, reports = observed.resource, observed.reports
    before: Mapping[str, Any] = observed.raw.get("status") or {}
    servers = views(observed.pods, names.ROLE_SERVER)
    probes = views(observed.pods, names.ROLE_PROBE)
    live = live_config(resource.spec)
    wanted = planning.revision.name if planning.revision else ""
    active = revisions.get(rollout.active)
    subject = active or planning.revision
    measurements = measurements_view(
        resource,
        before=before.get("measurements") or (),
        pods=(*servers, *probes),
        reports=reports,
        subject=subject,
        known=revisions,
    )
    measuring = remeasure(
        resource,
        live=live,
        active=active,
        settled=not rollout.candidate and wanted == rollout.active,
        measurements=measurements,
        servers=[pod for pod in servers if active and pod.revision == active.name],
        probes=probes,
        reports=reports,
        note=_note(observed),
        schedule_timeout_seconds=schedule_timeout_seconds(resource),
        refused=next((text for text in observed.refused if _is_probe(observed, text)), ""),
        now=now,
    )
    lost = lost_nodes(observed.nodes)

    def trouble(revision: str) -> Problem | None:
        size = rollout.replicas.get(revision, 0)
        return revision_problem(observed, revision, pods=servers, wanted=size, lost=lost, now=now)

    shown = rollout.active or wanted
    own = [pod for pod in alive(servers) if pod.revision == shown]
    return Situation(
        resource=resource,
        planning=planning,
        rollout=rollout,
        subject=subject,
        revisions=tuple(sorted(revisions.values(), key=lambda item: (-item.number, item.name))),
        replicas=replicas,
        server_pods=len(alive(servers)),
        ready_pods=sum(pod.ready for pod in servers),
        reached_pods=sum(pod.ready and rollout.selected in ("", pod.revision) for pod in servers),
        unreachable=_unreachable(observed),
        blocking=blocking,
        subject_problem=trouble(shown) if shown else None,
        candidate_problem=beside_active(resource, trouble(rollout.candidate)) if rollout.candidate else None,
        progress=progress([pod for pod in own if not pod.ready], reports),
        measurements=tuple(measurements),
        remeasure=measuring,
        probing=any(pod.uid in reports and reports[pod.uid].phase == "Probing" for pod in (*own, *probes)),
        probe_disabled=live.probe.policy == "Disabled",
        token_note=_token_note(resource, subject),
    )


def _note(observed: Observed) -> str:
    name = names.live_config_name(observed.resource.metadata.name)
    found = next((item for item in observed.config_maps if item["metadata"]["name"] == name), None)
    return str(((found or {}).get("metadata", {}).get("annotations") or {}).get(names.OUTCOME_ANNOTATION, ""))


def _is_probe(observed: Observed, refused: str) -> bool:
    return refused.startswith(f"Pod/{names.probe_pod_name(observed.resource.metadata.name, '')}")


def _service_place(observed: Observed) -> str:
    return f"Service/{names.service_name(observed.resource.metadata.name)}"


def _unreachable(observed: Observed) -> Problem | None:
    place = _service_place(observed)
    if place in observed.conflicts:
        return name_conflict(place)
    # A Service that exists and could not be changed goes on sending requests to who served before.
    if any(
        item["metadata"]["name"] == names.service_name(observed.resource.metadata.name)
        for item in observed.services
    ):
        return None
    return next((problem.refusal(text) for text in observed.refused if text.startswith(f"{place}: ")), None)


def name_conflict(place: str) -> Problem:
    """``place``: ``Kind/name`` of an object that is in the way."""
    kind, _, name = place.partition("/")
    return Problem(
        reason=FailureClass.NAME_CONFLICT,
        message=f"{kind} {name} exists in this namespace and belongs to somebody else. "
        f"Delete or rename that {kind}, or give this resource another name.",
    )


def refusals(observed: Observed) -> Iterable[Problem]:
    """Names that are taken and children that quota or admission refused, except throwaway pods: their
    failing concerns the figures, not the service."""
    for place in observed.conflicts:
        if place != _service_place(observed):
            yield name_conflict(place)
    for text in observed.refused:
        if not _is_probe(observed, text):
            yield problem.refusal(text)


def _token_note(resource: LLMDeployment, subject: Revision | None) -> str:
    """What a changed tokenSecretRef means: running pods keep theirs."""
    if subject is None:
        return ""
    fetch: Manifest = next(
        (item for item in subject.pod_template["spec"]["initContainers"] if item["name"] == FETCH_NAME), {}
    )
    if not fetch:
        return ""
    held = next((item for item in fetch.get("env", ()) if item["name"] == "HF_TOKEN"), None)
    frozen = held["valueFrom"]["secretKeyRef"] if held else {}
    asked = resource.spec.model.token_secret_ref
    now = (asked.name, asked.key) if asked else (None, None)
    if (frozen.get("name"), frozen.get("key")) == now:
        return ""
    return "model.tokenSecretRef has changed: it is used by the next inspection and the next revision."


def starting_pods(servers: Iterable[PodView], subject: Revision | None) -> list[PodView]:
    """Whose start status.startup tells about."""
    return [pod for pod in servers if subject and pod.revision == subject.name]
