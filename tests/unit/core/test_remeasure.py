"""A throwaway pod that is not there yet: when one is started, and why it is not."""

from __future__ import annotations

import pytest

from tacho_operator.core.manifests.helper_pods import LEFT_ALONE_SECONDS
from tacho_operator.core.measurement.attempts import (
    RETRY_SECONDS,
)
from tests.unit.core.remeasuring import (
    ASKED,
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
    "nothing yet": Row({}, does="starts"),
    "measuring is disabled": Row({"live": DISABLED, "probes": (pod("probe"),)}, deletes="probe"),
    "measured before": Row({"measurements": (DONE,), "probes": (pod("probe"),)}, deletes="probe"),
    "another plan was measured": Row(
        {"measurements": (DONE.model_copy(update={"plan_key": "q"}),)}, does="starts"
    ),
    "the server itself got nothing": Row(
        {"reports": {"server": report("Failed", message="refused")}, "probes": (pod("probe"),)},
        deletes="probe",
        says="MeasurementFailed: The probe has no valid result: refused",
    ),
    "the server got nothing on other hardware than was measured": Row(
        {"measurements": (DONE,), "reports": {"server": report("Failed", message="refused")}},
        says="MeasurementFailed: The probe has no valid result: refused",
    ),
    "the server got nothing, and another attempt is requested": Row(
        {"resource": ASKED, "reports": {"server": report("Failed", message="refused")}}, does="starts"
    ),
    "it does not say why": Row(
        {"reports": {"server": report("Failed")}},
        says="MeasurementFailed: The probe has no valid result: no reason was given",
    ),
    "the server got nothing with another workload": Row(
        {"reports": {"server": report("Failed", key="k")}}, does="starts"
    ),
    "no server is ready": Row({"servers": (pod("server"),)}),
    "no server reports": Row(
        {"servers": (pod("silent", **READY),), "probes": OTHERS}, deletes="other before"
    ),
    "others are stopped": Row({"probes": OTHERS}, does="starts", deletes="other before"),
    "the API server refuses": Row(
        {"refused": "exceeded quota", "probes": OTHERS},
        deletes="other before",
        says="CannotJudge: exceeded quota",
    ),
    "there was no room a while ago": Row(
        {"note": note("CannotJudge", 100), "probes": OTHERS},
        deletes="other before",
        says="CannotJudge: as before",
        keeps_note=True,
        looks_again=RETRY_SECONDS - 100,
    ),
    "there was no room, it is tried again": Row(
        {"note": note("CannotJudge", RETRY_SECONDS), "probes": OTHERS},
        does="starts",
        deletes="other before",
        says="CannotJudge: as before",
        keeps_note=True,
    ),
    "there was no room, and no server is ready": Row(
        {"note": note("CannotJudge", RETRY_SECONDS), "servers": ()},
        says="CannotJudge: as before",
        keeps_note=True,
    ),
    "it has failed": Row(
        {"note": note("MeasurementFailed", 10**6)}, says="MeasurementFailed: as before", keeps_note=True
    ),
    "another workload has failed": Row({"note": note("MeasurementFailed", 1, "k")}, does="starts"),
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
