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
"""Recommendations in status. The other half of its list is for changes, which a restart restores."""
OTHER_SECONDS = 60.0
"""Shortest time between two different recommendations in that list: near a threshold they alternate."""
SAME_SECONDS = 3600.0
"""Shortest time between two equal ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """What mode Enforce would do now, and the latest recommendations."""

    time_seconds: float
    before: int
    """The existing replicas."""
    made: tuple[Change, ...]
    """The newest first."""


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
