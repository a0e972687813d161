"""Limits of the replicas: the bounds of spec, and what quota or admission refuses."""

from __future__ import annotations

from dataclasses import replace

from tacho_operator.core.autoscaling.algorithm import tuning
from tacho_operator.core.autoscaling.algorithm.types import Outcome, Point, ScalingInput, State

ONCE_BELOW = 0.5
"""What is added to the minimum after one refusal below it, which a quota of the minimum is not."""


def refused(at: ScalingInput, state: State, now: float) -> Point | None:
    """The number of replicas that quota or admission allows, until the next try; None: no limit.

    A number below the minimum counts only from the second such refusal on, so that a short failure of a
    webhook costs no replicas.
    """
    previous, least = state.refused, at.policy.bounds.least
    if at.refused_above is not None:
        again = previous is not None and (previous.value < least or previous.value == least + ONCE_BELOW)
        first = at.refused_above < least and not again
        return Point(now, least + ONCE_BELOW if first else at.refused_above)
    return previous if previous and 0 <= now - previous.time_seconds < tuning.RETRY_SECONDS else None


def bounded(at: ScalingInput, state: State, outcome: Outcome) -> Outcome:
    """``outcome`` limited to the bounds, and to the replicas that the cluster accepts."""
    bounds = at.policy.bounds
    if outcome.replicas < bounds.least:
        outcome = replace(outcome, replicas=bounds.least, cause="Bounds", limited="TooFewReplicas")
    limits = [(bounds.most, "TooManyReplicas", "Bounds")]
    if state.refused is not None:
        limits.append((int(state.refused.value), "QuotaExceeded", "Quota"))
    most, limited, cause = min(limits, key=lambda limit: limit[0])
    if outcome.replicas > most:
        cause = cause if most < at.replicas else outcome.cause
        return replace(outcome, replicas=most, limited=limited, cause=cause)
    if outcome.needed > bounds.most and outcome.limited != "TooFewReplicas":
        return replace(outcome, limited="TooManyReplicas")
    return outcome
