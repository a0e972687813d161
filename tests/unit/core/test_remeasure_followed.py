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
    "it runs": ({"probes": (pod("probe"), *OTHERS)}, "runs", "other before", "", False, LEFT),
    "it runs again": (
        {"probes": (pod("probe"),), "note": note("CannotJudge", 700)},
        "runs",
        "",
        "",
        True,
        LEFT,
    ),
    "it is on its way out": (
        {"probes": (pod("probe", gone=True), *OTHERS), "note": note("CannotJudge", 700)},
        "",
        "other before",
        "CannotJudge: as before",
        True,
        LEFT,
    ),
    "it crashed once, which may heal": ({"probes": (pod("probe", **CRASHED),)}, "runs", "", "", False, LEFT),
    "it has measured": (
        {"probes": (pod("probe"),), "reports": {"probe": report("Complete")}},
        "",
        "probe",
        "",
        False,
        None,
    ),
    "there is no room": (
        {"probes": (pod("probe", 300, **NO_ROOM), *OTHERS)},
        "",
        "other before",
        "CannotJudge: No node fits pod probe",
        False,
        LEFT,
    ),
    "there is no room for long": (
        {"probes": (pod("probe", 301, **NO_ROOM), *OTHERS)},
        "",
        "probe other before",
        "CannotJudge: No node fits pod probe",
        True,
        RETRY_SECONDS,
    ),
    "there is no room for as long as is usual, and spec is more patient": (
        {
            "resource": resource(changed(SPEC, rollout={"scheduleTimeoutSeconds": 86400})),
            "probes": (pod("probe", SCHEDULE_TIMEOUT_SECONDS + 1, **NO_ROOM),),
        },
        "",
        "probe",
        "CannotJudge: No node fits pod probe",
        True,
        RETRY_SECONDS,
    ),
    "it got nothing": (
        {"probes": (pod("probe"),), "reports": {"probe": report("Failed", message="too slow")}},
        "",
        "probe",
        "MeasurementFailed: The probe has no valid result: too slow",
        True,
        None,
    ),
    "it failed": (
        {"probes": (pod("probe", phase="Failed", **CRASHED),)},
        "",
        "probe",
        "CannotJudge: engine in pod probe (1 restart): exit code 3.",
        True,
        RETRY_SECONDS,
    ),
    "it failed for the second time": (
        {
            "probes": (pod("probe", phase="Failed", **CRASHED),),
            "note": note("CannotJudge", 700, tries=1, crashes=1),
        },
        "",
        "probe",
        "MeasurementFailed: engine in pod probe (1 restart): exit code 3.",
        True,
        None,
    ),
    "it ended": (
        {"probes": (pod("probe", phase="Succeeded"),), "note": note("CannotJudge", 700, tries=4, crashes=1)},
        "",
        "probe",
        "MeasurementFailed: Pod probe ended without a measurement.",
        True,
        None,
    ),
    "it was evicted": (
        {"probes": (pod("probe", **EVICTED),)},
        "",
        "probe",
        "CannotJudge: The cluster evicted pod probe",
        True,
        RETRY_SECONDS,
    ),
    "it was evicted often, and crashed once": (
        {"probes": (pod("probe", **EVICTED),), "note": note("CannotJudge", 9999, tries=3, crashes=1)},
        "",
        "probe",
        "CannotJudge: The cluster evicted pod probe",
        True,
        8 * RETRY_SECONDS,
    ),
    "its image is not pulled yet": (
        {"probes": (pod("probe", **NO_IMAGE),)},
        "",
        "",
        "CannotJudge: Image",
        False,
        LEFT,
    ),
    "its node does not prepare it": (
        {"probes": (on_node(pod("probe", max(300, PREPARE_SECONDS) + 9, **UNPREPARED)),)},
        "",
        "",
        "CannotJudge: Node gone cannot mount pod probe's volumes",
        False,
        LEFT,
    ),
    "its node's runtime does not start it": (
        {"probes": (on_node(pod("probe", **NOT_STARTED)),), "note": note("CannotJudge", 9999, crashes=1)},
        "",
        "",
        "CannotJudge: Node gone cannot start container engine of pod probe.",
        True,
        LEFT,
    ),
    "its image is not pulled for longer than it may wait for a node": (
        {"probes": (on_node(pod("probe", 301, **NO_IMAGE)),)},
        "",
        "",
        "CannotJudge: Image",
        False,
        LEFT,
    ),
    "its image is not pulled for as long as its turn": (
        {"probes": (on_node(pod("probe", LIMIT_SECONDS + 1, **NO_IMAGE)),)},
        "",
        "probe",
        "CannotJudge: Image",
        True,
        RETRY_SECONDS,
    ),
    "its node is lost": (
        {"probes": (on_node(pod("probe")),), "lost": {"gone"}},
        "",
        "probe",
        "CannotJudge: Node gone of pod probe does not answer",
        True,
        RETRY_SECONDS,
    ),
    "its lost node does not let it go": (
        {
            "probes": (on_node(pod("probe", gone=True)),),
            "lost": {"gone"},
            "note": note("CannotJudge", RETRY_SECONDS),
        },
        "starts",
        "",
        "CannotJudge: as before",
        True,
        None,
    ),
    "it cannot be asked yet": (
        {"probes": (pod("probe", 1000, **RUNS_SINCE_LONG),)},
        "",
        "",
        "ReportUnreachable: Pod probe does not answer",
        False,
        LEFT,
    ),
    "it could not be asked in all its time": (
        {"probes": (pod("probe", LIMIT_SECONDS + 1, **RUNS_SINCE_LONG),)},
        "",
        "probe",
        "ReportUnreachable: Pod probe does not answer",
        True,
        RETRY_SECONDS,
    ),
    "it takes its time": ({"probes": (on_node(pod("probe", LIMIT_SECONDS)),)}, "runs", "", "", False, LEFT),
    "it takes too long": (
        {"probes": (on_node(pod("probe", LIMIT_SECONDS + 1)),)},
        "",
        "probe",
        "CannotJudge: Pod probe did not report a measurement in time. It is retried once.",
        True,
        RETRY_SECONDS,
    ),
    "the kubelet ended it, as no operator did": (
        {"probes": (pod("probe", LIMIT_SECONDS + 1, **ended_by_kubelet(startedAt=at(-900))),)},
        "",
        "probe",
        "CannotJudge: Pod probe did not report a measurement in time. It is retried once.",
        True,
        RETRY_SECONDS,
    ),
    "the kubelet ended it before a container ran": (
        {"probes": (pod("probe", LIMIT_SECONDS + 1, **ended_by_kubelet()),)},
        "",
        "probe",
        "CannotJudge: Pod probe did not report a measurement in time.",
        True,
        RETRY_SECONDS,
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
