"""Runs of one fingerprint: how far they agree, and what comes of pods that say nonsense."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given, strategies as st

from tacho_contract.measurement import Capacity, CurvePoint, SingleStream
from tacho_operator.api.status.measurement import MeasuredRun, MeasurementEntry
from tacho_operator.core.measurement.entry import PodReport
from tacho_operator.core.measurement.runs import (
    KEPT_RUNS,
    baselines,
    deviating,
    deviation_message,
    summed_up,
    with_run,
)
from tools.harness.documents import plain_measurement, plain_report
from tools.harness.figures import point
from tools.harness.resources import at

ENTRY = MeasurementEntry.model_validate(
    {
        "fingerprint": "f",
        "planKey": "p",
        "measureKey": "m",
        "observedTime": at(0),
        "confidence": "Clean",
        "environment": {"cpuModel": "EPYC", "cpuCount": 4},
        "capacity": {"concurrency": 4, "outputTokensPerSecond": "100", "ciPercent": "2"},
        "singleStream": {"decodeTokensPerSecond": "50", "decodeCiPercent": "1"},
    }
)


def run(
    pod: str,
    speed: float,
    seconds: float = 1,
    *,
    kind: str = "Check",
    ci_percent: float | None = 1.0,
    decode: float | None = None,
    decode_ci_percent: float | None = None,
    level: int = 4,
    flags: tuple[str, ...] = (),
) -> PodReport:
    alone = SingleStream(
        decode_tokens_per_second=decode or 0.0,
        decode_ci_percent=decode_ci_percent,
        tpot_milliseconds_p50=1,
        ttft_milliseconds_p50=1,
    )
    at_level: CurvePoint = dataclasses.replace(point(level, speed), ci_percent=ci_percent)
    capacity = Capacity(
        concurrency=level,
        requests_per_second=1,
        output_tokens_per_second=speed,
        total_tokens_per_second=1,
        ci_percent=ci_percent,
    )
    measured = plain_measurement(
        observed_time=at(seconds),
        kind=kind,
        probe_seconds=5,
        single_stream=alone if decode is not None else None,
        capacity=capacity if kind == "Full" else None,
        curve=(at_level,),
        flags=flags,
    )
    report = plain_report(observed_time=at(0), measurement=measured)
    return PodReport(report=report, image_id="i", pod=pod)


def after(*runs: PodReport, entry: MeasurementEntry = ENTRY) -> MeasurementEntry:
    for found in runs:
        entry = with_run(entry, found)
    return entry


def test_what_the_clean_runs_found() -> None:
    found = after(
        run("a", 104.0, 1), run("b", 96.0, 2), run("c", 80.0, 3), run("d", 10.0, 4, flags=("Contended",))
    )
    history = found.history
    assert history is not None
    assert (history.clean_runs, history.agreeing_runs) == (3, 2)
    assert history.last_clean_time == at(3)
    assert (history.output_tokens_per_second_mean, history.spread_percent) == (93.3, 25.7)
    assert [item.pod for item in history.runs] == ["d", "c", "b", "a"]


@pytest.mark.parametrize(
    ("speed", "ci_percent", "agrees"),
    [(105.0, 0.0, 1), (106.0, 0.0, 0), (106.0, None, 0), (112.0, 13.0, 1), (88.0, 12.0, 1), (0.0, 0.0, 0)],
)
def test_agreeing_is_within_five_percent_or_the_intervals_of_both(
    speed: float, ci_percent: float | None, agrees: int
) -> None:
    history = after(run("a", speed, ci_percent=ci_percent)).history
    assert history is not None
    assert history.agreeing_runs == agrees


@pytest.mark.parametrize(
    ("found", "pods", "off"),
    [
        (run("a", 84.0), {"a"}, True),
        (run("a", 86.0), {"a"}, False),
        (run("a", 116.0), {"a"}, True),
        (run("a", 84.0), {"b"}, False),
        (run("a", 84.0, kind="Full"), {"a"}, False),
        (run("a", 84.0, flags=("Throttled",)), {"a"}, False),
        (run("a", 84.0, flags=("SharedGPU",)), {"a"}, True),
        (run("a", 80.0, ci_percent=30.0), {"a"}, False),
        (run("a", 84.0, level=8), {"a"}, False),
        (run("a", 100.0, decode=30.0), {"a"}, True),
        (run("a", 84.0, level=8, decode=30.0), {"a"}, True),
        (run("a", 100.0, decode=49.0), {"a"}, False),
        # Each figure by its own interval.
        (run("a", 100.0, ci_percent=60.0, decode=30.0, decode_ci_percent=1.0), {"a"}, True),
        (run("a", 100.0, ci_percent=1.0, decode=30.0, decode_ci_percent=45.0), {"a"}, False),
    ],
)
def test_which_check_is_an_alarm(found: PodReport, pods: set[str], off: bool) -> None:
    assert (deviating(after(found), pods) is not None) == off


def test_the_measurements_own_interval_counts_as_well() -> None:
    capacity, single = ENTRY.capacity, ENTRY.single_stream
    assert capacity is not None
    assert single is not None
    vague = ENTRY.model_copy(
        update={
            "capacity": dataclasses.replace(capacity, ci_percent=30),
            "single_stream": dataclasses.replace(single, decode_ci_percent=30),
        }
    )
    found = after(run("a", 80.0, decode=40.0), entry=vague)
    assert deviating(found, {"a"}) is None
    assert found.history is not None
    assert found.history.agreeing_runs == 1
    assert deviating(after(run("a", 80.0, decode=40.0)), {"a"}) is not None


def test_what_is_off_is_named_and_not_what_is_within_its_interval() -> None:
    vague = run("a", 80.0, ci_percent=30.0, decode=30.0, decode_ci_percent=1.0)
    assert deviation_message(found_of(vague), ENTRY) == (
        "30 instead of 50 output tokens per second of one request alone"
    )
    assert deviation_message(found_of(run("a", 80.0)), ENTRY) == "80 instead of 100 output tokens per second"


def found_of(report: PodReport) -> MeasuredRun:
    history = after(report).history
    assert history is not None
    return history.runs[0]


def test_the_latest_clean_look_at_a_pod_is_what_counts() -> None:
    slow, fast, disturbed = run("a", 50.0, 1), run("a", 100.0, 2), run("a", 50.0, 3, flags=("Contended",))
    assert deviating(after(slow, fast, disturbed), {"a"}) is None
    assert deviating(after(fast, run("a", 50.0, 3)), {"a"}) is not None
    full = run("a", 100.0, 2, kind="Full")
    assert deviating(after(slow, full), {"a"}) is None
    assert deviating(None, {"a"}) is None
    assert deviating(ENTRY, {"a"}) is None


def test_what_a_pod_goes_on_reporting_is_counted_once_in_whatever_order() -> None:
    reports = [run(f"pod-{number}", 100.0, number % 3) for number in range(KEPT_RUNS + 4)]
    once = after(*reports)
    assert after(*reports, *reports, entry=once) == once
    histories = [after(*order).history for order in itertools.islice(itertools.permutations(reports), 50)]
    assert all(history == once.history for history in histories)
    assert once.history is not None
    assert len(once.history.runs) == KEPT_RUNS


@given(
    st.floats(allow_nan=True, allow_infinity=True),
    st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)),
    st.integers(-(2**70), 2**70),
    st.sampled_from(("Full", "Check")),
    st.text(max_size=300),
)
def test_no_pod_can_say_what_the_api_could_not_hold(
    speed: float, ci_percent: float | None, level: int, kind: str, pod: str
) -> None:
    found = after(run(pod, speed, kind=kind, ci_percent=ci_percent, decode=speed, level=level))
    MeasurementEntry.model_validate(found.to_wire())
    deviating(found, {pod})
    summed_up(found)


def test_a_baseline_has_what_a_check_is_held_against_and_only_clean_figures_are_one() -> None:
    (found,) = baselines([ENTRY])
    assert (found.concurrency, found.output_tokens_per_second, found.ci_percent) == (4, 100.0, 2.0)
    assert (found.decode_tokens_per_second, found.decode_ci_percent) == (50.0, 1.0)
    assert (found.environment.cpu_model, found.environment.cpu_count) == ("EPYC", 4)
    without: list[dict[str, object]] = [
        {"confidence": "Provisional"},
        {"flags": ["Contended"]},
        {"capacity": None},
        {"environment": None},
    ]
    assert [baselines([ENTRY.model_copy(update=change)]) for change in without] == [()] * 4
    other = ENTRY.model_copy(update={"plan_key": "q"})
    assert baselines([ENTRY, other]) == baselines([other, ENTRY])


def test_a_check_of_one_level_is_held_against_what_was_carried_of_that_level() -> None:
    """The level gave 100, of which arriving requests kept the service level at 85: a pod that gives 100 there
    does what was measured."""
    level = CurvePoint(concurrency=4, output_tokens_per_second=100)
    assert ENTRY.capacity is not None
    carried = dataclasses.replace(ENTRY.capacity, output_tokens_per_second=85)
    entry = ENTRY.model_copy(update={"capacity": carried, "curve": [level]})
    found = after(run("a", 100.0, 1), entry=entry)
    assert deviating(found, {"a"}) is None
    assert found.history is not None
    assert (found.history.agreeing_runs, found.history.output_tokens_per_second_mean) == (1, 85)
    slow = after(run("a", 80.0, 1), entry=entry)
    assert deviating(slow, {"a"}) is not None


def test_a_run_whose_rate_is_not_known_is_not_a_clean_one() -> None:
    found = with_run(ENTRY, run("a", 100, kind="Full", ci_percent=150.0))
    assert found.history is not None
    assert [item.confidence for item in found.history.runs] == ["Provisional"]
    assert found.history.clean_runs == 0
