"""One sick pod among healthy ones: it is named, and the capacity of all stays."""

from __future__ import annotations

import dataclasses

import pytest

from tacho_contract.report import LatencyHistogram
from tacho_operator.core.autoscaling.algorithm import outliers, tuning
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


def decided(speed: float, sick: int = 1, leave: int = 120) -> list[Decision]:
    """Some pods fall sick: they serve at ``speed``, get as many requests, and let them wait. They leave at
    sample ``leave``."""
    state, found = State(), []
    loads = [(0, 0, 0)] * PODS
    for number in range(120):
        pods = []
        for pod in range(PODS):
            is_sick = pod < sick and number >= FALLS_SICK
            made = min(TOKENS, int(speed * 2000)) if is_sick else TOKENS
            met = 0 if is_sick and speed < 0.7 else TOKENS // 100
            tokens, waits, good = loads[pod] = (
                loads[pod][0] + made,
                loads[pod][1] + (TOKENS - made) // 100,
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


@pytest.mark.parametrize("speed", [0.02, 0.1, 0.3, 0.49, 0.51, 0.6, 0.69, 1.0])
def test_one_sick_pod_of_ten_adds_one_replica_at_most(speed: float) -> None:
    decisions = decided(speed)
    assert most(decisions[1:FALLS_SICK]) == HEALTHY
    assert most(decisions) <= HEALTHY + 1
    assert max(item.replicas for item in decisions) <= PODS


def test_a_slow_pod_is_named_and_not_counted_on() -> None:
    last = decided(0.1)[-1]
    assert last.reason.endswith(
        " Pods less than half as fast as the others, replaced in the sum: chat-0 (+ 1)."
    )
    assert decided(0.1, sick=4)[-1].reason.endswith("chat-0, chat-1, chat-2 and 1 more (+ 4).")


def test_a_pod_that_alone_misses_the_slo_is_named() -> None:
    assert decided(0.6)[-1].reason.endswith(" chat-0 alone misses the SLO: the capacity is not corrected.")


@pytest.mark.parametrize("speed", [0.1, 0.6])
def test_what_most_pods_do_is_the_capacity(speed: float) -> None:
    last = decided(speed, sick=9)[-1]
    assert (last.figures.need or 0) > HEALTHY + 1
    assert "chat-" not in last.reason


def test_two_pods_cannot_tell_which_of_them_is_sick() -> None:
    tracks = {
        uid: Track(Sample(time_seconds=0.0), output=speed * 1e4, expected=1e4, requests=100, met=100 * speed)
        for uid, speed in (("a", 0.1), ("b", 1.0), ("c", 1.0))
    }
    assert outliers.slow(tracks, 1e4) == ("a",)
    assert outliers.slow(tracks, 2e4) == (), "too little is known"
    assert outliers.missing_alone(tracks, 0.95) == "a"
    del tracks["c"]
    assert outliers.slow(tracks, 1e4) == ()
    assert outliers.missing_alone(tracks, 0.95) == ""
    assert outliers.missing_alone({}, 0.95) == ""


def test_a_pod_that_alone_missed_the_slo_may_leave() -> None:
    found = decided(0.6, leave=110)
    assert "chat-0 alone misses" in found[109].reason
    assert "alone misses" not in found[110].reason


def test_a_sick_pod_alone_misses_nearly_all_and_the_others_meet_the_level() -> None:
    def shares(*met: float, requests: float = 100) -> dict[str, Track]:
        return {
            uid: Track(Sample(time_seconds=0.0), requests=requests, met=each * requests / 100)
            for uid, each in zip("abc", met, strict=True)
        }

    assert outliers.missing_alone(shares(20, 95, 95), 0.95) == "a"
    assert outliers.missing_alone(shares(21, 95, 95), 0.95) == ""
    assert outliers.missing_alone(shares(0, 94, 94), 0.95) == ""
    assert outliers.missing_alone(shares(0, 95, 95, requests=tuning.MIX_REQUESTS - 1), 0.95) == ""
