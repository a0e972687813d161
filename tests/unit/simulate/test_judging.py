"""How the benchmark judges: the front, who is dominated, what is chosen, and traces that a seed decides."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.autoscaling.judged import Score, chosen, dominated_by, front, reversals
from benchmarks.autoscaling.traces import PUBLIC, SHAPES, TRAINING, public

CHEAP, GOOD, POOR = Score(0.80, 4.0), Score(0.99, 8.0), Score(0.98, 10.0)


def test_the_front_are_those_that_nobody_beats_in_both() -> None:
    assert front({"good": GOOD, "poor": POOR, "cheap": CHEAP}) == ["cheap", "good"]
    assert front({"one": GOOD, "same": GOOD}) == ["one", "same"]


def test_domination_is_told_by_its_larger_half() -> None:
    assert dominated_by(POOR, {"good": GOOD, "cheap": CHEAP}) == ("good", pytest.approx(0.2))
    assert dominated_by(GOOD, {"poor": POOR, "cheap": CHEAP}) == ("", 0.0)


def test_the_cheapest_that_is_good_enough_is_chosen_else_the_best() -> None:
    dear = Score(1.0, 20.0)
    assert chosen({"dear": dear, "good": GOOD, "cheap": CHEAP}) == "good"
    assert chosen({"poor": POOR, "cheap": CHEAP}) == "poor"


def test_reversals() -> None:
    assert reversals([1, 2, 2, 4, 3, 1, 5]) == 2
    assert reversals([3, 3]) == 0


def test_a_seed_decides_a_trace_and_the_rate_is_as_it_was_asked() -> None:
    shape = SHAPES["step x8"]
    trace = shape.draw(5, 1.0)
    assert trace == shape.draw(5, 1.0) != shape.draw(6, 1.0)
    before = sum(time < 1200 for time in trace.time_seconds)
    after = sum(1200 <= time < 3000 for time in trace.time_seconds)
    assert before == pytest.approx(0.75 * 1200, rel=0.15)
    assert after == pytest.approx(6.0 * 1800, rel=0.05)
    assert TRAINING.draw(1, 1.0).duration_seconds <= TRAINING.seconds


def test_the_mix_shifts_to_long_prompts() -> None:
    trace = SHAPES["mix shift"].draw(5, 1.0)
    third = len(trace) // 3
    early, late = trace.input_tokens[:third], trace.input_tokens[-third:]
    assert sum(late) / third > 2 * sum(early) / third


def test_the_public_trace_is_whole_and_says_whose_it_is() -> None:
    assert len(public()) == 8819
    folder = Path(PUBLIC).parent
    assert "CC BY 4.0" in (folder / "README.md").read_text()
    assert "Creative Commons" in (folder / "LICENSE-CC-BY-4.0.txt").read_text()
