"""Figures that there are and that are taken again: provisional ones, and those that somebody asks for."""

from __future__ import annotations

from typing import Any

import pytest

from tacho_operator.core import names
from tacho_operator.core.measurement.attempts import (
    PROVISIONAL_RETRY_SECONDS,
)
from tests.unit.core.remeasuring import (
    ASKED,
    CLEAN,
    DISABLED,
    MOVED,
    OLD_MOVED,
    SPEC,
    Row,
    assert_step,
    note,
    pod,
    report,
    step,
)
from tools.harness.resources import resource

ROWS: dict[str, Row] = {
    "figures are provisional": (
        {"measurements": (MOVED,)},
        "",
        "",
        "",
        False,
        PROVISIONAL_RETRY_SECONDS - 100,
    ),
    "figures are provisional for a while": ({"measurements": (OLD_MOVED,)}, "starts", "", "", False, None),
    "figures are provisional, and no server is ready": (
        {"measurements": (OLD_MOVED,), "servers": (pod("server"),)},
        "",
        "",
        "",
        False,
        None,
    ),
    "figures are provisional and measuring is disabled": (
        {"measurements": (OLD_MOVED,), "live": DISABLED},
        "",
        "",
        "",
        False,
        None,
    ),
    "figures of old are provisional": (
        {"measurements": (OLD_MOVED.model_copy(update={"state": "Stale"}),)},
        "",
        "",
        "",
        False,
        None,
    ),
    "it was disturbed as well": (
        {
            "measurements": (OLD_MOVED,),
            "probes": (pod("probe"),),
            "reports": {"probe": report("Complete", flags=("Contended",))},
        },
        "",
        "probe",
        "",
        True,
        PROVISIONAL_RETRY_SECONDS,
    ),
    "it was disturbed a while ago": (
        {"measurements": (OLD_MOVED,), "note": note("MeasurementProvisional", 100, tries=2)},
        "",
        "",
        "",
        True,
        2 * PROVISIONAL_RETRY_SECONDS - 100,
    ),
    "it was disturbed, and it is time again": (
        {
            "measurements": (OLD_MOVED,),
            "note": note("MeasurementProvisional", 2 * PROVISIONAL_RETRY_SECONDS, tries=2),
        },
        "starts",
        "",
        "",
        True,
        None,
    ),
    "the second measurement was clean": (
        {"measurements": (CLEAN,), "probes": (pod("probe"),)},
        "",
        "probe",
        "",
        False,
        None,
    ),
    "somebody asks": ({"resource": ASKED, "measurements": (CLEAN,)}, "starts", "", "", False, None),
    "somebody asked before": (
        {"resource": ASKED, "answered": "now", "measurements": (CLEAN,)},
        "",
        "",
        "",
        False,
        None,
    ),
    "somebody asks where it had failed": (
        {"resource": ASKED, "measurements": (CLEAN,), "note": note("MeasurementFailed", 1)},
        "starts",
        "",
        "",
        False,
        None,
    ),
    "somebody asks while there is a pause": (
        {"resource": ASKED, "measurements": (OLD_MOVED,), "note": note("MeasurementProvisional", 1, tries=9)},
        "starts",
        "",
        "",
        False,
        None,
    ),
    "what somebody asked for was disturbed": (
        {
            "resource": ASKED,
            "measurements": (CLEAN,),
            "probes": (pod("probe"),),
            "reports": {"probe": report("Complete", flags=("OtherTraffic",))},
        },
        "",
        "probe",
        "",
        True,
        PROVISIONAL_RETRY_SECONDS,
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_figures_that_are_taken_again(row: str) -> None:
    assert_step(ROWS[row])


def test_a_request_is_answered_by_clean_figures_or_by_two_crashes() -> None:
    def answered(**fields: Any) -> str:
        return step(resource=ASKED, measurements=(CLEAN,), answered="before", **fields).answered

    mine = {"probes": (pod("probe"),)}
    assert answered() == "before"
    assert answered(**mine) == "before"
    assert answered(**mine, reports={"probe": report("Complete", flags=("Contended",))}) == "before"
    assert answered(**mine, reports={"probe": report("Complete")}) == "now"
    assert answered(**mine, reports={"probe": report("Failed")}) == "now"
    crashed = (pod("probe", phase="Succeeded"),)
    assert answered(probes=crashed) == "before"
    assert answered(probes=crashed, note=note("CannotJudge", 1, request="now", crashes=1)) == "now"
    assert answered(probes=crashed, note=note("CannotJudge", 1, request="other", crashes=1)) == "before"


def test_what_a_serving_pod_is_to_answer_starts_no_throwaway_pod() -> None:
    disrupting = resource(SPEC, annotations={names.MEASURE_AGAIN_ANNOTATION: "disrupt-1"})
    found = step(resource=disrupting, measurements=(CLEAN,), answered="before")
    assert (found.apply, found.answered) == ((), "before")
