"""README's example: who wins it, and that tacho does on days that nobody chose."""

from __future__ import annotations

import pytest

from benchmarks.autoscaling import example, records
from benchmarks.autoscaling.goals import Score


@pytest.mark.parametrize(
    ("others", "won"),
    [
        ({}, True),
        ({"kubeai": Score(0.94, 1.0)}, True),
        ({"kubeai": Score(0.95, 1.9)}, False),
        ({"static-3": Score(0.94, 1.9)}, True),
        ({"static-3": Score(0.95, 1.9)}, False),
        ({"static-3": Score(0.99, 2.1)}, True),
        ({"greedy": Score(1.0, 1.0)}, True),
        ({"tacho": Score(0.949, 2.0)}, False),
    ],
)
def test_the_example_is_won_by_who_keeps_the_slo_for_the_least(others: dict[str, Score], won: bool) -> None:
    assert example.wins({"tacho": Score(0.97, 2.0)} | others) is won


def test_the_next_day_of_the_example_is_that_of_its_file() -> None:
    day, (first, *_) = (example.EXAMPLES / "next-day.csv").read_text(), example.CASES.values()
    assert example.drawn(20261122, first) == day != example.drawn(1, first)


def test_lengths_change_while_requests_do_not() -> None:
    usual = example.drawn(1, example.Case(name="x")).splitlines()
    longer = example.drawn(1, example.Case(name="x", lengths={"prompts": 3.0})).splitlines()
    for before, after in zip(usual[1:], longer[1:], strict=True):
        (time, prompt, answer), changed = before.split(","), after.split(",")
        assert (time, answer) == (changed[0], changed[2])
        if float(time) >= 1800:
            assert int(changed[1]) == pytest.approx(min(16_000, 3 * int(prompt)), abs=2)


def test_the_readmes_example_is_won_on_all_days_that_nobody_chose() -> None:
    rows = records.read(example.PATH)
    first, *_ = example.CASES
    assert example.won(example.of_case(rows, first)) == [True] * 5
