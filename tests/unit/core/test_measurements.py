"""Figures: whose they are, when they are stale, and the throwaway pod that takes new ones."""

from __future__ import annotations

import copy
import dataclasses
import re
from datetime import timedelta
from typing import Any

import pytest

from tacho_contract.fetch import FetchProgress
from tacho_contract.measurement import Capacity, Environment, Workload
from tacho_contract.report import StartupSeconds
from tacho_operator.api.base import decimal
from tacho_operator.core import names
from tacho_operator.core.measurement.remeasure import RETRY_SECONDS
from tacho_operator.core.types import Refusal

from .builders import CLAIM_SPEC, changed, facts
from .pod_security import violations
from .world import MOCK_SPEC, World, container_state, insufficient, point

NEW_WORKLOAD = {"inputTokens": 900, "outputTokens": 10}


def measured_world(spec: dict[str, Any] | None = None) -> World:
    world = World(spec)
    world.come_up()
    return world


def test_a_changed_workload_makes_the_figures_stale_at_once_and_is_measured_in_a_throwaway_pod() -> None:
    world = measured_world()
    (old,) = world.status["measurements"]
    before = copy.deepcopy(world.objects["Deployment", next(iter(world.sizes()))])
    world.change(workload=NEW_WORKLOAD)
    decision = world.turn(1)
    assert world.brief("Measured") == ("False", "MeasurementStale")
    assert "summary" not in world.status, "a stale figure is never shown as the current one"
    assert world.status["measurements"][0]["state"] == "Stale"
    assert world.brief("Ready") == ("True", "Serving")
    assert world.brief("Reconciling") == ("True", "Measuring")
    assert decision.requeue_after_seconds == 2.0
    (probe,) = world.pods("probe")
    assert violations(probe["spec"]) == []
    assert probe["spec"]["restartPolicy"] == "Never"
    assert probe["spec"]["containers"] == before["spec"]["template"]["spec"]["containers"]
    live = world.objects["ConfigMap", "smol-live"]["data"]["live.json"]
    assert '"inputTokens":900' in live
    world.serves(probe)
    world.turn(60)
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    assert world.status["summary"]["outputTokensPerSecond"] == "204.8"
    assert [item["state"] for item in world.status["measurements"]] == ["Complete", "Stale"]
    new = world.status["measurements"][0]
    assert new["workload"] == {"inputTokens": 900, "outputTokens": 10}
    assert new["planKey"] == old["planKey"]
    assert new["measureKey"] != old["measureKey"]
    world.settle()
    assert not world.pods("probe")
    assert world.objects["Deployment", next(iter(world.sizes()))] == before, "no serving pod was touched"
    assert world.brief("Reconciling") == ("False", "Settled")


def test_the_throwaway_pod_gets_no_traffic() -> None:
    world = measured_world()
    world.change(workload=NEW_WORKLOAD)
    world.turn(1)
    (probe,) = world.pods("probe")
    labels = probe["metadata"]["labels"]
    assert labels[names.ROLE_LABEL] == "probe"
    for selector in (
        world.service()["spec"]["selector"],
        dict(pair.split("=") for pair in world.status["selector"].split(",")),
    ):
        assert any(labels.get(key) != value for key, value in selector.items())
    assert world.status["replicas"] == 1


def test_a_workload_that_comes_back_finds_its_figures_again() -> None:
    world = measured_world()
    world.change(workload=NEW_WORKLOAD)
    world.turn(1)
    world.serves(world.pods("probe")[0])
    world.settle()
    world.change(workload=CLAIM_SPEC["workload"])
    world.settle()
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    assert not world.pods("probe")


def test_a_throwaway_pod_without_room_says_so_gives_up_and_tries_later() -> None:
    world = measured_world()
    world.change(workload=NEW_WORKLOAD)
    world.turn(1)
    (probe,) = world.pods("probe")
    insufficient(probe)
    world.turn(5)
    assert world.brief("Measured") == ("False", "CannotJudge")
    assert "Insufficient memory" in world.condition("Measured")["message"]
    assert world.brief("Ready") == ("True", "Serving")
    assert world.brief("Stalled")[0] == "False"
    assert ("Warning", "CannotJudge") in world.events
    world.turn(700)
    assert not world.pods("probe"), "a pod nobody can place must not call for nodes for ever"
    for _ in range(5):
        decision = world.turn(60)
        assert world.brief("Measured") == ("False", "CannotJudge")
        assert not world.pods("probe")
    assert decision.requeue_after_seconds is not None
    world.turn(RETRY_SECONDS)
    (probe,) = world.pods("probe")
    assert world.brief("Measured") == ("False", "CannotJudge"), "until it knows better"
    world.serves(probe)
    world.settle()
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    assert names.OUTCOME_ANNOTATION not in str(world.objects["ConfigMap", "smol-live"])
    assert world.events.count(("Warning", "CannotJudge")) == 1


def test_a_throwaway_pod_that_fails_is_not_tried_again_until_something_changes() -> None:
    world = measured_world()
    world.change(workload=NEW_WORKLOAD)
    world.turn(1)
    (probe,) = world.pods("probe")
    container_state(probe, state={"terminated": {"exitCode": 1, "message": "out of memory"}})
    probe["status"]["phase"] = "Failed"
    world.turn(5)
    assert world.brief("Measured") == ("False", "MeasurementFailed")
    assert "out of memory" in world.condition("Measured")["message"]
    for _ in range(3):
        world.turn(4000)
        assert not world.pods("probe")
        assert world.brief("Measured") == ("False", "MeasurementFailed")
    world.change(workload={"inputTokens": 901, "outputTokens": 10})
    world.turn(1)
    assert len(world.pods("probe")) == 1


def test_while_another_revision_rolls_out_nothing_is_measured_aside_and_no_figure_is_lost() -> None:
    world = measured_world()
    assert world.status["measurements"][0]["environment"]["imageID"] == "registry.example/mock@sha256:1"
    world.change(workload=NEW_WORKLOAD)
    world.turn(1)
    assert world.pods("probe")
    world.change(context={"maxModelLen": 1024, "concurrency": 2})
    world.turn(1)
    assert not world.pods("probe")
    assert len(world.status["measurements"]) == 1


def test_a_refused_server_pod_keeps_no_throwaway_pod_from_starting() -> None:
    world = measured_world()
    world.refusals = (Refusal(kind="Pod", name="x", role="server", message="exceeded quota"),)
    world.change(workload=NEW_WORKLOAD)
    world.turn(1)
    assert world.pods("probe")


def test_figures_of_the_first_revision_are_current_before_it_serves() -> None:
    world = World()
    world.turn()
    world.inspected(facts())
    world.turn(1)
    world.deployment_controller()
    (pod,) = world.pods("server")
    world.serves(pod)
    pod["status"]["conditions"][-1]["status"] = "False"
    world.turn(1)
    assert world.brief("Ready")[0] == "False"
    assert world.brief("Measured") == ("True", "MeasurementComplete")


def test_quota_on_the_throwaway_pod_concerns_the_figures_alone() -> None:
    world = measured_world()
    world.change(workload=NEW_WORKLOAD)
    world.turn(1)
    (probe,) = world.pods("probe")
    world.remove_pod(probe)
    world.refusals = (
        Refusal(kind="Pod", name=probe["metadata"]["name"], role="probe", message="exceeded quota"),
    )
    world.turn(1)
    assert world.brief("Measured") == ("False", "CannotJudge")
    assert world.brief("Stalled")[0] == "False"
    assert world.brief("Ready") == ("True", "Serving")


def test_a_probe_that_got_nothing_is_said_and_not_repeated() -> None:
    world = World()
    world.turn()
    world.inspected(facts())
    world.turn(1)
    world.deployment_controller()
    (pod,) = world.pods("server")
    world.serves(pod, state="Failed", message="every request was refused", capacity=None, curve=())
    world.settle()
    assert world.brief("Ready") == ("True", "Serving"), "the probe fails open"
    assert world.brief("Measured") == ("False", "MeasurementFailed")
    assert "every request was refused" in world.condition("Measured")["message"]
    assert not world.pods("probe")
    assert "measurements" not in world.status


def test_a_cut_short_measurement_is_partial() -> None:
    world = World()
    world.turn()
    world.inspected(facts())
    world.turn(1)
    world.deployment_controller()
    world.serves(world.pods("server")[0], state="Partial")
    world.settle()
    assert world.brief("Measured") == ("True", "MeasurementPartial")
    assert world.status["measurements"][0]["state"] == "Partial"


def test_disabled_measures_nothing() -> None:
    world = World(changed(MOCK_SPEC, probe={"policy": "Disabled"}))
    world.turn()
    world.inspected(facts())
    world.turn(1)
    world.deployment_controller()
    world.serves(world.pods("server")[0], state="Skipped")
    decision = world.settle()
    assert world.brief("Measured") == ("False", "ProbeDisabled")
    assert world.brief("Reconciling") == ("False", "Settled")
    assert decision.requeue_after_seconds is None
    assert not world.pods("probe")


def test_without_a_report_nothing_is_started_and_nothing_forgotten() -> None:
    world = measured_world()
    world.reports.clear()
    world.turn(1)
    assert world.brief("Measured") == ("True", "MeasurementComplete"), "unknown is not stale"
    assert world.status["startup"]["loadSeconds"] == 4
    world.change(workload=NEW_WORKLOAD)
    world.turn(1)
    assert world.brief("Measured") == ("False", "MeasurementStale")
    assert not world.pods("probe"), "its report could not be read either"


def test_other_hardware_is_another_measurement() -> None:
    world = measured_world()
    (pod,) = world.pods("server")
    world.serves(pod)
    report = world.reports[pod["metadata"]["uid"]]
    world.reports[pod["metadata"]["uid"]] = dataclasses.replace(
        report, environment=Environment(cpu_model="Xeon")
    )
    world.turn(1)
    states = {item["environment"]["cpuModel"]: item["state"] for item in world.status["measurements"]}
    assert states == {"EPYC": "Stale", "Xeon": "Complete"}


def test_replicas_do_not_take_turns_in_status() -> None:
    world = measured_world(changed(MOCK_SPEC, replicas=2))
    before = world.status["measurements"]
    for pod in world.pods("server"):
        world.serves(pod, capacity=None)
    world.turn(60)
    assert world.status["measurements"] == before


def test_always_takes_the_newest() -> None:
    world = measured_world(changed(MOCK_SPEC, probe={"policy": "Always"}))
    first = world.status["measurements"][0]["observedTime"]
    world.turn(100)
    world.serves(world.pods("server")[0])
    world.turn(1)
    (entry,) = world.status["measurements"]
    assert entry["observedTime"] > first


def test_a_pod_cannot_smuggle_in_figures_for_another_revision() -> None:
    """Keys decide whose figures they are, not what a pod says it is."""
    world = measured_world()
    (pod,) = world.pods("server")
    report = world.reports[pod["metadata"]["uid"]]
    assert report.measurement is not None
    forged = dataclasses.replace(report.measurement, plan_key="0" * 10, observed_time="2030-01-01T00:00:00Z")
    world.reports[pod["metadata"]["uid"]] = dataclasses.replace(report, measurement=forged)
    world.turn(1)
    states = {item["planKey"]: item["state"] for item in world.status["measurements"]}
    assert states["0" * 10] == "Stale"
    assert world.brief("Measured") == ("True", "MeasurementComplete")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        (0.0, "0"),
        (812.4, "812.4"),
        (0.0004, "0"),
        (1234567.8912, "1234567.891"),
        (100.0, "100"),
        (-1.0, None),
        (float("nan"), None),
        (float("inf"), None),
        (1e30, None),
    ],
)
def test_decimals(value: float | None, text: str | None) -> None:
    assert decimal(value) == text
    assert text is None or re.fullmatch(r"\d+(\.\d{1,3})?", text)


HOSTILE: list[dict[str, Any]] = [
    {"plan_key": "p" * 300},
    {"observed_time": "x" * 20},
    {"observed_time": "2026-11-20T08:49:21Z" + " " * 200},
    {"probe_seconds": float("inf")},
    {"probe_seconds": -1.0},
    {"workload": Workload(input_tokens=-5)},
    {"workload": Workload(output_tokens=2**70)},
    {"flags": tuple(f"Flag{number}" * 40 for number in range(50))},
    {"curve": (point(-1, 1.0),)},
    {
        "capacity": Capacity(
            concurrency=2**40, requests_per_second=1, output_tokens_per_second=1, total_tokens_per_second=1
        )
    },
]


@pytest.mark.parametrize("fields", HOSTILE, ids=str)
def test_hostile_figures_are_left_out(fields: dict[str, Any]) -> None:
    world = measured_world()
    (pod,) = world.pods("server")
    before = copy.deepcopy(world.status["measurements"])
    world.now += timedelta(seconds=5)
    world.serves(pod, **fields)
    world.turn(1)
    assert world.status["measurements"] == before
    assert world.brief("Measured") == ("True", "MeasurementComplete")


def test_hostile_words_and_sizes_never_make_an_invalid_status() -> None:
    world = measured_world()
    (pod,) = world.pods("server")
    environment = Environment(cpu_model="c" * 999, gpu_count=-3)
    startup = StartupSeconds(load=1e300, total=float("nan"), probe=-4.0)
    fetch = FetchProgress(state="?", bytes_done=-1, bytes_total=2**80)
    for phase in ("Serving", "WaitingForModel", "z" * 5000):
        world.runs(pod, phase, environment=environment, startup=startup, fetch=fetch, engine="e" * 999)
        world.turn(1)
    assert world.brief("Ready")[0] == "False"
