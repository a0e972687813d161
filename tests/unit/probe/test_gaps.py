"""The decode rate of one stream, and what is a pause and not the engine's speed."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, strategies as st

from tacho_runtime.probe.load.streams import StreamResult
from tacho_runtime.probe.rates import decode_of, gaps_of, hidden_percent, may_hide_first

MS = 1_000_000


def stream(gaps_ms: list[float], counts: list[float] | None = None, first_ms: float = 100) -> StreamResult:
    stamps, at = [(int(first_ms * MS), 1.0)], first_ms
    for gap, count in zip(gaps_ms, counts or [1.0] * len(gaps_ms), strict=True):
        at += gap
        stamps.append((round(at * MS), count))
    return StreamResult(sent_ns=0, tokens=tuple(stamps), finish_reason="length")


def test_equal_gaps_are_their_rate_with_the_narrowest_interval() -> None:
    found = decode_of([stream([10.0] * 100)] * 5)
    assert found is not None
    assert found.tokens_per_second == pytest.approx(100)
    assert (found.stalls, found.stalled_percent) == (0, 0)
    assert found.ci_percent == pytest.approx(0.3)
    assert found.itl_milliseconds_p50 == pytest.approx(10)
    assert found.itl_milliseconds_p95 == pytest.approx(10)


def test_a_stall_is_told_and_left_out() -> None:
    gaps = [10.0] * 100
    gaps[30] = gaps[70] = 210.0
    found = decode_of([stream(gaps)])
    assert found is not None
    assert found.tokens_per_second == pytest.approx(100)
    assert found.stalls == 2
    assert found.stalled_percent == pytest.approx(100 * 400 / 1400)


def test_gaps_between_tokens_are_told_with_stalls() -> None:
    gaps = [10.0] * 100
    gaps[10:80:10] = [210.0] * 7
    found = decode_of([stream(gaps)])
    assert found is not None
    assert found.stalls == 7
    assert (found.itl_milliseconds_p50, found.itl_milliseconds_p95) == (10, 210)


@pytest.mark.parametrize(("longer", "stalls"), [(48.0, 0), (61.0, 2), (130.0, 2)])
def test_a_pause_of_a_slow_engine_need_not_be_four_of_its_steps(longer: float, stalls: int) -> None:
    gaps = [40.0] * 100
    gaps[30] = gaps[70] = 40.0 + longer
    found = decode_of([stream(gaps)])
    assert found is not None
    assert found.stalls == stalls
    assert (found.tokens_per_second == pytest.approx(25)) == bool(stalls)


@pytest.mark.parametrize("cv", [0.1, 0.3, 0.6])
def test_steps_that_differ_among_themselves_are_no_stalls(cv: float) -> None:
    rng = Random(4)
    sigma = cv
    gaps = [10 * rng.lognormvariate(-sigma * sigma / 2, sigma) for _ in range(4000)]
    found = decode_of([stream(gaps)])
    assert found is not None
    assert found.stalled_percent < 1
    assert found.tokens_per_second == pytest.approx(100, rel=0.04)
    assert found.ci_percent is not None
    assert abs(found.tokens_per_second - 100) <= found.ci_percent


def test_a_gap_of_a_few_milliseconds_more_is_the_machines() -> None:
    gaps = [0.5] * 200
    gaps[50] = 4.0
    found = decode_of([stream(gaps)])
    assert found is not None
    assert found.stalls == 0


def test_chunks_of_several_tokens_count_as_what_they_hold() -> None:
    found = decode_of([stream([20.0] * 50, [4.0] * 50)])
    assert found is not None
    assert found.tokens_per_second == pytest.approx(200)
    assert found.itl_milliseconds_p50 == pytest.approx(5)


def test_chunks_that_were_split_on_their_way_are_one_step() -> None:
    split = [value for _ in range(50) for value in (19.9, 0.1)]
    assert len(gaps_of(stream(split))) <= 51
    found = decode_of([stream(split)])
    assert found is not None
    assert found.tokens_per_second == pytest.approx(100, rel=0.02)
    assert found.stalls == 0


def test_one_chunk_tells_nothing() -> None:
    assert decode_of([stream([])]) is None
    assert decode_of([]) is None
    assert decode_of([stream([0.0, 0.0])]) is None


@given(st.lists(st.floats(min_value=0.01, max_value=2000), min_size=1, max_size=80), st.integers(1, 4))
def test_whatever_comes_gives_a_sane_figure(gaps: list[float], requests: int) -> None:
    found = decode_of([stream(gaps)] * requests)
    if found is None:
        return
    slowest, fastest = 1000 / max(gaps), 1000 * len(gaps) / max(1e-9, min(gaps))
    assert slowest * 0.99 <= found.tokens_per_second <= fastest * 1.01
    assert 0 <= found.stalled_percent <= 100
    assert found.ci_percent is None or found.ci_percent >= 0.3


def test_chunks_that_are_held_back_and_come_together_do_not_quicken_the_rate() -> None:
    """Eight at a time through a proxy: the seven that come with the first took no time after it."""
    held = [0.02] * 7 + ([80.0 - 7 * 0.02] + [0.02] * 7) * 24
    found = decode_of([stream(held)] * 5)
    assert found is not None
    assert found.tokens_per_second == pytest.approx(100, rel=0.005)


def test_steps_that_follow_their_neighbours_tell_less_than_as_many_that_do_not() -> None:
    slow_then_fast = [10.5] * 160 + [9.5] * 160
    mixed = [10.5, 9.5] * 160
    Random(2).shuffle(mixed)
    followed, free = decode_of([stream(slow_then_fast)]), decode_of([stream(mixed)])
    assert followed is not None
    assert free is not None
    assert followed.ci_percent is not None
    assert free.ci_percent is not None
    assert free.ci_percent < 2
    assert 5 < followed.ci_percent < 7, "hardly farther than either of the two"


def answer(first_ms: float, events: int, *, first: float = 1.0, share: float = 1.0) -> StreamResult:
    """A closing total divided among events that are 10 ms apart."""
    shared = stream([10.0] * (events - 1), [share] * (events - 1), first_ms)
    tokens = ((shared.tokens[0][0], first), *shared.tokens[1:])
    return replace(shared, tokens=tokens, events=events, shared_out=events > 1)


@pytest.mark.parametrize(
    ("first_ms", "first", "late_ms", "percent"),
    [(100, 1.0, 0, 0), (300, 1.0, 200, 200 / 9.9), (300, 41.0, 100, 100 / 9.9)],
    ids=["several a step", "hidden", "partly counted"],
)
def test_a_first_token_that_is_later_than_an_answer_of_one_hides_some(
    first_ms: float, first: float, late_ms: float, percent: float
) -> None:
    streams = [answer(first_ms, 100, first=first, share=4.0)] * 3
    assert may_hide_first(streams)
    late, more = hidden_percent(streams, [answer(at, 1) for at in (100, 100, 250)])
    assert late == pytest.approx(late_ms)
    assert more == pytest.approx(percent)


def test_an_event_for_each_token_or_with_its_own_count_hides_none() -> None:
    assert not may_hide_first([answer(300, 100)] * 3)
    assert not may_hide_first([replace(answer(300, 100, share=2.0), shared_out=False)] * 3)
