"""What holds for every load."""

from __future__ import annotations

import dataclasses
import random

from hypothesis import example, given, strategies as st

from tacho_operator.core.autoscaling.algorithm.step import step
from tacho_operator.core.autoscaling.algorithm.tuning import MAX_POD_RATE
from tacho_operator.core.autoscaling.algorithm.types import (
    Bounds,
    PodLoad,
    Policy,
    Sample,
    ScalingInput,
    State,
)
from tests.properties import examples
from tests.unit.autoscaling.fleet import CAPACITY, POLICY, RATE, Fleet

DEMANDS = st.lists(st.floats(0.0, 30.0), min_size=3, max_size=30)
KV = dataclasses.replace(CAPACITY, kv_cache_tokens=10_000)


def samples(known: bool = True) -> st.SearchStrategy[PodLoad]:
    counts = st.integers(0, 200)
    sample = st.builds(
        Sample,
        time_seconds=st.just(10.0),
        running=counts if known else st.none() | counts,
        waiting=counts,
        generated_tokens=st.floats(0, 1e6) if known else st.none() | st.floats(0, 1e6),
        kv_cache_usage=st.none() | st.floats(0, 1),
    )
    return st.builds(PodLoad, uid=st.uuids().map(str), sample=sample if known else st.none() | sample)


PODS = st.lists(samples(), min_size=1, max_size=8, unique_by=lambda pod: pod.uid)


def seen(demands: list[float], replicas: int = 3) -> Fleet:
    fleet = Fleet(Policy(bounds=Bounds(least=1, most=10_000)), KV, replicas=replicas)
    for demand in demands:
        fleet.serve(demand)
        fleet.look()
    return fleet


@given(DEMANDS)
def test_it_never_shrinks_below_what_its_own_sum_asks_for(demands: list[float]) -> None:
    fleet = Fleet(replicas=5)
    for demand in demands * 3:
        before = fleet.wanted
        fleet.serve(demand)
        decision = fleet.look()
        if decision.replicas < before:
            assert decision.figures.need is not None
            assert decision.replicas >= decision.figures.need


@given(DEMANDS, st.integers(0, 200))
def test_it_never_shrinks_on_missing_data(demands: list[float], silent_from: int) -> None:
    fleet = Fleet(replicas=5)
    for index, demand in enumerate(demands * 3):
        before = fleet.wanted
        fleet.serve(demand)
        for item in fleet.replicas:
            item.silent = index >= silent_from
        decision = fleet.look()
        if index >= silent_from:
            assert decision.replicas >= before


@given(DEMANDS, st.floats(1.0, 0.97 * MAX_POD_RATE))
def test_more_demand_never_gets_fewer(demands: list[float], factor: float) -> None:
    """As long as no counter claims what no replica can do, which proves nothing."""
    fleet = seen(demands)
    fleet.serve(3.0)
    pods = fleet.loads()
    more = []
    for pod in pods:
        assert pod.sample is not None
        track = fleet.state.tracks.get(pod.uid)
        base = track.sample.generated_tokens if track else 0.0
        grown = (pod.sample.generated_tokens or 0.0) - (base or 0.0)
        more.append(
            dataclasses.replace(
                pod,
                sample=dataclasses.replace(
                    pod.sample,
                    running=round((pod.sample.running or 0) * factor),
                    waiting=round((pod.sample.waiting or 0) * factor),
                    generated_tokens=(base or 0.0) + grown * factor,
                ),
            )
        )
    at = ScalingInput(replicas=fleet.wanted, pods=pods, capacity=KV, policy=fleet.policy)
    less = step(at, fleet.state, fleet.now).decision
    much = step(dataclasses.replace(at, pods=tuple(more)), fleet.state, fleet.now).decision
    assert much.replicas >= less.replicas
    assert (much.figures.need or 0) >= (less.figures.need or 0)


@given(st.floats(0.1, 20.0), st.integers(1, 12))
@example(1.375, 2)
@examples(0.08)
def test_a_constant_demand_settles(demand: float, replicas: int) -> None:
    fleet = Fleet(Policy(bounds=Bounds(least=1, most=100)), replicas=replicas)
    fleet.run(lambda _: demand, 330 * (replicas + 24))
    assert len(set(fleet.run(lambda _: demand, 1500))) == 1
    assert fleet.wanted >= demand / RATE


@given(DEMANDS, st.randoms(use_true_random=False))
def test_the_order_of_pods_does_not_matter(demands: list[float], shuffled: random.Random) -> None:
    fleet = seen(demands)
    fleet.serve(5.0)
    pods = list(fleet.loads())
    other = pods[:]
    shuffled.shuffle(other)
    at = ScalingInput(replicas=fleet.wanted, pods=tuple(pods), capacity=KV, policy=fleet.policy)
    assert step(at, fleet.state, fleet.now) == step(
        dataclasses.replace(at, pods=tuple(other)), fleet.state, fleet.now
    )


@given(PODS, st.integers(1, 60), st.integers(1, 30), st.integers(0, 30))
def test_whatever_pods_say_the_bounds_hold(pods: list[PodLoad], replicas: int, least: int, span: int) -> None:
    policy = Policy(bounds=Bounds(least=least, most=least + span))
    state = State()
    for now in (10.0, 20.0, 30.0, 400.0):
        fresh = tuple(
            dataclasses.replace(pod, sample=dataclasses.replace(pod.sample, time_seconds=now))
            for pod in pods
            if pod.sample
        )
        done = step(ScalingInput(replicas=replicas, pods=fresh, capacity=KV, policy=policy), state, now)
        state, replicas = done.state, done.decision.replicas
        assert least <= replicas <= least + span


@given(st.lists(samples(known=False), max_size=8, unique_by=lambda pod: pod.uid), st.integers(1, 20))
def test_a_pod_that_falls_silent_never_brings_fewer(pods: list[PodLoad], replicas: int) -> None:
    at = ScalingInput(replicas=replicas, pods=tuple(pods), capacity=KV, policy=POLICY)
    decision = step(at, State(), 10.0).decision
    assert decision.replicas >= replicas
    assert decision.reason
