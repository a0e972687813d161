"""Pods outlive the operator that made them: reports of older and newer runtimes are read and acted on."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from tacho_contract import codec
from tacho_contract.failure import FailureClass
from tacho_contract.report import Report
from tacho_operator.api.types import LLMDeployment
from tacho_operator.core.revisions.identity import live_config
from tools.harness.resources import facts
from tools.harness.world import World

REPORTS = Path(__file__).parents[2] / "fixtures" / "reports"
ALL = sorted(path.name for path in REPORTS.glob("*.json"))


def recorded(name: str) -> Report:
    return codec.loads(Report, (REPORTS / name).read_bytes())


def meet(name: str) -> World:
    """A world whose one server pod answers with that report, as to plan and workload its own."""
    world = World()
    world.reconcile()
    world.inspected(facts())
    world.settle()
    (pod,) = world.pods("server")
    report = recorded(name)
    world.runs(pod, report.phase, ready=report.ready)
    own = world.reports[pod["metadata"]["uid"]]
    measurement = report.measurement and dataclasses.replace(
        report.measurement,
        plan_key=own.plan_key,
        measure_key=live_config(LLMDeployment.read(world.raw).spec).measure_key,
    )
    world.reports[pod["metadata"]["uid"]] = dataclasses.replace(
        report, revision=own.revision, plan_key=own.plan_key, measurement=measurement
    )
    world.settle()
    return world


@pytest.mark.parametrize("name", ALL)
def test_every_report_is_read_and_leaves_a_valid_status(name: str) -> None:
    report = recorded(name)
    world = meet(name)  # each turn checks its status against the API's types
    assert world.brief("Ready")[0] == ("True" if report.ready else "False")


def holds(read: Any, written: Any) -> bool:
    """Whether all that was written was read; what has come since then has its default."""
    if isinstance(written, dict):
        return all(name in read and holds(read[name], value) for name, value in written.items())
    if isinstance(written, list):
        return len(read) == len(written) and all(map(holds, read, written))
    return bool(read == written)


def test_a_recorded_report_is_understood_to_the_last_field() -> None:
    text = (REPORTS / "serving.json").read_text()
    assert holds(codec.to_dict(codec.loads(Report, text)), json.loads(text))
    assert not holds({"a": [1]}, {"a": [1], "b": 2})


@pytest.mark.parametrize(
    ("name", "speed", "measured"),
    [
        ("serving.json", "174.5", ("True", "MeasurementComplete")),
        ("serving-older.json", "175", ("True", "MeasurementComplete")),
        ("serving-newer.json", "174.5", ("Unknown", "MeasurementProvisional")),
    ],
)
def test_what_another_runtime_measured_is_recorded(name: str, speed: str, measured: tuple[str, str]) -> None:
    world = meet(name)
    (entry,) = world.status["measurements"]
    assert entry["state"] == "Complete"
    assert entry["capacity"]["outputTokensPerSecond"] == speed
    assert [point["concurrency"] for point in entry["curve"]] == [1, 2]
    assert world.brief("Measured") == measured


def test_a_state_that_is_not_known_is_no_measurement() -> None:
    world = meet("phase-and-state-newer.json")
    assert not world.status.get("measurements")
    assert world.brief("Measured")[0] != "True"
    assert "Quiescing" in world.condition("Ready")["message"]


def test_a_class_that_is_not_known_is_taken_at_its_own_word() -> None:
    failure = recorded("failed-newer.json").failure
    assert failure is not None
    assert (failure.failure_class, failure.retryable) == ("FabricDown", True)
    world = World()
    world.reconcile()
    world.inspected(facts())
    world.settle()
    (pod,) = world.pods("server")
    world.runs(pod, "Failed")
    engine = pod["status"]["containerStatuses"][0]
    engine["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
    engine["lastState"] = {"terminated": {"exitCode": 1, "message": codec.dumps(failure)}}
    engine["restartCount"] = 1
    world.settle()
    assert world.brief("Ready") == ("False", "FabricDown")
    assert "NVLink 3 is down" in world.condition("Ready")["message"]
    assert world.brief("Stalled")[0] == "False"
    assert "FabricDown" not in {member.value for member in FailureClass}


def test_a_failure_of_fetch_that_says_less_is_shown() -> None:
    progress = recorded("waiting-newer.json").fetch
    assert progress is not None
    assert progress.failure is not None
    assert progress.failure.retryable is False
    assert "MirrorBusy" not in {member.value for member in FailureClass}
    assert meet("waiting-newer.json").brief("Reconciling")[0] == "True"
