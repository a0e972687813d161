"""Figures that there are and that are taken again: provisional ones, and those that somebody asks for."""

from __future__ import annotations

from typing import Any

import pytest

from tacho_contract.report import Report
from tacho_operator.core import names
from tacho_operator.core.measurement.attempts import (
    PROVISIONAL_RETRY_SECONDS,
)
from tacho_operator.core.pods.view import PodView
from tests.unit.core.remeasuring import (
    ASKED,
    CLEAN,
    DISABLED,
    MOVED,
    OLD_MOVED,
    Row,
    assert_step,
    note,
    pod,
    report,
    step,
)
from tools.harness.world import World

ROWS: dict[str, Row] = {
    "figures are provisional": Row({"measurements": (MOVED,)}, looks_again=PROVISIONAL_RETRY_SECONDS - 100),
    "figures are provisional for a while": Row({"measurements": (OLD_MOVED,)}, does="starts"),
    "figures are provisional, and no server is ready": Row(
        {"measurements": (OLD_MOVED,), "servers": (pod("server"),)}
    ),
    "figures are provisional and measuring is disabled": Row(
        {"measurements": (OLD_MOVED,), "live": DISABLED}
    ),
    "figures of old are provisional": Row(
        {"measurements": (OLD_MOVED.model_copy(update={"state": "Stale"}),)}
    ),
    "it was disturbed as well": Row(
        {
            "measurements": (OLD_MOVED,),
            "probes": (pod("probe"),),
            "reports": {"probe": report("Complete", flags=("Contended",))},
        },
        deletes="probe",
        keeps_note=True,
        looks_again=PROVISIONAL_RETRY_SECONDS,
    ),
    "it was disturbed a while ago": Row(
        {"measurements": (OLD_MOVED,), "note": note("MeasurementProvisional", 100, tries=2)},
        keeps_note=True,
        looks_again=2 * PROVISIONAL_RETRY_SECONDS - 100,
    ),
    "it was disturbed, and it is time again": Row(
        {
            "measurements": (OLD_MOVED,),
            "note": note("MeasurementProvisional", 2 * PROVISIONAL_RETRY_SECONDS, tries=2),
        },
        does="starts",
        keeps_note=True,
    ),
    "the second measurement was clean": Row(
        {"measurements": (CLEAN,), "probes": (pod("probe"),)}, deletes="probe"
    ),
    "somebody asks": Row({"resource": ASKED, "measurements": (CLEAN,)}, does="starts"),
    "somebody asked before": Row({"resource": ASKED, "answered": "now", "measurements": (CLEAN,)}),
    "somebody asks while nothing serves": Row(
        {"resource": ASKED, "measurements": (CLEAN,), "servers": ()},
        says="CannotJudge: A probe pod starts only while a serving pod is ready",
    ),
    "somebody asks where it had failed": Row(
        {"resource": ASKED, "measurements": (CLEAN,), "note": note("MeasurementFailed", 1)}, does="starts"
    ),
    "somebody asks while there is a pause": Row(
        {"resource": ASKED, "measurements": (OLD_MOVED,), "note": note("MeasurementProvisional", 1, tries=9)},
        does="starts",
    ),
    "what somebody asked for was disturbed": Row(
        {
            "resource": ASKED,
            "measurements": (CLEAN,),
            "probes": (pod("probe"),),
            "reports": {"probe": report("Complete", flags=("OtherTraffic",))},
        },
        deletes="probe",
        keeps_note=True,
        looks_again=PROVISIONAL_RETRY_SECONDS,
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


def test_a_request_is_answered_so_as_well_where_the_server_itself_got_nothing() -> None:
    """What is due is then a first measurement, and it is a requested one nonetheless."""

    def answered(probe: PodView, probed: Report, before: str = "") -> str:
        reports = {"server": report("Failed"), "probe": probed}
        fields = {"probes": (probe,), "reports": reports, "note": before}
        return step(resource=ASKED, answered="before", **fields).answered

    assert answered(pod("probe"), report("Complete")) == "now"
    crashed, crashes = pod("probe", phase="Succeeded"), note("CannotJudge", 1, request="now", crashes=1)
    assert answered(crashed, report()) == "before"
    assert answered(crashed, report(), crashes) == "now"


@pytest.mark.parametrize(
    ("state", "reason"), [("Complete", "MeasurementComplete"), ("Failed", "MeasurementFailed")]
)
def test_a_request_is_answered_once_where_the_server_itself_got_nothing(state: str, reason: str) -> None:
    """The annotation did nothing, although the page of conditions says that it starts another attempt."""
    world = World()
    world.first_pods()
    world.serves(world.pods("server")[0], state="Failed", message="no level was steady")
    world.reconcile(20)
    assert world.brief("Measured") == ("False", "MeasurementFailed")
    world.raw["metadata"]["annotations"] = {names.MEASURE_AGAIN_ANNOTATION: "now"}
    world.reconcile(1)
    (probe,) = world.pods("probe")
    world.serves(probe, state=state)
    for _ in range(3):
        world.reconcile(20)
    assert world.brief("Measured")[1] == reason
    assert not world.pods("probe")
    assert world.brief("Reconciling") == ("False", "Settled")


def test_a_request_beside_a_candidate_is_told_to_wait_for_it() -> None:
    """Nothing was said of it, for as long as the candidate found no node."""
    world = World()
    world.come_up()
    world.roll_out()
    world.raw["metadata"]["annotations"] = {names.MEASURE_AGAIN_ANNOTATION: "now"}
    world.reconcile(1)
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    assert world.condition("Measured")["message"].endswith(
        "The requested measurement is not done yet. Details: The requested measurement begins once the "
        "revision of the present spec serves."
    )
    assert world.brief("Reconciling") == ("True", "RollingOut")
    world.settle(world.serve_all)
    assert "not done yet" not in world.condition("Measured")["message"]


def test_a_request_beside_a_candidate_is_no_matter_where_measuring_is_disabled() -> None:
    world = World()
    world.come_up()
    world.change(probe={"policy": "Disabled"})
    world.reconcile(1)
    world.serves(world.pods("server")[0])  # it measured all the same
    world.roll_out()
    world.raw["metadata"]["annotations"] = {names.MEASURE_AGAIN_ANNOTATION: "now"}
    world.reconcile(1)
    assert world.brief("Reconciling") == ("True", "RollingOut")
    assert world.brief("Measured") == ("True", "MeasurementComplete")
    assert "requested measurement" not in world.condition("Measured")["message"]
