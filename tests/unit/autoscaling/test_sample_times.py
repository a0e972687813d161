"""Pods of one sampling answer at different times: each rate is over the pod's own time, and none is late."""

from __future__ import annotations

import dataclasses

import pytest

from tacho_operator.core.autoscaling.algorithm import guards
from tacho_operator.core.autoscaling.algorithm.step import step
from tacho_operator.core.autoscaling.algorithm.types import (
    Decision,
    PodLoad,
    Sample,
    ScalingInput,
    State,
    Track,
)
from tests.unit.autoscaling.fleet import CAPACITY, OUTPUT_TOKENS, PERIOD_SECONDS, POLICY

PODS, POD_REQUESTS_PER_SECOND, RUNNING = 4, 0.5, 2
SLOW_SECONDS = 6.0
"""How long after the others the slowest pod answers."""
LOAD = PODS * POD_REQUESTS_PER_SECOND / 2.0


def decisions(delays: dict[int, float], silent_from: float = 1e9, samplings: int = 45) -> list[Decision]:
    """Decisions when pod 0 answers ``delays`` seconds later, by sampling, and pod 1 not from a time on."""
    state, found, replicas = State(), [], PODS
    last: dict[int, Sample] = {}
    for number in range(samplings):
        began, delay = PERIOD_SECONDS * number, delays.get(number, 0.0)
        for pod in range(PODS):
            time = began + (delay if pod == 0 else 0.0)
            tokens = time * POD_REQUESTS_PER_SECOND * OUTPUT_TOKENS
            if pod != 1 or began < silent_from:
                last[pod] = Sample(time_seconds=time, running=RUNNING, waiting=0, generated_tokens=tokens)
        pods = tuple(PodLoad(uid=str(pod), sample=last[pod]) for pod in range(PODS))
        at = ScalingInput(replicas=replicas, pods=pods, capacity=CAPACITY, policy=POLICY)
        done = step(at, state, began + delay)
        state = done.state
        found.append(done.decision)
    return found


@pytest.mark.parametrize(
    "slow",
    [{0}, {1}, {1, 2}, {0, 3, 4, 9}, set(range(45))],
    ids=["first", "second", "two", "some", "all"],
)
def test_the_load_is_the_same_whichever_sampling_a_pod_delays(slow: set[int]) -> None:
    found = decisions(dict.fromkeys(slow, SLOW_SECONDS))
    assert [one.figures.demand for one in found[1:]] == [pytest.approx(LOAD)] * 44
    assert not any("no new load metrics" in one.reason for one in found), "each has answered"
    assert found[-1].replicas == 2, "replicas are removed beside a pod that answers slowly"


def test_a_silent_pod_has_three_periods_however_slow_another_is() -> None:
    for delays in ({}, {13: SLOW_SECONDS}, dict.fromkeys(range(45), SLOW_SECONDS)):
        found = decisions(delays, silent_from=110.0, samplings=16)
        assert [one.figures.silent for one in found[10:]] == [0, 0, 0, 0, 1, 1], delays
        assert all("1 of 4 pods have no new load metrics" in one.reason for one in found[11:14]), delays


def test_what_was_left_by_a_pod_that_is_silent_for_long_is_not_new() -> None:
    old, new = Sample(time_seconds=10.0, running=1), Sample(time_seconds=98.0, running=1)
    pods = (PodLoad(uid="a", sample=old), PodLoad(uid="b", sample=new), PodLoad(uid="c"))
    at = ScalingInput(replicas=3, pods=pods, capacity=CAPACITY, policy=POLICY)
    former = {"b": Track(dataclasses.replace(new, time_seconds=88.0))}
    assert guards.timed(at, former, 100.0) == (at, 98.0)
    assert guards.timed(dataclasses.replace(at, pods=pods[:1]), {}, 100.0)[1] == 100.0


def test_requests_that_pile_up_are_the_same_load_whichever_sampling_a_pod_delays() -> None:
    """Work grows over the time between the mean times of two samplings."""
    found = []
    for delays in ({}, {1: SLOW_SECONDS}, {2: SLOW_SECONDS}, {1: SLOW_SECONDS, 2: SLOW_SECONDS}):
        state = State()
        for number in range(4):
            times = [
                PERIOD_SECONDS * number + (delays.get(number, 0.0) if pod == 0 else 0.0) for pod in range(4)
            ]
            pods = tuple(
                PodLoad(
                    uid=str(pod),
                    sample=Sample(
                        time_seconds=time, running=int(time / 2), waiting=0, generated_tokens=50 * time
                    ),
                )
                for pod, time in enumerate(times)
            )
            at = ScalingInput(replicas=PODS, pods=pods, capacity=CAPACITY, policy=POLICY)
            state = step(at, state, max(times)).state
        found.append([item.offered for item in state.offered])
    assert found[1:] == [pytest.approx(found[0])] * 3


def test_a_sample_from_before_the_clock_was_set_back_is_none() -> None:
    later, new = Sample(time_seconds=3700.0, running=1), Sample(time_seconds=99.0, running=1)
    pods = (PodLoad(uid="a", sample=later), PodLoad(uid="b", sample=new))
    at = ScalingInput(replicas=2, pods=pods, capacity=CAPACITY, policy=POLICY)
    kept, read_at = guards.timed(at, {}, 100.0)
    assert [pod.sample for pod in kept.pods] == [None, new]
    assert read_at == 99.0
