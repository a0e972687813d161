"""A decision as the status shows it: the same document until a decision or a rounded figure changes."""

from __future__ import annotations

from datetime import datetime, timezone

from tacho_contract.times import format_time
from tacho_contract.units import clipped
from tacho_operator.api.base import decimal, seconds
from tacho_operator.api.conditions import ConditionType, Reason
from tacho_operator.api.types import AutoscalingStatus, ScalingDecision
from tacho_operator.core.scaling.law.step import CHANGES_KEPT
from tacho_operator.core.scaling.law.types import Bounds, Decision, Judged, State
from tacho_operator.core.types import Scaled, ScalingCondition

SENTENCE_LIMIT = 512
STEP_PERCENT = 10
"""So far use must move before it is written again: every write wakes whoever watches the resource."""
STEP_SHARE = 0.25
"""And so far the time of a start, as a share of it."""


def scaled(
    decision: Decision,
    state: State,
    *,
    bounds: Bounds,
    problems: tuple[str, ...],
    victims: tuple[str, ...],
    former: Scaled | None,
) -> Scaled:
    """What to show: ``former`` itself while nothing worth a write has changed."""
    status = _status(decision, state, bounds)
    conditions = _conditions(decision, problems)
    if former is not None and not _moved(former, status, conditions):
        return former
    kept = victims or (former.victims if former and former.replicas == decision.replicas else ())
    return Scaled(replicas=decision.replicas, autoscaling=status, conditions=conditions, victims=kept)


def _status(decision: Decision, state: State, bounds: Bounds) -> AutoscalingStatus:
    figures = decision.figures
    latest = next(iter(state.changes), None)
    learned = state.learned
    return AutoscalingStatus(
        desired_replicas=decision.replicas,
        min_replicas=bounds.least,
        max_replicas=bounds.most,
        demand_replicas=decimal(None if figures.demand is None else round(figures.demand, 2)),
        utilization_percent=None if figures.utilization is None else round(100 * figures.utilization),
        requests_per_second_per_replica=decimal(figures.trusted_requests_per_second),
        learned_percent=round(100 * learned.factor),
        learned_fingerprint=learned.fingerprint or None,
        cold_start_seconds=seconds(figures.cold_start_seconds),
        reason=clipped(decision.sentence, SENTENCE_LIMIT),
        last_scale_time=_time(latest.time_seconds) if latest else None,
        decisions=[
            ScalingDecision(
                time=_time(item.time_seconds),
                from_replicas=item.before,
                to_replicas=item.after,
                reason=clipped(item.sentence, SENTENCE_LIMIT),
            )
            for item in state.changes[:CHANGES_KEPT]
        ],
    )


def _time(time_seconds: float) -> str:
    return format_time(datetime.fromtimestamp(time_seconds, timezone.utc))


def _conditions(decision: Decision, problems: tuple[str, ...]) -> tuple[ScalingCondition, ...]:
    limited = decision.limited
    if problems:
        limited = Judged("True", Reason.INVALID_SCHEDULE, " ".join(problems))
    return (
        _condition(ConditionType.ABLE_TO_SCALE, decision.able),
        _condition(ConditionType.SCALING_ACTIVE, decision.active),
        _condition(ConditionType.SCALING_LIMITED, limited),
    )


def _condition(kind: ConditionType, judged: Judged) -> ScalingCondition:
    return ScalingCondition(
        type=kind, status=judged.status, reason=str(judged.reason), message=judged.message
    )


def _moved(former: Scaled, status: AutoscalingStatus, conditions: tuple[ScalingCondition, ...]) -> bool:
    old = former.autoscaling
    plain = ("desired_replicas", "min_replicas", "max_replicas", "learned_percent", "learned_fingerprint")
    if any(getattr(old, name) != getattr(status, name) for name in plain):
        return True
    if [(item.type, item.status, item.reason) for item in former.conditions] != [
        (item.type, item.status, item.reason) for item in conditions
    ]:
        return True
    if _stepped(old.utilization_percent, status.utilization_percent, STEP_PERCENT):
        return True
    start = old.cold_start_seconds or 0
    return _stepped(start, status.cold_start_seconds, max(1.0, STEP_SHARE * start))


def _stepped(old: int | None, new: int | None, step: float) -> bool:
    if old is None or new is None:
        return old is not new
    return abs(new - old) >= step
