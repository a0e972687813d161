"""What no drill foresees: clocks that are set back, counters that jump, other units in the middle of load."""

from __future__ import annotations

import dataclasses

import pytest

from tacho_operator.core.autoscaling.algorithm import demand
from tacho_operator.core.autoscaling.algorithm.request_cost import cost_of, measured_mix
from tacho_operator.core.autoscaling.algorithm.types import (
    SCALE_DOWN,
    Bounds,
    Burst,
    Mix,
    Pace,
    PodLoad,
    Policy,
    Sample,
)
from tests.unit.autoscaling.fleet import CAPACITY, Fleet


def test_without_a_window_the_present_need_decides() -> None:
    fleet = Fleet(
        Policy(bounds=Bounds(least=1, most=9), down=dataclasses.replace(SCALE_DOWN, window_seconds=0)),
        replicas=3,
    )
    assert fleet.run(lambda _: 0.1, 60)[-1] == 1


def test_a_clock_that_is_set_back_holds_nothing_up() -> None:
    fleet = Fleet(replicas=2)
    fleet.now = 1e6
    fleet.run(lambda _: 2.0, 400)
    fleet.run(lambda _: 8.0, 20)
    fleet.now -= 3600
    for item in fleet.replicas:
        item.ready_at = -1.0
    assert fleet.run(lambda _: 12.0, 400)[-1] >= 8
    fleet.run(lambda _: 0.1, 1200)
    assert all(item.time_seconds <= fleet.now for item in fleet.state.changes)


def test_a_clock_that_is_set_back_between_two_readings_ends_no_scaling() -> None:
    fleet = Fleet(replicas=2)
    fleet.run(lambda _: 2.0, 400)
    read = fleet.state.read_seconds
    assert read is not None
    busy = Sample(time_seconds=read - 5, running=10**6 - 1, waiting=0, generated_tokens=1.0)
    idle = dataclasses.replace(busy, running=0)
    fleet.now += 1
    fleet.look([PodLoad(uid=uid, sample=sample) for uid, sample in (("new", busy), ("other", idle))])
    assert fleet.run(lambda _: 12.0, 400)[-1] >= 8


def test_readings_of_a_future_that_was_taken_back_are_unknown() -> None:
    fleet = Fleet(replicas=2)
    fleet.run(lambda _: 2.0, 400)
    ahead = [
        dataclasses.replace(pod, sample=dataclasses.replace(pod.sample, time_seconds=fleet.now + 3600))
        for pod in fleet.loads()
        if pod.sample
    ]
    assert fleet.look(ahead).figures.silent == 2


@pytest.mark.parametrize("by", [1e7, 1e14])
def test_a_counter_that_jumps_brings_no_fleet(by: float) -> None:
    fleet = Fleet(replicas=2)
    fleet.run(lambda _: 2.0, 600)
    fleet.replicas[0].generated += by
    assert max(fleet.run(lambda _: 2.0, 900)) <= 3


def test_beside_a_pod_whose_counters_jump_the_others_count() -> None:
    fleet = Fleet(replicas=4)
    fleet.run(lambda _: 6.0, 600)
    for _ in range(30):
        fleet.serve(6.0)
        fleet.replicas[0].generated += 1e7
        decision = fleet.look()
    assert 2.2 <= (decision.figures.demand or 0.0) <= 3.1, "three quarters of 3, or more"
    assert fleet.wanted == 4


def test_a_counter_that_jumped_says_nothing_of_lengths() -> None:
    fleet = Fleet()
    fleet.run(lambda _: 0.6, 900)
    former = fleet.state.mix
    fleet.replicas[0].generated += 1e7
    fleet.run(lambda _: 0.6, 10)
    assert fleet.state.mix == former


def test_a_counter_that_jumped_is_kept_for_no_longer_than_a_window() -> None:
    fleet = Fleet(tells_running=False)
    fleet.run(lambda _: 0.6, 900)
    fleet.replicas[0].generated += 1e7
    assert fleet.run(lambda _: 0.6, 400)[-1] == 1


def test_replicas_that_carry_far_more_than_was_measured_still_count() -> None:
    """Measured at an eighth of what they serve: concurrent requests count instead of their tokens."""
    low = dataclasses.replace(
        CAPACITY, requests_per_second=0.25, output_tokens_per_second=25.0, concurrency=2
    )
    fleet = Fleet(capacity=low, replicas=1)
    fleet.policy = Policy(bounds=Bounds(least=1, most=1))
    fleet.run(lambda _: 0.2, 300)
    fleet.run(lambda _: 1.8, 300)
    assert min(decision.figures.need or 0 for decision in fleet.decisions[-11:]) >= 3


@pytest.mark.parametrize("fingerprint", ["", "f", "other"])
def test_what_waited_before_a_measurement_has_not_all_come_in_one_look(fingerprint: str) -> None:
    unmeasured = dataclasses.replace(
        CAPACITY, requests_per_second=None, fingerprint=fingerprint, unverified="nobody has measured it"
    )
    fleet = Fleet(capacity=unmeasured, replicas=3)
    fleet.policy = Policy(bounds=Bounds(least=3, most=3))
    fleet.run(lambda _: 6.0, 300)
    fleet.queue = 120.0
    fleet.run(lambda _: 6.0, 30)
    fleet.capacity = CAPACITY
    fleet.run(lambda _: 6.0, 30)
    assert "3.00 replicas" in fleet.decisions[-1].reason


def test_beside_a_pod_that_hangs_no_other_is_given_up() -> None:
    fleet = Fleet(replicas=2)
    fleet.run(lambda _: 2.6, 600)
    hung = fleet.replicas[0]
    counted = hung.generated
    for _ in range(120):
        fleet.serve(1.0)
        hung.generated, hung.running, hung.waiting = counted, 10, 0
        decision = fleet.look()
    assert fleet.wanted == 2
    assert decision.figures.silent == 1


def test_what_waits_at_a_pod_that_hangs_keeps_no_other() -> None:
    """Nobody works it off: it waits, and runs more at once than was measured, for hours."""
    fleet = Fleet(replicas=4)
    fleet.run(lambda _: 1.0, 60)
    hung = fleet.replicas[0]
    counted = hung.generated
    for _ in range(240):
        fleet.serve(0.2)
        hung.generated, hung.running, hung.waiting = counted, 14, 10
        decision = fleet.look()
    assert fleet.wanted == 2
    assert decision.figures.silent == 1


@pytest.mark.parametrize(("late", "samples"), [(1, 2), (4, 1), (4, 3)])
def test_what_a_late_pod_counted_meanwhile_is_no_burst(late: int, samples: int) -> None:
    fleet = Fleet(replicas=4)
    fleet.run(lambda _: 5.6, 600)
    former = fleet.loads()[:late]
    for _ in range(samples):
        fleet.serve(5.6)
        fleet.look((*former, *fleet.loads()[late:]))
    assert set(fleet.run(lambda _: 5.6, 120)) == {4}


def test_one_that_only_reads_a_long_prompt_does_not_hang() -> None:
    fleet = Fleet(replicas=2)
    for number in range(120):
        fleet.serve(0.1)
        for item in fleet.replicas:
            item.generated, item.running = number // 3, 1
        fleet.look()
    assert fleet.wanted == 1


def test_what_a_schedule_brought_goes_when_it_is_over() -> None:
    fleet = Fleet(replicas=1)
    fleet.run(lambda _: 0.1, 600)
    fleet.policy = Policy(bounds=Bounds(least=8, most=9))
    fleet.run(lambda _: 0.1, 400)
    fleet.policy = Policy(bounds=Bounds(least=1, most=9))
    assert fleet.run(lambda _: 0.1, 30) == [1, 1, 1]


def test_the_time_of_a_start_stands_still_however_many_serve() -> None:
    observed = [300.0 if number % 3 else 60.0 for number in range(50)]
    assert demand.cold_start(observed, 60.0) == demand.cold_start(reversed(observed), 60.0) == 300.0


def test_a_pace_counts_every_change_of_its_period() -> None:
    paces = (Pace(kind="Pods", value=8, period_seconds=1800), Pace(kind="Pods", value=1, period_seconds=10))
    down = dataclasses.replace(SCALE_DOWN, window_seconds=0, select="Min", paces=paces)
    fleet = Fleet(Policy(bounds=Bounds(least=1, most=40), down=down), replicas=30)
    assert fleet.run(lambda _: 0.1, 1200)[-1] == 22
    fleet.run(lambda _: 0.1, 36_000)
    assert len(fleet.state.changes) <= 20


def test_speed_and_bursts_of_another_measurement_do_not_apply() -> None:
    """A replica was measured twice as fast as it is. The right one counts from its first sample on."""
    law = {"gap_seconds": 0.05, "gap_seconds_per_request": 1e-9, "gap_r2": 1.0}
    right = dataclasses.replace(CAPACITY, **law)
    wrong = dataclasses.replace(
        right,
        fingerprint="other",
        requests_per_second=4.0,
        output_tokens_per_second=400.0,
        gap_seconds=0.025,
    )
    fleet = Fleet(capacity=wrong, replicas=9)
    fleet.run(lambda _: 12.0, 1500)
    assert fleet.state.speed < 0.6
    bursts = (Burst(fleet.now - 60, fleet.now, 40.0),)
    fleet.state, fleet.capacity = dataclasses.replace(fleet.state, bursts=bursts, low=1.0), right
    assert set(fleet.run(lambda _: 12.0, 60)) == {9}
    assert fleet.run(lambda _: 12.0, 600)[-1] == 8
    assert (fleet.decisions[-1].figures.need, fleet.state.bursts) == (8, ())


@pytest.mark.parametrize("gap", [10.0, 4 * 86_400.0])
def test_lengths_outlast_days_without_a_request(gap: float) -> None:
    """Idle, or suspended. An engine that counts no requests has those of the mean answer."""
    mix = Mix(30.0, 0.0, 3000.0)
    for _ in range(round(4 * 86_400 / gap)):
        mix = demand.mixed(mix, Mix(0.0, 0.0, 0.0), gap)
    assert mix.output_tokens / mix.requests == pytest.approx(100)
    assert mix.requests == pytest.approx(1)
    after = demand.mixed(mix, Mix(0.0, 0.0, 10.0), 10.0)
    assert after.output_tokens / after.requests == pytest.approx(100)


def test_an_idle_fleet_outlasts_a_clock_that_jumps_ahead() -> None:
    fleet = Fleet()
    fleet.run(lambda _: 0.0, 30)
    fleet.serve(0.0, 4 * 86_400.0)
    fleet.look()
    assert fleet.run(lambda _: 1.0, 60)[-1] == 1


@pytest.mark.parametrize(("still", "expected"), [(0, 2000), (6, 14_000), (360, 2000)])
def test_an_answer_that_is_counted_at_its_end_has_taken_its_whole_time(still: int, expected: float) -> None:
    """The measured law gives 200 tokens a second for ten requests. A pod without any for an hour hung."""
    cost, tracks = cost_of(CAPACITY, measured_mix(CAPACITY, 30)), {}
    for number in range(still + 2):
        sample = Sample(time_seconds=10.0 * number, running=10, generated_tokens=number // (still + 1) * 9.0)
        found = demand.read(tracks, (PodLoad(uid="a", sample=sample),), 10.0 * number, cost)
        tracks = dict(found.tracks)
    assert tracks["a"].expected == pytest.approx(expected, rel=0.1)
