"""Takes the snapshot: who serves, what is wrong, how far pods have come, what was measured."""

from __future__ import annotations

from datetime import datetime

from tacho_operator.api.types import LLMDeployment
from tacho_operator.core import names
from tacho_operator.core.measurement.cost import price_of
from tacho_operator.core.names import FETCH_CONTAINER
from tacho_operator.core.pods.reachability import unreachable
from tacho_operator.core.pods.view import views
from tacho_operator.core.pods.waiting import deadline_seconds, tells
from tacho_operator.core.problems import Problem, refused_child
from tacho_operator.core.revisions.frozen import Revision
from tacho_operator.core.rollout.reading import (
    alive,
    beside_active,
    lost_nodes,
    revision_problem,
    schedule_timeout_seconds,
)
from tacho_operator.core.status.progress import progress
from tacho_operator.core.status.snapshot import Snapshot
from tacho_operator.core.status.startup import latest_startup
from tacho_operator.core.turn import Turn
from tacho_operator.core.types import Config, Manifest, Observed, Refusal


def take_snapshot(observed: Observed, config: Config, turn: Turn, now: datetime) -> Snapshot:
    """The moment after this turn's steps."""
    resource, reports, rollout = observed.resource, observed.reports, turn.rollout
    servers = views(observed.pods, names.ROLE_SERVER)
    probes = views(observed.pods, names.ROLE_PROBE)
    subject = turn.revisions.get(rollout.active) or turn.planning.revision
    lost = lost_nodes(observed.nodes)

    def trouble(revision: str) -> Problem | None:
        size = rollout.replicas.get(revision, 0)
        return revision_problem(observed, revision, pods=servers, wanted=size, lost=lost, now=now)

    shown = rollout.active or turn.wanted
    own = [pod for pod in alive(servers) if pod.revision == shown]
    probing = any(pod.uid in reports and reports[pod.uid].phase == "Probing" for pod in (*own, *probes))
    return Snapshot(
        resource=resource,
        planning=turn.planning,
        rollout=rollout,
        subject=subject,
        revisions=tuple(sorted(turn.revisions.values(), key=lambda item: (-item.number, item.name))),
        replicas=turn.asked,
        scaling=observed.scaling,
        scale_refused=next((item.message for item in observed.refusals if item.kind == "Deployment"), ""),
        server_pods=len(alive(servers)),
        ready_pods=sum(pod.ready for pod in servers),
        reached_pods=sum(pod.ready and rollout.selected in ("", pod.revision) for pod in servers),
        unreachable=_unreachable(observed),
        blocking=(*_refused_children(observed), *turn.blocking),
        subject_problem=trouble(shown) if shown else None,
        candidate_problem=beside_active(resource, trouble(rollout.candidate)) if rollout.candidate else None,
        progress=progress([pod for pod in own if not pod.ready], reports),
        startup=latest_startup(
            [pod for pod in servers if subject and pod.revision == subject.name],
            reports,
            resource.status.startup,
        ),
        measurements=turn.measuring.measurements,
        price=price_of(
            resource.spec.cost,
            subject.plan.gpu_product if subject else "",
            config.gpu_prices,
            config.currency,
        ),
        remeasure=turn.measuring.remeasure,
        deviating=turn.measuring.deviating,
        telling=probing or bool(turn.measuring.live.again.request) or tells(alive((*servers, *probes))),
        deadline_seconds=deadline_seconds(
            (*servers, *probes),
            now,
            schedule_limit_seconds=schedule_timeout_seconds(resource),
            answered=reports.keys(),
        ),
        probing=probing,
        probe_disabled=turn.measuring.live.probe.policy == "Disabled",
        silent=unreachable(own, reports.keys(), now),
        token_note=_token_note(resource, subject),
    )


def _is_service(observed: Observed, refusal: Refusal) -> bool:
    place = ("Service", names.service_name(observed.resource.metadata.name))
    return (refusal.kind, refusal.name) == place


def _unreachable(observed: Observed) -> Problem | None:
    found = next((item for item in observed.refusals if _is_service(observed, item)), None)
    if found is None:
        return None
    name = names.service_name(observed.resource.metadata.name)
    exists = any(item["metadata"]["name"] == name for item in observed.services)
    # A Service that exists and could not be changed goes on sending requests to who served before.
    return None if exists and not found.taken else refused_child(found)


def _refused_children(observed: Observed) -> list[Problem]:
    """Names that are taken and children that quota or admission refused, except throwaway pods: their
    failing concerns the figures, not the service."""
    return [
        refused_child(item)
        for item in sorted(observed.refusals, key=lambda item: not item.taken)
        if item.role != names.ROLE_PROBE and not (item.taken and _is_service(observed, item))
    ]


def _token_note(resource: LLMDeployment, subject: Revision | None) -> str:
    """What a changed tokenSecretRef means: running pods keep theirs."""
    if subject is None:
        return ""
    fetch: Manifest = next(
        (item for item in subject.pod_template["spec"]["initContainers"] if item["name"] == FETCH_CONTAINER),
        {},
    )
    if not fetch:
        return ""
    held = next((item for item in fetch.get("env", ()) if item["name"] == "HF_TOKEN"), None)
    frozen = held["valueFrom"]["secretKeyRef"] if held else {}
    asked = resource.spec.model.token_secret_ref
    now = (asked.name, asked.key) if asked else (None, None)
    if (frozen.get("name"), frozen.get("key")) == now:
        return ""
    return "model.tokenSecretRef has changed; the next inspection and the next revision use it."
