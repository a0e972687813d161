"""What replicas do against what was measured, and within which bounds that is believed."""

from __future__ import annotations

import dataclasses

import pytest

from tacho_operator.core.scaling.law.learning import LEAST, MOST, learn
from tacho_operator.core.scaling.law.types import Learned

from .fleet import CAPACITY


def after(seconds: int, *, utilization: float | None, ttft: float | None, promised: float | None) -> Learned:
    known = Learned(fingerprint="f")
    for now in range(0, seconds + 1, 10):
        known = learn(
            known,
            CAPACITY,
            utilization=utilization,
            ttft_seconds=ttft,
            promised_seconds=promised,
            now=float(now),
        )
    return known


def test_late_answers_of_replicas_that_are_not_full_lower_what_is_counted_on() -> None:
    assert after(50, utilization=0.5, ttft=2.0, promised=1.0).factor == 1.0
    assert after(60, utilization=0.5, ttft=2.0, promised=1.0).factor == pytest.approx(0.9)
    assert after(6000, utilization=0.5, ttft=2.0, promised=1.0).factor == LEAST


def test_full_replicas_that_keep_the_promise_with_ease_raise_it() -> None:
    assert after(590, utilization=1.0, ttft=0.3, promised=1.0).factor == 1.0
    assert after(600, utilization=1.0, ttft=0.3, promised=1.0).factor == pytest.approx(1.05)
    assert after(60_000, utilization=1.0, ttft=0.3, promised=1.0).factor == MOST


@pytest.mark.parametrize(
    ("utilization", "ttft", "promised"),
    [(0.9, 2.0, 1.0), (1.0, 0.5, 1.0), (None, 2.0, 1.0), (0.5, None, 1.0), (0.5, 2.0, None)],
    ids=["late, but full", "kept, without ease", "unknown use", "nothing answered", "nothing promised"],
)
def test_what_proves_nothing(utilization: float | None, ttft: float | None, promised: float | None) -> None:
    assert after(6000, utilization=utilization, ttft=ttft, promised=promised).factor == 1.0


def test_evidence_must_last() -> None:
    known = after(50, utilization=0.5, ttft=2.0, promised=1.0)
    calm = learn(known, CAPACITY, utilization=0.5, ttft_seconds=0.5, promised_seconds=1.0, now=60.0)
    late = learn(calm, CAPACITY, utilization=0.5, ttft_seconds=2.0, promised_seconds=1.0, now=70.0)
    assert (late.factor, late.evidence_since) == (1.0, 70.0)


def test_nothing_is_learned_of_a_capacity_that_is_not_measured() -> None:
    doubted = dataclasses.replace(CAPACITY, unverified="nobody measured it")
    known = Learned(fingerprint="f", evidence_since=0.0)
    found = learn(known, doubted, utilization=0.1, ttft_seconds=9.0, promised_seconds=1.0, now=1e6)
    assert found.factor == 1.0


def test_what_was_taken_off_comes_back_and_no_more_though_replicas_are_never_full_again() -> None:
    def on(known: Learned, begin: int, end: int) -> Learned:
        for now in range(begin, end + 1, 10):
            known = learn(
                known, CAPACITY, utilization=0.4, ttft_seconds=0.2, promised_seconds=1.0, now=float(now)
            )
        return known

    shrunk = Learned(fingerprint="f", factor=0.7)
    assert on(shrunk, 0, 590).factor == 0.7
    assert on(shrunk, 0, 600).factor == pytest.approx(0.735)
    assert on(shrunk, 0, 60_000).factor == 1.0
    still_late = dataclasses.replace(shrunk, factor=0.7)
    for now in range(0, 6000, 10):
        still_late = learn(
            still_late, CAPACITY, utilization=0.4, ttft_seconds=0.6, promised_seconds=1.0, now=float(now)
        )
    assert still_late.factor == 0.7, "kept, but without ease"
