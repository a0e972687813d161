"""Figures as digits and sentences: no more than was measured, and what it rests on."""

from __future__ import annotations

from typing import Any

import pytest

from tacho_cli.figures.digits import estimate, measured, plain
from tacho_cli.figures.messages import (
    FLAGS,
    PROVISIONAL,
    capacity_message,
    notes,
    sentences,
    slo_message,
    table,
)
from tacho_cli.figures.read import MeasurementView, measurement_view
from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import INVALIDATING, LIMITING
from tacho_operator.core.measurement.states import INCOMPLETE
from tests.unit.cli.figures.measurements import SLO, entry, level


def read(slo: ServiceLevel = SLO, **changes: Any) -> MeasurementView:
    return measurement_view(entry(**changes), slo)


def said(found: MeasurementView, what: str) -> str:
    return dict(sentences(found))[what]


def capacity(slo: ServiceLevel = SLO, **changes: Any) -> str:
    return said(read(slo, capacity={**entry()["capacity"], **changes}), "capacity")


@pytest.mark.parametrize(
    ("value", "ci_percent", "text"),
    [
        (1841.2, 1.8, "1840 ± 30"),
        (1841.2, 0.76, "1841 ± 14"),
        (85.31, 1.1, "85.3 ± 0.9"),
        (0.00123, 10, "0.00123 ± 0.00012"),
        (7.7, 60, "8 ± 5"),
        (1000.0, 9.6, "1000 ± 100"),
        (98.0, 150, "100 ± 150"),
        (1304.317, None, "1304"),
        (1304.317, 0, "1304"),
        (57.212, None, "57.2"),
        (0.5, None, "0.500"),
        (0.0, 5, "0.00"),
    ],
)
def test_digits_are_those_that_the_interval_leaves(value: float, ci_percent: float | None, text: str) -> None:
    assert measured(value, ci_percent) == text
    assert estimate(value, ci_percent) == text.split(" ±")[0]


def test_a_provisional_figure_has_a_mark_and_no_interval() -> None:
    assert measured(1841.2, 1.8, provisional=True) == estimate(1841.2, provisional=True) == "~1800"
    assert measured(7.72, provisional=True) == "~7.7"


def test_what_is_not_known_is_not_shown() -> None:
    assert (plain(None), measured(None, 3), estimate(None)) == ("", "", "")


def test_further_runs_say_how_far_they_agree() -> None:
    history = {"cleanRuns": 4, "agreeingRuns": 3, "spreadPercent": "6.13"}
    assert said(read(history=history), "runs") == (
        "3 of 4 clean runs agree with it; from the slowest to the fastest 6.1 % of their mean"
    )
    unknown = {"cleanRuns": 2, "agreeingRuns": 2}
    assert said(read(history=unknown), "runs") == "2 of 2 clean runs agree with it"


@pytest.mark.parametrize("history", [None, {}, {"cleanRuns": 1, "agreeingRuns": 1, "spreadPercent": "0"}])
def test_one_run_agrees_with_itself(history: dict[str, Any] | None) -> None:
    assert "runs" not in dict(sentences(read(history=history)))


def test_an_edge_names_what_breaks_it() -> None:
    assert capacity().startswith("carries 24 streams at the SLO; 30 miss it: 1840 ± 30 tok/s, 9.2 requests/s")
    assert "TTFT ≤ 500 ms and TPOT ≤ 50 ms for 95 of 100 requests" in capacity()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"boundary": "Floor"},
            "carries at least 24 streams at the SLO; 30 miss it; the levels between were not measured",
        ),
        ({"boundary": "Floor", "basis": "Knee", "concurrency": 8}, "8 streams bring"),
        (
            {"boundary": "Floor", "concurrency": 64},
            "at least 64 streams at the SLO; no higher level has a figure",
        ),
        ({"boundary": "Plateau"}, "carries 24 streams at the SLO; 30 add little throughput"),
        ({"boundary": "NeverMet"}, "one stream already misses the SLO"),
        (
            {"basis": "Knee", "boundary": "Plateau"},
            "24 streams bring 1840 ± 30 tok/s, 9.2 requests/s; 30 add little throughput",
        ),
        ({"basis": "", "boundary": "Floor", "concurrency": 64}, "64 streams bring"),
        ({"verified": True}, "requests/s; open-loop requests met it too"),
        ({"verified": False}, "requests/s; open-loop requests missed it"),
        ({"concurrency": 1, "boundary": "Edge"}, "carries 1 stream at the SLO"),
        ({"basis": "Knee", "boundary": "Plateau", "concurrency": 1}, "1 stream brings 1840"),
    ],
)
def test_the_boundary_and_its_basis_are_said(changes: dict[str, Any], words: str) -> None:
    assert words in capacity(**changes)


@pytest.mark.parametrize(
    ("rate", "verified", "words"),
    [
        ("7.83", True, "open-loop requests, at 0.85 of that rate, met it too"),
        ("6.65", True, "open-loop requests, at 0.72 of that rate, met it too"),
        ("6.65", False, "open-loop requests, at 0.72 of that rate, missed it"),
        ("7.83", None, "open-loop requests, at 0.85 of that rate, were too few to judge"),
    ],
)
def test_at_which_rate_requests_arrived_is_said(rate: str, verified: bool | None, words: str) -> None:
    latency = {"openLoop": True, "offeredRequestsPerSecond": rate}
    whole = entry(latency=latency, goodput={"compliancePercent": "98"})
    found = measurement_view({**whole, "capacity": {**whole["capacity"], "verified": verified}}, SLO)
    assert found.capacity is not None
    assert words in capacity_message(found, found.capacity)


def test_arrivals_that_were_not_tried_are_not_told() -> None:
    whole = entry()
    found = measurement_view({**whole, "capacity": {**whole["capacity"], "verified": None}}, SLO)
    assert found.capacity is not None
    assert "by themselves" not in capacity_message(found, found.capacity)


def test_a_knee_promises_nothing() -> None:
    assert "SLO" not in capacity(ServiceLevel(), basis="Knee", boundary="Plateau", verified=None)
    assert slo_message(ServiceLevel()) == ""
    assert (
        slo_message(ServiceLevel(tpot_milliseconds=40, percentile=99))
        == "TPOT ≤ 40 ms for 99 of 100 requests"
    )


def test_a_disturbed_level_is_marked_and_explained() -> None:
    found = read()
    rates = [row[1] for row in table(found)[1]]
    assert rates == ["85.3 ± 0.9", "610 ± 12", "~1100", "1840 ± 30", "2000 ± 50", "2110 ± 70"]
    assert PROVISIONAL in list(notes(found))
    assert "NotSteady (provisional): the throughput was still changing when it was measured." in list(
        notes(found)
    )


def test_a_level_that_was_not_steady_needs_no_flag_to_be_marked() -> None:
    found = read(curve=[level(1, "24.161", "1304", "17.6"), level(2, "7.7", "1085", "57.2", steady=False)])
    assert [row[1] for row in table(found)[1]] == ["24.2", "~7.7"]
    assert any("NotSteady" in line for line in notes(found))


def test_what_moved_the_whole_may_have_moved_any_level() -> None:
    """Even where one level carries the flag: the single stream has none of its own to carry it."""
    levels = [level(1, "24", "1304", "17.6"), level(2, "40", "1", "2", flags=["Contended"])]
    everywhere = read(flags=["Contended"], curve=levels)
    assert [row[1] for row in table(everywhere)[1]] == ["~24", "~40"]
    assert said(everywhere, "capacity").count("~") == 2
    assert said(read(), "at most").startswith("2110 ± 70 tok/s"), "a level that nothing rests on was moved"


def test_a_flag_that_only_limits_leaves_the_figures_as_they_are() -> None:
    found = read(curve=[], flags=["FrontendBound", "Incomplete"])
    assert "~" not in said(found, "capacity") + said(found, "one stream")
    assert [line.split(":")[0] for line in notes(found)] == ["FrontendBound", "Incomplete"]


def test_percentiles_are_absent_where_the_requests_are_too_few() -> None:
    headings, rows = table(read())
    assert headings[3] == headings[5] == "P95 MS"
    assert (rows[0][3], rows[0][5]) == ("-", "-")
    assert (rows[1][3], rows[1][5]) == ("84.0", "13.8")


def test_columns_nobody_needs_are_left_out() -> None:
    headings, rows = table(measurement_view({"curve": [level(4, "35.7", "1008", "101")]}, ServiceLevel()))
    assert headings == ["STREAMS", "TOK/S", "TTFT P50 MS", "P95 MS", "TPOT P50 MS", "P95 MS", "REQUESTS"]
    assert rows == [["4", "35.7", "1008", "-", "101", "-", "-"]]


def test_the_row_of_the_capacity_is_marked() -> None:
    assert [row[0] for row in table(read())[1]] == ["1", "8", "16", "* 24", "30", "64"]


def test_requests_at_times_of_their_own_are_told_apart() -> None:
    latency = {"openLoop": True, "offeredRequestsPerSecond": "7.83", "ttftMillisecondsP50": "45"}
    goodput = {"compliancePercent": "97.959", "compliancePercentLower95": "94.1"}
    assert said(read(latency=latency, goodput=goodput), "arrivals") == (
        "7.83 requests/s in an open loop, first token after 45.0 ms; 97.96 % met the SLO (at least "
        "94.1 %, with 95 % confidence)"
    )
    closed = read(latency={"ttftMillisecondsP50": "45"}, goodput=goodput)
    assert "arrivals" not in dict(sentences(closed))


def test_the_measurement_scores_the_plan() -> None:
    found = read(againstPlan={"decodePercent": 98.7, "capacityPercent": 103})
    assert said(found, "plan") == ("of the plan's expectation: 99 % with one stream, 103 % at capacity")


def test_quality_names_its_text() -> None:
    found = read(quality={"perplexity": "12.3456", "tokens": 812, "text": "The Time Machine"})
    assert said(found, "quality") == "perplexity 12.3 over 812 tokens of The Time Machine"
    assert "quality" not in dict(sentences(read(quality={"message": "no log-probabilities"})))


def test_a_message_is_told_by_its_clauses_once() -> None:
    found = read(curve=[], flags=[], message="the time ran out; it was late; the time ran out")
    assert list(notes(found)) == ["- the time ran out", "- it was late"]
    assert list(notes(found, "Partial: the time ran out; it was late; the time ran out.")) == []


def test_the_highest_throughput_is_told_where_it_is_more_than_what_is_carried() -> None:
    less = read(saturation={"concurrency": 1, "outputTokensPerSecond": "85.3"})
    assert "at most" not in dict(sentences(less))
    assert said(read(), "at most") == "2110 ± 70 tok/s with 64 streams, whatever the latency"


def test_every_flag_has_its_words() -> None:
    assert {*INVALIDATING, *LIMITING, INCOMPLETE} == set(FLAGS)
    assert "Unheard (" not in " ".join(notes(read(flags=["Unheard"])))
    assert "Unheard: not known to this version." in list(notes(read(flags=["Unheard"])))


def test_an_entry_that_this_version_cannot_read_is_told() -> None:
    found = measurement_view({"curve": [{"concurrency": 1}, level(2, "x", "1", "1")], "capacity": {}}, SLO)
    assert (found.points, found.capacity, found.single, sentences(found)) == ((), None, None, [])
    (line,) = notes(found)
    assert "this version of tacho cannot read the measurement" in line
