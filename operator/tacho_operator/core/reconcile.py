"""One reconcile as a pure function: what was observed in, every effect out."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tacho_contract.times import parse_time
from tacho_operator.api.conditions import ConditionType, Reason
from tacho_operator.core import names
from tacho_operator.core.children import to_apply, to_delete
from tacho_operator.core.pods.claims import missing_claim, not_shareable, one_pod_only
from tacho_operator.core.pods.view import views
from tacho_operator.core.revisions import frozen
from tacho_operator.core.revisions.step import plan_step
from tacho_operator.core.rollout.serving import read_serving, ready_by_revision, sizes
from tacho_operator.core.rollout.steps import decide_rollout
from tacho_operator.core.status.conditions import judgements
from tacho_operator.core.status.events import transition_events
from tacho_operator.core.status.gather import gather, refusals, starting_pods
from tacho_operator.core.status.situation import Planning, Situation
from tacho_operator.core.status.startup import startup_view
from tacho_operator.core.status.view import status_view
from tacho_operator.core.types import Config, Decision, Event, Manifest, Observed

MOVING_SECONDS = 2.0
"""Reports have no watch: while a pod starts or measures, its progress is worth asking for."""
SLOW_SECONDS = 10.0
LONG_SECONDS = 120.0
"""After this, progress is asked for less often: a download of hours must not cost a request every moment."""
UNMEASURED_SECONDS = 10.0
STALLED_SECONDS = 30.0


def decide(observed: Observed, config: Config, now: datetime) -> Decision:
    """Everything to do about one resource now. The same arguments give the same decision."""
    before: Mapping[str, Any] = observed.raw.get("status") or {}
    resource = observed.resource
    if resource.metadata.deletion_timestamp:
        return Decision(
            status=dict(before), now=now, reason="It is being deleted: garbage collection takes the children."
        )
    revisions = frozen.read_all(observed.revisions)
    planning = plan_step(observed, config, revisions, now)
    if planning.revision is not None:
        revisions.setdefault(planning.revision.name, planning.revision)
    wanted = planning.revision.name if planning.revision else ""
    servers = views(observed.pods, names.ROLE_SERVER)
    serving = read_serving(observed)
    unshared = not_shareable(resource, observed.claims, observed.nodes)
    alone = one_pod_only(resource, observed.claims) if serving.active not in ("", wanted) else None
    replicas = min(resource.spec.replicas, 1) if unshared else resource.spec.replicas
    rollout = decide_rollout(
        wanted="" if alone else wanted,
        known=revisions.keys(),
        replicas=replicas,
        ready=ready_by_revision(servers),
        deployments=sizes(observed.deployments),
        serving=serving,
        now=now,
    )
    missing = missing_claim(resource, observed.claims)
    blocking = tuple(item for item in (*refusals(observed), missing, unshared, alone) if item)
    moment = gather(
        observed, planning, rollout, revisions, replicas=resource.spec.replicas, blocking=blocking, now=now
    )
    start = startup_view(starting_pods(servers, moment.subject), observed.reports, before.get("startup"))
    status = status_view(moment, before, start, now)
    measuring = moment.remeasure
    return Decision(
        apply=to_apply(observed, config, planning, rollout, measuring, revisions, replicas),
        delete=to_delete(observed, planning, rollout, measuring, revisions, replicas),
        status=status,
        events=(*transition_events(before, status), *_birth_events(observed, planning)),
        requeue_after_seconds=_look_again(moment, before, now),
        now=now,
        reason=_reason(moment),
    )


def _birth_events(observed: Observed, planning: Planning) -> tuple[Event, ...]:
    """What a person should know when a revision is made."""
    born: tuple[Manifest, ...] = planning.apply
    if not born or not observed.resource.spec.model.trust_remote_code:
        return ()
    return (
        Event(
            type="Warning",
            reason="TrustRemoteCode",
            message=f"Revision {born[0]['metadata']['name']} runs Python code that comes with the model. "
            "Set model.trustRemoteCode to false unless you trust its source.",
        ),
    )


def _long_under_way(before: Mapping[str, Any], now: datetime) -> bool:
    found = next((c for c in before.get("conditions") or () if c["type"] == ConditionType.RECONCILING), None)
    if found is None or found.get("status") != "True":
        return False
    since = parse_time(found.get("lastTransitionTime"))
    return since is not None and (now - since).total_seconds() > LONG_SECONDS


def _look_again(moment: Situation, before: Mapping[str, Any], now: datetime) -> float | None:
    """Seconds until reports or a deadline may have changed something that no watch tells of."""
    judged = judgements(moment)
    inspection = moment.planning.inspection
    found = [moment.rollout.look_again_seconds, moment.remeasure.look_again_seconds]
    if inspection is not None:
        found.append(inspection.look_again_seconds)
    reconciling, stalled = judged[ConditionType.RECONCILING], judged[ConditionType.STALLED]
    measured = judged[ConditionType.MEASURED]
    if (
        (reconciling and reconciling.status == "True" and reconciling.reason != Reason.INSPECTING)
        or moment.probing
        or moment.remeasure.running
    ):
        # A known problem is watched, or lasts; and what has moved for long moves slowly.
        slow = _long_under_way(before, now) or next(iter(moment.problems()), None) is not None
        found.append(SLOW_SECONDS if slow else MOVING_SECONDS)
    elif stalled and stalled.status == "True":
        found.append(STALLED_SECONDS)
    elif moment.serves and measured and measured.status != "True" and not moment.probe_disabled:
        found.append(UNMEASURED_SECONDS)
    waits = [max(0.1, wait) for wait in found if wait is not None]
    return min(waits) if waits else None


def _reason(moment: Situation) -> str:
    """For the log."""
    inspection = moment.planning.inspection
    parts = [inspection.reason] if inspection and inspection.facts is None else []
    if moment.planning.problem:
        parts.append(f"{moment.planning.problem.reason}: {moment.planning.problem.message}")
    parts.append(moment.rollout.reason)
    return " ".join(parts)
