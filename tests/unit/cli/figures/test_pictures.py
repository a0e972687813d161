"""The pictures of a curve, compared with files; ``TACHO_UPDATE_GOLDEN=1`` writes them anew for review."""

from __future__ import annotations

import os
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import example, given, strategies as st

from tacho_cli.figures.chart import LOGARITHMIC_ABOVE, TEXT_HEIGHT, WIDTH, label, latency, linear
from tacho_cli.figures.curve import curve_chart, panels
from tacho_cli.figures.page import measurement_page
from tacho_cli.figures.read import MeasurementView, measurement_view
from tacho_cli.figures.terminal import plot
from tacho_contract.launch import ServiceLevel
from tests.properties import examples
from tests.unit.cli.figures.measurements import SLO, entry, level

GOLDEN = Path(__file__).parent / "golden"
TITLE = "mistral-7b <fp8> at http://10.0.0.5:8000"
NOTHING = measurement_view({}, SLO)

times = rates = st.floats(0.01, 1e6)
odd = st.sampled_from([0.0, 5e-324, 2.2e-308, 1e-300, 1e-9, 1e15]) | st.floats(0, 1e15)


@st.composite
def measurements(
    draw: st.DrawFn, rates: st.SearchStrategy[float] = rates, times: st.SearchStrategy[float] = times
) -> MeasurementView:
    levels = [
        level(
            streams,
            str(draw(rates)),
            str(draw(times)),
            str(draw(times)),
            ciPercent=str(draw(st.floats(0, 100))),
            ttftMillisecondsP95=str(draw(times)),
            steady=draw(st.booleans()),
        )
        for streams in sorted(draw(st.sets(st.integers(1, 4096), min_size=1, max_size=9)))
    ]
    slo = ServiceLevel(
        ttft_milliseconds=draw(st.integers(0, 100_000)), tpot_milliseconds=draw(st.integers(0, 999))
    )
    return measurement_view(
        {"curve": levels, "capacity": {**levels[-1], "basis": "SLO", "boundary": "Edge"}}, slo
    )


def assert_golden(name: str, text: str) -> None:
    path = GOLDEN / name
    if os.environ.get("TACHO_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), f"{name} looks different; TACHO_UPDATE_GOLDEN=1 writes it anew"


def test_the_svg() -> None:
    assert_golden("curve.svg", curve_chart(measurement_view(entry(), SLO), TITLE))


def test_the_page() -> None:
    assert_golden(
        "curve.html",
        measurement_page(TITLE, [measurement_view(entry(), SLO)], ("Ready=False NoReplicas: none & <none>",)),
    )


@pytest.mark.parametrize("columns", [80, 120])
def test_the_terminal(columns: int) -> None:
    text = plot(measurement_view(entry(), SLO), columns)
    assert max(map(len, text.splitlines())) <= columns
    assert_golden(f"curve-{columns}.txt", text + "\n")


def test_nothing_measured_draws_nothing() -> None:
    assert curve_chart(NOTHING, TITLE) == plot(NOTHING, 80) == ""
    assert "<svg" not in measurement_page(TITLE, [NOTHING])


def test_the_page_needs_nothing_else() -> None:
    """A browser that opens it must not ask the network for anything, nor run anything."""
    text = measurement_page(TITLE, [measurement_view(entry(), SLO)])
    assert not re.search(r"<script|<link|<img|@import|url\(|src=|href=|\son\w+=", text)
    assert set(re.findall(r'"(https?://[^"]*)"', text)) == {"http://www.w3.org/2000/svg"}, (
        "a name, not an address"
    )
    assert TITLE not in text, "what a server calls itself is text"
    assert "&lt;fp8&gt;" in text


def test_provisional_points_are_hollow_and_the_others_are_not() -> None:
    circles = re.findall(r'<circle class="([^"]+)"', curve_chart(measurement_view(entry(), SLO), TITLE))
    drawn, legend = circles[:-2], circles[-2:]
    assert drawn.count("point hollow") == 2, "level 16, in both panels"
    assert drawn.count("point") == 10
    assert legend == ["point", "point hollow"]


def test_the_slo_and_the_capacity_are_drawn_where_they_are() -> None:
    text = curve_chart(measurement_view(entry(), SLO), TITLE)
    assert "SLO 500 ms (p95)" in text
    assert "SLO 50 ms (p95)" in text
    assert text.count("capacity: 24 streams") == 2
    unasked = curve_chart(measurement_view(entry(capacity={}), ServiceLevel()), TITLE)
    assert "SLO" not in unasked
    assert ">capacity" not in unasked
    never = entry(capacity={**entry()["capacity"], "concurrency": 1, "boundary": "NeverMet"})
    assert ">capacity" not in curve_chart(measurement_view(never, SLO), TITLE)


@examples(0.4)
@given(measurements())
def test_whatever_was_measured_stays_inside_the_picture(found: MeasurementView) -> None:
    root = ElementTree.fromstring(curve_chart(found, TITLE))
    height = float(root.attrib["height"])
    for item in root.iter():
        for name, most in (("x", WIDTH), ("x1", WIDTH), ("x2", WIDTH), ("cx", WIDTH)):
            assert 0 <= float(item.get(name, 0)) <= most
        for name in ("y", "y1", "y2", "cy"):
            assert 0 <= float(item.get(name, 0)) <= height


@given(measurements(odd, odd))
@example(
    measurement_view({"curve": [level(1, "5e-324", "5e-324", "1"), level(2, "1e-300", "900", "1e15")]}, SLO)
)
def test_numbers_of_any_size_are_drawn_and_told(found: MeasurementView) -> None:
    texts = [curve_chart(found, TITLE), measurement_page(TITLE, [found]), plot(found, 80)]
    assert not any(re.search(r"\b(nan|inf)\b", text) for text in texts)
    assert max(map(len, texts[2].splitlines()), default=0) <= 90
    for item in ElementTree.fromstring(texts[0] or "<svg/>").iter():
        for name in ("x", "x1", "x2", "cx"):
            assert 0 <= float(item.get(name, 0)) <= WIDTH


@examples(0.5)
@given(st.lists(st.floats(0, allow_infinity=False), min_size=1, max_size=9))
def test_an_axis_of_anything_rises_and_has_few_ticks(values: list[float]) -> None:
    for axis in (linear(values, 5), latency(values, 5)):
        assert axis.low < axis.high
        assert all(0 <= axis.place(value) <= 1 for value in values)
        assert 1 <= len(axis.ticks) <= 20
        assert list(axis.ticks) == sorted(set(axis.ticks))


@examples(0.4)
@given(measurements())
def test_no_number_covers_another(found: MeasurementView) -> None:
    root = ElementTree.fromstring(curve_chart(found, TITLE))
    texts = [item for item in root.iter() if item.get("class") == "streams"]
    places = [(float(item.attrib["x"]), float(item.attrib["y"]), len(item.text or "")) for item in texts]
    for index, (x, y, length) in enumerate(places):
        for other_x, other_y, other_length in places[:index]:
            beside = x >= other_x + 6 * other_length or other_x >= x + 6 * length
            assert beside or abs(y - other_y) >= TEXT_HEIGHT


@examples(0.25)
@given(measurements(), st.integers(40, 200))
def test_a_terminal_of_any_width_shows_every_level_it_has_room_for(
    found: MeasurementView, columns: int
) -> None:
    text = plot(found, columns)
    assert "tok/s" in text
    assert max(map(len, text.splitlines())) <= max(columns, 80)
    assert sum(text.count(mark) for mark in "●○◆") >= 2


@examples(0.5)
@given(st.lists(times, min_size=1, max_size=9))
def test_an_axis_holds_its_values_between_round_ticks(values: list[float]) -> None:
    for axis in (linear(values, 5), latency(values, 5)):
        assert all(0 <= axis.place(value) <= 1 for value in values)
        assert list(axis.ticks) == sorted(set(axis.ticks))
        assert all(axis.low <= tick <= axis.high * 1.0001 for tick in axis.ticks)
        assert all(
            re.fullmatch(r"0|0?\.?0*[125]0*(e[+-]\d+)?|\d+0*(\.\d+)?(e[+-]\d+)?", label(t))
            for t in axis.ticks
        )
    assert latency(values, 5).logarithmic == (max(values) > LOGARITHMIC_ABOVE * min(values))


def test_values_that_lie_far_apart_can_be_told_apart() -> None:
    far = panels(measurement_view(entry(), SLO), x_ticks=8, y_ticks=5)[0].y
    assert far.logarithmic
    assert far.place(60) - far.place(31.2) > 0.1
