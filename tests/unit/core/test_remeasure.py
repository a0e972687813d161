"""The throwaway pod as a table: what there is, what is done with it, what is said of it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from tacho_contract.measurement import Measurement as Measured, Workload
from tacho_contract.report import Report
from tacho_operator.api.types import Measurement
from tacho_operator.core import names
from tacho_operator.core.measurement.remeasure import RETRY_SECONDS, Remeasure, Remeasuring, remeasure
from tacho_operator.core.pods.view import PodView
from tacho_operator.core.revisions.frozen import Revision
from tacho_operator.core.revisions.keys import live_config

from .builders import CLAIM_SPEC, NOW, at, changed, plan, resource

SPEC = changed(CLAIM_SPEC, startupTimeoutSeconds=1000, rollout={"scheduleTimeoutSeconds": 300})
LIVE = live_config(resource(SPEC).spec)
KEY = LIVE.measure_key
ACTIVE = Revision(
    name="smol-1",
    number=1,
    plan=plan(),
    plan_key="p",
    facts_key="f",
    pod_template={"metadata": {}, "spec": {"containers": [{"name": "engine"}]}},
    tacho_image="t",
)
LIMIT_SECONDS = 1000 + LIVE.probe.timeout_seconds + 600
"""Startup, the probe and the way to a node."""
READY = {"conditions": [{"type": "Ready", "status": "True"}]}
NO_ROOM = {"conditions": [{"type": "PodScheduled", "status": "False", "message": "no room"}]}
NO_IMAGE = {"containerStatuses": [{"name": "engine", "state": {"waiting": {"reason": "ErrImagePull"}}}]}
CRASHED = {
    "containerStatuses": [
        {"name": "engine", "restartCount": 1, "state": {"terminated": {"exitCode": 3, "message": "oh no"}}}
    ]
}


def pod(
    name: str, age: float = 10, *, revision: str = "smol-1", key: str = KEY, gone: bool = False, **status: Any
) -> PodView:
    metadata = {
        "name": name,
        "uid": name,
        "creationTimestamp": at(-age),
        "labels": {names.REVISION_LABEL: revision},
        "annotations": {names.MEASURE_KEY_ANNOTATION: key},
    }
    return PodView({"metadata": metadata | ({"deletionTimestamp": at(0)} if gone else {}), "status": status})


def report(state: str = "", *, key: str = KEY, message: str = "") -> Report:
    measurement = Measured(
        plan_key="p",
        measure_key=key,
        state=state,
        message=message,
        observed_time=at(0),
        probe_seconds=1.0,
        workload=Workload(),
    )
    return Report(
        runtime_version="1",
        revision="smol-1",
        plan_key="p",
        phase="Serving",
        engine="llamacpp",
        observed_time=at(0),
        measurement=measurement if state else None,
    )


def note(reason: str, age: float, key: str = KEY) -> str:
    told = {
        "revision": "smol-1",
        "measureKey": key,
        "reason": reason,
        "message": "as before",
        "time": at(-age),
    }
    return json.dumps(told, sort_keys=True)


def step(**fields: Any) -> Remeasure:
    """One server that is ready and has measured something else, unless ``fields`` say otherwise."""
    server = pod("server", **READY)
    found: dict[str, Any] = {
        "resource": resource(SPEC),
        "active": ACTIVE,
        "live": LIVE,
        "measurements": (),
        "servers": (server,),
        "probes": (),
        "reports": {},
        "note": "",
        "refused": "",
        "now": NOW,
        **fields,
    }
    return remeasure(Remeasuring(**{**found, "reports": {"server": report(), **found["reports"]}}))


OTHERS = (pod("other", revision="smol-0"), pod("before", key="another workload"))
DISABLED = dataclasses.replace(LIVE, probe=dataclasses.replace(LIVE.probe, policy="Disabled"))
DONE = Measurement(fingerprint="x", plan_key="p", measure_key=KEY, revision="smol-1", state="Stale")

# what there is -> "starts", "runs" or "", pods deleted, what is said, whether a note stays, look again
ROWS: dict[str, tuple[dict[str, Any], str, str, str, bool, float | None]] = {
    "nothing yet": ({}, "starts", "", "", False, None),
    "measuring is disabled": ({"live": DISABLED, "probes": (pod("probe"),)}, "", "probe", "", False, None),
    "measured before": ({"measurements": (DONE,), "probes": (pod("probe"),)}, "", "probe", "", False, None),
    "another plan was measured": (
        {"measurements": (DONE.model_copy(update={"plan_key": "q"}),)},
        "starts",
        "",
        "",
        False,
        None,
    ),
    "the server itself got nothing": (
        {"reports": {"server": report("Failed", message="refused")}, "probes": (pod("probe"),)},
        "",
        "probe",
        "MeasurementFailed: The probe got nothing it could use: refused",
        False,
        None,
    ),
    "it does not say why": (
        {"reports": {"server": report("Failed")}},
        "",
        "",
        "MeasurementFailed: The probe got nothing it could use: no reason was given",
        False,
        None,
    ),
    "the server got nothing with another workload": (
        {"reports": {"server": report("Failed", key="k")}},
        "starts",
        "",
        "",
        False,
        None,
    ),
    "no server is ready": ({"servers": (pod("server"),)}, "", "", "", False, None),
    "no server reports": (
        {"servers": (pod("silent", **READY),), "probes": OTHERS},
        "",
        "other before",
        "",
        False,
        None,
    ),
    "others are stopped": ({"probes": OTHERS}, "starts", "other before", "", False, None),
    "the API server refuses": (
        {"refused": "exceeded quota", "probes": OTHERS},
        "",
        "other before",
        "CannotJudge: exceeded quota",
        False,
        None,
    ),
    "there was no room a while ago": (
        {"note": note("CannotJudge", 100), "probes": OTHERS},
        "",
        "other before",
        "CannotJudge: as before",
        True,
        RETRY_SECONDS - 100,
    ),
    "there was no room, it is tried again": (
        {"note": note("CannotJudge", RETRY_SECONDS), "probes": OTHERS},
        "starts",
        "other before",
        "CannotJudge: as before",
        True,
        None,
    ),
    "there was no room, and no server is ready": (
        {"note": note("CannotJudge", RETRY_SECONDS), "servers": ()},
        "",
        "",
        "CannotJudge: as before",
        True,
        None,
    ),
    "it has failed": (
        {"note": note("MeasurementFailed", 10**6)},
        "",
        "",
        "MeasurementFailed: as before",
        True,
        None,
    ),
    "another workload has failed": (
        {"note": note("MeasurementFailed", 1, "k")},
        "starts",
        "",
        "",
        False,
        None,
    ),
    "it runs": ({"probes": (pod("probe"), *OTHERS)}, "runs", "other before", "", False, None),
    "it runs again": (
        {"probes": (pod("probe"),), "note": note("CannotJudge", 700)},
        "runs",
        "",
        "",
        True,
        None,
    ),
    "it is on its way out": (
        {"probes": (pod("probe", gone=True), *OTHERS), "note": note("CannotJudge", 700)},
        "",
        "other before",
        "CannotJudge: as before",
        True,
        None,
    ),
    "it crashed once, which may heal": ({"probes": (pod("probe", **CRASHED),)}, "runs", "", "", False, None),
    "it has measured": (
        {"probes": (pod("probe"),), "reports": {"probe": report("Complete")}},
        "runs",
        "",
        "",
        False,
        None,
    ),
    "there is no room": (
        {"probes": (pod("probe", 300, **NO_ROOM), *OTHERS)},
        "",
        "other before",
        "CannotJudge: Pod probe finds no node",
        False,
        None,
    ),
    "there is no room for long": (
        {"probes": (pod("probe", 301, **NO_ROOM), *OTHERS)},
        "",
        "probe other before",
        "CannotJudge: Pod probe finds no node",
        True,
        RETRY_SECONDS,
    ),
    "it got nothing": (
        {"probes": (pod("probe"),), "reports": {"probe": report("Failed", message="too slow")}},
        "",
        "probe",
        "MeasurementFailed: The probe got nothing it could use: too slow",
        True,
        None,
    ),
    "it failed": (
        {"probes": (pod("probe", phase="Failed", **CRASHED),)},
        "",
        "probe",
        "MeasurementFailed: engine in pod probe (1 restart): ended with exit code 3: oh no",
        True,
        None,
    ),
    "it ended": (
        {"probes": (pod("probe", phase="Succeeded"),)},
        "",
        "probe",
        "MeasurementFailed: Pod probe ended before it had measured.",
        True,
        None,
    ),
    "only a person can help": (
        {"probes": (pod("probe", **NO_IMAGE),)},
        "",
        "probe",
        "MeasurementFailed: Image",
        True,
        None,
    ),
    "it takes its time": ({"probes": (pod("probe", LIMIT_SECONDS),)}, "runs", "", "", False, None),
    "it takes too long": (
        {"probes": (pod("probe", LIMIT_SECONDS + 1),)},
        "",
        "probe",
        "MeasurementFailed: Pod probe did not report a measurement in time.",
        True,
        None,
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_the_next_step_of_a_throwaway_pod(row: str) -> None:
    fields, at_work, deleted, said, kept, look_again = ROWS[row]
    found = step(**fields)
    assert ("starts" if found.apply else "runs" if found.running else "") == at_work
    assert found.running == bool(at_work)
    assert [item.name for item in found.delete] == deleted.split()
    told = f"{found.outcome.reason}: {found.outcome.message}" if found.outcome else ""
    assert told.startswith(said)
    assert bool(told) == bool(said)
    assert bool(found.note) == kept
    assert found.look_again_seconds == look_again


def test_what_is_noted_is_read_again_by_the_next_turn() -> None:
    failed = step(probes=(pod("probe", phase="Succeeded"),))
    again = step(note=failed.note)
    assert again.outcome is not None
    assert failed.outcome is not None
    assert (again.outcome.reason, again.outcome.message) == (failed.outcome.reason, failed.outcome.message)
    assert (again.apply, again.note) == ((), failed.note)


@pytest.mark.parametrize("text", ["{", "[]", "{}", '"x"', note("NoSuchReason", 1)])
def test_a_note_that_cannot_be_read_is_none(text: str) -> None:
    found = step(note=text)
    assert found.apply
    assert (found.outcome, found.note) == (None, "")
