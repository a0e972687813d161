"""Which measurement stays in status, and which of them are current."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tacho_contract.measurement import Capacity, Environment
from tacho_operator.api.base import decimal
from tacho_operator.api.status.measurement import MeasurementEntry
from tacho_operator.core.measurement.entry import PodReport
from tacho_operator.core.measurement.records import KEPT, MOST_READ, summary_of, updated_measurements
from tacho_operator.core.revisions.controller_revision import Revision
from tacho_operator.core.revisions.identity import live_config
from tools.harness.documents import plain_measurement, plain_report
from tools.harness.resources import CLAIM_SPEC, at, changed, plan, resource

LIVE = live_config(resource().spec)
ALWAYS = live_config(resource(changed(CLAIM_SPEC, probe={"policy": "Always"})).spec)
DISTURBED = ("Contended",)
ACTIVE = Revision(
    name="smol-1", number=1, plan=plan(), plan_key="p", facts_key="f", pod_template={}, tacho_image="t"
)


def reported(
    seconds: float = 0,
    *,
    state: str = "Complete",
    speed: float = 100.0,
    key: str = LIVE.measure_key,
    cpu: str = "EPYC",
    plan_key: str = "p",
    terminating: bool = False,
    measured: bool = True,
    flags: tuple[str, ...] = (),
) -> PodReport:
    measurement = plain_measurement(
        plan_key=plan_key,
        measure_key=key,
        state=state,
        observed_time=at(seconds),
        flags=flags,
        capacity=Capacity(
            concurrency=1,
            requests_per_second=1.0,
            output_tokens_per_second=speed,
            total_tokens_per_second=1.0,
        ),
    )
    report = plain_report(
        revision="smol-1",
        plan_key=plan_key,
        environment=Environment(cpu_model=cpu),
        observed_time=at(seconds),
        measurement=measurement if measured else None,
    )
    return PodReport(report=report, image_id="i", terminating=terminating)


def after(
    former: tuple[MeasurementEntry, ...], *reports: PodReport, subject: Revision | None = ACTIVE, **more: Any
) -> tuple[MeasurementEntry, ...]:
    given = {"live": LIVE, "known": {"smol-1": ACTIVE}, **more}
    return updated_measurements(former, reports, subject=subject, **given)


def said(found: tuple[MeasurementEntry, ...]) -> list[tuple[str, str | None]]:
    return [(item.state, item.capacity and decimal(item.capacity.output_tokens_per_second)) for item in found]


@pytest.mark.parametrize(
    ("old", "new", "policy", "kept"),
    [
        (reported(0), reported(1, speed=200), LIVE, ("Complete", "100")),
        (reported(0, state="Partial"), reported(1, speed=200), LIVE, ("Complete", "200")),
        (reported(0, state="Partial"), reported(1, state="Partial", speed=200), LIVE, ("Partial", "100")),
        (reported(0), reported(1, state="Partial", speed=200), LIVE, ("Complete", "100")),
        (reported(1, state="Partial"), reported(0, speed=200), LIVE, ("Partial", "100")),
        (reported(0, flags=DISTURBED), reported(1, speed=200), LIVE, ("Complete", "200")),
        (reported(0), reported(1, speed=200, flags=DISTURBED), LIVE, ("Complete", "100")),
        (reported(0, flags=DISTURBED), reported(1, speed=200, flags=DISTURBED), LIVE, ("Complete", "100")),
        (reported(0, flags=DISTURBED), reported(1, state="Partial", speed=200), LIVE, ("Partial", "200")),
        (reported(0, state="Partial"), reported(1, speed=200, flags=DISTURBED), LIVE, ("Partial", "100")),
        (reported(1, flags=DISTURBED), reported(0, speed=200), LIVE, ("Complete", "100")),
    ],
)
def test_one_full_measurement_of_the_same_stays(
    old: PodReport, new: PodReport, policy: Any, kept: tuple[str, str]
) -> None:
    assert said(after(after((), old), new, live=policy)) == [kept]


@pytest.mark.parametrize(("seconds", "speed"), [(1, "200"), (0, "100"), (-1, "100")])
def test_always_takes_what_is_newer(seconds: float, speed: str) -> None:
    key = ALWAYS.measure_key
    old, new = reported(0, key=key), reported(seconds, key=key, speed=200)
    assert said(after(after((), old, live=ALWAYS), new, live=ALWAYS)) == [("Complete", speed)]


@pytest.mark.parametrize(
    ("reports", "subject", "state"),
    [
        ((), ACTIVE, "Complete"),
        ((), None, "Stale"),
        ((), dataclasses.replace(ACTIVE, plan_key="q"), "Stale"),
        ((reported(measured=False),), ACTIVE, "Complete"),
        ((reported(cpu="Xeon", measured=False),), ACTIVE, "Stale"),
        ((reported(cpu="Xeon", measured=False, terminating=True),), ACTIVE, "Complete"),
        ((reported(cpu="Xeon", measured=False, plan_key="q"),), ACTIVE, "Complete"),
    ],
)
def test_figures_are_current_on_hardware_that_some_pod_of_the_revision_has(
    reports: tuple[PodReport, ...], subject: Revision | None, state: str
) -> None:
    former = after((), reported())
    assert [item.state for item in after(former, *reports, subject=subject)] == [state]


def test_figures_are_of_a_probe_pods_hardware_while_no_serving_pod_reports() -> None:
    probe = dataclasses.replace(reported(1), is_probe=True, requested=True)
    other = dataclasses.replace(reported(2, cpu="Xeon", measured=False), is_probe=True)
    assert said(after(after((), probe), probe)) == [("Complete", "100")]
    assert [item.state for item in after(after((), probe), other)] == ["Stale"]


def test_the_newest_stay_and_what_is_current_before_what_is_stale() -> None:
    first = after((), reported(0))
    others = [reported(seconds, key=f"other-{seconds}", speed=seconds) for seconds in range(1, KEPT + 2)]
    found = after(first, *others)
    speeds = [str(seconds) for seconds in range(KEPT + 1, 2, -1)]
    assert said(found) == [*(("Stale", speed) for speed in speeds), ("Complete", "100")]


def test_the_figures_of_most_serving_pods_stay_however_many_kinds_of_machine_there_are() -> None:
    def ready(found: PodReport, *, is_probe: bool = False) -> PodReport:
        report = dataclasses.replace(found.report, ready=True)
        return dataclasses.replace(found, report=report, is_probe=is_probe)

    most = [ready(reported(0)), ready(reported(1, measured=False))]
    others = [ready(reported(seconds, cpu=f"{seconds}", speed=seconds)) for seconds in range(2, KEPT + 3)]
    probes = [ready(reported(9, cpu="2", measured=False), is_probe=True)] * 3
    leaving = [dataclasses.replace(ready(reported(9, cpu="3", measured=False)), terminating=True)] * 3
    found = after((), *most, *others, *probes, *leaving)
    assert said(found) == [("Complete", "100"), *(("Complete", str(speed)) for speed in (6, 5, 4))]


def test_the_summary_is_of_current_figures_and_shows_what_there_is() -> None:
    (found,) = after((), reported(speed=123.4))
    summary = summary_of((found,))
    assert summary is not None
    assert (summary.output_tokens_per_second, summary.ttft_milliseconds) == ("123", None)
    assert (summary.confidence, summary.output_tokens_per_second_shown) == ("Clean", "123")
    assert summary_of((found.model_copy(update={"state": "Stale"}),)) is None
    bare = summary_of((found.model_copy(update={"capacity": None}),))
    assert bare is not None
    assert bare.output_tokens_per_second is None


def test_a_provisional_figure_never_looks_like_a_clean_one() -> None:
    summary = summary_of(after((), reported(speed=412, flags=DISTURBED)))
    assert summary is not None
    assert (summary.confidence, summary.output_tokens_per_second) == ("Provisional", "412")
    assert (summary.output_tokens_per_second_shown, summary.ttft_milliseconds_shown) == ("~412", None)


@pytest.mark.parametrize("flag", ["Contended", "NotSteady"])
def test_what_an_earlier_version_wrote_is_judged_by_its_flags(flag: str) -> None:
    (found,) = after((), reported())
    former = found.model_copy(update={"confidence": None, "flags": [flag]})
    assert said(after((former,), reported(1, speed=200))) == [("Complete", "200")]


def test_always_never_puts_provisional_figures_in_the_place_of_clean_ones() -> None:
    key = ALWAYS.measure_key
    old, new = reported(0, key=key), reported(1, key=key, speed=200, flags=DISTURBED)
    assert said(after(after((), old, live=ALWAYS), new, live=ALWAYS)) == [("Complete", "100")]
    assert said(after(after((), new, live=ALWAYS), reported(2, key=key), live=ALWAYS)) == [
        ("Complete", "100")
    ]


@pytest.mark.parametrize(
    ("old", "new", "kept"),
    [
        ({}, {"state": "Partial"}, "100"),
        ({"state": "Partial"}, {"state": "Partial"}, "200"),
        ({"state": "Partial"}, {}, "200"),
        ({"flags": DISTURBED}, {"flags": DISTURBED}, "200"),
        ({"flags": DISTURBED}, {"flags": DISTURBED, "state": "Partial"}, "100"),
        ({"flags": DISTURBED}, {"state": "Partial"}, "200"),
    ],
)
def test_always_puts_nothing_in_the_place_of_what_is_worth_more(
    old: dict[str, Any], new: dict[str, Any], kept: str
) -> None:
    key = ALWAYS.measure_key
    former = after((), reported(0, key=key, **old), live=ALWAYS)
    assert said(after(former, reported(1, key=key, speed=200, **new), live=ALWAYS))[0][1] == kept


def test_of_very_many_pods_the_newest_measurements_and_the_requested_ones_are_read() -> None:
    pods = [
        dataclasses.replace(reported(second, speed=second, flags=DISTURBED), pod=f"p{second}")
        for second in range(10, 11 + MOST_READ)
    ]
    (newest,) = after((), *pods)
    assert [run.pod for run in newest.history.runs][:2] == [f"p{10 + MOST_READ}", f"p{9 + MOST_READ}"]
    assert said((newest,)) == [("Complete", "11")], "not p10, the oldest of one more than are read"
    clean = dataclasses.replace(reported(5, speed=5), pod="p5")
    assert said(after((), clean, *pods)) == [("Complete", "11")]
    requested = dataclasses.replace(clean, requested=True)
    assert said(after((), requested, *pods)) == [("Complete", "5")]
