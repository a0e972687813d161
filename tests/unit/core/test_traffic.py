"""Live traffic raises a lower bound, and nothing else."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_contract.launch import ServiceLevel
from tacho_contract.measurement import Capacity
from tacho_contract.report import LatencyHistogram, Load
from tacho_operator.api.status.measurement import MeasuredWorkload, MeasurementEntry, SeenTraffic
from tacho_operator.core import names
from tacho_operator.core.autoscaling.algorithm.capacity import capacity_of
from tacho_operator.core.autoscaling.target import target_of
from tacho_operator.core.measurement.cost import Price, cost_of
from tacho_operator.core.measurement.states import current
from tacho_operator.core.measurement.traffic import (
    WINDOW_SECONDS,
    TrafficWindow,
    carried,
    extended,
    raised,
    seen_traffic,
    watch_traffic,
)
from tests.unit.core.measured_world import floor, unfinished_world
from tools.harness.resources import NOW
from tools.harness.world import world_of

SLO = ServiceLevel(ttft_milliseconds=900, tpot_milliseconds=30)
SHAPE = MeasuredWorkload(input_tokens=512, output_tokens=200)
BOUND: Capacity = floor()["capacity"]
ENTRY = MeasurementEntry(
    fingerprint="x", state="Partial", confidence="Clean", workload=SHAPE, capacity=BOUND, flags=["Incomplete"]
)


def load(second: float, *, rate: float = 5.0, **changes: Any) -> Load:
    """Of a pod that serves ``rate`` requests a second: 100 ms to the first token, then 10 ms a token."""
    figures: dict[str, Any] = {
        "running": round(rate * 2.0),
        "waiting": 0,
        "first_tokens_total": 1000 + rate * second,
        "first_token_seconds_total": 100 + 0.1 * rate * second,
        "prompt_tokens_total": 1e6 + 512 * rate * second,
        "generation_tokens_total": 1e6 + 200 * rate * second,
        "observed_time": f"{second}",
    }
    return Load(**{**figures, **changes})


def window(seconds: float = WINDOW_SECONDS, step: float = 5.0, **changes: Any) -> TrafficWindow:
    found, second = extended(None, load(0.0, **changes), 0.0), 0.0
    while second < seconds:
        second += step
        found = extended(found, load(second, **changes), second)
    return found


def test_a_clock_that_is_set_back_begins_a_new_window() -> None:
    before = window(30.0)
    assert extended(before, load(35.0), -3565.0) == extended(None, load(35.0), -3565.0)
    assert extended(before, load(35.0), 35.0).seconds == 35.0


def test_more_within_the_slo_is_a_higher_lower_bound() -> None:
    seen = seen_traffic(window(), ENTRY, SLO, NOW)
    assert seen is not None
    assert seen.output_tokens_per_second == 1000
    assert (seen.requests_per_second, seen.concurrency) == (5, 10)
    entry = raised(ENTRY, [seen])
    capacity = carried(entry)
    assert capacity is not None
    assert (capacity.boundary, capacity.output_tokens_per_second, capacity.concurrency) == ("Floor", 1000, 10)
    assert entry.capacity == BOUND, "what was measured stays as it was measured"
    scaled = capacity_of([entry], None, SHAPE)
    assert (scaled.requests_per_second, scaled.output_tokens_per_second) == (5, 1000)


@pytest.mark.parametrize(
    ("entry", "found", "slo"),
    [
        (ENTRY, window(rate=2.0), SLO),  # less than the bound
        (ENTRY, window(30.0), SLO),  # half a minute
        (ENTRY, window(step=50.0), SLO),  # nobody looked in between
        (ENTRY, window(rate=5.0, running=40), SLO),  # 40 ms a token
        (ENTRY, window(), ServiceLevel()),
        (ENTRY, window(waiting=9), SLO),
        (ENTRY, window(waiting=None), SLO),
        (ENTRY, window(running=None), SLO),
        (ENTRY, window(prompt_tokens_total=None), SLO),
        (ENTRY, window(), dataclasses.replace(SLO, ttft_milliseconds=250)),
        (ENTRY, window(), dataclasses.replace(SLO, percentile=0)),
        (
            ENTRY.model_copy(update={"workload": MeasuredWorkload(input_tokens=600, output_tokens=200)}),
            window(),
            SLO,
        ),
        (
            ENTRY.model_copy(update={"workload": MeasuredWorkload(input_tokens=512, output_tokens=170)}),
            window(),
            SLO,
        ),
        (ENTRY.model_copy(update={"workload": None}), window(), SLO),
        (ENTRY.model_copy(update={"capacity": None}), window(), SLO),
        (ENTRY.model_copy(update={"flags": ["Contended"]}), window(), SLO),
        *(
            (ENTRY.model_copy(update={"capacity": dataclasses.replace(BOUND, **changes)}), window(), SLO)
            for changes in (
                {"boundary": "Edge"},
                {"boundary": "Plateau"},
                {"boundary": "NeverMet"},
                {"basis": "Knee"},
            )
        ),
    ],
)
def test_what_proves_nothing_raises_nothing(
    entry: MeasurementEntry, found: TrafficWindow, slo: ServiceLevel
) -> None:
    assert seen_traffic(found, entry, slo, NOW) is None


@pytest.mark.parametrize(
    ("limits", "raises"),
    [
        # Means of 100 ms and 10 ms: a 95th percentile needs three times the first, half of that the second.
        ({"ttft_milliseconds": 300}, True),
        ({"ttft_milliseconds": 299}, False),
        ({"tpot_milliseconds": 15}, True),
        ({"tpot_milliseconds": 14.9}, False),
        ({"tpot_milliseconds": 10, "percentile": 60}, True),
        ({"tpot_milliseconds": 9.9, "percentile": 60}, False),
    ],
)
def test_means_leave_room_for_the_percentile(limits: dict[str, Any], raises: bool) -> None:
    slo = ServiceLevel(**{"percentile": 95, **limits})
    assert (seen_traffic(window(), ENTRY, slo, NOW) is not None) == raises


def test_a_restarted_engine_and_a_repeated_look_begin_nothing_wrong() -> None:
    before = window(40.0)
    again = extended(before, load(0.0, observed_time="anew"), 45.0)
    assert (again.seconds, again.running_seconds) == (0.0, 0.0)
    assert extended(before, before.last, 41.0) == before
    assert extended(window(), load(65.0), 65.0).seconds == 0.0, "a full window ends"


numbers = st.one_of(st.none(), st.floats(0, 1e9))
loads = st.builds(
    Load,
    running=st.one_of(st.none(), st.integers(0, 300)),
    waiting=st.one_of(st.none(), st.integers(0, 300)),
    generation_tokens_total=numbers,
    prompt_tokens_total=numbers,
    first_token_seconds_total=numbers,
    first_tokens_total=numbers,
    observed_time=st.text("0123456789", min_size=1, max_size=4),
)
boundaries = st.sampled_from(["Edge", "Plateau", "NeverMet", "Floor", "?"])


@given(st.lists(st.tuples(loads, st.floats(-5, 90)), max_size=12), boundaries)
def test_whatever_pods_say_only_a_floor_is_raised_and_it_stays_one(
    looks: list[tuple[Load, float]], boundary: str
) -> None:
    entry = ENTRY.model_copy(update={"capacity": dataclasses.replace(BOUND, boundary=boundary)})
    windows: dict[str, TrafficWindow] = {}
    seconds = 0.0
    for one, passed in looks:
        seconds += passed
        found = extended(windows.get("pod"), one, seconds)
        assert 0 <= found.seconds <= WINDOW_SECONDS + 45
        windows["pod"] = found
        seen = seen_traffic(found, entry, SLO, NOW)
        former = carried(entry)
        entry = raised(entry, [seen] if seen else [])
        capacity = carried(entry)
        assert capacity is not None
        assert former is not None
        assert capacity.boundary == boundary
        assert boundary == "Floor" or capacity == entry.capacity
        assert (capacity.output_tokens_per_second or 0) >= (former.output_tokens_per_second or 0)


def test_what_a_higher_measured_bound_has_passed_is_shown_no_more() -> None:
    seen = SeenTraffic(concurrency=10, requests_per_second=5.0, output_tokens_per_second=1000.0)
    entry = raised(ENTRY, [seen])
    assert entry.traffic == seen
    higher = dataclasses.replace(BOUND, output_tokens_per_second=1000.0)
    assert raised(entry.model_copy(update={"capacity": higher}), ()).traffic is None


def test_the_cost_is_of_the_tokens_that_the_summary_shows() -> None:
    seen = SeenTraffic(concurrency=10, requests_per_second=5.0, output_tokens_per_second=1000.0)
    price = Price(per_gpu_hour=3.6)
    found = [cost_of(item, 1, price) for item in (ENTRY, raised(ENTRY, [seen]))]
    assert [item and item.per_million_output_tokens for item in found] == ["2.5", "1"]


@pytest.mark.parametrize("changes", [{"running": 2**40}, {"waiting": -1}])
def test_impossible_figures_prove_nothing(changes: dict[str, Any]) -> None:
    """By 2^40 requests at the same time the scaler failed each time, and decided nothing any more."""
    windows: dict[str, TrafficWindow] = {}
    for second in range(0, 90, 5):
        found = load(second, rate=1e12, **changes)
        windows, seen = watch_traffic(windows, {"pod": (found, float(second))}, ENTRY, SLO, NOW)
        assert seen == {}


def test_only_a_floor_is_watched() -> None:
    edge = ENTRY.model_copy(update={"capacity": dataclasses.replace(BOUND, boundary="Edge")})
    assert watch_traffic({"pod": window()}, {"pod": (load(65.0), 65.0)}, edge, SLO, NOW) == ({}, {})
    assert watch_traffic({}, {"pod": (load(0.0), 0.0)}, None, SLO, NOW) == ({}, {})
    counted = LatencyHistogram(edges_seconds=(0.1,), counts=(1,), total=1)
    found = load(0.0, ttft=counted, tpot=counted)
    windows, seen = watch_traffic({}, {"pod": (found, 0.0)}, ENTRY, SLO, NOW)
    assert windows["pod"].last == load(0.0), "its histograms would fill the memory"
    assert (list(windows), seen) == (["pod"], {})
    assert windows["pod"].at_seconds == 0.0, "the time of the pod's counters, not that of the decision"


def test_status_counts_on_it_until_a_probe_knows_better() -> None:
    world = unfinished_world()
    (pod,) = world.pods("server")
    (entry,) = world.status["measurements"]
    seen = SeenTraffic(
        observed_time="2026-01-01T00:00:00Z",
        concurrency=9,
        requests_per_second=9.0,
        output_tokens_per_second=576.0,
        total_tokens_per_second=1700.0,
    )
    world.traffic = {
        (pod["metadata"]["uid"], "another"): seen.model_copy(update={"requests_per_second": 1.0})
    }
    world.reconcile(1)
    assert "traffic" not in world.status["measurements"][0], "of another workload or machine"
    world.traffic = {(pod["metadata"]["uid"], entry["fingerprint"]): seen}
    world.reconcile(1)
    world.traffic = {}
    world.reconcile(1)
    (entry,) = world.status["measurements"]
    assert entry["traffic"]["outputTokensPerSecond"] == "576"
    assert (entry["capacity"]["boundary"], entry["capacity"]["outputTokensPerSecond"]) == ("Floor", "400")
    assert world.status["summary"]["outputTokensPerSecond"] == "576"
    assert world.condition("Measured")["message"].startswith("At least 576 output tokens per second")
    world.raw["metadata"]["annotations"] = {names.MEASURE_AGAIN_ANNOTATION: "now"}
    world.reconcile(1)
    capacity = dataclasses.replace(BOUND, boundary="Edge", output_tokens_per_second=550.0)
    world.serves(world.pods("probe")[0], **floor(state="Complete", flags=(), capacity=capacity))
    world.reconcile(1)
    (entry,) = world.status["measurements"]
    assert "traffic" not in entry
    assert world.status["summary"]["outputTokensPerSecond"] == "550"


def test_of_the_measurement_the_scaler_keeps_what_traffic_is_compared_with() -> None:
    """The scaler kept all of it: forged ones of 1,000 resources took 78 MiB."""
    world = world_of()
    world.settle()
    entry = current(world.observed().resource.status.measurements)
    kept = target_of(world.observed()).measured
    assert entry is not None
    assert kept is not None
    assert entry.curve
    compared = ("fingerprint", "confidence", "flags", "workload", "capacity", "traffic")
    assert all(getattr(kept, name) == getattr(entry, name) for name in compared)
    assert kept.model_fields_set <= set(compared)
