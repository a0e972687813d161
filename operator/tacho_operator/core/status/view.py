"""The whole status of one moment. What is unknown is left out, and what is stale never looks current."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tacho_contract.units import clipped
from tacho_operator.api.conditions import remove_condition, set_condition
from tacho_operator.api.status.status import Condition, LLMDeploymentStatus
from tacho_operator.core import names
from tacho_operator.core.manifests.service import url
from tacho_operator.core.measurement.records import summary_view
from tacho_operator.core.revisions.frozen import Revision
from tacho_operator.core.status.conditions import judgements
from tacho_operator.core.status.plan import failure_view, plan_view, present
from tacho_operator.core.status.situation import Situation
from tacho_operator.core.types import Manifest

REVISIONS_SHOWN = 5


def status_view(moment: Situation, before: Mapping[str, Any], startup: Manifest, now: datetime) -> Manifest:
    """status as it is to be stored; equal moments give equal documents."""
    found: Manifest = {
        "observedGeneration": moment.resource.metadata.generation,
        "replicas": moment.server_pods,
        "readyReplicas": moment.ready_pods,
        "selector": names.scale_selector(moment.resource.metadata.name),
        **present(
            {
                "url": url(moment.resource),
                "summary": summary_view(moment.measurements),
                "plan": _plan(moment),
                "measurements": list(moment.measurements),
                "startup": startup,
                "revisions": _revisions(moment),
            }
        ),
        "conditions": _conditions(moment, before, now),
    }
    return found


def _plan(moment: Situation) -> Manifest:
    """The active revision's plan; until one is active, the candidate's, or what was considered."""
    if moment.subject is not None:
        return plan_view(moment.subject.plan, moment.subject.name)
    planning = moment.planning
    if planning.plan is not None:
        return plan_view(planning.plan, "")
    return failure_view(planning.failure) if planning.failure else {}


def _revisions(moment: Situation) -> list[Manifest]:
    shown = [
        item for item in moment.revisions if item.name in (moment.rollout.active, moment.rollout.candidate)
    ]
    rest = [item for item in moment.revisions if item not in shown]
    chosen = (shown + rest)[:REVISIONS_SHOWN]
    return [_revision(moment, item) for item in sorted(chosen, key=lambda item: (-item.number, item.name))]


def _revision(moment: Situation, revision: Revision) -> Manifest:
    rollout, planning = moment.rollout, moment.planning
    wanted = planning.revision.name if planning.revision else ""
    if revision.name == rollout.active:
        words = ("Active", "Serving", "Accepted", "It serves.")
    elif revision.name in (rollout.candidate, wanted):
        problem = moment.candidate_problem if rollout.candidate else moment.subject_problem
        if problem is not None:
            words = ("Candidate", str(problem.reason), "", problem.message)
        else:
            words = ("Candidate", "Starting", "", rollout.reason)
    else:
        words = ("Retired", "Superseded", "", "Another revision took its place.")
    phase, reason, outcome, message = words
    return present(
        {
            "name": revision.name,
            "phase": phase,
            "reason": reason,
            "outcome": outcome,
            "message": clipped(message, 1024),
        }
    )


def _conditions(moment: Situation, before: Mapping[str, Any], now: datetime) -> list[Manifest]:
    stored = LLMDeploymentStatus.model_validate({"conditions": before.get("conditions") or []})
    conditions: list[Condition] = list(stored.conditions)
    for kind, judged in judgements(moment).items():
        if judged is None:
            conditions = remove_condition(conditions, kind)
        else:
            conditions = set_condition(
                conditions,
                kind,
                status=judged.status,
                reason=judged.reason,
                message=judged.message,
                generation=moment.resource.metadata.generation,
                now=now,
            )
    return [condition.to_wire() for condition in conditions]
