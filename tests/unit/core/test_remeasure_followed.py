"""A throwaway pod that is there: what it has come to."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tacho_operator.core.measurement.attempts import (
    RETRY_SECONDS,
)
from tacho_operator.core.pods.deadlines import PREPARE_SECONDS
from tacho_operator.core.rollout.reading import SCHEDULE_TIMEOUT_SECONDS
from tests.unit.core.remeasuring import (
    CRASHED,
    EVICTED,
    LEFT,
    LIMIT_SECONDS,
    NO_IMAGE,
    NO_ROOM,
    NOT_STARTED,
    OTHERS,
    RUNS_SINCE_LONG,
    SPEC,
    Row,
    assert_step,
    note,
    on_node,
    pod,
    report,
    step,
)
from tools.harness.resources import at, changed, resource

UNPREPARED = {
    "phase": "Pending",
    "conditions": [
        {
            "type": "PodReadyToStartContainers",
            "status": "False",
            "lastTransitionTime": at(-PREPARE_SECONDS - 1),
        }
    ],
}


def ended_by_kubelet(**run: str) -> dict[str, Any]:
    killed = {"exitCode": 137, "reason": "Error", **run}
    return {
        "phase": "Failed",
        "reason": "DeadlineExceeded",
        "containerStatuses": [{"name": "engine", "state": {"terminated": killed}}],
    }


ROWS: dict[str, Row] = {
    "it runs": Row(
        {"probes": (pod("probe"), *OTHERS)}, does="runs", deletes="other before", looks_again=LEFT
    ),
    "it runs again": Row(
        {"probes": (pod("probe"),), "note": note("CannotJudge", 700)},
        does="runs",
        keeps_note=True,
        looks_again=LEFT,
    ),
    "it is on its way out": Row(
        {"probes": (pod("probe", gone=True), *OTHERS), "note": note("CannotJudge", 700)},
        deletes="other before",
        says="CannotJudge: as before",
        keeps_note=True,
        looks_again=LEFT,
    ),
    "it crashed once, which may heal": Row(
        {"probes": (pod("probe", **CRASHED),)}, does="runs", looks_again=LEFT
    ),
    "it has measured": Row(
        {"probes": (pod("probe"),), "reports": {"probe": report("Complete")}}, deletes="probe"
    ),
    "there is no room": Row(
        {"probes": (pod("probe", 300, **NO_ROOM), *OTHERS)},
        deletes="other before",
        says="CannotJudge: No node fits pod probe",
        looks_again=LEFT,
    ),
    "there is no room for long": Row(
        {"probes": (pod("probe", 301, **NO_ROOM), *OTHERS)},
        deletes="probe other before",
        says="CannotJudge: No node fits pod probe",
        keeps_note=True,
        looks_again=RETRY_SECONDS,
    ),
    "there is no room for as long as is usual, and spec is more patient": Row(
        {
            "resource": resource(changed(SPEC, rollout={"scheduleTimeoutSeconds": 86400})),
            "probes": (pod("probe", SCHEDULE_TIMEOUT_SECONDS + 1, **NO_ROOM),),
        },
        deletes="probe",
        says="CannotJudge: No node fits pod probe",
        keeps_note=True,
        looks_again=RETRY_SECONDS,
    ),
    "it got nothing": Row(
        {"probes": (pod("probe"),), "reports": {"probe": report("Failed", message="too slow")}},
        deletes="probe",
        says="MeasurementFailed: The probe has no valid result: too slow",
        keeps_note=True,
    ),
    "it failed": Row(
        {"probes": (pod("probe", phase="Failed", **CRASHED),)},
        deletes="probe",
        says="CannotJudge: engine in pod probe (1 restart): exit code 3.",
        keeps_note=True,
        looks_again=RETRY_SECONDS,
    ),
    "it failed for the second time": Row(
        {
            "probes": (pod("probe", phase="Failed", **CRASHED),),
            "note": note("CannotJudge", 700, tries=1, crashes=1),
        },
        deletes="probe",
        says="MeasurementFailed: engine in pod probe (1 restart): exit code 3.",
        keeps_note=True,
    ),
    "it ended": Row(
        {"probes": (pod("probe", phase="Succeeded"),), "note": note("CannotJudge", 700, tries=4, crashes=1)},
        deletes="probe",
        says="MeasurementFailed: Pod probe ended without a measurement.",
        keeps_note=True,
    ),
    "it was evicted": Row(
        {"probes": (pod("probe", **EVICTED),)},
        deletes="probe",
        says="CannotJudge: The cluster evicted pod probe",
        keeps_note=True,
        looks_again=RETRY_SECONDS,
    ),
    "it was evicted often, and crashed once": Row(
        {"probes": (pod("probe", **EVICTED),), "note": note("CannotJudge", 9999, tries=3, crashes=1)},
        deletes="probe",
        says="CannotJudge: The cluster evicted pod probe",
        keeps_note=True,
        looks_again=8 * RETRY_SECONDS,
    ),
    "its image is not pulled yet": Row(
        {"probes": (pod("probe", **NO_IMAGE),)}, says="CannotJudge: Image", looks_again=LEFT
    ),
    "its node does not prepare it": Row(
        {"probes": (on_node(pod("probe", max(300, PREPARE_SECONDS) + 9, **UNPREPARED)),)},
        says="CannotJudge: Node gone cannot mount pod probe's volumes",
        looks_again=LEFT,
    ),
    "its node's runtime does not start it": Row(
        {"probes": (on_node(pod("probe", **NOT_STARTED)),), "note": note("CannotJudge", 9999, crashes=1)},
        says="CannotJudge: Node gone cannot start container engine of pod probe.",
        keeps_note=True,
        looks_again=LEFT,
    ),
    "its image is not pulled for longer than it may wait for a node": Row(
        {"probes": (on_node(pod("probe", 301, **NO_IMAGE)),)}, says="CannotJudge: Image", looks_again=LEFT
    ),
    "its image is not pulled for as long as its turn": Row(
        {"probes": (on_node(pod("probe", LIMIT_SECONDS + 1, **NO_IMAGE)),)},
        deletes="probe",
        says="CannotJudge: Image",
        keeps_note=True,
        looks_again=RETRY_SECONDS,
    ),
    "its node is lost": Row(
        {"probes": (on_node(pod("probe")),), "lost": {"gone"}},
        deletes="probe",
        says="CannotJudge: Node gone of pod probe does not answer",
        keeps_note=True,
        looks_again=RETRY_SECONDS,
    ),
    "its lost node does not let it go": Row(
        {
            "probes": (on_node(pod("probe", gone=True)),),
            "lost": {"gone"},
            "note": note("CannotJudge", RETRY_SECONDS),
        },
        does="starts",
        says="CannotJudge: as before",
        keeps_note=True,
    ),
    "it cannot be asked yet": Row(
        {"probes": (pod("probe", 1000, **RUNS_SINCE_LONG),)},
        says="ReportUnreachable: Pod probe does not answer",
        looks_again=LEFT,
    ),
    "it could not be asked in all its time": Row(
        {"probes": (pod("probe", LIMIT_SECONDS + 1, **RUNS_SINCE_LONG),)},
        deletes="probe",
        says="ReportUnreachable: Pod probe does not answer",
        keeps_note=True,
        looks_again=RETRY_SECONDS,
    ),
    "it takes its time": Row(
        {"probes": (on_node(pod("probe", LIMIT_SECONDS)),)}, does="runs", looks_again=LEFT
    ),
    "it takes too long": Row(
        {"probes": (on_node(pod("probe", LIMIT_SECONDS + 1)),)},
        deletes="probe",
        says="CannotJudge: Pod probe did not report a measurement in time. It is retried once.",
        keeps_note=True,
        looks_again=RETRY_SECONDS,
    ),
    "the kubelet ended it, as no operator did": Row(
        {"probes": (pod("probe", LIMIT_SECONDS + 1, **ended_by_kubelet(startedAt=at(-900))),)},
        deletes="probe",
        says="CannotJudge: Pod probe did not report a measurement in time. It is retried once.",
        keeps_note=True,
        looks_again=RETRY_SECONDS,
    ),
    "the kubelet ended it before a container ran": Row(
        {"probes": (pod("probe", LIMIT_SECONDS + 1, **ended_by_kubelet()),)},
        deletes="probe",
        says="CannotJudge: Pod probe did not report a measurement in time.",
        keeps_note=True,
        looks_again=RETRY_SECONDS,
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_what_a_throwaway_pod_has_come_to(row: str) -> None:
    assert_step(ROWS[row])


def test_a_throwaway_pods_check_is_no_measurement() -> None:
    """It is there for the full one."""
    found = report("Complete")
    assert found.measurement is not None
    checked = dataclasses.replace(found, measurement=dataclasses.replace(found.measurement, kind="Check"))
    probes = (pod("probe"),)
    still = step(probes=probes, reports={"probe": checked})
    assert (still.running, still.delete) == (True, ())
    assert step(probes=probes, reports={"probe": found}).delete != ()


def test_what_is_noted_is_read_again_by_the_next_turn() -> None:
    failed = step(
        probes=(pod("probe", phase="Succeeded"),), note=note("CannotJudge", 700, tries=1, crashes=1)
    )
    again = step(note=failed.note)
    assert failed.outcome is not None
    assert (again.outcome, again.apply, again.note) == (failed.outcome, (), failed.note)
