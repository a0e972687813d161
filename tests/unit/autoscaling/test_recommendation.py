"""Recommendations: what the scaler's state and the status keep of decisions that nobody applied."""

from __future__ import annotations

import itertools

from hypothesis import given, strategies as st

from tacho_operator.api.conditions import Reason
from tacho_operator.core.autoscaling.algorithm.step import step
from tacho_operator.core.autoscaling.algorithm.types import Change, Point, ScalingInput, State
from tacho_operator.core.autoscaling.status_view import (
    KEPT,
    OTHER_SECONDS,
    SAME_SECONDS,
    Recommendation,
    recommended,
    scaled,
)
from tacho_operator.core.types import Scaled
from tests.properties import examples
from tests.unit.autoscaling.fleet import Fleet

CHANGE = Change(time_seconds=-30.0, before=4, after=3, cause="LowDemand")


def look(
    fleet: Fleet, state: State, made: tuple[Change, ...], replicas: int
) -> tuple[State, Recommendation, Scaled]:
    """One look at a fleet of so many replicas whose size somebody else sets."""
    at = ScalingInput(replicas=replicas, pods=fleet.loads(), capacity=fleet.capacity, policy=fleet.policy)
    done = step(at, state, fleet.now)
    after, found = recommended(done, state, made, replicas, fleet.now)
    shown = scaled(
        done.decision,
        after,
        bounds=fleet.policy.bounds,
        problems=(),
        victims=(),
        previous=None,
        recommendation=found,
    )
    return after, found, shown


@examples(40)
@given(st.lists(st.floats(0.0, 30.0), min_size=3, max_size=60))
def test_the_state_keeps_what_happened_alone(demands: list[float]) -> None:
    fleet, made = Fleet(replicas=3), ()
    state = State(changes=(CHANGE,), refused=Point(-5.0, 6))
    listed: list[Change] = []
    for demand in demands:
        fleet.serve(demand)
        state, found, shown = look(fleet, state, made, 3)
        listed += [item for item in found.made if item not in listed]
        made = found.made
        assert (state.changes, state.refused) == ((CHANGE,), Point(-5.0, 6))
        assert len(made) <= KEPT
        assert all(item.before == 3 for item in made)
        assert shown.victims == ()
        assert [item.mode for item in shown.autoscaling.decisions].count(None) == 1
    for older, newer in itertools.pairwise(listed):
        same = older.after == newer.after
        assert newer.time_seconds - older.time_seconds >= (SAME_SECONDS if same else OTHER_SECONDS)


def test_recommendations_that_alternate_are_written_once_a_minute() -> None:
    fleet = Fleet()
    fleet.run(lambda _: 0.1, 30)
    decision, bounds = fleet.decisions[-1], fleet.policy.bounds

    def shown(replicas: int, seconds: float, previous: Scaled | None, active: str = "") -> Scaled:
        now = fleet.now + seconds
        judged = decision.active if not active else type(decision.active)("False", active, "")
        return scaled(
            type(decision)(
                replicas=replicas, cause="Work", reason="r", figures=decision.figures, active=judged,
                deviation=decision.deviation,
            ),
            fleet.state, bounds=bounds, problems=(), victims=(), previous=previous,
            recommendation=Recommendation(time_seconds=now, before=1, made=()),
        )  # fmt: skip

    first = shown(2, 0, None)
    assert shown(1, 10, first) is first
    assert shown(1, OTHER_SECONDS, first) is not first
    assert shown(1, 10, first, Reason.FAILED_GET_PODS_METRIC) is not first
