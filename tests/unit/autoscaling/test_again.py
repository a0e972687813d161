"""What leapt in is kept for; it is no rise; what waited is no need once it has been worked off."""

from __future__ import annotations

import dataclasses

import pytest

from tacho_operator.core.autoscaling.algorithm.again import REMEMBERED_SECONDS, SAID, regretted, with_leap
from tacho_operator.core.autoscaling.algorithm.step import WORKED_OFF
from tacho_operator.core.autoscaling.algorithm.types import Bounds, Change, Point, Policy, Rules, State
from tests.unit.autoscaling.fleet import CAPACITY, OUTPUT_TOKENS, RATE, Fleet

WIDE = Policy(bounds=Bounds(least=1, most=50))
HIGH, LOW = 6.0, 1.2


def after_a_burst(policy: Policy = WIDE) -> Fleet:
    fleet = Fleet(policy, replicas=2, tells_running=False)
    fleet.run(lambda _: LOW * RATE, 600)
    fleet.run(lambda _: HIGH * RATE, 90)
    return fleet


def test_a_burst_is_kept_for_without_headroom_for_half_an_hour() -> None:
    fleet = after_a_burst()
    sizes = fleet.run(lambda _: LOW * RATE, REMEMBERED_SECONDS - 120)
    assert min(sizes) == sizes[-1] == HIGH, "full, and not with the headroom of a lasting load"
    assert SAID in fleet.decisions[-1].sentence
    assert fleet.run(lambda _: LOW * RATE, 1800)[-1] == 2


def test_the_whole_of_a_leap_is_kept_for_and_not_what_its_first_look_saw() -> None:
    calm = State(recent=(Point(0.0, 1.0),))
    leapt = with_leap(calm, 3.0, 2.5, 10.0)
    assert leapt.leaps == (Point(10.0, 3.0),)
    more = with_leap(leapt, 5.0, 4.0, 60.0)
    assert more.leaps == (Point(10.0, 5.0),)
    assert with_leap(more, 4.0, 4.0, 70.0).leaps == more.leaps, "less of it takes nothing away"
    assert with_leap(more, 6.0, 4.0, 80.0).leaps == more.leaps, "what comes a minute later is none of it"
    assert with_leap(more, None, None, 1800.0).leaps == more.leaps
    assert with_leap(more, None, None, 1820.0).leaps == ()


@pytest.mark.parametrize(("ago", "leaps"), [(55.0, True), (65.0, False)])
def test_a_leap_is_told_by_the_least_of_the_last_minute(ago: float, leaps: bool) -> None:
    state = State(recent=(Point(100.0 - ago, 1.0), Point(90.0, 2.0)))
    assert bool(with_leap(state, 3.0, 3.0, 100.0).leaps) is leaps


def test_what_bursts_brought_is_given_up_a_window_after_each_of_them() -> None:
    """What may come again is kept for by itself: the window does not double for it."""
    fleet = after_a_burst()
    for _ in range(2):
        fleet.run(lambda _: LOW * RATE, 900)
        fleet.run(lambda _: HIGH * RATE, 90)
    assert max(fleet.sizes[-9:]) > HIGH, "more is asked for each time"
    assert fleet.run(lambda _: LOW * RATE, 800)[-1] == HIGH
    assert regretted(fleet.state, CAPACITY, fleet.now) == ()
    assert regretted(fleet.state, CAPACITY, fleet.now + REMEMBERED_SECONDS) == fleet.state.changes


def test_a_small_leap_excuses_no_large_changes() -> None:
    """Of few requests a leap is little, and what rises and falls beside it is regretted all the same."""
    swings = tuple(
        Change(time_seconds=100.0 * number, before=before, after=after)
        for number, (before, after) in enumerate([(10, 8), (8, 10), (10, 8), (8, 10)])
    )
    state = with_leap(State(recent=(Point(390.0, 0.01),), changes=swings), 0.05, 0.03, 400.0)
    assert state.leaps
    assert regretted(state, CAPACITY, 410.0) == swings


def test_a_leap_is_forgotten_while_nothing_is_counted_in_replicas() -> None:
    fleet = after_a_burst()
    assert fleet.state.leaps
    fleet.capacity = dataclasses.replace(CAPACITY, unverified="it is stale")
    fleet.serve(HIGH * RATE)
    fleet.look()
    assert fleet.state.leaps == ()


def test_a_rise_that_is_slow_is_not_kept_for() -> None:
    fleet = Fleet(WIDE, replicas=2)
    fleet.run(lambda now: (LOW + (HIGH - LOW) * now / 1200) * RATE, 1200)
    assert fleet.state.leaps == ()


def test_a_window_that_a_person_set_is_the_only_memory() -> None:
    fleet = after_a_burst(Policy(bounds=Bounds(least=1, most=50), down=Rules(window_seconds=60)))
    assert fleet.run(lambda _: LOW * RATE, 900)[-1] == 2


def test_one_request_after_silence_is_no_leap() -> None:
    """Of an engine that answers one at a time, and takes 20 s for it."""
    slow = dataclasses.replace(
        CAPACITY, requests_per_second=0.05, output_tokens_per_second=0.05 * OUTPUT_TOKENS, concurrency=1
    )
    fleet = Fleet(WIDE, slow)
    for look in range(70):
        fleet.now += 10.0
        answering = look in (60, 61)
        fleet.replicas[0].running = int(answering)
        fleet.replicas[0].generated += 50.0 * answering
        fleet.look()
    assert set(fleet.sizes) == {1}
    assert fleet.state.leaps == ()


def test_a_leap_is_no_rise_that_goes_on() -> None:
    fleet = after_a_burst()
    assert not any("growth within" in decision.sentence for decision in fleet.decisions[60:])


def test_what_waited_is_let_go_before_the_window_has_passed() -> None:
    """Replicas that worked off a backlog go when it is gone; those of the load stay."""
    fleet = Fleet(WIDE, replicas=2)
    fleet.run(lambda _: LOW * RATE, 600)
    fleet.run(lambda _: HIGH * RATE, 100)
    most = fleet.wanted
    assert most > 9, "for the load and for what waits"
    sizes = fleet.run(lambda _: HIGH * RATE, 400)
    assert min(sizes) == sizes[-1] < most
    assert sizes[-1] >= HIGH / 0.8


def test_nobody_goes_before_what_waits_has_been_worked_off_and_that_is_said() -> None:
    """It comes as fast as it goes, at one of four, for longer than the window."""
    fleet = Fleet(WIDE, replicas=4)
    for look in range(50):
        fleet.serve(LOW * RATE)
        fleet.replicas[0].waiting = 20 if look < 45 else 0
        sentence = fleet.look().sentence
        if look == 40:
            assert f"Fewer suffice; {WORKED_OFF}." in sentence
    assert set(fleet.sizes[:45]) == {4}
    assert fleet.sizes[45] == 3, "no window after it"


@pytest.mark.parametrize(("back", "fingerprint"), [(9000.0, "f"), (0.0, "another")])
def test_a_leap_is_forgotten_by_another_clock_and_in_other_units(back: float, fingerprint: str) -> None:
    fleet = after_a_burst()
    assert fleet.state.leaps
    fleet.now -= back
    fleet.capacity = dataclasses.replace(CAPACITY, fingerprint=fingerprint)
    fleet.serve(HIGH * RATE)
    fleet.look()
    assert fleet.state.leaps == ()


def test_a_new_pod_has_done_what_it_counted_but_no_more_than_the_others() -> None:
    """Three pods share what two did, and the third is read for the first time."""
    fleet = Fleet(WIDE, replicas=2)
    fleet.run(lambda _: LOW * RATE, 300)
    fleet.replicas.append(
        dataclasses.replace(fleet.replicas[0], uid="new", generated=0.0, ready_at=fleet.now)
    )
    fleet.wanted = 3
    fleet.serve(LOW * RATE)
    fleet.look()
    assert fleet.state.lately[0].offered == pytest.approx(LOW, abs=0.06)
    fleet.replicas.append(dataclasses.replace(fleet.replicas[0], uid="old", generated=1e9))
    fleet.wanted = 4
    fleet.serve(LOW * RATE)
    fleet.look()
    assert fleet.state.lately[0].offered == pytest.approx(LOW, abs=0.06)
