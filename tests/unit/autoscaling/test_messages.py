"""What a decision says: its sum, its conditions, and what keeps replicas."""

from __future__ import annotations

import dataclasses

import pytest

from tacho_operator.core.autoscaling.algorithm.step import step
from tacho_operator.core.autoscaling.algorithm.types import (
    SCALE_DOWN,
    SCALE_UP,
    Bounds,
    ConditionState,
    PodLoad,
    Point,
    ScalingInput,
    State,
)
from tests.unit.autoscaling.fleet import CAPACITY, POLICY, Fleet


def test_a_verified_capacity_without_token_counters_is_said_to_be_of_no_use() -> None:
    fleet = Fleet()
    fleet.serve(1.0)
    (pod,) = fleet.loads()
    assert pod.sample
    sample = dataclasses.replace(pod.sample, generated_tokens=None)
    active = fleet.look([dataclasses.replace(pod, sample=sample)]).active
    assert (active.status, active.reason) == ("True", "CapacityUnverified")
    assert active.message.startswith("No pod counts tokens: replicas follow concurrent requests")
    fleet.serve(1.0)
    assert fleet.look().active.reason == "ValidMetricFound"


def test_pods_that_report_load_are_not_said_to_report_none() -> None:
    unknown = dataclasses.replace(
        CAPACITY, requests_per_second=None, concurrency=None, unverified="it is new"
    )
    fleet = Fleet(capacity=unknown, replicas=2)
    fleet.run(lambda _: 3.0, 100)
    active = fleet.decisions[-1].active
    assert (active.status, active.reason) == ("False", "FailedGetPodsMetric")
    assert "Neither the capacity nor the concurrency" in active.message


@pytest.mark.parametrize("serves", [True, False])
@pytest.mark.parametrize(
    ("bounds", "refused", "size"),
    [
        (Bounds(least=1, most=9), None, "; the number of replicas stays."),
        (Bounds(least=4, most=9), None, ". spec.autoscaling requires at least 4."),
        (Bounds(least=1, most=1, source="claim c, which"), None, ". claim c, which allows at most 1."),
        (Bounds(least=1, most=9), 2, ". Quota or admission allows 2 replicas at most."),
    ],
)
def test_replicas_that_the_bounds_change_are_not_said_to_stay(
    bounds: Bounds, refused: int | None, size: str, serves: bool
) -> None:
    policy, pods = dataclasses.replace(POLICY, bounds=bounds), (PodLoad(uid="p"),) if serves else ()
    at = ScalingInput(pods=pods, capacity=CAPACITY, policy=policy, replicas=3, refused_above=refused)
    decision = step(at, State(), 0.0).decision
    why = "None of 1 serving pods reports load metrics" if serves else "No pod serves yet"
    assert decision.active == ConditionState("False", "FailedGetPodsMetric", f"{why}{size}")
    assert (decision.replicas == 3) == size.endswith("stays.")


def test_the_first_sample_after_a_restart_names_no_window_that_is_not_there() -> None:
    fleet = Fleet(replicas=3)
    fleet.queue = 90.0
    fleet.run(lambda _: 6.0, 30)
    fleet.state = State(cold_start_seconds=60)
    fleet.wanted = 3
    decision = fleet.look()
    assert decision.deviation == "ScaleUpStabilized"
    assert "window" not in decision.active.message + decision.reason
    assert "one sample shows no rate" in decision.active.message


def test_a_scale_down_shows_the_need_that_decided() -> None:
    fleet = Fleet(replicas=4)
    fleet.run(lambda _: 2.0, 320)
    (change,) = fleet.state.changes
    assert change.reason.startswith("4 -> 2 replicas: highest need of 300 s 1.25; now load of 1.00 replicas")


def test_the_sentence_is_the_sum() -> None:
    fleet = Fleet(replicas=4)
    fleet.run(lambda _: 6.0, 600)
    sentence = fleet.decisions[-1].reason
    assert sentence == "4 replicas: load of 3.00 replicas, over 0.80 = 3.75."


def test_an_idle_service_without_bursts_names_none() -> None:
    fleet = Fleet(replicas=2)
    fleet.run(lambda _: 0.0, 100)
    assert "highest need of 300 s 0.00; now" in fleet.decisions[-1].reason
    assert "not for the whole of the last 300 s" in fleet.decisions[-1].reason


def test_replicas_that_bursts_keep_are_said_to_be_kept_by_them() -> None:
    fleet = Fleet(replicas=4)
    fleet.run(lambda now: 6.0 if now % 900 < 120 else 0.5, 2500)
    decision = fleet.decisions[-1]
    assert decision.replicas > 1
    assert "earlier bursts filled " in decision.reason
    assert decision.reason.endswith("Fewer suffice; earlier bursts filled them.")
    assert decision.active.message.endswith(" Fewer suffice; earlier bursts filled them.")


@pytest.mark.parametrize(
    ("window", "memory", "released"), [(0, 0, 20), (0, 540, 540), (0, 2700, 2700), (300, 2700, 2700)]
)
def test_what_one_burst_keeps_is_a_setting_that_no_window_changes(
    window: int, memory: int, released: int
) -> None:
    """The load has fallen to half at 500 s."""
    down = dataclasses.replace(SCALE_DOWN, window_seconds=window)
    policy = dataclasses.replace(POLICY, down=down, burst_memory_seconds=memory)
    fleet = Fleet(policy)
    sizes = fleet.run(lambda now: 0.5 if now < 300 or now >= 480 else 7.0, 4200)
    assert next(10 * at for at, size in enumerate(sizes) if size == 1 and at > 30) == 500 + released


def test_a_scale_up_shows_the_lowest_need_where_that_decided() -> None:
    fleet = Fleet(replicas=2)
    fleet.policy = dataclasses.replace(POLICY, up=dataclasses.replace(SCALE_UP, window_seconds=60))
    fleet.run(lambda now: 2.0 + now / 40, 300)
    fleet.state = dataclasses.replace(fleet.state, ups=(Point(fleet.now - 30, 4.5),))
    fleet.wanted = 2
    fleet.serve(16.0)
    decision = fleet.look()
    assert decision.reason.startswith("2 -> 5 replicas: lowest need of 60 s 4.50; now load of")


def test_a_minimum_that_moves_replicas_without_load_is_named() -> None:
    policy = dataclasses.replace(POLICY, bounds=Bounds(least=5, most=9))
    at = ScalingInput(replicas=2, pods=(), capacity=CAPACITY, policy=policy)
    said = "2 -> 5 replicas: no pod serves yet. spec.autoscaling requires at least 5."
    assert step(at, State(), 0.0).decision.reason == said
    assert step(dataclasses.replace(at, replicas=5), State(), 0.0).decision.reason.startswith("Held at 5:")
