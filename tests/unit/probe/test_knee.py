"""The search for the edge of a service level and for the knee, against laws that it does not know."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, strategies as st

from tacho_runtime.probe.capacity import edge_of
from tacho_runtime.probe.level_search import (
    EDGE_SHARE,
    NO_FIGURE,
    SearchLimits,
    SearchStep,
    TriedLevel,
    bracket,
    knee_of,
    next_level,
    predicted_cycle,
    predicted_edge,
    top_level,
)
from tacho_runtime.probe.pooled_levels import pooled
from tests.properties import examples

Law = Callable[[int], tuple[float, float | None]]
"""Concurrency → (tokens per second, TPOT over its limit)."""
Queue = Callable[[int], float]
"""Concurrency → TTFT over its limit."""


def tried_at(streams: int, law: Law, queue: Queue | None = None) -> TriedLevel:
    rate, ratio = law(streams)
    return TriedLevel(
        concurrency=streams, output_tokens_per_second=rate, tpot_ratio=ratio,
        ttft_ratio=queue(streams) if queue else None,
    )  # fmt: skip


def searched(
    law: Law, top: int, *, queue: Queue | None = None, prompt_seconds: float = 0.0, most: int = 40
) -> tuple[dict[int, TriedLevel], SearchStep]:
    tried = {1: tried_at(1, law, queue)}
    limits = SearchLimits(top=top, prompt_seconds=prompt_seconds, output_tokens=100)
    for _ in range(most):
        step = next_level(tuple(tried.values()), limits)
        if step.concurrency is None:
            return tried, step
        assert step.concurrency not in tried, "a level is measured once"
        assert 1 < step.concurrency <= top
        assert step.concurrency <= max(8, 6 * max(one for one in tried if one <= step.concurrency))
        tried[step.concurrency] = tried_at(step.concurrency, law, queue)
    raise AssertionError("the search does not end")


def linear(alpha: float, beta: float, limit: float) -> Law:
    return lambda c: (1000 * c / (alpha + beta * c), (alpha + beta * c) / limit)


def test_a_linear_law_takes_three_levels() -> None:
    tried, step = searched(linear(10, 0.5, 30.2), 256)
    assert (step.boundary, sorted(tried)) == ("Edge", [1, 8, 40, 42])


@examples(3)
@given(
    alpha=st.floats(1, 100),
    beta=st.floats(0.001, 5),
    over=st.floats(0.5, 50),
    top=st.integers(1, 512),
    bend=st.floats(0, 3),
    at=st.integers(1, 256),
)
def test_the_edge_is_within_its_share(
    alpha: float, beta: float, over: float, top: int, bend: float, at: int
) -> None:
    limit = over * alpha

    def law(c: int) -> tuple[float, float]:
        itl = alpha + beta * c + bend * max(0, c - at)
        return 1000 * c / itl, itl / limit

    tried, step = searched(law, top)
    truth = max((c for c in range(1, top + 1) if law(c)[1] <= 1), default=0)
    low, high = bracket(tuple(tried.values()))
    assert len(tried) <= 16
    if truth == 0:
        assert step.boundary == "NeverMet"
        return
    assert low is not None
    found = edge_of(low, high)
    if step.boundary == "Edge":
        assert truth / (1 + EDGE_SHARE) - 1 <= found.concurrency <= truth * (1 + EDGE_SHARE)
    elif step.boundary == "Floor":
        assert truth == top == low.concurrency
    # No more throughput than within the gain that is called none.
    assert found.output_tokens_per_second >= 0.9 * law(truth)[0]


@given(slots=st.integers(1, 200), service=st.floats(0.1, 20), limit=st.floats(0.05, 5))
def test_an_engine_that_takes_few_at_a_time_is_bisected_or_flat(
    slots: int, service: float, limit: float
) -> None:
    """Streams beyond the engine's slots wait for their first token, and bring no more throughput."""

    def queue(streams: int) -> float:
        return max(0, streams - slots) / slots * service / limit

    tried, step = searched(lambda c: (10.0 * min(c, slots) / service, 0.5), 2048, queue=queue)
    low, high = bracket(tuple(tried.values()))
    assert low is not None
    assert step.boundary in ("Edge", "Plateau")
    assert len(tried) <= 16
    true = 10.0 * slots / service
    assert edge_of(low, high).output_tokens_per_second == pytest.approx(true, rel=0.07, abs=10.0 / service)


def test_prompts_bound_what_is_predicted_and_what_was_kept_refutes_it() -> None:
    levels = [
        TriedLevel(concurrency=1, output_tokens_per_second=100.0, ttft_ratio=0.1, tpot_ratio=0.2),
        TriedLevel(concurrency=8, output_tokens_per_second=800.0, ttft_ratio=0.1, tpot_ratio=0.21),
    ]
    # A prompt every 50 ms is 20 requests a second, of 100 tokens: 2000 tokens a second, 20 streams.
    limits = SearchLimits(top=2048, prompt_seconds=0.05, output_tokens=100)
    assert predicted_edge(levels, limits) == pytest.approx(20)
    assert next_level(levels, limits).concurrency == 21
    assert predicted_edge(levels, SearchLimits(top=9, prompt_seconds=0.5, output_tokens=100)) > 500
    assert predicted_cycle(levels, 16) == pytest.approx(0.01)


@pytest.mark.parametrize("cliff", [12, 16, 20, 32, 40, 64, 100, 150])
@pytest.mark.parametrize("times", [2.5, 4.0])
def test_throughput_that_falls_is_highest_between_the_levels_that_were_tried(
    cliff: int, times: float
) -> None:
    """8 streams had more than 48, and counted as the highest where 32 had 2.2 times as much."""

    def law(c: int) -> tuple[float, None]:
        return 1000 * c / ((10 + 0.5 * c) * (times if c > cliff else 1)), None

    tried, _ = searched(law, 256)
    knee = knee_of(tuple(tried.values()))
    assert knee is not None
    assert knee.output_tokens_per_second >= 0.75 * law(cliff)[0]
    assert len(tried) <= 10


@pytest.mark.parametrize(
    ("rates", "error", "lowest", "highest"),
    [
        ({1: 100, 8: 1000, 48: 700, 256: 300}, 0.0, 9, 47),
        ({1: 100, 8: 1000, 48: 900, 256: 300}, 0.1, 2, 7),
        ({1: 100, 8: 500, 16: 400, 48: 1000, 64: 999}, 0.0, 17, 47),
    ],
    ids=["beside the highest first", "not where chance explains it", "nowhere else"],
)
def test_the_highest_throughput_is_looked_for_where_it_clearly_falls(
    rates: dict[int, float], error: float, lowest: int, highest: int
) -> None:
    levels = [
        TriedLevel(concurrency=streams, output_tokens_per_second=rate, rate_error=error)
        for streams, rate in rates.items()
    ]
    step = next_level(levels, SearchLimits(top=max(rates)))
    assert lowest <= (step.concurrency or 0) <= highest


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


def test_levels_up_to_the_engines_own_limit_are_all_that_there_is() -> None:
    """Further requests only wait there: no later probe finds more."""
    law = linear(10, 0.1, 100)
    tried = tuple(tried_at(streams, law) for streams in (1, 4))
    assert next_level(tried, SearchLimits(top=4)).boundary == "Floor"
    assert next_level(tried, SearchLimits(top=4, full=True)).boundary == "Plateau"
    assert next_level(tried, SearchLimits(top=5, full=True)).concurrency == 5
    bare = [tried_at(streams, lambda c: (float(c), None)) for streams in (1, 3, 4)]
    assert next_level(bare, SearchLimits(top=4)).boundary == "Floor"
    assert next_level(bare, SearchLimits(top=4, full=True)).boundary == "Plateau"


def test_where_some_wait_each_further_stream_waits_for_one_request_more() -> None:
    """40 slots, of ten seconds a request: 48 streams wait two seconds, 80 of them ten."""
    levels = [
        TriedLevel(concurrency=8, output_tokens_per_second=80.0, ttft_ratio=0.0, tpot_ratio=0.5),
        TriedLevel(concurrency=48, output_tokens_per_second=400.0, ttft_ratio=0.2, tpot_ratio=0.5),
    ]
    assert predicted_edge(levels, SearchLimits(top=999, output_tokens=100, ttft_seconds=10)) == 80
    # Without such a queue the first token says nothing of the edge.
    assert predicted_edge(levels, SearchLimits(top=999, output_tokens=100, ttft_seconds=1)) == math.inf


def test_a_throughput_that_falls_is_no_plateau_below_the_edge() -> None:
    levels = [
        TriedLevel(concurrency=one, output_tokens_per_second=rate, tpot_ratio=ratio)
        for one, rate, ratio in ((1, 50.0, 0.2), (8, 300.0, 0.6), (16, 250.0, 1.4))
    ]
    assert 8 < (next_level(levels, SearchLimits(top=99)).concurrency or 0) < 16
    flat = [*levels[:2], replace(levels[2], output_tokens_per_second=302.0)]
    assert next_level(flat, SearchLimits(top=99)).boundary == "Plateau"


def noisy(streams: int, ratio: float, error: float) -> TriedLevel:
    return TriedLevel(
        concurrency=streams, output_tokens_per_second=10.0 * streams, tpot_ratio=ratio, tpot_error=error
    )


@given(st.lists(st.tuples(st.integers(1, 500), st.floats(0.1, 3), st.floats(0, 0.2)), min_size=1, max_size=9))
def test_pooled_levels_lie_within_what_was_measured(rows: list[tuple[int, float, float]]) -> None:
    levels = [noisy(*row) for row in {row[0]: row for row in rows}.values()]
    for before, after in zip(levels, pooled(levels), strict=True):
        assert after.tpot_ratio is not None
        assert 0 < after.tpot_ratio <= 2 * max(one.tpot_ratio or 0.0 for one in levels)
        assert after.tpot_error <= max(0.002, before.tpot_error) * 3
        if before.tpot_error <= 0.002:
            assert after == before


def test_a_level_that_is_not_certain_is_what_its_neighbours_tell() -> None:
    levels = [noisy(40, 0.80, 0.002), noisy(48, 1.05, 0.05), noisy(50, 0.85, 0.002)]
    ratio = pooled(levels)[1].tpot_ratio
    assert ratio == pytest.approx(0.84, abs=0.01)
    # More streams make no step shorter.
    first, second = pooled([noisy(10, 1.0, 0.05), noisy(11, 0.9, 0.05)])
    assert first.tpot_ratio == pytest.approx(0.95, abs=0.01)
    assert second.tpot_ratio == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(
    "beyond",
    [(noisy(104, 1.4, 0.06),), (noisy(128, 1.5, 0.1),), (noisy(100, 1.3, 0.03), noisy(104, 1.35, 0.03))],
)
def test_steps_that_leap_break_the_service_level_whatever_lies_below(beyond: tuple[TriedLevel, ...]) -> None:
    """A full KV cache: the line of the levels below says nothing of what is beyond."""
    below = [noisy(1, 0.3, 0.0), noisy(8, 0.32, 0.003), noisy(48, 0.5, 0.003), noisy(96, 0.7, 0.003)]
    low, high = bracket(pooled([*below, *beyond]))
    assert low is not None
    assert high is not None
    assert (low.concurrency, high.concurrency) == (96, beyond[0].concurrency)


def test_an_edge_that_noise_hides_is_known_no_better() -> None:
    low, high = noisy(100, 0.99, 0.001), noisy(104, 1.01, 0.001)
    uncertain = edge_of(*(replace(one, tpot_error=0.05) for one in (low, high)))
    assert uncertain.interval_percent > 5 > edge_of(low, high).interval_percent


def test_nothing_tried_is_no_search() -> None:
    assert next_level((), SearchLimits(top=9)).concurrency is None
    assert next_level((), SearchLimits(top=1, full=True)).boundary == "Floor"
    one = (TriedLevel(concurrency=1, output_tokens_per_second=5.0),)
    assert next_level(one, SearchLimits(top=1)).boundary == "Floor"


@pytest.mark.parametrize(
    ("wanted", "slots", "has_slo", "top", "why"),
    [
        (8, 0, False, 256, "at most 256"),
        (400, 0, False, 400, "at most 400"),
        (8, 0, True, 2048, "at most 2048"),
        (8, 4, True, 4, "runs 4 requests"),
    ],
)
def test_the_top_is_the_engines(wanted: int, slots: int, has_slo: bool, top: int, why: str) -> None:
    found, reason = top_level(desired=wanted, slots=slots, has_slo=has_slo)
    assert found == top
    assert why in reason


def test_a_throughput_that_is_no_number_is_none() -> None:
    nothing = TriedLevel(concurrency=2, output_tokens_per_second=float("nan"))
    one = TriedLevel(concurrency=1, output_tokens_per_second=5.0)
    assert knee_of((nothing,)) is None
    assert knee_of((one, nothing)) == one
    over = SearchStep(concurrency=None, reason=NO_FIGURE, boundary="Floor")
    assert next_level((nothing,), SearchLimits(top=2)) == over
    assert next_level((one, nothing), SearchLimits(top=1)).boundary == "Floor"


def test_a_level_that_tells_no_rate_and_breaks_the_service_level_bounds_it() -> None:
    levels = [
        TriedLevel(concurrency=1, output_tokens_per_second=20.0, tpot_ratio=0.3),
        TriedLevel(concurrency=20, output_tokens_per_second=300.0, tpot_ratio=0.98),
        TriedLevel(concurrency=21, output_tokens_per_second=math.nan, tpot_ratio=1.1),
    ]
    assert next_level(levels, SearchLimits(top=21)).boundary == "Edge"
    assert edge_of(levels[1], levels[2]).output_tokens_per_second == 300.0
    assert next_level([levels[0], levels[2]], SearchLimits(top=21)).concurrency == 18


@pytest.mark.parametrize(
    ("tried", "reason"),
    [
        (((1, 10.0, 0.9),), "1 stream meets the SLO"),
        (((1, 10.0, 0.9), (2, 12.0, 1.1)), "1 stream meets the SLO, 2 miss it"),
        (((1, 10.0, 0.2), (4, 12.0, 0.8), (5, 12.5, 1.1)), "4 streams meet the SLO, 5 miss it"),
        (
            ((1, 10.0, 0.2), (4, 12.0, 0.8), (8, 12.1, 1.1)),
            "4 streams meet the SLO, and 8 bring no more throughput",
        ),
        (((1, 10.0, None), (2, 12.0, None)), "2 streams reach 100% of the highest throughput, 1 does not"),
        (
            ((1, 1.0, None), (2, 10.0, None), (3, 12.0, None)),
            "3 streams reach 100% of the highest throughput, 2 do not",
        ),
    ],
)
def test_one_stream_and_several(tried: tuple[tuple[int, float, float | None], ...], reason: str) -> None:
    levels = [TriedLevel(concurrency=c, output_tokens_per_second=rate, tpot_ratio=s) for c, rate, s in tried]
    assert next_level(levels, SearchLimits(top=levels[-1].concurrency)).reason == reason


def test_equal_rates_that_are_not_known_well_enough_are_no_plateau() -> None:
    """Levels of vLLM on an H200, in which each rate's interval was wider than what long loops gained."""
    recorded = ((1, 208.8, 0.2, 0.003), (48, 4300.0, 0.46, 0.17), (142, 7600.0, 0.74, 0.093))
    kept = [
        TriedLevel(concurrency=one, output_tokens_per_second=rate, tpot_ratio=ratio, rate_error=error)
        for one, rate, ratio, error in recorded
    ]
    beyond = TriedLevel(concurrency=240, output_tokens_per_second=7600.0, tpot_ratio=1.1, rate_error=0.16)
    assert 142 < (next_level([*kept, beyond], SearchLimits(top=999)).concurrency or 0) < 240
    known = [replace(one, rate_error=0.01) for one in (*kept, beyond)]
    assert next_level(known, SearchLimits(top=999)).boundary == "Plateau"


def test_levels_that_tell_no_line_pool_to_nothing_below_zero() -> None:
    falling = [noisy(1, 2.0, 0.01), noisy(10, 0.1, 0.2), noisy(11, 0.05, 0.2)]
    assert all((one.tpot_ratio or 0.0) > 0 and one.tpot_error >= 0 for one in pooled(falling))
    assert pooled([noisy(2, 0.0, 0.2), noisy(3, 0.0, 0.1)])[0].tpot_ratio == 0


def test_beside_a_queue_the_next_level_is_only_as_far_as_a_plateau_needs() -> None:
    """Three requests at a time: five of eight streams wait, and six times as many would wait for minutes."""
    one = TriedLevel(concurrency=1, output_tokens_per_second=7.5)
    eight = TriedLevel(concurrency=8, output_tokens_per_second=18.0, waiting_share=0.6)
    assert next_level([one, eight], SearchLimits(top=256)).concurrency == 10
    quick = replace(eight, output_tokens_per_second=60.0, waiting_share=0.05)
    assert next_level([one, quick], SearchLimits(top=256)).concurrency == 48


@pytest.mark.parametrize(("fewest", "most"), [(50, 52), (20, 22), (100, 106)])
@pytest.mark.parametrize("percent", [3.0, 10.0, 25.0])
def test_an_edge_is_no_more_certain_than_what_its_rate_is_drawn_from(
    fewest: int, most: int, percent: float
) -> None:
    """The level above may end after a second: a third of the intervals did not hold the truth."""

    def true(streams: int) -> float:
        return 2000 * streams / (streams + 60)

    rng, missed = Random(1), 0
    for _ in range(500):
        low, high = (
            TriedLevel(
                concurrency=streams,
                output_tokens_per_second=true(streams) * (1 + rng.gauss(0, error / 196)),
                tpot_ratio=ratio,
                tpot_error=0.005,
                rate_error=error / 100,
            )
            for streams, error, ratio in ((fewest, 3.0, 0.98), (most, percent, 1.02))
        )
        found = edge_of(low, high)
        apart = abs(true(found.concurrency) / found.output_tokens_per_second - 1)
        missed += 100 * apart > 3.0 + found.interval_percent
    assert missed <= 25
