"""What a report says of its runs, and that its pictures hold whatever came out."""

from __future__ import annotations

import dataclasses
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, strategies as st

from tacho_cli.figures.chart import WIDTH
from tacho_cli.simulate.charts import (
    ARRIVAL_INTERVALS,
    arrivals,
    arrivals_chart,
    percent_axis,
    replicas_chart,
    slo_chart,
    ttft_chart,
)
from tacho_cli.simulate.report import PolicyRun, SimulationReport, front
from tacho_cli.simulate.show import MAX_DECISIONS, page
from tacho_cli.simulate.table import settings as words, slo_text, summary, verdict
from tacho_contract.launch import ServiceLevel
from tacho_simulate.result import Moment, Quantiles, ReplicaChange
from tacho_simulate.trace import Trace
from tests.properties import examples
from tests.unit.cli.simulate.results import SLO, report, run

PICTURES = {
    "slo": slo_chart,
    "ttft": ttft_chart,
    "replicas": replicas_chart,
    "arrivals": lambda found: arrivals_chart(found.trace),
}
seconds = st.floats(0, 1e5, allow_nan=False)


@st.composite
def reports(draw: st.DrawFn) -> SimulationReport:
    times = sorted(draw(st.lists(seconds, min_size=1, max_size=30)))
    begins = tuple(time - times[0] for time in times)
    tokens = tuple(draw(st.integers(1, 10_000)) for _ in begins)
    runs = []
    for name in draw(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6, unique=True)):
        changes = sorted(draw(st.sets(seconds, max_size=10)))
        moments = [
            Moment(time, draw(st.integers(0, 50)), draw(st.integers(0, 50))) for time in [0.0, *changes[1:]]
        ]
        told = sorted(draw(st.tuples(seconds, seconds, seconds)))
        runs.append(
            run(
                name * draw(st.integers(1, 20)),
                duration_seconds=begins[-1],
                gpu_hours=draw(st.floats(0, 1e5)),
                slo_attainment=draw(st.floats(0, 1)),
                ttft_seconds=draw(st.sampled_from([None, Quantiles(*told)])),
                trajectory=tuple(moments),
            )
        )
    return report(*runs, trace=Trace("any", begins, tokens, tokens))


@pytest.mark.parametrize("name", PICTURES)
@examples(0.4)
@given(found=reports())
def test_whatever_came_out_stays_inside_the_picture(name: str, found: SimulationReport) -> None:
    root = ElementTree.fromstring(PICTURES[name](found))
    height = float(root.attrib["height"])
    for item in root.iter():
        points = re.findall(r"(-?[\d.]+) (-?[\d.]+)", item.get("d", ""))
        across = [item.get(key, 0) for key in ("x", "x1", "x2", "cx")] + [x for x, _ in points]
        down = [item.get(key, 0) for key in ("y", "y1", "y2", "cy")] + [y for _, y in points]
        assert all(0 <= float(value) <= WIDTH for value in across)
        assert all(0 <= float(value) <= height for value in down)


@examples(0.3)
@given(reports())
def test_the_page_asks_for_nothing_and_shows_every_run(found: SimulationReport) -> None:
    text = page(found)
    assert not re.search(r"<script|<link|<img|@import|url\(|src=|href=|\son\w+=", text)
    assert "nan" not in text
    for item in found.runs:
        assert f"{item.name}: " in text


def test_the_front_is_what_nothing_beats() -> None:
    cheap, good, beaten = run("cheap", gpu_hours=1, slo_attainment=0.9), run("good"), run("x", gpu_hours=1.6)
    assert front((beaten, good, cheap)) == (cheap, good)
    twin = run("twin")
    assert front((good, twin)) == (good,), "the same for the same is no better"


def test_nearly_all_is_not_all() -> None:
    assert slo_text(run(slo_attainment=0.999999)) == "99.99"
    assert slo_text(run(slo_attainment=1.0)) == "100"
    assert slo_text(run(slo_attainment=0.0)) == "0.00"


def test_cost_is_shown_where_a_price_was_said() -> None:
    headings, (row,) = summary(report(run(price=2.5, gpu_hours=4)))
    assert dict(zip(headings, row, strict=True))["USD"] == "10.00"
    headings, _ = summary(report(run(price=None)))
    assert "USD" not in headings


def test_the_verdict_names_the_cheapest_that_keeps_the_promise() -> None:
    dear, cheap = (
        run("dear", gpu_hours=9, slo_attainment=1.0),
        run("cheap", gpu_hours=3, slo_attainment=0.991),
    )
    lines = list(verdict(report(dear, cheap, run("broken", gpu_hours=1, slo_attainment=0.989))))
    assert lines == [
        "an-hour: 1000 requests in 1 h; 1 to 8 replicas; cold start 90 s; "
        "TTFT ≤ 500 ms and TPOT ≤ 50 ms for 99 of 100 requests.",
        "Cheapest run that meets the SLO: cheap, 3.00 GPU-hours, SLO met for 99.10 % of requests.",
    ]


def test_the_verdict_says_that_nothing_keeps_it() -> None:
    (*_, last) = verdict(report(run("a", slo_attainment=0.2), run("b", slo_attainment=0.3, gpu_hours=2)))
    assert last == "No run meets the SLO. Closest: b, 2.00 GPU-hours, SLO met for 30.00 % of requests."


def test_without_a_promise_none_is_made_up() -> None:
    (line,) = verdict(report(run(slo=ServiceLevel())))
    assert line.endswith("; no SLO: every completed request counts.")
    assert "SLO" not in ttft_chart(report(run(slo=ServiceLevel())))


def test_settings_are_told_where_they_are_the_same_in_every_run() -> None:
    def varied(value: str) -> PolicyRun:
        made = run(f"minReplicas={value}")
        own = {**made.settings, "minReplicas": int(value)}
        return dataclasses.replace(made, settings=own, variant=(("minReplicas", value),))

    told = dict(words(report(varied("1"), varied("2"))))
    assert told == {
        "maxReplicas": "8",
        "coldStartSeconds": "90",
        "varied: minReplicas": "1, 2",
    }


def test_a_run_without_an_answer_has_no_latencies() -> None:
    nothing = run(ttft_seconds=None, e2e_seconds=None, tpot_seconds=None, unfinished=1000, slo_attainment=0.0)
    _, (row,) = summary(report(nothing))
    assert row[-6:] == ["-"] * 6
    assert "no request was completed" in ttft_chart(report(nothing))


def test_many_decisions_are_cut_and_said_to_be() -> None:
    many = tuple(ReplicaChange(float(n), 1, 2, f"number {n}.") for n in range(MAX_DECISIONS + 5))
    text = page(report(run(decisions=many)))
    assert f"{MAX_DECISIONS + 5} replica changes; the first {MAX_DECISIONS} are listed" in text
    assert f"number {MAX_DECISIONS - 1}." in text
    assert f"number {MAX_DECISIONS}." not in text


@examples(0.6)
@given(st.lists(st.floats(0, 1e8), min_size=1, max_size=50).map(sorted))
def test_every_arrival_is_counted_once(times: list[float]) -> None:
    begins = tuple(time - times[0] for time in times)
    end, _, rates = arrivals(Trace("any", begins, (1,) * len(begins), (2,) * len(begins)), 24)
    ends = [*(begin for begin, _ in rates[1:]), end]
    counted = sum(rate * (until - begin) for (begin, rate), until in zip(rates, ends, strict=True))
    assert counted == pytest.approx(len(begins))
    assert len(rates) <= 24


def test_a_year_of_arrivals_has_bins_of_days() -> None:
    year = tuple(3600.0 * n for n in range(365 * 24))
    _, length, rates = arrivals(Trace("year", year, (1,) * len(year), (1,) * len(year)), ARRIVAL_INTERVALS)
    assert (length, rates[0]) == (2 * 86400, (0.0, 48 / (2 * 86400)))


@given(st.lists(st.floats(0, 100), min_size=1, max_size=9))
def test_shares_are_told_apart_up_to_the_last_digit(values: list[float]) -> None:
    axis = percent_axis(values)
    assert axis.ticks[-1] == 100
    assert all(0 <= axis.place(value) <= 1 for value in values)
    assert axis.low <= min(values)
    assert axis.low >= 0 or min(values) < 1e-9


def test_the_promise_is_drawn_where_it_was_made() -> None:
    assert "SLO 0.5 s" in ttft_chart(report(run(slo=SLO)))
    two = report(run("a"), run("b", slo=ServiceLevel(ttft_milliseconds=1000, percentile=99)))
    assert "SLO 0.5 and 1 s" in ttft_chart(two)
