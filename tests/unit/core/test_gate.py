"""The gate of a rollout: what is admitted, what is rejected, and how it says so."""

from __future__ import annotations

import pytest

from tacho_operator.core.rollout.record import MIN_READY_SECONDS
from tests.unit.core.gated import OTHER, RECORD, SMALLER, TOLERANT, Gated, figures, rejected


def test_a_slower_candidate_is_measured_twice_and_rejected() -> None:
    world = Gated()
    name = world.candidate()
    world.measures(name, 0.7)
    assert world.brief("RolloutAccepted") == ("Unknown", "Judging")
    assert world.brief("Reconciling") == ("True", "RollingOut")
    assert "measurement 2 of at most 3" in world.message()
    assert "throughput 204.8 ±0.4 % -> 143.4 ±0.4 % tok/s (-30.0 %, tolerance 10 %)" in world.message()
    assert world.selected() == world.active
    world.measures(name, 0.7, again=True)
    assert world.brief("RolloutAccepted") == ("False", "Regression")
    assert world.brief("Stalled") == ("True", "Regression")
    assert world.brief("Reconciling") == ("False", "Failed")
    assert world.brief("Ready") == ("True", "Serving")
    world.deployment_controller()
    assert world.sizes() == {world.active: 1}
    assert world.selected() == world.active
    assert world.phases() == {world.active: "Active", name: "Rejected"}
    assert world.events.count(("Warning", "Regression")) == 1
    assert not world.is_asking()
    for words in (
        name,
        "tok/s",
        "tolerance 10 %",
        "loosen rollout.gate",
        f"compared with revision {world.active}",
    ):
        assert words in world.message(), words


def test_it_stays_rejected_and_nothing_is_written() -> None:
    world, name = rejected()
    before, events = world.mutations, list(world.events)
    for _ in range(5):
        world.reconcile(600)
        world.deployment_controller()
    assert (world.mutations, world.events) == (before, events)
    assert world.phases()[name] == "Rejected"


def test_an_equal_candidate_is_admitted_at_once_with_the_comparison() -> None:
    world = Gated()
    name = world.candidate()
    world.measures(name, 0.97)
    assert world.verdict() == "Acceptable"
    world.goes_on()
    assert world.record("active-revision") == name
    assert world.brief("RolloutAccepted") == ("True", "Accepted")
    assert f"Revision {name} serves: " in world.message()
    assert "throughput 204.8 ±0.4 % -> 198.7 ±0.4 % tok/s (-3.0 %, tolerance 10 %)" in world.message()
    assert ("Warning", "Regression") not in world.events


def test_a_regression_that_the_second_measurement_does_not_find() -> None:
    world = Gated()
    name = world.candidate()
    world.measures(name, 0.7)
    world.measures(name, 1.0, again=True)
    assert world.verdict() == "Acceptable"
    world.goes_on()
    assert world.brief("RolloutAccepted") == ("True", "Accepted")


def test_a_provisional_measurement_is_repeated() -> None:
    world = Gated()
    name = world.candidate()
    world.measures(name, 0.7, flags=("Contended",))
    assert world.verdict() == ""
    world.measures(name, 0.7, again=True)
    assert world.verdict() == ""
    world.measures(name, 0.7, again=True)
    assert world.verdict() == "Regression"


def test_after_three_measurements_it_is_admitted_and_said_so() -> None:
    world = Gated()
    name = world.candidate()
    world.measures(name, 0.7, flags=("Contended",))
    world.measures(name, 0.7, again=True, flags=("Contended",))
    world.measures(name, 0.7, again=True, flags=("Contended",))
    assert world.verdict() == "Unjudged"
    world.goes_on()
    assert world.brief("RolloutAccepted") == ("True", "NotJudged")
    assert "it was not judged: 3 measurements gave no verdict" in world.message()
    assert world.events.count(("Warning", "NotJudged")) == 1


def test_a_failed_measurement_is_repeated() -> None:
    world = Gated()
    name = world.candidate()
    world.measures(name, state="Failed", capacity=None, single_stream=None, curve=())
    assert world.is_asking()
    world.measures(name, 1.0, again=True)
    assert world.verdict() == "Acceptable"


def test_two_measurements_that_blame_different_figures_do_not_agree() -> None:
    world = Gated()
    name = world.candidate()
    single = figures(0.7)["single_stream"]
    world.measures(name, 1.0, single_stream=single)
    world.measures(name, 0.7, again=True, single_stream=figures()["single_stream"])
    assert world.verdict() == ""
    world.measures(name, 1.0, again=True, single_stream=single)
    assert world.verdict() == "Regression"
    assert "TPOT" in world.message()


def test_record_admits_and_says_what_it_found() -> None:
    world = Gated(rollout=RECORD)
    name = world.candidate()
    world.measures(name, 0.7)
    world.measures(name, 0.7, again=True)
    assert world.verdict() == "Regression"
    world.goes_on()
    assert world.record("active-revision") == name
    assert world.brief("RolloutAccepted") == ("True", "Regression")
    assert world.brief("Stalled") == ("False", "Progressing")
    assert "-30.0 %" in world.message()
    assert world.events.count(("Warning", "Regression")) == 1


def test_a_tolerance_of_the_user_admits_it() -> None:
    world = Gated(rollout=TOLERANT)
    name = world.candidate()
    world.measures(name, 0.7)
    assert world.verdict() == "Acceptable"
    assert "tolerance 40 %" in world.record("gate")


@pytest.mark.parametrize("change", [{"rollout": TOLERANT}, {"slo": {"ttftMilliseconds": 5000}}])
def test_other_settings_judge_it_anew(change: dict[str, object]) -> None:
    world, name = rejected()
    world.change(**change)
    world.reconcile(1)
    world.deployment_controller()
    assert name in world.sizes()
    assert world.brief("RolloutAccepted")[0] == "Unknown"
    world.goes_on()
    assert world.record("active-revision") == name


def test_record_instead_of_reject_needs_no_new_measurement() -> None:
    world, name = rejected()
    world.change(rollout=RECORD)
    world.goes_on()
    assert world.record("active-revision") == name
    assert world.brief("RolloutAccepted") == ("True", "Regression")


def test_reverted_while_it_is_judged() -> None:
    world = Gated()
    name = world.candidate()
    world.measures(name, 0.7)
    world.change(context={"maxModelLen": 2048, "concurrency": 4})
    world.goes_on()
    assert world.sizes() == {world.active: 1}
    assert world.verdict() == "none"
    assert not world.is_asking()
    assert world.brief("RolloutAccepted") == ("True", "Accepted")
    assert world.condition("Stalled")["status"] == "False"
    assert name not in world.sizes()


def test_reverted_after_it_was_rejected_and_tried_again() -> None:
    world, name = rejected()
    world.change(context={"maxModelLen": 2048, "concurrency": 4})
    world.goes_on()
    assert world.brief("Stalled") == ("False", "Progressing")
    assert world.verdict() == "none"
    assert world.candidate() == name
    world.measures(name, 1.0)
    assert world.verdict() == "Acceptable"


def test_two_candidates_in_quick_succession() -> None:
    world = Gated()
    first = world.candidate()
    world.measures(first, 0.7)
    world.change(context=OTHER)
    world.reconcile(1)
    world.deployment_controller()
    assert first not in world.sizes()
    (second,) = set(world.sizes()) - {world.active}
    world.measures(second, 0.7)
    assert world.verdict() == ""
    world.measures(second, 0.7, again=True)
    assert world.phases()[second] == "Rejected"
    assert world.phases()[first] == "Retired"


def test_a_verdict_outlasts_an_outage_of_the_active_revision() -> None:
    world, name = rejected()
    (pod,) = world.pods("server", world.active)
    world.runs(pod, "Starting")
    world.reconcile(1)
    assert world.sizes() == {world.active: 1}
    assert world.condition("Ready")["status"] == "False"
    assert world.condition("Ready")["reason"] != "Regression"
    assert name not in world.sizes()


def test_a_verdict_outlasts_a_night_at_zero() -> None:
    world, name = rejected()
    world.change(replicas=0)
    world.goes_on()
    assert world.record("active-revision") == world.active
    world.change(replicas=1)
    world.goes_on()
    assert world.record("active-revision") == world.active
    assert world.phases()[name] == "Rejected"


def test_changed_at_zero_replicas_it_is_not_judged() -> None:
    world = Gated()
    world.change(replicas=0)
    world.goes_on()
    world.change(context=SMALLER, replicas=1)
    world.raw["spec"]["replicas"] = 0
    world.goes_on()
    world.change(replicas=1)
    world.goes_on()
    assert world.record("active-revision") != world.active
    assert world.brief("RolloutAccepted") == ("True", "NotJudged")


def test_what_was_rolled_back_is_not_gated_again() -> None:
    world = Gated()
    name = world.candidate()
    world.measures(name, 1.0)
    world.deployment_controller()
    (pod,) = world.pods("server", name)
    world.crash(pod)
    world.reconcile(1)
    assert world.brief("RolloutAccepted") == ("False", "RolledBack")
    world.change(rollout=TOLERANT)  # another gate
    world.reconcile(61)
    world.measures(name, 0.1)
    assert world.record("admitted-revision") == name


def test_replicas_change_while_it_is_judged() -> None:
    world = Gated()
    name = world.candidate()
    world.measures(name, 0.7)
    world.change(replicas=3)
    world.reconcile(1)
    world.deployment_controller()
    assert world.sizes() == {world.active: 3, name: 1}
    for pod in world.pods("server", world.active):
        if "status" not in pod:
            world.serves(pod, kind="Check", **figures())
    world.measures(name, 0.7, again=True)
    world.deployment_controller()
    assert world.sizes() == {world.active: 3}


def test_without_a_gate_it_leaves_no_trace() -> None:
    world = Gated(rollout={"scheduleTimeoutSeconds": 600})
    name = world.candidate()
    world.measures(name, 0.1)
    assert world.record("admitted-revision") == name
    world.goes_on()
    assert world.message() == f"Revision {name} serves."
    assert world.record("gate") == ""


def test_a_gate_that_is_removed_takes_its_verdict_along() -> None:
    world, name = rejected()
    world.change(rollout={})
    world.reconcile(1)
    assert world.record("gate") == ""
    world.goes_on()
    assert world.record("active-revision") == name


def test_a_candidate_that_just_got_ready_waits() -> None:
    world = Gated()
    name = world.candidate()
    (pod,) = world.pods("server", name)
    world.serves(pod, **figures(0.7))
    world.reconcile(1)
    assert f"once a pod of it has been ready for {MIN_READY_SECONDS} s" in world.message()
    assert world.verdict() == "none"
