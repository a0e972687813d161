"""status.autoscaling and the condition ScalingActive; unchanged until a relevant value of a decision changes.

In mode Recommend decisions are recorded in status and not applied. Each starts from the existing replicas.
Recommendations do not count as changes for the scaling policies.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from tacho_contract.failure import FailureClass
from tacho_contract.units import clipped, format_time, parse_time
from tacho_operator.api.base import decimal, seconds
from tacho_operator.api.conditions import Reason
from tacho_operator.api.status.status import (
    AutoscalingStatus,
    ScalingBurst,
    ScalingDecision,
    SLOAttainment,
)
from tacho_operator.core.autoscaling.algorithm import tuning
from tacho_operator.core.autoscaling.algorithm.behavior import whole
from tacho_operator.core.autoscaling.algorithm.types import (
    Attainment,
    Bounds,
    Change,
    Decision,
    State,
    Step,
)
from tacho_operator.core.problems import DETAILS
from tacho_operator.core.types import Scaled, ScalingCondition

RECOMMEND = "Recommend"
KEPT = 5
"""Most recommendations in status, in a list that also has the changes of the replica count."""
OTHER_SECONDS = 60.0
"""Fewest seconds between two different recommendations in status. Near a threshold they alternate."""
SAME_SECONDS = 3600.0
"""Shortest time in seconds between two equal recommendations in status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """The replicas that mode Enforce would set now, and the latest recommendations."""

    time_seconds: float
    before: int
    """Number of existing replicas when the recommendation was made."""
    made: tuple[Change, ...]
    """The latest recommendations, the newest first."""


def recommended(
    done: Step, previous: State, made: tuple[Change, ...], before: int, now: float
) -> tuple[State, Recommendation]:
    """The scaler's state after a decision that is not applied, and the recommendation for status."""
    if done.decision.replicas != before and _is_new(done.state.changes[0], made):
        made = (done.state.changes[0], *made)[:KEPT]
    state = dataclasses.replace(done.state, changes=previous.changes)
    return state, Recommendation(time_seconds=now, before=before, made=made)


def _is_new(change: Change, made: tuple[Change, ...]) -> bool:
    if not made:
        return True
    same = (change.before, change.after) == (made[0].before, made[0].after)
    elapsed = change.time_seconds - made[0].time_seconds
    return not 0 <= elapsed < (SAME_SECONDS if same else OTHER_SECONDS)


MOST_COUNT = 2**31 - 1
"""Highest count that status holds: forged pods may report more requests."""
REASON_LIMIT_CHARS = 512
STEP_PERCENT = 10
"""Smallest change of the utilization, in percentage points, that is written to status. Every write notifies
all watchers of the resource.
"""
_RECOMMENDED = frozenset({"desired_replicas", "deviation"})
"""What changes together with a recommendation."""
FIGURES = ("demand_replicas", "utilization_percent", "attainment", "reason")
"""Fields of status.autoscaling that are of the load as it was at the last decision."""
ORDINARY = frozenset({str(Reason.VALID_METRIC_FOUND), str(Reason.CAPACITY_UNVERIFIED)})
"""Reasons of condition ScalingActive that an invalid schedule or an ignored write replaces."""
ATTAINMENT_STEP_PERCENT = 5
"""Smallest change of the SLO attainment, in percentage points, that is written to status."""
REFUSAL_STEP = timedelta(seconds=tuning.RETRY_SECONDS / 2)
ROUNDING_PERCENT = 1e-6
STEP_SHARE = 0.25
"""Smallest relative change of the cold start that is written to status (0.25: 25 %)."""


def scaled(
    decision: Decision,
    state: State,
    *,
    bounds: Bounds,
    problems: tuple[str, ...],
    victims: tuple[str, ...],
    previous: Scaled | None,
    recommendation: Recommendation | None = None,
) -> Scaled:
    """The scaling status to write; ``previous`` itself where nothing relevant has changed.

    ``recommendation`` is set in mode Recommend, where the decision is not applied. Near a threshold
    recommendations alternate: if only they change, status is written once a minute at most.
    """
    status = _status(decision, state, bounds, recommendation)
    active = _active(decision, problems, recommendation)
    now = recommendation.time_seconds if recommendation else 0.0
    if previous is not None:
        soon = recommendation is not None and 0 <= now - previous.time_seconds < OTHER_SECONDS
        ignored = _RECOMMENDED if soon else frozenset()
        moved = decision.deviation != previous.deviation and "deviation" not in ignored
        if not moved and not _changed(previous, status, active, ignored=ignored):
            return previous
    kept = victims or (previous.victims if previous and previous.replicas == decision.replicas else ())
    return Scaled(
        replicas=decision.replicas,
        autoscaling=status,
        active=active,
        deviation=decision.deviation,
        victims=kept,
        time_seconds=now,
    )


def newest_change(status: AutoscalingStatus | None) -> ScalingDecision | None:
    """The newest decision in status that was to be applied; None: there is none."""
    return next((item for item in status.decisions if item.mode is None), None) if status else None


def failed(
    error: Exception, replicas: int, previous: Scaled | None, stored: AutoscalingStatus | None
) -> Scaled:
    """The scaling status after a decision that failed: replicas stay, and no figure of the load is known.

    ``previous``: the scaling status so far; returned itself where it reports the failure already. ``stored``:
    that of an earlier process.
    """
    message = "The scaler failed on this resource; the number of replicas stays. Report the error."
    message = f"{message}{DETAILS}{type(error).__name__}"
    active = ScalingCondition(status="False", reason=FailureClass.INTERNAL_ERROR, message=message)
    if previous is not None and previous.active == active:
        return previous
    status = (previous.autoscaling if previous else stored) or AutoscalingStatus()
    desired = None if status.mode == RECOMMEND else replicas
    return Scaled(
        replicas=replicas,
        autoscaling=status.model_copy(update={**dict.fromkeys(FIGURES), "desired_replicas": desired}),
        active=active,
        victims=previous.victims if previous else (),
    )


def _status(
    decision: Decision, state: State, bounds: Bounds, recommendation: Recommendation | None
) -> AutoscalingStatus:
    figures, mix = decision.figures, state.mix
    latest = next(iter(state.changes), None)
    changes = [(item, None) for item in state.changes[: tuning.CHANGES_KEPT]]
    made = [(item, RECOMMEND) for item in recommendation.made] if recommendation else []
    listed = sorted([*made, *changes], key=lambda item: -item[0].time_seconds)
    # A restart restores the changes: recommendations leave their half of the list to them.
    return AutoscalingStatus(
        mode=RECOMMEND if recommendation else None,
        desired_replicas=decision.replicas,
        min_replicas=bounds.least,
        max_replicas=bounds.most,
        demand_replicas=decimal(None if figures.demand is None else round(figures.demand, 2)),
        utilization_percent=None
        if figures.utilization is None
        else min(MOST_COUNT, round(100 * figures.utilization)),
        requests_per_second_per_replica=decimal(figures.trusted_requests_per_second),
        capacity_correction_percent=round(100 * state.correction.factor),
        capacity_correction_fingerprint=state.fingerprint or None,
        attainment=_attainment(state.attainment),
        # A speed that matters changes the utilization, which is written in steps.
        speed_percent=round(100 * state.speed),
        input_tokens=mix.prompt_tokens / mix.requests if mix else None,
        output_tokens=mix.output_tokens / mix.requests if mix else None,
        bursts=[
            ScalingBurst(
                begin_time=_time(item.begin_seconds), end_time=_time(item.end_seconds), replicas=item.load
            )
            for item in state.bursts
        ],
        low_replicas=state.low,
        cold_start_seconds=seconds(figures.cold_start_seconds),
        refused_above=None if state.refused is None else int(state.refused.value),
        refused_time=None if state.refused is None else _time(state.refused.time_seconds),
        reason=clipped(decision.reason, REASON_LIMIT_CHARS),
        last_scale_time=_time(latest.time_seconds) if latest else None,
        decisions=[_listed(item, mode) for item, mode in listed[: tuning.CHANGES_KEPT]],
    )


def _listed(change: Change, mode: str | None) -> ScalingDecision:
    return ScalingDecision(
        time=_time(change.time_seconds),
        mode=mode,
        from_replicas=change.before,
        to_replicas=change.after,
        cause=change.cause or None,
        reason=clipped(change.reason, REASON_LIMIT_CHARS),
    )


def _attainment(found: Attainment) -> SLOAttainment | None:
    if found.ttft is None and found.tpot is None:
        return None
    shares = found.shares
    return SLOAttainment(
        percent=None if shares is None else math.floor(100 * shares[0] + ROUNDING_PERCENT),
        requests=0 if shares is None else min(MOST_COUNT, round(found.requests)),
        ttft_source=found.ttft,
        tpot_source=found.tpot,
    )


def _time(time_seconds: float) -> str:
    return format_time(datetime.fromtimestamp(time_seconds, timezone.utc))


def _active(
    decision: Decision, problems: tuple[str, ...], recommendation: Recommendation | None
) -> ScalingCondition:
    """The condition ScalingActive. ``problems``: those of schedules, which are ignored."""
    status, reason, message = decision.active.status, str(decision.active.reason), decision.active.message
    if problems:
        reason = str(Reason.INVALID_SCHEDULE) if reason in ORDINARY else reason
        message = f"{' '.join(problems)} {message}"
    if recommendation:
        reason = str(Reason.RECOMMEND_ONLY) if status == "True" else reason
        size, status = _recommended_size(decision.replicas, recommendation.before), "False"
        message = f"Recommendations are not applied (autoscaling.mode: Recommend). {size}{message}"
    return ScalingCondition(status=status, reason=reason, message=message)


def _recommended_size(replicas: int, before: int) -> str:
    return "" if replicas == before else f"{replicas} replicas are recommended, {before} are set. "


def _changed(
    previous: Scaled,
    status: AutoscalingStatus,
    active: ScalingCondition,
    *,
    ignored: frozenset[str],
) -> bool:
    """Whether status or condition differ from ``previous`` enough to be written. ``ignored``: fields that are
    not compared.
    """
    old = previous.autoscaling
    plain = (
        "desired_replicas",
        "min_replicas",
        "max_replicas",
        "refused_above",
        "capacity_correction_percent",
        "capacity_correction_fingerprint",
    )
    if any(getattr(old, name) != getattr(status, name) for name in plain if name not in ignored):
        return True
    if [item.time for item in old.decisions[:1]] != [item.time for item in status.decisions[:1]]:
        return True  # as many are recommended, from another number of replicas
    was = previous.active
    if was is None or (was.status, was.reason) != (active.status, active.reason):
        return True
    if (old.requests_per_second_per_replica is None) != (status.requests_per_second_per_replica is None):
        return True
    if _differs(old.utilization_percent, status.utilization_percent, STEP_PERCENT):
        return True
    if _peaks(old) != _peaks(status):
        return True
    if _refused_again(old.refused_time, status.refused_time):
        return True
    if _attainment_changed(old.attainment or SLOAttainment(), status.attainment or SLOAttainment()):
        return True
    start = old.cold_start_seconds or 0
    return _differs(start, status.cold_start_seconds, max(1.0, STEP_SHARE * start))


def _refused_again(old: str | None, new: str | None) -> bool:
    """Whether the time of a refused scale-up is so much later that it must be written, for a restarted
    operator. Every sample repeats a refusal that lasts.
    """
    before, after = parse_time(old), parse_time(new)
    return before is not None and after is not None and abs(after - before) >= REFUSAL_STEP


def _attainment_changed(old: SLOAttainment, new: SLOAttainment) -> bool:
    if (old.ttft_source, old.tpot_source) != (new.ttft_source, new.tpot_source):
        return True
    return _differs(old.percent, new.percent, ATTAINMENT_STEP_PERCENT)


def _peaks(status: AutoscalingStatus) -> tuple[int | None, ...]:
    """The lowest need and that of each burst, in whole replicas, to compare: a burst's may still grow."""
    low = status.low_replicas
    return (None if low is None else whole(low), *(whole(item.replicas) for item in status.bursts))


def _differs(old: int | None, new: int | None, step: float) -> bool:
    if old is None or new is None:
        return old is not new
    return abs(new - old) >= step
