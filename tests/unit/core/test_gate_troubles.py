"""The gate under bad weather: pods that do not answer, evictions, wiped status, clocks, forged records."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_contract.units import format_time
from tacho_operator.core import names
from tacho_operator.core.gate.gating import BEGIN_SECONDS, END_SECONDS
from tacho_operator.core.rollout.record import MIN_READY_SECONDS, GateRecord
from tests.properties import examples
from tests.unit.core.gated import Gated, figures, rejected
from tests.unit.core.test_any_input import VALUES
from tools.harness.figures import point
from tools.harness.world import copied


def judging() -> tuple[Gated, str]:
    """A first measurement was a third slower; the second is awaited."""
    world = Gated()
    name = world.candidate()
    world.measures(name, 0.7)
    assert world.is_asking()
    return world, name


def checked(share: float) -> dict[str, Any]:
    """Figures of a pod that found its measurement, and was only checked."""
    return figures(share, kind="Check", capacity=None, curve=(point(4, 204.8 * share),))


def set_record(world: Gated, **changes: Any) -> None:
    notes = world.service()["metadata"]["annotations"]
    notes[names.GATE_ANNOTATION] = json.dumps({**json.loads(notes[names.GATE_ANNOTATION]), **changes})


def test_a_pod_that_never_begins_is_admitted_in_time() -> None:
    world, name = judging()
    world.reconcile(BEGIN_SECONDS - MIN_READY_SECONDS - 5)
    assert world.verdict() == ""
    world.reconcile(MIN_READY_SECONDS + 10)
    assert world.verdict() == "Unjudged"
    world.goes_on()
    assert world.record("active-revision") == name
    assert "has not measured itself again; so far: TPOT 7.28 -> 10.4" in world.message()
    assert ("Warning", "NotJudged") in world.events


def test_it_is_looked_at_again_when_the_time_is_over() -> None:
    world, _ = judging()
    world.reports.clear()
    decision = world.reconcile(1)
    assert decision.requeue_after_seconds is not None
    assert decision.requeue_after_seconds <= 2 * BEGIN_SECONDS + 1000


def test_a_service_that_is_refused_asks_for_no_measurement_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each would be the first that is judged, as none is noted."""
    world = Gated()
    name = world.candidate()
    (pod,) = world.pods("server", name)
    world.serves(pod, **figures(0.7))
    apply = world._apply
    with monkeypatch.context() as refused:
        refused.setattr(world, "_apply", lambda item: item["kind"] == "Service" or apply(item))
        for _ in range(3):
            world.reconcile(MIN_READY_SECONDS)
        assert not world.is_asking()
        assert world.brief("RolloutAccepted") == ("Unknown", "Judging")
    world.reconcile(1)
    assert world.asked(pod)
    # What is noted is asked for, whatever is refused later.
    monkeypatch.setattr(world, "_apply", lambda item: item["kind"] == "Service" or apply(item))
    world.reconcile(1)
    assert world.asked(pod)


def test_a_third_long_measurement_has_its_time_too() -> None:
    world = Gated(probe={"budgetSeconds": 3600, "timeoutSeconds": 3600})
    name = world.candidate()
    world.measures(name, 0.7)
    (pod,) = world.pods("server", name)
    for flags in (("Contended",), ()):
        world.reconcile(100)
        assert world.asked(pod)
        request = world.live().again.request
        world.runs(pod, "Probing")
        world.reconcile(3500)
        world.serves(pod, **figures(0.7, request=request, flags=flags))
        world.reconcile(1)
        world.reconcile(MIN_READY_SECONDS)
    assert world.verdict() == "Regression"


def test_after_an_outage_the_report_may_be_late() -> None:
    """Else what measured itself meanwhile would be admitted without a look at its figures."""
    world, name = judging()
    world.reconcile(30)
    (pod,) = world.pods("server", name)
    world.serves(pod, **figures(0.7, request=world.live().again.request))
    report = world.reports.pop(pod["metadata"]["uid"])
    world.reconcile(2 * END_SECONDS)
    assert world.verdict() == ""
    world.reports[pod["metadata"]["uid"]] = report
    world.reconcile(2)
    assert world.verdict() == "Regression"


def test_a_pod_whose_report_cannot_be_read_is_admitted_in_time() -> None:
    world = Gated()
    name = world.candidate()
    (pod,) = world.pods("server", name)
    world.serves(pod, **figures())
    world.reports.pop(pod["metadata"]["uid"])
    for _ in range(12):
        world.reconcile(60)
    assert world.record("admitted-revision") == ""
    for _ in range(12):
        world.reconcile(60)
    assert world.verdict() == "Unjudged"
    assert "its pod reports no measurement" in world.record("gate")


def test_one_report_that_is_missed_ends_nothing() -> None:
    world, name = judging()
    world.reconcile(30)
    request = world.live().again.request
    (pod,) = world.pods("server", name)
    world.runs(pod, "Probing")
    world.reconcile(BEGIN_SECONDS)
    world.serves(pod, **figures(0.7, request=request))
    report = world.reports.pop(pod["metadata"]["uid"])
    world.reconcile(MIN_READY_SECONDS + 1)
    assert world.verdict() == ""
    world.reports[pod["metadata"]["uid"]] = report
    world.reconcile(1)
    assert world.verdict() == "Regression"


def test_an_evicted_candidate_is_judged_by_its_next_pod() -> None:
    world, name = judging()
    (pod,) = world.pods("server", name)
    world.remove_pod(pod)
    world.deployment_controller()
    world.reconcile(200)
    (after,) = world.pods("server", name)
    # It finds the measurement of the first one, so it is only checked.
    world.serves(after, **checked(0.7))
    world.reconcile(1)
    world.reconcile(MIN_READY_SECONDS)
    assert world.verdict() == ""
    assert world.asked(after)
    world.measures(name, 0.7, again=True)
    assert world.verdict() == "Regression"


def test_pods_that_are_evicted_for_ever_do_not_hold_it_for_ever() -> None:
    world, name = judging()
    passed = 0.0
    while world.verdict() == "" and passed < 2 * END_SECONDS:
        (pod,) = world.pods("server", name)
        world.remove_pod(pod)
        world.deployment_controller()
        (pod,) = world.pods("server", name)
        world.serves(pod, **checked(0.7))
        world.reconcile(1)
        world.reconcile(240)
        passed += 241
    assert world.verdict() == "Unjudged"
    assert passed > END_SECONDS / 2


def test_a_changed_slo_while_it_is_judged_asks_for_figures_of_it() -> None:
    world, name = judging()
    world.change(slo={"ttftMilliseconds": 5000})
    world.reconcile(1)
    (pod,) = world.pods("server", name)
    assert world.asked(pod)
    level = dataclasses.replace(point(1, 100.0), ttft_slo_ratio=0.2, slo_met=True)
    world.measures(name, 0.7, again=True, curve=(level,))
    # The active revision has no measurement for this SLO yet.
    assert world.verdict() == "Acceptable"
    assert "compared with no revision" in world.record("gate")


def test_wiped_status_while_it_is_judged() -> None:
    world, name = judging()
    world.raw["status"] = {}
    world.reconcile(1)
    assert world.verdict() == ""
    world.measures(name, 0.7, again=True)
    assert world.verdict() == "Regression"


def test_wiped_status_after_it_was_rejected() -> None:
    world, name = rejected()
    world.raw["status"] = {}
    world.reconcile(1)
    world.reconcile(1)
    assert world.phases() == {world.active: "Active", name: "Rejected"}
    assert world.brief("Stalled") == ("True", "Regression")


def test_a_rejected_one_serves_no_more_though_it_helped_in_an_outage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has the GPU that the missing pod of the active revision waits for."""
    world = Gated(replicas=2)
    name = world.candidate()
    world.measures(name, 0.7)
    with monkeypatch.context() as refused:  # a webhook refuses deletions
        refused.setattr(world, "_remove", lambda *_: None)
        world.measures(name, 0.7, again=True)
        assert world.verdict() == "Regression"
        first, second = world.pods("server", world.active)
        for item in (first, second):
            world.runs(item, "Serving")
        world.reconcile(1)
        assert world.selected() == ""
        assert name in world.sizes(), "nothing else answers"
        world.serves(first, **figures())
        world.remove_pod(second)
    world.deployment_controller()
    world.reconcile(MIN_READY_SECONDS)
    assert world.sizes() == {world.active: 2}
    assert world.selected() == world.active
    world.reconcile(1)
    assert world.brief("Ready") == ("True", "PartlyServing")


def test_a_lost_service_judges_anew() -> None:
    world, name = rejected()
    world.objects.pop(("Service", "smol"))
    world.reconcile(1)
    world.deployment_controller()
    assert world.record("active-revision") == world.active
    assert name in world.sizes()
    world.measures(name, 0.7)
    assert world.record("admitted-revision") == ""


@pytest.mark.parametrize("seconds", [-10 * END_SECONDS, -BEGIN_SECONDS, 10 * END_SECONDS])
def test_a_clock_that_jumps(seconds: float) -> None:
    world, name = judging()
    world.now += timedelta(seconds=seconds)
    for _ in range(30):
        world.reconcile(60)
    assert world.verdict() in ("Unjudged", "Acceptable")
    world.goes_on()
    assert world.record("active-revision") == name


@pytest.mark.parametrize("kept", range(12))
def test_the_operator_is_killed_between_any_two_writes(kept: int) -> None:
    """Only the first ``kept`` writes of the decision with the first figures are done."""
    world = Gated()
    name = world.candidate()
    (pod,) = world.pods("server", name)
    world.serves(pod, **figures(0.7))
    world.reconcile(1)
    world.now += timedelta(seconds=MIN_READY_SECONDS)
    for item in world.decision().apply[:kept]:
        world._apply(item)
    world.reconcile(1)
    assert world.asked(pod)
    world.measures(name, 0.7, again=True)
    for item in world.decision().apply[:kept]:
        world._apply(item)
    world.reconcile(1)
    world.deployment_controller()
    assert world.sizes() == {world.active: 1}
    assert world.phases()[name] == "Rejected"


@pytest.mark.parametrize(
    "changes",
    [
        {"measurements": -(2**62)},
        {"measurements": 2**40},
        {"since": "9000-12-31T00:00:00Z", "begun": "9000-12-31T00:00:00Z"},
        {"since": "soon", "begun": ""},
        {"figures": ["x"] * 2000},
        {"verdict": "Perhaps", "what": "x" * 9000},
        {"pod": "../" * 99},
        {"key": "another"},
        {"revision": "another"},
    ],
)
def test_a_forged_record_delays_and_breaks_nothing(changes: dict[str, Any]) -> None:
    world, name = judging()
    set_record(world, **changes)
    for _ in range(60):
        world.reconcile(60)
        world.serve_all()
        world.deployment_controller()
    assert world.record("active-revision") == name


def test_a_pod_that_reports_other_times_is_judged_three_times_at_most() -> None:
    world, name = judging()
    (pod,) = world.pods("server", name)
    for minute in range(9):
        world.serves(
            pod, **figures(0.7, observed_time=format_time(world.now - timedelta(days=minute)), state="Odd")
        )
        world.reconcile(1)
    assert world.verdict() == "Unjudged"
    assert '"measurements":3' in world.record("gate")


@examples(1)
@given(st.dictionaries(st.sampled_from([*GateRecord.__dataclass_fields__]), VALUES), st.booleans())
def test_any_record(changes: dict[str, Any], late: bool) -> None:
    world = copied(_judging()[0])
    camel = {"measuredTime": changes.pop("measured_time")} if "measured_time" in changes else {}
    set_record(world, **changes, **camel)
    for _ in range(3):
        world.reconcile(3000 if late else 5)
        world.deployment_controller()


_CACHE: list[tuple[Gated, str]] = []


def _judging() -> tuple[Gated, str]:
    if not _CACHE:
        _CACHE.append(judging())
    return _CACHE[0]
