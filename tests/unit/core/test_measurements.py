"""Figures: whose they are, and when they are current, stale, partial or none."""

from __future__ import annotations

import copy
import dataclasses
import json
from datetime import timedelta
from typing import Any

import pytest

from tacho_contract.measurement import Capacity, Environment, SingleStream
from tacho_operator.core.autoscaling.target import target_of
from tacho_operator.core.measurement.attempts import PROVISIONAL_RETRY_SECONDS
from tacho_operator.core.names import MEASURE_AGAIN_ANNOTATION
from tests.unit.core.measured_world import NEW_WORKLOAD, measured_world
from tests.unit.core.pod_security import violations
from tools.harness.figures import CAPACITY
from tools.harness.resources import CLAIM_SPEC, changed
from tools.harness.world import MOCK_SPEC, World


def test_a_changed_workload_makes_the_figures_stale_at_once_and_is_measured_in_a_throwaway_pod() -> None:
    world = measured_world()
    (old,) = world.status["measurements"]
    before = copy.deepcopy(world.objects["Deployment", next(iter(world.sizes()))])
    world.change(workload=NEW_WORKLOAD)
    decision = world.reconcile(1)
    assert world.brief("Measured") == ("False", "MeasurementStale")
    assert "summary" not in world.status, "a stale figure is never shown as the current one"
    assert world.status["measurements"][0]["state"] == "Stale"
    assert world.brief("Ready") == ("True", "Serving")
    assert world.brief("Reconciling") == ("True", "Measuring")
    assert decision.requeue_after_seconds is None, "the throwaway pod is watched"
    (probe,) = world.pods("probe")
    assert violations(probe["spec"]) == []
    assert probe["spec"]["restartPolicy"] == "Never"
    (engine,), (served,) = probe["spec"]["containers"], before["spec"]["template"]["spec"]["containers"]
    assert engine == {**served, "env": [*served["env"], {"name": "TACHO_FULL_PROBE", "value": "1"}]}
    live = world.objects["ConfigMap", "smol-live"]["data"]["live.json"]
    assert '"inputTokens":900' in live
    world.serves(probe)
    world.reconcile(60)
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    assert world.status["summary"]["outputTokensPerSecond"] == "204.8"
    assert [item["state"] for item in world.status["measurements"]] == ["Complete", "Stale"]
    new = world.status["measurements"][0]
    shape = {"inputTokens": 900, "outputTokens": 10, "outputSpreadPercent": "0"}
    assert new["workload"] == shape
    assert new["planKey"] == old["planKey"]
    assert new["measureKey"] != old["measureKey"]
    world.settle()
    assert not world.pods("probe")
    assert world.objects["Deployment", next(iter(world.sizes()))] == before, "no serving pod was touched"
    assert world.brief("Reconciling") == ("False", "Settled")


def test_a_workload_that_comes_back_finds_its_figures_again() -> None:
    world = measured_world()
    world.change(workload=NEW_WORKLOAD)
    world.reconcile(1)
    world.serves(world.pods("probe")[0])
    world.settle()
    world.change(workload=CLAIM_SPEC["workload"])
    world.settle()
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    assert not world.pods("probe")


def test_while_another_revision_rolls_out_nothing_is_measured_aside_and_no_figure_is_lost() -> None:
    world = measured_world()
    assert world.status["measurements"][0]["environment"]["imageID"] == "registry.example/mock@sha256:1"
    world.change(workload=NEW_WORKLOAD)
    world.reconcile(1)
    assert world.pods("probe")
    world.change(context={"maxModelLen": 1024, "concurrency": 2})
    world.reconcile(1)
    assert not world.pods("probe")
    assert len(world.status["measurements"]) == 1


def test_figures_of_the_first_revision_are_current_before_it_serves() -> None:
    world = World()
    world.first_pods()
    (pod,) = world.pods("server")
    world.serves(pod)
    pod["status"]["conditions"][-1]["status"] = "False"
    world.reconcile(1)
    assert world.brief("Ready")[0] == "False"
    assert world.brief("Measured") == ("True", "MeasurementComplete")


def test_a_probe_that_got_nothing_is_said_and_not_repeated() -> None:
    world = World()
    world.first_pods()
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
    world.first_pods()
    flat = dataclasses.replace(CAPACITY, boundary="Plateau")
    world.serves(world.pods("server")[0], state="Partial", capacity=flat)
    world.settle()
    assert world.brief("Measured") == ("True", "MeasurementPartial")
    assert world.status["measurements"][0]["state"] == "Partial"


def test_disabled_measures_nothing() -> None:
    world = World(changed(MOCK_SPEC, probe={"policy": "Disabled"}))
    world.first_pods()
    world.serves(world.pods("server")[0], state="Skipped")
    decision = world.settle()
    assert world.brief("Measured") == ("False", "ProbeDisabled")
    assert world.brief("Reconciling") == ("False", "Settled")
    assert decision.requeue_after_seconds is None
    assert not world.pods("probe")


def test_without_a_report_nothing_is_started_and_nothing_forgotten() -> None:
    world = measured_world()
    world.reports.clear()
    world.reconcile(1)
    assert world.brief("Measured") == ("True", "MeasurementComplete"), "unknown is not stale"
    assert world.status["startup"]["loadSeconds"] == 4
    world.change(workload=NEW_WORKLOAD)
    world.reconcile(1)
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
    world.reconcile(1)
    states = {item["environment"]["cpuModel"]: item["state"] for item in world.status["measurements"]}
    assert states == {"EPYC": "Stale", "Xeon": "Complete"}


def test_replicas_do_not_take_turns_in_status() -> None:
    world = measured_world(changed(MOCK_SPEC, replicas=2))
    (before,) = world.status["measurements"]
    for pod in world.pods("server"):
        world.serves(pod, capacity=None)
    world.reconcile(60)
    (after,) = world.status["measurements"]
    assert {**after, "history": None} == {**before, "history": None}
    assert len(after["history"]["runs"]) == len(before["history"]["runs"]) + 2


def test_always_takes_the_newest() -> None:
    world = measured_world(changed(MOCK_SPEC, probe={"policy": "Always"}))
    first = world.status["measurements"][0]["observedTime"]
    world.reconcile(100)
    world.serves(world.pods("server")[0])
    world.reconcile(1)
    (entry,) = world.status["measurements"]
    assert entry["observedTime"] > first


UNKNOWN = {
    "capacity": Capacity(
        concurrency=4,
        requests_per_second=3.2,
        output_tokens_per_second=204.8,
        total_tokens_per_second=614.4,
        ci_percent=150.0,
    )
}


def seconds_to_probe(world: World) -> float:
    """How long the world goes on without a probe pod, in steps of 10 s."""
    seconds = 0.0
    while not world.pods("probe"):
        world.reconcile(10)
        seconds += 10
    return seconds


def test_a_capacity_within_no_better_than_itself_is_not_shown_and_is_measured_again() -> None:
    world = measured_world()
    world.change(workload=NEW_WORKLOAD)
    world.reconcile(1)
    world.serves(world.pods("probe")[0], **UNKNOWN)
    world.reconcile(60)
    assert world.brief("Measured") == ("Unknown", "MeasurementProvisional")
    message = world.condition("Measured")["message"]
    assert message.startswith("Measured, provisional (NotSteady)")
    new = world.status["measurements"][0]
    assert (new["confidence"], new["flags"]) == ("Provisional", ["NotSteady"])
    assert "outputTokensPerSecond" not in new["capacity"]
    assert world.status["summary"] == {
        "confidence": "Provisional",
        "ttftMilliseconds": "104",
        "ttftMillisecondsShown": "~104",
    }, "not the figures of the former workload"
    assert not world.pods("probe")
    pauses = []
    for figures in (UNKNOWN, UNKNOWN, {}):
        pauses.append(seconds_to_probe(world))
        world.serves(world.pods("probe")[0], **figures)
        world.reconcile(1)
    assert pauses == [PROVISIONAL_RETRY_SECONDS, 2 * PROVISIONAL_RETRY_SECONDS, 4 * PROVISIONAL_RETRY_SECONDS]
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    assert world.status["summary"]["outputTokensPerSecond"] == "204.8"


def test_a_single_stream_within_no_better_than_itself_is_named() -> None:
    world = measured_world()
    world.change(workload=NEW_WORKLOAD)
    world.reconcile(1)
    single = SingleStream(
        decode_tokens_per_second=137.4,
        decode_ci_percent=150.0,
        tpot_milliseconds_p50=7.28,
        ttft_milliseconds_p50=101.0,
    )
    world.serves(world.pods("probe")[0], single_stream=single, message="a long cause, " * 20)
    world.reconcile(60)
    assert world.brief("Measured") == ("Unknown", "MeasurementProvisional")
    message = world.condition("Measured")["message"]
    assert "provisional (NotSteady): a long cause" in message


def test_a_slow_plans_pods_get_its_budget_and_what_was_measured_stays() -> None:
    """As of a revision that an earlier operator froze and measured within 45 s."""
    world = measured_world()
    (name,) = world.names("Deployment")
    (known,) = world.status["measurements"]
    before = world.objects["Deployment", name]["spec"]["progressDeadlineSeconds"]
    world.objects["ControllerRevision", name]["data"]["plan"]["predicted"] = {
        "expectedDecodeTokensPerSecond": 26.0,
        "expectedCapacityTokensPerSecond": 630.0,
        "expectedCapacityConcurrency": 63,
    }
    world.settle()
    told = world.status["plan"]
    assert told["probeBudgetSeconds"] == 90
    assert "until 59 requests have arrived" in told["probeBudgetMessage"]
    live = json.loads(world.objects["ConfigMap", "smol-live"]["data"]["live.json"])
    assert live["probe"] == {"budgetSeconds": 90, "policy": "Auto", "timeoutSeconds": 180}
    assert world.objects["Deployment", name]["spec"]["progressDeadlineSeconds"] == before + 2 * 90
    assert world.status["measurements"] == [known]
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    assert not world.pods("probe")
    world.change(probe={"timeoutSeconds": 60})
    world.reconcile(1)
    live = json.loads(world.objects["ConfigMap", "smol-live"]["data"]["live.json"])
    assert (live["probe"]["budgetSeconds"], live["probe"]["timeoutSeconds"]) == (60, 60)
    assert "probe.timeoutSeconds ends the probe after 60 s" in world.status["plan"]["probeBudgetMessage"]


def probe_another_machine(world: World) -> None:
    """The probe pod that begins now reports from a machine of another kind."""
    world.reconcile(1)
    (probe,) = world.pods("probe")
    world.serves(probe)
    uid = probe["metadata"]["uid"]
    world.reports[uid] = dataclasses.replace(world.reports[uid], environment=Environment(cpu_model="Xeon"))


def test_figures_of_a_probe_pod_on_another_machine_are_not_those_of_the_service() -> None:
    """For a pass they were the summary, and the scaler forgot bursts and its correction with each change."""
    world = measured_world()
    before, known = world.status["summary"], target_of(world.observed()).capacity.fingerprint
    world.raw["metadata"]["annotations"] = {MEASURE_AGAIN_ANNOTATION: "now"}
    probe_another_machine(world)
    for _ in range(3):
        world.reconcile(1)
        assert (world.status["summary"], target_of(world.observed()).capacity.fingerprint) == (before, known)
    assert not world.pods("probe")
    assert [item["state"] for item in world.status["measurements"]] == ["Stale", "Complete"]


@pytest.mark.parametrize("begins", [False, True])
def test_the_figures_stay_while_the_only_serving_pod_does_not_say_its_machine(begins: bool) -> None:
    """For a pass they were Stale, as the probe pod's machine alone was known."""
    world = measured_world()
    before, known = world.status["summary"], target_of(world.observed()).capacity.fingerprint
    world.raw["metadata"]["annotations"] = {MEASURE_AGAIN_ANNOTATION: "now"}
    probe_another_machine(world)
    (server,) = world.pods("server")
    answer = world.reports.pop(server["metadata"]["uid"])
    if begins:
        world.runs(server, "Preflight", environment=Environment())
    for _ in range(2):
        world.reconcile(1)
        assert (world.status["summary"], target_of(world.observed()).capacity.fingerprint) == (before, known)
    world.runs(server, "Probing", environment=answer.environment)
    world.reconcile(1)
    assert world.status["summary"] == before
    world.change(workload=NEW_WORKLOAD)
    del world.reports[server["metadata"]["uid"]]
    world.reconcile(1)
    assert "outputTokensPerSecond" not in world.status.get("summary", {}), "they are of the former workload"


def test_what_only_another_machine_has_measured_is_not_said_to_be_measured_again() -> None:
    """It said so for ever: a probe pod on such a machine is not followed by another."""
    world = measured_world()
    world.change(workload=NEW_WORKLOAD)
    probe_another_machine(world)
    for _ in range(3):
        world.reconcile(600)
    assert not world.pods("probe")
    assert world.brief("Measured") == ("False", "MeasurementStale")
    assert world.condition("Measured")["message"] == (
        "The workload was measured on other hardware, or with another image, than the serving pods have. "
        "For another measurement, change tacho.dev/measure-again."
    )
    world.raw["metadata"]["annotations"] = {MEASURE_AGAIN_ANNOTATION: "now"}
    world.reconcile(1)
    assert world.condition("Measured")["message"].endswith("A probe pod measures again.")
    world.serves(world.pods("probe")[0])
    world.reconcile(1)
    assert world.brief("Measured") == ("True", "MeasurementComplete")


def test_a_pod_that_starts_on_another_machine_is_about_to_be_measured() -> None:
    world = measured_world()
    world.remove_pod(world.pods("server")[0])
    world.deployment_controller()
    world.runs(world.pods("server")[0], "Starting", environment=Environment(cpu_model="Xeon"))
    world.reconcile(1)
    assert world.brief("Measured") == ("False", "MeasurementStale")
    assert "A new measurement follows." in world.condition("Measured")["message"]


XEON = Environment(cpu_model="Xeon")
UNLIKE = "of 3 serving pods have other hardware, or another image, than these figures are of."


def on_xeon(world: World, pod: dict[str, Any], tokens: float) -> None:
    """The pod is measured there, later than the others."""
    world.now += timedelta(seconds=1)
    capacity = dataclasses.replace(CAPACITY, output_tokens_per_second=tokens)
    world.serves(pod, capacity=capacity)
    uid = pod["metadata"]["uid"]
    world.reports[uid] = dataclasses.replace(world.reports[uid], environment=XEON)
    world.reconcile(1)


def test_of_two_kinds_of_machine_the_figures_are_those_of_most_serving_pods() -> None:
    """The newest were those of all: a replica on a slower GPU halved the capacity of the others."""
    world = measured_world(changed(MOCK_SPEC, replicas=3))
    before, known = world.status["summary"], target_of(world.observed()).capacity
    first, second, third = world.pods("server")
    on_xeon(world, third, 50.0)
    assert (world.status["summary"], target_of(world.observed()).capacity) == (before, known)
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    assert world.condition("Measured")["message"].endswith(f"second. 1 {UNLIKE}")
    assert [item["state"] for item in world.status["measurements"]] == ["Complete", "Complete"]
    on_xeon(world, second, 50.0)
    assert world.status["summary"]["outputTokensPerSecond"] == "50"
    assert target_of(world.observed()).capacity.output_tokens_per_second == 50
    assert world.condition("Measured")["message"] == f"50 output tokens per second. 1 {UNLIKE}"
    for pod in (first, second):
        world.remove_pod(pod)
    world.deployment_controller()
    world.serve_all()
    world.reconcile(1)
    assert world.status["summary"] == before


def test_of_as_many_pods_of_two_kinds_the_figures_stay() -> None:
    """The scaler forgets the load with each other measurement."""
    world = measured_world(changed(MOCK_SPEC, replicas=2))
    before = world.status["summary"]
    on_xeon(world, world.pods("server")[1], 50.0)
    assert world.status["summary"] == before
    world.change(replicas=1)
    world.remove_pod(world.pods("server")[0])
    world.reconcile(1)
    assert world.status["summary"]["outputTokensPerSecond"] == "50"
    assert "serving pods" not in world.condition("Measured")["message"]
