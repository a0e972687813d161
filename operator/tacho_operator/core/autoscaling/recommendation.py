"""Mode Recommend of the scaler: decisions are recorded in status and not applied.

Each decision starts from the existing replicas. Recommendations do not count as changes for the scaling
policies.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from tacho_operator.core.autoscaling.algorithm.step import Step
from tacho_operator.core.autoscaling.algorithm.types import Change, State

RECOMMEND = "Recommend"
KEPT = 5
"""Most recommendations in status, in a list that also has the changes of the replica count."""
OTHER_SECONDS = 60.0
"""Shortest time in seconds between two different recommendations in status. Near a threshold they
alternate.
"""
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
    done: Step, former: State, made: tuple[Change, ...], before: int, now: float
) -> tuple[State, Recommendation]:
    """The scaler's state after a decision that is not applied, and the recommendation for status."""
    if done.decision.replicas != before and _is_new(done.state.changes[0], made):
        made = (done.state.changes[0], *made)[:KEPT]
    state = dataclasses.replace(done.state, changes=former.changes)
    return state, Recommendation(time_seconds=now, before=before, made=made)


def _is_new(change: Change, made: tuple[Change, ...]) -> bool:
    if not made:
        return True
    same = (change.before, change.after) == (made[0].before, made[0].after)
    elapsed = change.time_seconds - made[0].time_seconds
    return not 0 <= elapsed < (SAME_SECONDS if same else OTHER_SECONDS)
