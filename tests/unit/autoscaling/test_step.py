"""How many replicas, through time."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import pytest

from tacho_contract.report import latency_histogram
from tacho_operator.core.autoscaling.algorithm.step import step
from tacho_operator.core.autoscaling.algorithm.types import (
    SCALE_DOWN,
    SCALE_UP,
    Bounds,
    Correction,
    Pace,
    Policy,
    Sample,
    ScalingInput,
    State,
)
from tests.unit.autoscaling.fleet import CAPACITY, PERIOD_SECONDS, POLICY, RATE, START_SECONDS, TARGET, Fleet


def needed(requests_per_second: float) -> int:
    return math.ceil(requests_per_second / RATE / TARGET)


def test_a_steady_demand_gets_what_it_needs_and_then_nothing_moves() -> None:
    fleet = Fleet()
    sizes = fleet.run(lambda _: 6.0, 3600)
    assert sizes[-1] == needed(6.0) == 4
    assert len(set(sizes[-200:])) == 1


def test_pending_replicas_are_not_asked_for_twice() -> None:
    fleet = Fleet(replicas=2)
    fleet.run(lambda _: 2.0, 200)
    sizes = fleet.run(lambda _: 7.0, START_SECONDS)
    assert max(sizes) <= needed(7.0) * 2
    assert sizes == sorted(sizes)


def test_a_backlog_is_not_waited_upon_and_brings_four_at_most() -> None:
    fleet = Fleet()
    fleet.serve(1.0)
    fleet.look()
    fleet.serve(40.0)
    decision = fleet.look()
    assert (fleet.sizes, decision.cause) == ([1, 5], "Work")
    assert decision.deviation == "ScaleUpLimit"


def test_a_rise_that_does_not_last_is_not_followed() -> None:
    fleet = Fleet(replicas=2)
    fleet.run(lambda _: 2.9, 300)
    at = dataclasses.replace(fleet.policy, up=dataclasses.replace(SCALE_UP, window_seconds=90))
    fleet.policy = at
    fleet.run(lambda _: 6.0, 20)
    assert fleet.decisions[-1].deviation == "ScaleUpStabilized"
    assert set(fleet.run(lambda _: 2.9, 200)) == {2}


def test_requests_that_have_begun_count_before_they_made_a_token() -> None:
    """Half of their answers, and little by little; many at once are a leap."""

    def demand(more: int) -> float:
        fleet = Fleet(replicas=4)
        fleet.run(lambda _: 2.0, 600)
        fleet.serve(2.0)
        for item in fleet.replicas:
            item.running += more
        return fleet.look().figures.demand or 0.0

    assert demand(2) > demand(1) > demand(0)
    assert demand(2) - demand(0) == pytest.approx(2 * (demand(1) - demand(0)), rel=0.1)


def test_a_rising_demand_is_met_ahead_of_a_cold_start() -> None:
    steady, rising = Fleet(replicas=4), Fleet(replicas=4)
    steady.run(lambda _: 6.3, 400)
    rising.run(lambda now: min(6.3, 1.0 + now * 5.3 / 400), 400)
    assert rising.wanted > steady.wanted == 4
    assert "growth within" in rising.decisions[-1].reason


def test_fewer_come_one_a_window_and_only_after_a_whole_one() -> None:
    fleet = Fleet(replicas=4)
    sizes = fleet.run(lambda _: 0.5, 1800)
    changes = [index * PERIOD_SECONDS for index in range(1, len(sizes)) if sizes[index] != sizes[index - 1]]
    assert sizes[0] == 4
    assert sizes[-1] == 1
    assert changes[0] >= 290
    assert all(late - early >= 300 for early, late in itertools.pairwise(changes))


def test_nothing_known_moves_nothing() -> None:
    fleet = Fleet(replicas=3)
    fleet.run(lambda _: 0.1, 250)
    for item in fleet.replicas:
        item.silent = True
    for _ in range(100):
        fleet.serve(0.0)
        decision = fleet.look()
    assert fleet.wanted == 3
    assert (decision.active.status, decision.active.reason) == ("False", "FailedGetPodsMetric")
    for item in fleet.replicas:
        item.silent = False
    assert fleet.run(lambda _: 0.1, 290)[-1] == 3, "a whole window must be seen again"
    assert fleet.run(lambda _: 0.1, 30)[-1] == 1


def test_a_silent_pod_counts_as_busy_for_shrinking_and_for_nothing_for_growing() -> None:
    fleet = Fleet(replicas=4)
    for item in fleet.replicas[1:]:
        item.silent = True
    assert fleet.run(lambda _: 0.1, 2000)[-1] == 4
    assert fleet.decisions[-1].figures.silent == 3
    assert "3 serving pods report no load metrics" in fleet.decisions[-1].reason


def test_a_pod_whose_counters_start_again_is_not_negative_work() -> None:
    fleet = Fleet(replicas=2)
    fleet.run(lambda _: 2.0, 600)
    before = fleet.decisions[-1].figures.demand
    fleet.replicas[0].generated = 0.0
    fleet.serve(2.0)
    after = fleet.look().figures.demand
    assert before is not None
    assert after is not None
    assert 0.8 * before <= after <= 1.2 * before


@pytest.mark.parametrize("least", [1, 3])
def test_bounds_hold_whatever_is_known(least: int) -> None:
    fleet = Fleet(Policy(bounds=Bounds(least=least, most=3)))
    decision = fleet.look([])
    assert decision.replicas == least
    fleet.run(lambda _: 100.0, 300)
    assert fleet.wanted == 3
    assert fleet.decisions[-1].deviation == "TooManyReplicas"


def test_without_a_clean_measurement_requests_at_once_decide() -> None:
    fleet = Fleet(
        capacity=dataclasses.replace(
            CAPACITY, requests_per_second=None, unverified="the measurement is provisional"
        )
    )
    fleet.run(lambda _: 3.0, 200)
    decision = fleet.decisions[-1]
    assert (decision.active.status, decision.active.reason) == ("True", "CapacityUnverified")
    assert "provisional" in decision.active.message.lower()
    assert "load of" not in decision.reason
    assert fleet.wanted > 1


def test_the_lower_end_of_the_interval_is_counted_on() -> None:
    sure, unsure = Fleet(), Fleet(capacity=dataclasses.replace(CAPACITY, trust=0.5, concurrency=None))
    sure.run(lambda _: 6.0, 900)
    unsure.run(lambda _: 6.0, 900)
    assert sure.decisions[-1].figures.need == 4
    assert unsure.decisions[-1].figures.need == 8


def test_the_correction_of_another_measurement_does_not_apply() -> None:
    fleet = Fleet()
    fleet.state = State(fingerprint="other", correction=Correction(factor=0.5))
    fleet.run(lambda _: 1.0, 100)
    assert (fleet.state.correction.factor, fleet.state.fingerprint) == (1.0, "f")


def test_the_speed_relative_to_another_measurement_does_not_apply() -> None:
    fleet = Fleet()
    fleet.state = State(fingerprint="other", speed=0.5)
    fleet.look()
    assert fleet.state.speed == 1.0


def test_a_correction_outlasts_a_provisional_measurement() -> None:
    fleet = Fleet()
    fleet.state = State(fingerprint="f", correction=Correction(factor=0.8))
    fleet.run(lambda _: 1.9, 100)
    fleet.capacity = dataclasses.replace(CAPACITY, fingerprint="", unverified="it is provisional")
    fleet.run(lambda _: 0.1, 100)
    fleet.capacity = CAPACITY
    fleet.run(lambda _: 0.1, 20)
    assert fleet.state.correction.factor == 0.8
    demand = fleet.decisions[-1].figures.demand
    assert demand is not None
    assert demand < 0.2, "the demand of then is not the demand of now"


def test_the_first_look_brings_nothing_that_a_rate_would_not() -> None:
    fleet = Fleet(
        Policy(bounds=Bounds(least=1, most=9), up=dataclasses.replace(SCALE_UP, window_seconds=0)), replicas=2
    )
    fleet.serve(7.0)
    assert (fleet.look().replicas, fleet.decisions[-1].deviation) == (2, "ScaleUpStabilized")
    fleet.serve(4.0)
    assert fleet.look().replicas > 2


def test_a_full_kv_cache_asks_for_more_whatever_the_rate() -> None:
    fleet = Fleet(capacity=dataclasses.replace(CAPACITY, kv_cache_tokens=1000))

    def loads(now: float) -> list[Any]:
        sample = Sample(time_seconds=now, running=1, waiting=0, generated_tokens=0.0, kv_cache_usage=0.99)
        return [dataclasses.replace(item, sample=sample) for item in fleet.loads()]

    for _ in range(4):
        fleet.now += 10
        decision = fleet.look(loads(fleet.now))
    assert (decision.replicas, decision.cause) == (2, "Steady")
    assert "KV cache 0.99 over 0.85 = 1.16" in decision.reason


def test_paces_of_a_person_count() -> None:
    up = dataclasses.replace(
        SCALE_UP, window_seconds=0, paces=(Pace(kind="Pods", value=1, period_seconds=60),)
    )
    fleet = Fleet(Policy(bounds=Bounds(least=1, most=9), up=up))
    sizes = fleet.run(lambda _: 12.0, 240)
    assert max(late - early for early, late in itertools.pairwise(sizes)) == 1
    assert sizes[-1] == 5


def test_a_disabled_direction_stays() -> None:
    fleet = Fleet(
        Policy(bounds=Bounds(least=1, most=9), down=dataclasses.replace(SCALE_DOWN, select="Disabled")),
        replicas=3,
    )
    assert set(fleet.run(lambda _: 0.1, 3000)) == {3}


def test_while_something_rolls_out_nothing_is_given_up() -> None:
    fleet = Fleet(replicas=3)
    fleet.run(lambda _: 0.1, 300)
    fleet.serve(0.1)
    at = ScalingInput(
        replicas=3, pods=fleet.loads(), capacity=CAPACITY, policy=POLICY, held="a revision is rolled out"
    )
    decision = step(at, fleet.state, fleet.now).decision
    assert (decision.replicas, decision.deviation) == (3, "ScaleDownStabilized")
    assert "a revision is rolled out" in decision.reason


def test_what_was_told_earlier_gives_nobody_up() -> None:
    """Loads are cut, and what they were last is known for a while: with each pod that went a part of it would
    go, and another pod with that."""
    rules = {
        "up": dataclasses.replace(SCALE_UP, window_seconds=0),
        "down": dataclasses.replace(SCALE_DOWN, window_seconds=10),
    }
    fleet = Fleet(Policy(bounds=Bounds(least=5, most=9), **rules), replicas=5)
    fleet.run(lambda _: 2.5 * RATE, 40)
    fleet.policy = Policy(bounds=Bounds(least=1, most=9), **rules)
    cut = fleet.loads()
    for _ in range(60):
        fleet.now += 2
        names = {item.uid for item in fleet.ready}
        assert fleet.look([item for item in cut if item.uid in names]).replicas == 5
    assert fleet.decisions[-1].active.reason == "FailedGetPodsMetric"


def test_of_pods_of_which_one_did_not_answer_none_is_given_up_at_that_look() -> None:
    fleet = Fleet(
        Policy(bounds=Bounds(least=1, most=9), down=dataclasses.replace(SCALE_DOWN, window_seconds=20)),
        replicas=3,
    )
    fleet.run(lambda _: 1.0 * RATE, 10)
    late = fleet.load_of(fleet.replicas[0])
    fleet.run(lambda _: 1.0 * RATE, 10)
    fleet.serve(1.0 * RATE)
    decision = fleet.look([late, *(fleet.load_of(item) for item in fleet.replicas[1:])])
    assert (decision.replicas, decision.deviation) == (3, "ScaleDownStabilized")
    assert "1 of 3 pods have no new load metrics" in decision.active.message
    assert "Fewer suffice; 1 of 3 pods" in decision.reason
    fleet.serve(1.0 * RATE)
    assert fleet.look().replicas == 2


@pytest.mark.parametrize(
    ("rate", "unverified", "lowered"), [(0.4, "", True), (1.8, "", False), (0.4, "nobody measured it", False)]
)
def test_late_first_tokens_lower_the_capacity_where_replicas_suffice(
    rate: float, unverified: str, lowered: bool
) -> None:
    """Four requests in 10 s are seen to begin, each after 5 s where 1 s was promised. 1.8 requests/s need two
    replicas at the target utilization.
    """
    capacity = dataclasses.replace(CAPACITY, unverified=unverified)
    fleet = Fleet(Policy(bounds=Bounds(least=1, most=1), ttft_seconds=1.0), capacity)
    for number in range(30):
        fleet.serve(rate)
        pods = [
            dataclasses.replace(
                pod, sample=dataclasses.replace(pod.sample, ttft=latency_histogram([1.0], [0], 4 * number))
            )
            for pod in fleet.loads()
            if pod.sample
        ]
        decision = fleet.look(pods)
    assert (fleet.state.correction.factor < 1) == lowered
    assert ("over 0.77 x 0.73 =" in decision.reason) == lowered


@pytest.mark.parametrize(("r2", "over"), [(0.94, "0.80 ="), (0.95, "0.83 x 1.50 =")])
def test_the_speed_in_service_counts_from_a_fit_of_0_95_on(r2: float, over: str) -> None:
    fleet = Fleet(replicas=2, capacity=dataclasses.replace(CAPACITY, gap_r2=r2))
    fleet.run(lambda _: 2.0, 20)
    fleet.state = dataclasses.replace(fleet.state, speed=1.5)
    assert f"over {over}" in fleet.look().reason


@pytest.mark.parametrize(("speed", "over"), [(20, "0.85 x 2.00"), (0.05, "0.73 x 0.50")])
def test_the_speed_in_service_counts_half_to_twice(speed: float, over: str) -> None:
    fleet = Fleet(replicas=2, capacity=dataclasses.replace(CAPACITY, gap_r2=1.0))
    fleet.run(lambda _: 2.0, 100)
    fleet.state = dataclasses.replace(fleet.state, speed=speed)
    fleet.serve(2.0)
    assert f"over {over} =" in fleet.look().reason
