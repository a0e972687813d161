"""Refusals that no status reports, as what was decided goes on without them: they are events."""

from __future__ import annotations

import pytest

from tacho_operator.core.children import VICTIM_COST
from tacho_operator.core.names import DELETION_COST_ANNOTATION
from tacho_operator.shell.api_errors import ApiError, Forbidden, Invalid
from tacho_operator.shell.former_children import COLLECTION_SECONDS
from tests.wiring.reconciling import KEY, Ordered, reconciler
from tests.wiring.test_lost_ready import lost
from tests.wiring.uncollected import Cluster, child


@pytest.mark.parametrize("error", [Forbidden(403, "denied by policy p"), Invalid(422, "denied by policy p")])
async def test_a_refused_deletion_is_told_at_the_resource_of_the_name(error: ApiError) -> None:
    """What held the GPUs that it waited for was told nowhere but in the log."""
    cluster = Cluster(child("Service", "bad"), child("ConfigMap", "bad too"), child("Service", "good"))
    cluster.errors = {"delete bad": error, "delete bad too": error}
    await cluster.rounds(COLLECTION_SECONDS)
    ((uid, reason, message),) = cluster.events
    assert (uid, reason) == ("now", "AdmissionDenied")
    assert "of a deleted resource of this name stays" in message
    assert "denied by policy p" in message
    await cluster.rounds(3600)
    assert 5 < len(cluster.events) < 20, "each try would be an event"


async def test_what_may_not_be_read_is_not_told_to_be_of_a_deleted_resource() -> None:
    cluster = Cluster(child("Service", "bad"))
    cluster.errors["delete"] = Forbidden(403, "denied by policy p")
    await cluster.rounds(COLLECTION_SECONDS)
    assert len(cluster.events) == 1
    cluster.errors["get"] = Forbidden(403, 'services "bad" is forbidden: User "tacho" cannot get resource')
    await cluster.rounds(3600)
    assert len(cluster.events) == 1


async def test_a_failure_that_may_pass_is_no_event() -> None:
    cluster = Cluster(child("Service", "bad"))
    cluster.errors["delete bad"] = ApiError(503, "no")
    await cluster.rounds(3600)
    assert cluster.events == []


async def test_where_the_resource_of_the_name_has_gone_meanwhile_the_other_children_are_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def ask(verb: str, kind: str, name: str) -> None:
        if verb == "delete" and name.startswith("bad"):
            cluster.store.remove("LLMDeployment", "team", "demo")
            raise Forbidden(403, "denied by policy p")
        ask_(verb, kind, name)

    cluster = Cluster(*(child("Service", name) for name in ("bad", "bad too", "good")))
    ask_ = cluster._ask
    monkeypatch.setattr(cluster, "_ask", ask)
    assert await cluster.rounds(COLLECTION_SECONDS) == ["delete Service good"]
    assert cluster.events == []


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
