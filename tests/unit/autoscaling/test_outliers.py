"""One sick pod among healthy ones: it is named, and the capacity of all stays."""

from __future__ import annotations

import dataclasses

import pytest

from tacho_contract.report import LatencyHistogram
from tacho_operator.core.autoscaling.algorithm import demand, guards
from tacho_operator.core.autoscaling.algorithm.request_cost import cost_of, measured_mix
from tacho_operator.core.autoscaling.algorithm.step import step
from tacho_operator.core.autoscaling.algorithm.types import (
    Decision,
    PodLoad,
    Sample,
    ScalingInput,
    State,
    Track,
)
from tests.unit.autoscaling.fleet import CAPACITY, POLICY

LAW = dataclasses.replace(
    CAPACITY, gap_seconds=0.05, gap_seconds_per_request=1e-9, gap_r2=1.0, kv_cache_tokens=10_000
)
SLO = dataclasses.replace(POLICY, tpot_seconds=0.06)
PODS, RUNNING, TOKENS = 10, 7, 1400
"""Of each pod: 0.7 of its capacity, in tokens per sample."""
FALLS_SICK = 40
"""At this sample."""


def decided(speed: float, sick: int = 1, leave: int = 120, *, queue: bool = True) -> list[Decision]:
    """Some pods fall sick: they serve at ``speed``, get as many requests, and let them wait. They leave at
    sample ``leave``. Without a ``queue`` they get fewer requests, none of which meets the SLO."""
    state, found = State(), []
    loads = [(0, 0, 0)] * PODS
    for number in range(120):
        pods = []
        for pod in range(PODS):
            is_sick = pod < sick and number >= FALLS_SICK
            made = min(TOKENS, int(speed * (2000 if queue else TOKENS))) if is_sick else TOKENS
            met = 0 if is_sick and speed < 0.7 else TOKENS // 100
            tokens, waits, good = loads[pod] = (
                loads[pod][0] + made,
                loads[pod][1] + queue * (TOKENS - made) // 100,
                loads[pod][2] + met,
            )
            sample = Sample(
                time_seconds=10.0 * number,
                running=10 if waits else RUNNING,
                waiting=waits,
                generated_tokens=float(tokens),
                kv_cache_usage=0.3,
                tpot=LatencyHistogram(edges_seconds=(0.06,), counts=(good,), total=14 * (number + 1)),
            )
            if pod >= sick or number < leave:
                pods.append(PodLoad(uid=str(pod), name=f"chat-{pod}", sample=sample))
        at = ScalingInput(replicas=PODS, pods=tuple(pods), capacity=LAW, policy=SLO)
        done = step(at, state, 10.0 * number)
        state = done.state
        found.append(done.decision)
    return found


def most(decisions: list[Decision]) -> int:
    return max(item.figures.need or 0 for item in decisions)


HEALTHY = 9
"""10 x 0.7 / 0.8, rounded up."""


@pytest.mark.parametrize("queue", [True, False])
@pytest.mark.parametrize(
    ("speed", "more"), [(0.02, 1), (0.1, 1), (0.3, 1), (0.49, 1), (0.51, 1), (0.6, 1), (0.69, 1), (1.0, 0)]
)
def test_one_sick_pod_of_ten_adds_one_replica(speed: float, more: int, *, queue: bool) -> None:
    """One that is not much slower is known after minutes. Its misses are no figure of the capacity."""
    decisions = decided(speed, queue=queue)
    assert most(decisions[1:FALLS_SICK]) == HEALTHY
    assert most(decisions) <= HEALTHY + more
    assert max(item.replicas for item in decisions) <= max(PODS, HEALTHY + more)


@pytest.mark.parametrize("sick", [2, 3, 4])
def test_each_of_several_sick_pods_adds_one_replica(sick: int) -> None:
    assert most(decided(0.6, sick, queue=False)) <= HEALTHY + sick


def test_a_slow_pod_is_named_and_not_counted_on() -> None:
    said = "Pods below 70 % of the others' speed, replaced in the sum: chat-0"
    assert decided(0.1)[-1].reason.endswith(f" {said} (+ 1).")
    assert decided(0.6)[-1].reason.endswith(f" {said} (+ 1).")
    assert "chat-" not in decided(0.75)[-1].reason
    assert decided(0.1, sick=4)[-1].reason.endswith("chat-0, chat-1, chat-2 and 1 more (+ 4).")


@pytest.mark.parametrize("speed", [0.1, 0.6])
def test_what_most_pods_do_is_the_capacity(speed: float) -> None:
    last = decided(speed, sick=9)[-1]
    assert (last.figures.need or 0) > HEALTHY + 1
    assert "chat-" not in last.reason


def test_two_pods_cannot_tell_which_of_them_is_sick() -> None:
    tracks = {
        uid: Track(Sample(time_seconds=0.0), output=speed * 1e4, expected=1e4)
        for uid, speed in (("a", 0.1), ("b", 1.0), ("c", 1.0))
    }
    assert guards.slow(tracks, 1e4) == ("a",)
    assert guards.slow(tracks, 2e4) == (), "too little is known"
    assert guards.slow(tracks, 0.0) == (), "no law to compare with"
    del tracks["c"]
    assert guards.slow(tracks, 1e4) == ()


@pytest.mark.parametrize("revisions", [("new", "new"), ("old", "new")])
def test_a_revision_of_another_speed_is_no_fault_of_a_machine(revisions: tuple[str, str]) -> None:
    """In a rollout the Service leads to both. Half of the pods makes twice the tokens of as many requests."""
    state, tokens = State(), [0] * 6
    for number in range(60):
        pods = []
        for pod in range(6):
            tokens[pod] += TOKENS * (1 + pod % 2)
            sample = Sample(time_seconds=10.0 * number, running=RUNNING, generated_tokens=float(tokens[pod]))
            name = revisions[pod % 2]
            pods.append(PodLoad(uid=str(pod), name=f"chat-{pod}", revision=name, sample=sample))
        at = ScalingInput(replicas=6, pods=tuple(pods), capacity=LAW, policy=POLICY)
        done = step(at, state, 10.0 * number)
        state = done.state
    assert ("Pods below 70 %" in done.decision.reason) is (revisions == ("new", "new"))


def test_a_slow_pod_may_leave() -> None:
    found = decided(0.6, leave=110)
    assert "chat-0 (+ 1)" in found[109].reason
    assert "chat-" not in found[110].reason


def test_a_counter_that_jumps_is_no_speed() -> None:
    cost = cost_of(LAW, measured_mix(LAW, 30))
    tracks = {
        "a": Track(Sample(time_seconds=0.0, running=10, generated_tokens=0.0), output=6e4, expected=6e4)
    }
    jumped = Sample(time_seconds=10.0, running=10, generated_tokens=1e14)
    reading = demand.read(tracks, (PodLoad(uid="a", sample=jumped),), 10.0, cost)
    assert demand.speed(1.0, reading, demand.minute(cost)) == 1.0
