"""A window that a person sets: single looks count, as long as nothing says that chance brought them."""

from __future__ import annotations

import dataclasses

import pytest

from tacho_operator.core.autoscaling.algorithm.leap import prompt_work
from tacho_operator.core.autoscaling.algorithm.step import unread
from tacho_operator.core.autoscaling.algorithm.types import Bounds, Look, Policy, Rules
from tests.unit.autoscaling.fleet import CAPACITY, RATE, Fleet


def one_more_look(window_seconds: float | None, work: float = 1.1, seconds: float = 10.0) -> Fleet:
    """A load of half a replica that comes and goes, and then once a little more than the headroom leaves."""
    policy = Policy(bounds=Bounds(least=1, most=9), up=Rules(window_seconds=window_seconds))
    fleet = Fleet(policy, tells_running=False)
    fleet.run(lambda now: (0.65 if now % 20 else 0.35) * RATE, 300)
    assert fleet.wanted == 1
    fleet.serve(work * RATE, seconds)
    fleet.look()
    return fleet


def test_who_sets_the_window_waits_for_nothing_besides() -> None:
    """By the last look where it is 0, by the lowest look where it is more; the law's own way smooths."""
    assert one_more_look(None).wanted == 1
    at_once = one_more_look(0.0)
    assert at_once.wanted == 2
    assert (
        at_once.decisions[-1].sentence
        == "1 -> 2 replicas: load of 0.87 replicas + 0.02 for pending requests, over 0.80 = 1.10."
    )
    waits = one_more_look(20.0)
    assert waits.decisions[-1].able.reason == "ScaleUpStabilized"
    assert waits.run(lambda _: 1.1 * RATE, 20) == [1, 2]
    assert one_more_look(20.0).run(lambda _: 0.5 * RATE, 60) == [1] * 6, "it came once"


def test_what_a_single_look_brought_is_kept_for_a_window() -> None:
    up, down = Rules(window_seconds=0), Rules(window_seconds=60)
    fleet = Fleet(Policy(bounds=Bounds(least=1, most=9), up=up, down=down), tells_running=False)
    # They scatter too little to be doubted, and too much for one look to be sure of a leap.
    fleet.run(lambda now: (0.47 if now % 20 else 0.53) * RATE, 300)
    sizes = fleet.run(lambda now: (0.9 if now == 300 else 0.5) * RATE, 120)
    assert sizes == [2] * 7 + [1] * 5


def test_a_look_right_after_a_late_one_is_not_the_rate() -> None:
    """A fifth of a second in which three times the usual rate came."""
    assert one_more_look(0.0, work=1.5, seconds=0.2).wanted == 1
    assert one_more_look(0.0, work=2.0, seconds=2.0).wanted == 2


def test_a_counter_that_jumped_is_not_what_the_last_look_saw() -> None:
    fleet = one_more_look(0.0, work=0.5)
    fleet.replicas[0].generated += 1e7
    fleet.serve(0.5 * RATE)
    fleet.look()
    assert fleet.state.prompt is None, "nor is what the one before saw"
    fleet.run(lambda _: 0.5 * RATE, 10)
    assert fleet.state.prompt == pytest.approx(0.5, abs=0.01)


def test_a_look_that_counts_nothing_leaves_nothing_of_the_one_before() -> None:
    """Two pods of which one tells at a time: no rate is ever read twice."""
    fleet = Fleet(Policy(bounds=Bounds(least=2, most=9), up=Rules(window_seconds=0)), replicas=2)
    fleet.run(lambda _: 3.0, 100)
    assert fleet.state.prompt == pytest.approx(1.5, abs=0.01)
    fleet.serve(3.0)
    for item in fleet.replicas:
        item.silent = True
    fleet.replicas[0].silent = False
    fleet.look()
    fleet.serve(0.4)
    fleet.replicas[0].silent, fleet.replicas[1].silent = True, False
    fleet.look()
    assert fleet.state.prompt is None


@pytest.mark.parametrize("how", ["clock", "unverified", "measured anew", "unread"])
def test_what_a_look_saw_is_forgotten_with_what_it_was_counted_in(how: str) -> None:
    fleet = one_more_look(0.0)
    assert fleet.state.prompt is not None
    if how == "unread":
        assert unread(fleet.state).prompt is None
        return
    if how == "clock":
        fleet.now -= 100
    else:
        other = {"unverified": "nobody measured"} if how == "unverified" else {"fingerprint": "g"}
        fleet.capacity = dataclasses.replace(CAPACITY, **other)
    fleet.look()
    assert fleet.state.prompt is None


def test_a_single_look_is_doubted_where_looks_scatter_as_by_chance() -> None:
    """Sixteen requests in ten seconds fill eight tenths; chance moves their number by four."""
    even = tuple(Look(10.0, 0.5) for _ in range(10))
    uneven = tuple(Look(10.0, 0.5 + 0.2 * (-1) ** number) for number in range(10))
    assert prompt_work(0.8, even, CAPACITY) == 0.8
    assert prompt_work(0.8, uneven, CAPACITY) == pytest.approx(0.6)
    assert prompt_work(0.8, even[:3], CAPACITY) == pytest.approx(0.6), "too few to tell"
    assert prompt_work(0.01, even[:3], CAPACITY) == 0.0
    assert prompt_work(0.0, even, CAPACITY) == 0.0
    assert prompt_work(None, even, CAPACITY) is prompt_work(0.8, (), CAPACITY) is None
    assert prompt_work(0.8, even, dataclasses.replace(CAPACITY, requests_per_second=None)) is None


def test_what_is_asked_for_at_once_is_no_demand_for_people() -> None:
    """They are told the smoothed one, which is written to the status when it changes."""
    demand = one_more_look(0.0).decisions[-1].figures.demand
    assert demand is not None
    assert 0.5 < demand < 0.8
