"""Refusals that no status reports, as what was decided goes on without them: they are events."""

from __future__ import annotations

from tacho_operator.core.children import VICTIM_COST
from tacho_operator.core.names import DELETION_COST_ANNOTATION
from tacho_operator.shell.api_errors import Forbidden
from tests.wiring.reconciling import KEY, Ordered, reconciler
from tests.wiring.test_lost_ready import lost


async def test_a_pod_that_may_not_be_marked_is_an_event() -> None:
    world = lost(service=True)
    (pod,) = world.pods("server")
    pod["metadata"] |= {
        "namespace": KEY.namespace,
        "annotations": {DELETION_COST_ANNOTATION: VICTIM_COST},
    }
    server = Ordered(world)
    server.mark_error = Forbidden(403, "denied by policy p")
    await reconciler(server)(KEY)
    notes = [item["message"] for item in server.events if item["reason"] == "AdmissionDenied"]
    assert len(notes) == 1
    assert "denied by policy p" in notes[0]
