"""A throwaway pod that is not there yet: when one is started, and why it is not."""

from __future__ import annotations

import pytest

from tacho_operator.core.manifests.helper_pods import LEFT_ALONE_SECONDS
from tacho_operator.core.measurement.attempts import (
    RETRY_SECONDS,
)
from tests.unit.core.remeasuring import (
    DISABLED,
    DONE,
    LIMIT_SECONDS,
    OTHERS,
    READY,
    Row,
    assert_step,
    note,
    pod,
    report,
    step,
)

ROWS: dict[str, Row] = {
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
        "MeasurementFailed: The probe has no valid result: refused",
        False,
        None,
    ),
    "it does not say why": (
        {"reports": {"server": report("Failed")}},
        "",
        "",
        "MeasurementFailed: The probe has no valid result: no reason was given",
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
}


@pytest.mark.parametrize("row", ROWS)
def test_whether_a_throwaway_pod_starts(row: str) -> None:
    assert_step(ROWS[row])


def test_each_attempt_has_a_pod_of_its_own_name() -> None:
    """One on a lost node may keep its name for days."""
    first = step()
    second = step(note=note("CannotJudge", RETRY_SECONDS))
    third = step(note=note("CannotJudge", 10 * RETRY_SECONDS, tries=2))
    assert len({found.apply[0]["metadata"]["name"] for found in (first, second, third)}) == 3


def test_the_kubelet_ends_a_throwaway_pod_later_than_the_operator_would() -> None:
    """As when the operator was uninstalled while it measured: it would hold its GPU for ever."""
    (started,) = step().apply
    assert started["spec"]["activeDeadlineSeconds"] == LIMIT_SECONDS + LEFT_ALONE_SECONDS
