"""One reconcile as a pure function: what was observed in, every effect out. The core's table of contents.

revisions/    is this spec a known revision; else its model is inspected, planned and frozen as one
pods/claims   what the claims allow
scaling/      how many replicas
rollout/      who serves now, and how many pods each revision has
measurement/  which figures are current, and whether to measure again
status/       all of that as one snapshot; from it the status, its events, and when to look again
children      what to apply and what to delete
"""

from __future__ import annotations

from datetime import datetime

from tacho_operator.core import names
from tacho_operator.core.children import deletion_costs, to_apply, to_delete
from tacho_operator.core.measurement.step import measure_step
from tacho_operator.core.pods.claims import claim_limits
from tacho_operator.core.pods.view import views
from tacho_operator.core.revisions import frozen
from tacho_operator.core.revisions.step import Planning, plan_step
from tacho_operator.core.rollout.decision import Standing, next_step
from tacho_operator.core.rollout.reading import (
    headcounts,
    lost_nodes,
    read_serving,
    revision_problem,
    sizes,
    taken_away,
)
from tacho_operator.core.scaling.asked import asked_replicas
from tacho_operator.core.status.build import build_status
from tacho_operator.core.status.events import transition_events
from tacho_operator.core.status.gather import take_snapshot
from tacho_operator.core.status.look_again import look_again_seconds
from tacho_operator.core.turn import Turn
from tacho_operator.core.types import Config, Decision, Event, Observed


def decide(observed: Observed, config: Config, now: datetime) -> Decision:
    """Everything to do about one resource now. The same arguments give the same decision."""
    if observed.resource.metadata.deletion_timestamp:
        why = "It is being deleted: garbage collection takes the children."
        return Decision(status=None, now=now, reason=why)
    turn = take_turn(observed, config, now)
    snapshot = take_snapshot(observed, config, turn, now)
    status = build_status(snapshot, now)
    return Decision(
        apply=to_apply(observed, config, turn),
        delete=to_delete(observed, turn),
        deletion_costs=deletion_costs(observed),
        status=status,
        events=(
            *transition_events(snapshot.former, status),
            *_birth_events(observed, turn.planning),
            *turn.measuring.events,
        ),
        requeue_after_seconds=look_again_seconds(snapshot, now),
        now=now,
        reason=_reason(turn),
    )


def take_turn(observed: Observed, config: Config, now: datetime) -> Turn:
    """The next step in each room, in this order: a later one looks at what an earlier one decided."""
    revisions = frozen.read_all(observed.revisions)
    planning = plan_step(observed, config, revisions, now)
    if planning.revision is not None:
        revisions.setdefault(planning.revision.name, planning.revision)
    serving = read_serving(observed)
    asked = asked_replicas(observed)
    replacing = serving.active not in ("", planning.wanted)
    limits = claim_limits(observed, replacing=replacing, replicas=asked)
    replicas = asked if limits.most is None else min(asked, limits.most)
    servers = views(observed.pods, names.ROLE_SERVER)
    deployments = sizes(observed.deployments)
    rollout = next_step(
        Standing(
            wanted="" if limits.no_candidate else planning.wanted,
            known=revisions.keys(),
            replicas=replicas,
            pods=headcounts(servers, now),
            deployments=deployments,
            serving=serving,
            trouble=revision_problem(
                observed,
                planning.wanted,
                pods=servers,
                wanted=deployments.get(planning.wanted, 0),
                lost=lost_nodes(observed.nodes),
                now=now,
            )
            or taken_away(servers, planning.wanted, now),
            now=now,
        )
    )
    return Turn(
        revisions=revisions,
        planning=planning,
        rollout=rollout,
        measuring=measure_step(observed, planning, rollout, revisions, now),
        asked=asked,
        replicas=replicas,
        blocking=limits.problems,
    )


def _birth_events(observed: Observed, planning: Planning) -> tuple[Event, ...]:
    """What a person should know when a revision is made."""
    if not planning.apply:
        return ()
    trust = "it runs Python code that comes with the model. "
    trust += "Set model.trustRemoteCode to false unless you trust its source."
    said = [("TrustRemoteCode", trust)] if observed.resource.spec.model.trust_remote_code else []
    said += [("PlanWarning", warning) for warning in (planning.plan.warnings if planning.plan else ())]
    return tuple(
        Event(type="Warning", reason=reason, message=f"Revision {planning.wanted}: {what}")
        for reason, what in said
    )


def _reason(turn: Turn) -> str:
    """For the log."""
    planning = turn.planning
    parts = [planning.inspection.reason] if planning.inspection and planning.inspection.facts is None else []
    if planning.problem:
        parts.append(f"{planning.problem.reason}: {planning.problem.message}")
    parts.append(turn.rollout.reason)
    return " ".join(parts)
