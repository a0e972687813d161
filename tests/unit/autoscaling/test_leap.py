"""A step of load is asked for at the look that shows it; what chance may have brought is not."""

from __future__ import annotations

import dataclasses
from random import Random

import pytest
from hypothesis import given, strategies as st

from tacho_operator.core.autoscaling.algorithm.chance import REMEMBERED_SECONDS, remembered
from tacho_operator.core.autoscaling.algorithm.leap import sure_work, surely
from tacho_operator.core.autoscaling.algorithm.types import Bounds, Look, Pace, Policy, ReplicaCapacity, Rules
from tests.unit.autoscaling.fleet import CAPACITY, RATE, Fleet

DOUBTED = dataclasses.replace(CAPACITY, requests_per_second=None, unverified="it is provisional")
LITTLE = 0.4
"""Of what a replica carries."""


def watched(replicas: int = 1, policy: Policy | None = None) -> Fleet:
    """After ten minutes of little load."""
    fleet = Fleet(policy or Policy(bounds=Bounds(least=replicas, most=50)), replicas=replicas)
    fleet.run(lambda _: LITTLE * RATE * replicas, 600)
    assert fleet.wanted == replicas
    return fleet


@pytest.mark.parametrize(("replicas", "much"), [(1, 2.0), (2, 3.0), (4, 5.0)])
def test_a_step_is_asked_for_at_the_next_look(replicas: int, much: float) -> None:
    fleet = watched(replicas)
    fleet.serve(much * RATE)
    decision = fleet.look()
    assert decision.replicas > replicas
    assert decision.able.reason == "SucceededRescale"


@pytest.mark.parametrize("capacity", [CAPACITY, DOUBTED], ids=["clean", "provisional"])
def test_a_lasting_step_gets_what_it_needs_by_doubling(capacity: ReplicaCapacity) -> None:
    fleet = watched()
    fleet.capacity = capacity
    fleet.run(lambda _: LITTLE * RATE, 60)
    sizes = fleet.run(lambda _: 8.0 * RATE, 60)
    assert sizes[0] > 1
    assert sizes == sorted(sizes)
    assert sizes[-1] >= 8


def test_requests_at_once_that_are_no_chance_are_not_waited_upon() -> None:
    fleet = Fleet(Policy(bounds=Bounds(least=1, most=9)), DOUBTED)
    fleet.run(lambda _: LITTLE * RATE, 60)
    fleet.serve(3.0 * RATE)
    assert fleet.look().replicas > 1


def test_a_window_that_a_person_set_is_kept_to() -> None:
    fleet = watched(policy=Policy(bounds=Bounds(least=1, most=9), up=Rules(window_seconds=60)))
    fleet.serve(1.7 * RATE)
    decision = fleet.look()
    assert (decision.replicas, decision.able.reason) == (1, "ScaleUpStabilized")


def test_a_counter_that_jumped_is_no_leap() -> None:
    fleet = watched()
    fleet.replicas[0].generated += 1e6
    fleet.serve(LITTLE * RATE)
    assert fleet.look().replicas == 1
    assert fleet.state.lately == ()


@pytest.mark.parametrize(("back", "fingerprint", "kept"), [(9000.0, "f", 0), (0.0, "another", 1)])
def test_former_looks_are_not_told_by_another_clock_or_in_other_units(
    back: float, fingerprint: str, kept: int
) -> None:
    fleet = watched()
    assert len(fleet.state.lately) == REMEMBERED_SECONDS / 10
    fleet.now -= back
    fleet.capacity = dataclasses.replace(CAPACITY, fingerprint=fingerprint)
    fleet.serve(LITTLE * RATE)
    fleet.look()
    assert len(fleet.state.lately) == kept


def test_the_first_look_of_a_process_proves_no_leap() -> None:
    fleet = Fleet(Policy(bounds=Bounds(least=1, most=9)), DOUBTED)
    fleet.serve(3.0 * RATE)
    assert fleet.look().replicas == 1
    fleet.serve(3.0 * RATE)
    assert fleet.look().replicas > 1


def test_long_answers_that_have_begun_are_a_leap_before_their_tokens_are() -> None:
    """A minute of answering each: after one look hardly anything of them is done, and nothing waits."""
    long = dataclasses.replace(
        CAPACITY, requests_per_second=0.5, output_tokens_per_second=50.0, concurrency=60
    )
    fleet = Fleet(Policy(bounds=Bounds(least=1, most=9)), long)
    for step, running in enumerate((6, 6, 6, 50)):
        fleet.now += 10.0
        fleet.replicas[0].generated += 10.0 * running
        fleet.replicas[0].running = running
        assert (fleet.look().replicas > 1) == (step == 3)


def test_what_two_looks_prove_together_takes_two() -> None:
    fleet = watched()
    fleet.state = dataclasses.replace(fleet.state, lately=fleet.state.lately[:3])  # too few to scatter
    assert fleet.run(lambda _: 1.3 * RATE, 20) == [1, 2]


def test_what_leaps_in_twice_is_asked_for_at_no_pace_and_what_came_once_is_not() -> None:
    once, twice = watched(), watched()
    assert once.run(lambda now: (20.0 if now < 605 else LITTLE) * RATE, 30)[-1] < 15
    sizes = twice.run(lambda _: 20.0 * RATE, 20)
    assert sizes[0] == 5
    assert sizes[1] >= 25


@pytest.mark.parametrize(
    ("up", "sizes"),
    [
        (Rules(paces=(Pace(kind="Pods", value=1, period_seconds=60),)), [2, 2, 2]),
        (Rules(select="Disabled"), [1, 1, 1]),
    ],
    ids=["paces", "disabled"],
)
def test_what_a_person_set_holds_of_what_two_looks_prove(up: Rules, sizes: list[int]) -> None:
    fleet = watched(policy=Policy(bounds=Bounds(least=1, most=50), up=up))
    assert fleet.run(lambda _: 20.0 * RATE, 30) == sizes


@pytest.mark.parametrize("seed", range(5))
def test_chance_brings_nothing_where_replicas_are_half_full(seed: int) -> None:
    """An hour of requests that come by chance."""
    rng = Random(seed)
    fleet = Fleet(Policy(bounds=Bounds(least=2, most=9)), replicas=2)
    seconds = fleet.now
    arrivals: list[int] = []
    for _ in range(360):
        end, count = fleet.now + 10.0, 0
        while (seconds := seconds + rng.expovariate(RATE)) < end:
            count += 1
        arrivals.append(count)
        fleet.serve(count / 10.0)
        fleet.look()
    assert max(arrivals) > 30, "more than two replicas are to be full of"
    assert set(fleet.sizes) == {2}


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_more_is_never_less_sure(one: float, other: float) -> None:
    assert surely(min(one, other)) <= surely(max(one, other)) <= max(one, other)


def test_a_burst_in_a_look_right_after_a_late_one_is_no_rate() -> None:
    calm = Look(10.0, LITTLE)
    assert sure_work([Look(0.3, 20.0), calm], CAPACITY) == pytest.approx((20 - 3 * 20**0.5) / 20.6)
    assert sure_work([Look(0.3, 20.0)], CAPACITY) == 0.0


def test_looks_of_half_a_minute_are_told_together() -> None:
    looks: tuple[Look, ...] = ()
    for number in range(40):
        looks = remembered(looks, Look(10.0, float(number)))
    assert sum(look.seconds for look in looks) == REMEMBERED_SECONDS
    assert looks[0].offered == 39.0
    assert remembered(looks, Look(200.0, 1.0)) == (Look(200.0, 1.0),)
    late = [Look(10.0, 0.5)] * 3
    assert sure_work([*late, Look(10.0, 50.0)], CAPACITY) == sure_work(late, CAPACITY), "beyond half a minute"
    assert sure_work((), CAPACITY) is None
    assert sure_work(looks, DOUBTED) is None
    assert sure_work([Look(10.0, 5.0)], CAPACITY) == pytest.approx((100 - 30) / 20)
    assert sure_work([Look(10.0, 1.5)] * 2, CAPACITY) == pytest.approx((60 - 3 * 60**0.5) / 40)


def test_a_line_through_two_looks_scatters_more_than_one_half_a_look_later() -> None:
    """1000 requests by then; by chance 31.6 of them, by a line 50."""
    looks = [Look(10.0, offered) for offered in (40.0, 20.0, 0.0)]
    assert sure_work(looks, CAPACITY) == pytest.approx((1000 - 3 * 50) / (RATE * 10))
