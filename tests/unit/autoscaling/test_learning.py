"""What replicas do against what was measured, and within which bounds that is believed."""

from __future__ import annotations

import dataclasses

import pytest

from tacho_operator.core.autoscaling.algorithm.learning import LEAST, LEAST_RUNNING, MOST, Seen, learn
from tacho_operator.core.autoscaling.algorithm.step import step
from tacho_operator.core.autoscaling.algorithm.types import (
    Bounds,
    Learned,
    PodLoad,
    Policy,
    ReplicaCapacity,
    Sample,
    Standing,
    State,
)
from tests.unit.autoscaling.fleet import CAPACITY

PROMISED = Policy(bounds=Bounds(least=1, most=9), ttft_seconds=1.0)
BOTH = dataclasses.replace(PROMISED, tpot_seconds=0.1)
CALM = Seen(
    utilization=0.5, ttft_seconds=0.3, tpot_seconds=None, running=20, elapsed_seconds=10.0, settled=True
)
LATE = dataclasses.replace(CALM, ttft_seconds=2.0)
EASY = dataclasses.replace(CALM, utilization=1.0)
SLOW = dataclasses.replace(CALM, utilization=0.9, tpot_seconds=0.08)


def after(seconds: int, seen: Seen, promised: Policy = PROMISED) -> Learned:
    known = Learned(fingerprint="f")
    for now in range(0, seconds + 1, 10):
        known = learn(known, CAPACITY, promised, seen, float(now))
    return known


def test_late_answers_of_replicas_that_are_not_full_lower_what_is_counted_on() -> None:
    assert after(50, LATE).factor == 1.0
    assert after(60, LATE).factor == pytest.approx(0.9)
    assert after(6000, LATE).factor == LEAST


def test_slow_tokens_of_replicas_that_are_not_over_full_lower_it_too() -> None:
    """0.08 s on the mean is 0.12 s for the last in a hundred, where 0.1 s was promised."""
    assert after(50, SLOW, BOTH).factor == 1.0
    assert after(60, SLOW, BOTH).factor == pytest.approx(0.9)
    assert after(6000, dataclasses.replace(SLOW, tpot_seconds=0.06), BOTH).factor == 1.0
    assert after(6000, SLOW, PROMISED).factor == 1.0


def test_what_an_overload_left_behind_proves_nothing() -> None:
    for seen in (LATE, SLOW):
        assert after(6000, dataclasses.replace(seen, settled=False), BOTH).factor == 1.0
    known = after(50, SLOW, BOTH)
    assert known.tpot_seconds == pytest.approx(0.08)
    overloaded = dataclasses.replace(SLOW, settled=False)
    assert learn(known, CAPACITY, BOTH, overloaded, 60.0).tpot_seconds is None


def test_full_replicas_that_keep_the_promise_with_ease_raise_it() -> None:
    assert after(590, EASY).factor == 1.0
    assert after(600, EASY).factor == pytest.approx(1.05)
    assert after(60_000, EASY).factor == MOST
    slow = dataclasses.replace(EASY, tpot_seconds=0.08)
    assert after(60_000, slow, BOTH).factor == 1.0


@pytest.mark.parametrize(
    ("seen", "promised"),
    [
        (dataclasses.replace(LATE, utilization=0.9), PROMISED),
        (dataclasses.replace(EASY, ttft_seconds=0.5), PROMISED),
        (dataclasses.replace(LATE, utilization=None), PROMISED),
        (dataclasses.replace(LATE, ttft_seconds=None), PROMISED),
        (LATE, dataclasses.replace(PROMISED, ttft_seconds=None)),
    ],
    ids=["late, but full", "kept, without ease", "unknown use", "nothing answered", "nothing promised"],
)
def test_what_proves_nothing(seen: Seen, promised: Policy) -> None:
    assert after(6000, seen, promised).factor == 1.0


def test_evidence_must_last() -> None:
    known = after(50, LATE)
    calm = learn(known, CAPACITY, PROMISED, CALM, 60.0)
    late = learn(calm, CAPACITY, PROMISED, LATE, 70.0)
    assert (late.factor, late.evidence_since) == (1.0, 70.0)


def test_nothing_is_learned_of_a_capacity_that_is_not_measured() -> None:
    doubted = dataclasses.replace(CAPACITY, unverified="nobody measured it")
    known = Learned(fingerprint="f", evidence_since=0.0)
    assert learn(known, doubted, PROMISED, dataclasses.replace(LATE, ttft_seconds=9.0), 1e6).factor == 1.0


def test_what_was_taken_off_comes_back_and_no_more_though_replicas_are_never_full_again() -> None:
    def on(seen: Seen, promised: Policy, end: int) -> float:
        known = Learned(fingerprint="f", factor=0.7)
        for now in range(0, end + 1, 10):
            known = learn(known, CAPACITY, promised, seen, float(now))
        return known.factor

    calm = dataclasses.replace(CALM, utilization=0.4, ttft_seconds=0.2)
    assert on(calm, PROMISED, 590) == 0.7
    assert on(calm, PROMISED, 600) == pytest.approx(0.735)
    assert on(calm, PROMISED, 60_000) == 1.0
    assert on(dataclasses.replace(calm, ttft_seconds=0.6), PROMISED, 6000) == 0.7, "kept, but without ease"
    near = dataclasses.replace(calm, tpot_seconds=0.06)
    assert on(near, BOTH, 6000) == 0.7, "0.09 s for the last in a hundred, of 0.1 s"
    assert on(dataclasses.replace(calm, tpot_seconds=0.05), BOTH, 60_000) == 1.0


@pytest.mark.parametrize("tpot_seconds", [0.06, 0.08])
def test_full_replicas_whose_tokens_are_slow_are_not_counted_on_for_more(tpot_seconds: float) -> None:
    """As the law sees them: whoever is full needs more replicas, so nothing is settled."""
    full = dataclasses.replace(EASY, settled=False, tpot_seconds=tpot_seconds)
    assert after(60_000, full, BOTH).factor == 1.0
    assert after(60_000, dataclasses.replace(full, tpot_seconds=0.05), BOTH).factor == MOST


def test_slow_tokens_that_were_the_last_prove_nothing_while_none_come() -> None:
    known = after(50, SLOW, BOTH)
    idle = dataclasses.replace(SLOW, utilization=0.0, ttft_seconds=None, tpot_seconds=None)
    for now in range(60, 6000, 10):
        known = learn(known, CAPACITY, BOTH, idle, float(now))
    assert (known.factor, known.tpot_seconds) == (1.0, None)


def test_without_a_promised_first_token_quick_tokens_bring_back_what_was_taken_off_and_no_more() -> None:
    alone = dataclasses.replace(BOTH, ttft_seconds=None)
    for utilization in (0.4, 1.0):
        known = Learned(fingerprint="f", factor=0.7)
        seen = dataclasses.replace(CALM, utilization=utilization, ttft_seconds=None, tpot_seconds=0.05)
        for now in range(0, 60_001, 10):
            known = learn(known, CAPACITY, alone, seen, float(now))
        assert known.factor == 1.0, utilization


def test_where_nobody_counts_tokens_a_promise_of_them_is_not_known_to_be_kept() -> None:
    assert after(60_000, EASY, BOTH).factor == 1.0


@pytest.mark.parametrize(
    ("running", "factor"), [(LEAST_RUNNING, LEAST), (LEAST_RUNNING - 1, 1.0), (None, 1.0)]
)
def test_of_few_requests_the_time_of_a_token_is_chance(running: int | None, factor: float) -> None:
    assert after(6000, dataclasses.replace(SLOW, running=running), BOTH).factor == factor


@pytest.mark.parametrize(("tokens_a_second", "factor"), [(200.0, LEAST), (1200.0, 1.0)])
def test_a_look_sees_the_time_of_a_token(tokens_a_second: float, factor: float) -> None:
    """20 requests of two pods that are not full: a token each 0.1 s, or six times as many."""
    capacity = dataclasses.replace(CAPACITY, requests_per_second=40.0, output_tokens_per_second=4000.0)
    state = State()
    for now in range(0, 1200, 10):
        sample = Sample(time_seconds=now, running=10, waiting=0, generated_tokens=tokens_a_second / 2 * now)
        pods = tuple(PodLoad(uid=uid, sample=sample) for uid in ("a", "b"))
        at = Standing(replicas=2, pods=pods, capacity=capacity, policy=BOTH)
        state = step(at, state, float(now)).state
    assert state.learned.factor == factor


TIGHT = dataclasses.replace(CAPACITY, tpot_half_seconds=0.08)
"""1.5 times that is more than the 0.1 s promised: even half as many requests would be as slow."""


def learned(capacity: ReplicaCapacity, tpot_seconds: float, known: Learned) -> float:
    seen = dataclasses.replace(SLOW, tpot_seconds=tpot_seconds)
    for now in range(0, 60_001, 10):
        known = learn(known, capacity, BOTH, seen, float(now))
    return known.factor


def test_a_promise_that_fewer_requests_do_not_bring_nearer_takes_nothing_off_until_the_mean_breaks_it() -> (
    None
):
    fresh = Learned(fingerprint="f")
    assert learned(CAPACITY, 0.09, fresh) == LEAST
    assert learned(TIGHT, 0.09, fresh) == 1.0
    assert learned(TIGHT, 0.11, fresh) == LEAST
    roomy = dataclasses.replace(CAPACITY, tpot_half_seconds=0.06)
    assert learned(roomy, 0.09, fresh) == LEAST


@pytest.mark.parametrize("measured_seconds", [0.07, 0.08, 0.095])
def test_what_such_a_promise_took_off_comes_back(measured_seconds: float) -> None:
    tight = dataclasses.replace(CAPACITY, tpot_half_seconds=measured_seconds)
    halved = Learned(fingerprint="f", factor=LEAST)
    promised = dataclasses.replace(BOTH, ttft_seconds=None)
    seen = dataclasses.replace(CALM, ttft_seconds=None, tpot_seconds=measured_seconds)
    for now in range(0, 60_001, 10):
        halved = learn(halved, tight, promised, seen, float(now))
    assert halved.factor == 1.0


def test_such_a_promise_is_said() -> None:
    sample = Sample(time_seconds=0.0, running=1, waiting=0, generated_tokens=0.0)
    at = Standing(replicas=1, pods=(PodLoad(uid="a", sample=sample),), capacity=TIGHT, policy=BOTH)
    said = step(at, State(), 0.0).decision.active
    assert (said.status, said.reason) == ("True", "ValidMetricFound")
    assert "80 of 100 ms" in said.message
    unpromised = dataclasses.replace(at, policy=PROMISED)
    assert "TPOT" not in step(unpromised, State(), 0.0).decision.active.message
