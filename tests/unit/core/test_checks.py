"""Later pods of a fingerprint: what they are told, checked against, and alarm about."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta
from typing import Any

from tacho_contract.measurement import Capacity
from tacho_operator.core import names
from tacho_operator.core.types import ChildRefusal
from tests.unit.core.measured_world import measured_world
from tools.harness.figures import CAPACITY, point
from tools.harness.world import World


def checked(speed: float, **fields: Any) -> dict[str, Any]:
    return {"kind": "Check", "capacity": None, "curve": (point(4, speed),), "single_stream": None, **fields}


def scaled_up(world: World, speed: float, **fields: Any) -> dict[str, Any]:
    """A second pod that is checked, and finds ``speed``."""
    world.change(replicas=2)
    world.reconcile(30)
    world.deployment_controller()
    (pod,) = [pod for pod in world.pods("server") if "status" not in pod]
    world.serves(pod, **checked(speed, **fields))
    world.settle()
    return pod


def test_a_later_pod_is_told_what_was_measured_and_its_check_joins_the_history() -> None:
    world = measured_world()
    live = json.loads(world.objects["ConfigMap", "smol-live"]["data"]["live.json"])
    (baseline,) = live["baselines"]
    (entry,) = world.status["measurements"]
    assert (baseline["planKey"], baseline["measureKey"]) == (entry["planKey"], entry["measureKey"])
    assert (baseline["concurrency"], baseline["outputTokensPerSecond"]) == (4, 204.8)
    assert baseline["environment"]["cpuModel"] == "EPYC"
    pod = scaled_up(world, 200.0)
    (entry,) = world.status["measurements"]
    assert entry["capacity"]["outputTokensPerSecond"] == "204.8", "a check is no measurement"
    history = entry["history"]
    assert (history["cleanRuns"], history["agreeingRuns"]) == (2, 2)
    assert history["runs"][0]["pod"] == pod["metadata"]["name"]
    assert history["runs"][0]["kind"] == "Check"
    assert history["outputTokensPerSecondMean"] == "202"
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    assert not world.pods("probe")


def test_a_pod_that_is_off_is_an_alarm_and_has_all_measured_again() -> None:
    world = measured_world()
    pod = scaled_up(world, 150.0)
    name = pod["metadata"]["name"]
    assert world.brief("Measured") == ("False", "DeviatesFromBaseline")
    assert f"pod {name} found 150 instead of 205" in world.condition("Measured")["message"]
    assert ("Warning", "DeviatesFromBaseline") in world.events
    assert world.brief("Ready") == ("True", "Serving")
    assert world.status["summary"]["outputTokensPerSecondShown"] == "204.8"
    (probe,) = world.pods("probe")
    world.now += timedelta(seconds=60)
    world.serves(probe)
    world.settle()
    assert not world.pods("probe"), "once is enough"
    assert world.brief("Measured") == ("False", "DeviatesFromBaseline")
    assert "Check that pod" in world.condition("Measured")["message"]
    world.reconcile(10_000)
    assert not world.pods("probe")
    world.change(replicas=1)
    world.settle()
    if pod["metadata"]["name"] not in world.names("Pod"):
        assert world.brief("Measured") == ("True", "MeasurementComplete"), "the slow pod is gone"


def test_a_pod_as_fast_as_before_does_not_deviate_where_requests_in_the_open_loop_fare_worse() -> None:
    world = measured_world()
    scaled_up(world, 205.0)
    world.raw["metadata"]["annotations"] = {names.MEASURE_AGAIN_ANNOTATION: "1"}
    world.now += timedelta(seconds=60)
    world.reconcile(1)
    (probe,) = world.pods("probe")
    world.now += timedelta(seconds=60)
    carried = dataclasses.replace(CAPACITY, output_tokens_per_second=150.0)
    world.serves(probe, capacity=carried)
    world.settle()
    assert world.status["summary"]["outputTokensPerSecond"] == "150"
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    (entry,) = world.status["measurements"]
    (check,) = (run for run in entry["history"]["runs"] if run["kind"] == "Check")
    assert check["outputTokensPerSecond"] == "150"


def test_a_full_measurement_that_finds_as_the_check_did_takes_over() -> None:
    world = measured_world()
    scaled_up(world, 150.0)
    (probe,) = world.pods("probe")
    world.now += timedelta(seconds=60)
    slower = Capacity(
        concurrency=4,
        requests_per_second=2.3,
        output_tokens_per_second=152.0,
        total_tokens_per_second=450.0,
        ci_percent=0.5,
    )
    world.serves(probe, capacity=slower, curve=(point(4, 152.0),))
    world.settle()
    assert world.status["summary"]["outputTokensPerSecond"] == "152"
    live = json.loads(world.objects["ConfigMap", "smol-live"]["data"]["live.json"])
    assert [item["outputTokensPerSecond"] for item in live["baselines"]] == [152.0]
    assert world.brief("Measured") == ("True", "MeasurementComplete")


def test_a_disturbed_check_is_no_alarm() -> None:
    world = measured_world()
    scaled_up(world, 100.0, flags=("Contended",))
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    (entry,) = world.status["measurements"]
    assert [run["confidence"] for run in entry["history"]["runs"]] == ["Provisional", "Clean"]


def test_provisional_figures_are_no_baseline() -> None:
    world = World()
    world.first_pods()
    world.serves(world.pods("server")[0], flags=("Throttled",))
    world.settle()
    assert "baselines" not in world.status
    assert json.loads(world.objects["ConfigMap", "smol-live"]["data"]["live.json"])["baselines"] == []


def test_pods_that_were_only_checked_on_another_image_are_measured_in_full() -> None:
    """The image's digest is part of the fingerprint, and no pod knows its own."""
    world = measured_world()
    (pod,) = world.pods("server")
    world.now += timedelta(seconds=60)
    world.serves(pod, **checked(204.0))
    pod["status"]["containerStatuses"][0]["imageID"] = "registry.example/mock@sha256:2"
    world.reconcile(1)
    assert world.brief("Measured") == ("False", "MeasurementStale")
    (probe,) = world.pods("probe")
    world.serves(probe)
    probe["status"]["containerStatuses"][0]["imageID"] = "registry.example/mock@sha256:2"
    world.settle()
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    assert not world.pods("probe")


def test_a_container_that_began_again_from_another_image_is_measured_in_full() -> None:
    """Measured said for ever that a new measurement follows: the pod had figures, of another image."""
    world = measured_world()
    (pod,) = world.pods("server")
    report = world.reports[pod["metadata"]["uid"]]
    world.reconcile(60)
    world.runs(pod, "Serving", ready=True, measurement=report.measurement)
    status = {"restartCount": 1, "imageID": "registry.example/mock@sha256:2"}
    pod["status"]["containerStatuses"][0] |= status
    world.reconcile(1)
    assert world.brief("Measured") == ("False", "MeasurementStale")
    (probe,) = world.pods("probe")
    world.reconcile(60)
    world.serves(probe)
    probe["status"]["containerStatuses"][0]["imageID"] = "registry.example/mock@sha256:2"
    world.settle()
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    # A check of the former image is none of this one.
    former = dataclasses.replace(report.measurement, kind="Check") if report.measurement else None
    world.runs(pod, "Serving", ready=True, measurement=former)
    pod["status"]["containerStatuses"][0] |= status
    world.reconcile(60)
    (newest, _) = world.status["measurements"]
    assert [run["kind"] for run in newest["history"]["runs"]] == ["Full"]
    assert not world.pods("probe")


def test_a_probe_pod_that_measured_on_other_hardware_is_not_followed_by_others() -> None:
    """30 an hour started, as none of them had the image and the machine of the serving pod."""
    world = measured_world()
    (pod,) = world.pods("server")
    started = 0
    world.reconcile(60)
    world.serves(pod, **checked(204.0))
    pod["status"]["containerStatuses"][0]["imageID"] = "registry.example/mock@sha256:2"
    for _ in range(20):
        world.reconcile(60)
        for probe in world.pods("probe"):
            started += "status" not in probe
            world.serves(probe)
            report = world.reports[probe["metadata"]["uid"]]
            machine = dataclasses.replace(report.environment, cpu_model="other")
            world.reports[probe["metadata"]["uid"]] = dataclasses.replace(report, environment=machine)
    assert started == 1


def test_a_clock_that_is_set_back_in_a_containers_first_run_loses_no_figures() -> None:
    world = World()
    world.first_pods()
    (pod,) = world.pods("server")
    world.serves(pod)
    measurement = world.reports[pod["metadata"]["uid"]].measurement
    world.now += timedelta(seconds=60)
    world.runs(pod, "Serving", ready=True, measurement=measurement)
    world.settle()
    assert world.brief("Measured") == ("True", "MeasurementComplete")


def test_a_measurement_that_doubts_make_due_and_quota_refuses_is_told() -> None:
    world = measured_world()
    scaled_up(world, 100.0)
    (probe,) = world.pods("probe")
    world.remove_pod(probe)
    world.refusals = (ChildRefusal(kind="Pod", name="p", role="probe", message="exceeded quota: few"),)
    world.reconcile(1)
    assert world.brief("Measured") == ("False", "DeviatesFromBaseline")
    assert (
        "A new measurement is not done yet. Details: exceeded quota" in world.condition("Measured")["message"]
    )
