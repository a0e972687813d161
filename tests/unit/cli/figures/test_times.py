"""Spans of time as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from tacho_cli.figures.times import STEPS, axis, clock, span, step


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (0.25, "0.25 s"),
        (59.9, "59.9 s"),
        (60, "1 min"),
        (3599.7, "1 h"),
        (5400, "1 h 30 min"),
        (86400, "1 d"),
        (90000, "1 d 1 h"),
        (86461, "1 d"),
        (31536000, "365 d"),
    ],
)
def test_a_span_has_its_two_largest_units(seconds: float, words: str) -> None:
    assert span(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0:00:00"), (140.4, "0:02:20"), (35999.6, "10:00:00"), (280810, "3 d 06:00:10")],
)
def test_a_clock_tells_seconds(seconds: float, words: str) -> None:
    assert clock(seconds) == words


@given(st.floats(0.001, 1e10))
def test_a_step_is_easy_to_read_and_not_too_short(least: float) -> None:
    found = step(least)
    assert found >= least * 0.999
    assert found <= max(10 * least, STEPS[0])


@given(st.floats(0, 1e10))
def test_an_axis_of_time_has_few_ticks_inside(duration: float) -> None:
    found = axis(duration, 8)
    assert 1 <= len(found.ticks) <= 9
    assert all(0 <= found.place(tick) <= 1 for tick in found.ticks)
