"""The search for the edge of a service level and for the knee, against laws that it does not know."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st

from tacho_runtime.probe.level_search import (
    NO_FIGURE,
    SearchStep,
    TriedLevel,
    knee_of,
    next_level,
    top_level,
)
from tests.properties import examples

Law = Callable[[int], tuple[float, float | None]]
"""Concurrency → (tokens per second, slo_ratio)."""


def searched(law: Law, top: int, most: int = 40) -> tuple[dict[int, TriedLevel], SearchStep]:
    tried = {1: TriedLevel(concurrency=1, output_tokens_per_second=law(1)[0], slo_ratio=law(1)[1])}
    for _ in range(most):
        step = next_level(tuple(tried.values()), top=top)
        if step.concurrency is None:
            return tried, step
        assert step.concurrency not in tried, "a level is measured once"
        assert 1 < step.concurrency <= top
        rate, slo_ratio = law(step.concurrency)
        tried[step.concurrency] = TriedLevel(
            concurrency=step.concurrency, output_tokens_per_second=rate, slo_ratio=slo_ratio
        )
    raise AssertionError("the search does not end")


def linear(alpha: float, beta: float, limit: float) -> Law:
    return lambda c: (1000 * c / (alpha + beta * c), (alpha + beta * c) / limit)


def test_a_linear_law_takes_three_levels() -> None:
    tried, step = searched(linear(10, 0.5, 30.2), 256)
    assert (step.boundary, sorted(tried)) == ("Edge", [1, 40, 42, 256])


@examples(3)
@given(
    alpha=st.floats(1, 100),
    beta=st.floats(0.001, 5),
    over=st.floats(0.5, 50),
    top=st.integers(1, 512),
    bend=st.floats(0, 3),
    at=st.integers(1, 256),
)
def test_the_edge_is_within_a_twentieth(
    alpha: float, beta: float, over: float, top: int, bend: float, at: int
) -> None:
    limit = over * alpha

    def law(c: int) -> tuple[float, float]:
        itl = alpha + beta * c + bend * max(0, c - at)
        return 1000 * c / itl, itl / limit

    tried, step = searched(law, top)
    truth = max((c for c in range(1, top + 1) if law(c)[1] <= 1), default=0)
    kept = [c for c, one in tried.items() if one.slo_ratio is not None and one.slo_ratio <= 1]
    if truth == 0:
        assert step.boundary == "NeverMet"
    elif truth == top:
        assert step.boundary in ("Floor", "Plateau")
        assert max(kept) == top
    else:
        assert step.boundary == "Edge"
        assert truth / 1.05 - 1 <= max(kept) <= truth
        assert len(tried) <= 14


@given(st.floats(1, 100), st.floats(0.001, 5), st.integers(1, 512))
def test_the_knee_has_nine_tenths_and_not_much_more(alpha: float, beta: float, top: int) -> None:
    def law(c: int) -> tuple[float, None]:
        return 1000 * c / (alpha + beta * c), None

    tried, step = searched(law, top)
    knee = knee_of(tuple(tried.values()))
    assert knee is not None
    highest = max(one.output_tokens_per_second for one in tried.values())
    assert knee.output_tokens_per_second >= 0.9 * highest
    assert step.boundary in ("Floor", "Plateau")
    fewest = min(c for c in range(1, top + 1) if law(c)[0] >= 0.9 * highest)
    close = knee.concurrency <= 1.26 * fewest + 1
    assert close or knee.output_tokens_per_second <= 0.95 * highest
    assert len(tried) <= 8


def test_throughput_that_falls_at_the_top_has_its_knee_below() -> None:
    tried, step = searched(lambda c: (float(c if c <= 40 else max(1, 80 - c)), None), 64)
    knee = knee_of(tuple(tried.values()))
    assert knee is not None
    assert 16 < knee.concurrency < 64
    assert step.boundary == "Plateau"


def test_nothing_tried_is_no_search() -> None:
    assert next_level((), top=9).concurrency is None
    one = (TriedLevel(concurrency=1, output_tokens_per_second=5.0),)
    assert next_level(one, top=1).boundary == "Floor"


@pytest.mark.parametrize(
    ("wanted", "slots", "cache", "request_tokens", "top", "why"),
    [
        (8, 0, None, 700, 256, "at most 256"),
        (400, 0, None, 700, 400, "at most 400"),
        (8, 4, None, 700, 4, "runs 4 requests"),
        (8, 0, 7000, 700, 10, "holds 10 requests"),
        (8, 4, 7000, 700, 4, "runs 4"),
        (8, 0, 300, 700, 1, "holds 1 request of 700"),
    ],
)
def test_the_top_is_the_engines(
    wanted: int, slots: int, cache: int | None, request_tokens: int, top: int, why: str
) -> None:
    found, reason = top_level(
        desired=wanted, slots=slots, kv_cache_tokens=cache, request_tokens=request_tokens
    )
    assert found == top
    assert why in reason


def test_a_throughput_that_is_no_number_is_none() -> None:
    nothing = TriedLevel(concurrency=2, output_tokens_per_second=float("nan"))
    one = TriedLevel(concurrency=1, output_tokens_per_second=5.0)
    assert knee_of((nothing,)) is None
    assert knee_of((one, nothing)) == one
    assert next_level((nothing,), top=2) == SearchStep(concurrency=None, reason=NO_FIGURE, boundary="Floor")
    assert next_level((one, nothing), top=1).boundary == "Floor"


def test_one_stream_that_tells_no_rate_keeps_nothing_from_being_tried() -> None:
    alone = TriedLevel(concurrency=1, output_tokens_per_second=math.nan)
    top = TriedLevel(concurrency=64, output_tokens_per_second=500.0)
    assert next_level((alone,), top=64).concurrency == 64
    assert next_level((alone, top), top=64).concurrency == 8


def test_a_level_that_tells_no_rate_and_breaks_the_service_level_bounds_it() -> None:
    levels = [
        TriedLevel(concurrency=1, output_tokens_per_second=20.0, slo_ratio=0.3),
        TriedLevel(concurrency=20, output_tokens_per_second=300.0, slo_ratio=0.98),
        TriedLevel(concurrency=21, output_tokens_per_second=math.nan, slo_ratio=1.1),
    ]
    assert next_level(levels, top=21).boundary == "Edge"
    assert next_level([levels[0], levels[2]], top=21).concurrency == 18


@pytest.mark.parametrize(
    ("tried", "reason"),
    [
        (((1, 10.0, 0.9),), "1 stream meets the SLO"),
        (((1, 10.0, 0.9), (2, 12.0, 1.1)), "1 stream meets the SLO, 2 miss it"),
        (((1, 10.0, 0.2), (4, 12.0, 0.8), (5, 12.0, 1.1)), "4 streams meet the SLO, 5 miss it"),
        (((1, 10.0, None), (2, 12.0, None)), "2 streams reach 100% of the highest throughput, 1 does not"),
        (
            ((1, 1.0, None), (2, 10.0, None), (3, 12.0, None)),
            "3 streams reach 100% of the highest throughput, 2 do not",
        ),
    ],
)
def test_one_stream_and_several(tried: tuple[tuple[int, float, float | None], ...], reason: str) -> None:
    levels = [TriedLevel(concurrency=c, output_tokens_per_second=rate, slo_ratio=s) for c, rate, s in tried]
    assert next_level(levels, top=levels[-1].concurrency).reason == reason
