"""The autoscaling status of a decision. It stays equal until the decision or a rounded value changes."""

from __future__ import annotations

from datetime import datetime, timezone

from tacho_contract.units import clipped, format_time
from tacho_operator.api.base import decimal, seconds
from tacho_operator.api.conditions import ConditionType, Reason
from tacho_operator.api.status.status import AutoscalingStatus, ScalingDecision
from tacho_operator.core.autoscaling.algorithm.step import CHANGES_KEPT
from tacho_operator.core.autoscaling.algorithm.types import Bounds, Decision, Judged, State
from tacho_operator.core.types import Scaled, ScalingCondition

REASON_LIMIT_CHARS = 512
STEP_PERCENT = 10
"""Change of the utilization that is written: every write wakes the resource's watchers."""
STEP_SHARE = 0.25
"""Change of the cold start that is written, as a share of it."""


def scaled(
    decision: Decision,
    state: State,
    *,
    bounds: Bounds,
    problems: tuple[str, ...],
    victims: tuple[str, ...],
    former: Scaled | None,
) -> Scaled:
    """The status to write: ``former`` itself without a relevant change."""
    status = _status(decision, state, bounds)
    conditions = _conditions(decision, problems)
    if former is not None and not _changed(former, status, conditions):
        return former
    kept = victims or (former.victims if former and former.replicas == decision.replicas else ())
    return Scaled(replicas=decision.replicas, autoscaling=status, conditions=conditions, victims=kept)


def _status(decision: Decision, state: State, bounds: Bounds) -> AutoscalingStatus:
    figures = decision.figures
    latest = next(iter(state.changes), None)
    return AutoscalingStatus(
        desired_replicas=decision.replicas,
        min_replicas=bounds.least,
        max_replicas=bounds.most,
        demand_replicas=decimal(None if figures.demand is None else round(figures.demand, 2)),
        utilization_percent=None if figures.utilization is None else round(100 * figures.utilization),
        requests_per_second_per_replica=decimal(figures.trusted_requests_per_second),
        capacity_correction_percent=round(100 * state.correction.factor),
        capacity_correction_fingerprint=state.fingerprint or None,
        cold_start_seconds=seconds(figures.cold_start_seconds),
        refused_above=None if state.refused is None else int(state.refused.value),
        refused_time=None if state.refused is None else _time(state.refused.time_seconds),
        reason=clipped(decision.reason, REASON_LIMIT_CHARS),
        last_scale_time=_time(latest.time_seconds) if latest else None,
        decisions=[
            ScalingDecision(
                time=_time(item.time_seconds),
                from_replicas=item.before,
                to_replicas=item.after,
                cause=item.cause or None,
                reason=clipped(item.reason, REASON_LIMIT_CHARS),
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


def _changed(former: Scaled, status: AutoscalingStatus, conditions: tuple[ScalingCondition, ...]) -> bool:
    old = former.autoscaling
    plain = (
        "desired_replicas",
        "min_replicas",
        "max_replicas",
        "refused_above",
        "capacity_correction_percent",
        "capacity_correction_fingerprint",
    )
    if any(getattr(old, name) != getattr(status, name) for name in plain):
        return True
    if [(item.type, item.status, item.reason) for item in former.conditions] != [
        (item.type, item.status, item.reason) for item in conditions
    ]:
        return True
    if _differs(old.utilization_percent, status.utilization_percent, STEP_PERCENT):
        return True
    start = old.cold_start_seconds or 0
    return _differs(start, status.cold_start_seconds, max(1.0, STEP_SHARE * start))


def _differs(old: int | None, new: int | None, step: float) -> bool:
    if old is None or new is None:
        return old is not new
    return abs(new - old) >= step
