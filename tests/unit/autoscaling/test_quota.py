"""Replicas that quota or admission refuses."""

from __future__ import annotations

import dataclasses

import pytest

from tacho_operator.core.autoscaling.algorithm.step import step
from tacho_operator.core.autoscaling.algorithm.types import Bounds, Point, ScalingInput, State
from tests.unit.autoscaling.fleet import CAPACITY, POLICY, Fleet


def test_a_refusal_by_quota_is_remembered_for_a_while() -> None:
    fleet = Fleet(replicas=2)
    fleet.run(lambda _: 9.0, 60)
    refused = ScalingInput(
        replicas=fleet.wanted,
        pods=fleet.loads(),
        capacity=CAPACITY,
        policy=POLICY,
        refused_above=3,
    )
    first = step(refused, fleet.state, fleet.now)
    assert first.decision.replicas == 3
    assert first.state.changes[0].cause == "Quota"
    again = dataclasses.replace(refused, replicas=3, refused_above=None)
    second = step(again, first.state, fleet.now + 10)
    assert (second.decision.replicas, second.decision.deviation) == (3, "QuotaExceeded")
    assert step(again, first.state, fleet.now + 601).decision.deviation != "QuotaExceeded"


def test_of_maximum_and_quota_the_lower_one_counts() -> None:
    """A need beyond both is limited to what quota allows, and not to the maximum, which it would refuse."""
    fleet = Fleet(replicas=2)
    fleet.run(lambda _: 2.0, 300)
    fleet.serve(40.0)
    policy = dataclasses.replace(POLICY, bounds=Bounds(least=1, most=5))
    at = ScalingInput(replicas=2, pods=fleet.loads(), capacity=CAPACITY, policy=policy, refused_above=3)
    decision = step(at, fleet.state, fleet.now).decision
    assert (decision.replicas, decision.deviation) == (3, "QuotaExceeded")
    fewer = dataclasses.replace(at, refused_above=9)
    decision = step(fewer, fleet.state, fleet.now).decision
    assert (decision.replicas, decision.deviation) == (5, "TooManyReplicas")
    same = dataclasses.replace(at, refused_above=5)
    decision = step(same, fleet.state, fleet.now).decision
    assert (decision.replicas, decision.deviation) == (5, "TooManyReplicas"), "not by quota alone"


def test_a_refusal_below_the_minimum_backs_off_and_is_tried_again() -> None:
    """The first may be a webhook that is away for a moment."""
    policy = dataclasses.replace(POLICY, bounds=Bounds(least=5, most=9))
    at = ScalingInput(replicas=5, pods=(), capacity=CAPACITY, policy=policy)
    refused = dataclasses.replace(at, refused_above=2)
    first = step(refused, State(), 0.0)
    assert first.decision.replicas == 5
    assert step(at, first.state, 10.0).decision.replicas == 5, "it was away for a moment"
    second = step(refused, first.state, 10.0)
    assert (second.decision.replicas, second.decision.deviation) == (2, "QuotaExceeded")
    fewer = dataclasses.replace(at, replicas=2)
    assert step(fewer, second.state, 600.0).decision.replicas == 2
    third = step(fewer, second.state, 611.0)
    assert (third.decision.replicas, third.decision.deviation) == (5, "TooFewReplicas")


def test_quotas_of_several_sizes_one_after_the_other() -> None:
    """Each is kept to, and tried again after ten minutes. After one above the minimum the first below it
    counted at once, and cost a replica for ten minutes."""
    policy = dataclasses.replace(POLICY, bounds=Bounds(least=3, most=9))
    fleet = Fleet(policy, replicas=3)
    fleet.run(lambda _: 40.0, 60)

    def look(pods: int | None) -> tuple[int, str]:
        at = ScalingInput(
            replicas=fleet.wanted, pods=fleet.loads(), capacity=CAPACITY, policy=policy, refused_above=pods
        )
        fleet.serve(40.0)
        done = step(at, fleet.state, fleet.now)
        fleet.state, fleet.wanted = done.state, done.decision.replicas
        return fleet.wanted, done.decision.deviation

    for pods in (5, 7, 4):
        assert look(pods) == (pods, "QuotaExceeded")
        tries = [look(None) for _ in range(59)]
        assert set(tries) == {(pods, "QuotaExceeded")}
        assert look(None)[0] > pods, "it is tried again"
    assert look(5) == (5, "QuotaExceeded")
    assert look(2) == (3, "QuotaExceeded"), "a webhook may be away for a moment"
    assert look(None) == (3, "QuotaExceeded")
    assert look(2) == (2, "QuotaExceeded")


def test_a_refusal_from_before_the_clock_was_set_back_has_ended() -> None:
    fleet = Fleet(replicas=2)
    fleet.run(lambda _: 9.0, 60)
    refused = Point(fleet.now + 1000, 2)
    for state in (fleet.state, dataclasses.replace(fleet.state, read_seconds=None)):
        at = ScalingInput(replicas=2, pods=fleet.loads(), capacity=CAPACITY, policy=POLICY)
        found = step(at, dataclasses.replace(state, refused=refused), fleet.now)
        assert found.state.refused is None
        assert found.decision.deviation != "QuotaExceeded"


@pytest.mark.parametrize("quota", [3, 4])
def test_a_quota_of_the_minimum_or_one_more_is_no_refusal_below_it(quota: int) -> None:
    """The first below it may be a webhook that is away for a moment, and costs no replica."""
    policy = dataclasses.replace(POLICY, bounds=Bounds(least=3, most=9))
    at = ScalingInput(replicas=3, pods=(), capacity=CAPACITY, policy=policy, refused_above=quota)
    state = step(at, State(), 0.0).state
    below = dataclasses.replace(at, refused_above=2)
    first = step(below, state, 10.0)
    assert first.decision.replicas == 3
    second = step(below, first.state, 20.0)
    assert second.decision.replicas == 2
    assert step(below, second.state, 30.0).decision.replicas == 2
