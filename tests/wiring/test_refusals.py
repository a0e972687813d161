"""What the API server refuses, or does not answer, reaches the status."""

from __future__ import annotations

from typing import Any

import pytest

from tacho_operator.core.measurement.attempts import RETRY_SECONDS
from tacho_operator.core.measurement.step import EVENT
from tacho_operator.core.names import MEASURE_AGAIN_ANNOTATION
from tacho_operator.shell import execute, reconcile as module
from tacho_operator.shell.api_errors import ApiError, Forbidden, Invalid
from tacho_operator.shell.child_backoff import WRITE_SECONDS, WRITES, Backoff
from tacho_operator.shell.taken_names import NotCollected
from tests.unit.core.measured_world import measured_world
from tests.wiring.reconciling import (
    KEY,
    Server,
    conditions,
    inspected_world,
    reconciler,
)
from tools.harness.pod_states import container_state
from tools.harness.world import World


@pytest.mark.parametrize(
    "kind", ["ConfigMap", "ControllerRevision", "NetworkPolicy", "Service", "Deployment"]
)
async def test_a_child_that_is_refused_reaches_the_status_at_once_and_holds_up_no_other(kind: str) -> None:
    server = Server(inspected_world())
    server.refuses, server.forbids = False, kind
    server.error = Invalid(422, f'{kind} "x" is invalid: spec.a: Invalid value')
    delay = await reconciler(server)(KEY)
    assert delay is not None, "no event tells that a policy was changed"
    assert delay <= module.REFUSED_RETRY_SECONDS
    assert conditions(server)["Stalled"][:2] == ("True", "InvalidConfig")
    assert "spec.a" in conditions(server)["Stalled"][2]
    assert conditions(server)["Reconciling"][:2] == ("False", "Failed")
    assert server.created[-1] != "NetworkPolicy", "the children after it are made"


@pytest.mark.parametrize(
    ("endpoint", "starts"), [(None, True), ({}, True), ({"allowedNamespaces": []}, False)]
)
async def test_pods_for_some_namespaces_do_not_start_open_to_all(
    endpoint: dict[str, list[str]] | None, starts: bool
) -> None:
    world = inspected_world()
    if endpoint is not None:
        world.raw["spec"]["endpoint"] = endpoint
    server = Server(world)
    server.refuses, server.forbids = False, "NetworkPolicy"
    for _ in range(2):
        await reconciler(server)(KEY)
        assert ("Deployment" in server.created) is starts
        assert conditions(server)["Stalled"][0] == "True"
        assert ("No pod starts without the policy" in conditions(server)["Stalled"][2]) is not starts
        world.raw["status"] = server.status
    server.forbids = ""
    await reconciler(server)(KEY)
    assert "Deployment" in server.created


@pytest.mark.parametrize(
    ("allowed", "policy", "words"),
    [
        ([], "deleted", "Every namespace reaches the pods: NetworkPolicy smol is missing"),
        ([], "changed", "endpoint.allowedNamespaces is not in force: a change of NetworkPolicy smol"),
        (None, "deleted", ""),
    ],
)
async def test_pods_that_serve_open_to_all_go_on_and_the_status_names_it(
    allowed: list[str] | None, policy: str, words: str
) -> None:
    world = World(resourceVersion="1")
    world.come_up()
    if allowed is not None:
        world.raw["spec"]["endpoint"] = {"allowedNamespaces": allowed}
    world.reconcile()
    if policy == "deleted":
        del world.objects["NetworkPolicy", "smol"]
    else:
        world.objects["NetworkPolicy", "smol"]["spec"]["ingress"] = [{}]
    server = Server(world)
    server.refuses, server.forbids, server.forbids_changes = False, "NetworkPolicy", True
    server.error = Forbidden(403, "admission webhook w denied the request: no")
    await reconciler(server)(KEY)
    assert conditions(server)["Ready"][:2] == ("True", "Serving")
    assert conditions(server)["Stalled"][:2] == ("True", "AdmissionDenied")
    for kind in ("Ready", "Stalled"):
        assert words in conditions(server)[kind][2]
    assert "NetworkPolicy/smol: admission webhook w denied" in conditions(server)["Stalled"][2]
    server.forbids, world.raw["status"] = "", server.status
    await reconciler(server)(KEY)
    assert conditions(server)["Ready"][2] == "1 of 1 replicas serve."
    assert conditions(server)["Stalled"][0] == "False"


async def test_pods_that_exist_are_as_many_as_asked_while_the_policy_that_closes_them_is_refused() -> None:
    world = World(resourceVersion="1")
    world.raw["spec"]["endpoint"] = {"allowedNamespaces": []}
    world.come_up()
    world.reconcile()
    del world.objects["NetworkPolicy", "smol"]
    world.raw["spec"]["replicas"] = 2
    server = Server(world)
    server.refuses, server.forbids = False, "NetworkPolicy"
    await reconciler(server)(KEY)
    assert server.refused
    assert "Deployment" in server.applied


@pytest.mark.parametrize(
    ("missing", "ready", "tries"),
    [("NetworkPolicy", "True", module.UNANSWERED_TRIES), ("Service", "False", 1)],
)
async def test_silence_is_told_after_three_tries_and_ready_goes_with_the_service_alone(
    missing: str, ready: str, tries: int
) -> None:
    """Without a Service nothing serves: that is told at once."""
    world = World(resourceVersion="1")
    world.come_up()
    world.reconcile()
    del world.objects[missing, "smol"]
    server = Server(world)
    server.refuses, server.forbids = False, missing
    server.error = ApiError(503, "overloaded", retry_after_seconds=7.0)
    reconcile = reconciler(server)
    for attempt in range(1, 5):
        with pytest.raises(ApiError) as raised:
            await reconcile(KEY)
        assert raised.value.retry_after_seconds == 7.0, "the queue waits for as long as was asked"
        told = bool(server.status) and conditions(server)["Reconciling"][1] == "Retrying"
        assert told is (attempt >= tries)
        assert not server.status or conditions(server)["Ready"][0] == ready
    assert "overloaded" in conditions(server)["Reconciling"][2]
    server.forbids, world.raw["status"] = "", server.status
    await reconcile(KEY)
    assert conditions(server)["Reconciling"][1] != "Retrying"


async def test_a_pass_that_ends_before_its_last_write_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ready was True by the pods, with no Service that leads to them."""
    world = World(resourceVersion="1")
    world.come_up()
    world.reconcile()
    del world.objects["Service", "smol"]
    server = Server(world)
    server.refuses = False
    reconcile = reconciler(server)
    monkeypatch.setattr(execute, "PASS_SECONDS", -1.0)
    delay = await reconcile(KEY)
    assert delay is not None
    assert delay <= module.STALE_RETRY_SECONDS
    assert "Service" not in server.created
    assert conditions(server)["Ready"][0] == "False"
    assert conditions(server)["Reconciling"][1] == "Retrying"
    assert "The write of Service smol is not done." in conditions(server)["Reconciling"][2]
    monkeypatch.undo()
    world.raw["status"] = server.status
    await reconcile(KEY)
    assert "Service" in server.created
    assert (conditions(server)["Ready"][0], conditions(server)["Reconciling"][1]) == ("True", "Settled")


async def test_children_of_a_deleted_resource_are_looked_for_again_within_seconds() -> None:
    """They may go at any moment: a back-off of minutes would put the new ones off."""
    world = World(resourceVersion="1")
    world.come_up()
    world.reconcile()
    former = world.objects.pop(("Service", "smol"))
    server = Server(world)
    server.refuses, server.forbids = False, "Service"
    server.error = NotCollected(former)
    reconcile = reconciler(server)
    delays = [await reconcile(KEY) for _ in range(12)]
    assert delays[0] == 1.0
    assert max(delay or 0.0 for delay in delays) == module.COLLECTION_RETRY_SECONDS == 8.0
    told = conditions(server)["Reconciling"]
    assert told[1] == "Retrying"
    assert "Service smol of a deleted resource is not garbage-collected yet" in told[2]
    # A finalizer may hold such a child for hours: 2 ** 1,024 is no float.
    reconcile._unanswered[KEY] = 5000
    assert await reconcile(KEY) == module.COLLECTION_RETRY_SECONDS
    kept = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["example.com/late"]}
    server.error = NotCollected({**former, "metadata": {**former["metadata"], **kept}})
    assert await reconcile(KEY) == 64.0, "150 that finalizers kept took 61 requests a second"


async def test_a_child_that_is_changed_after_each_write_is_written_slowly() -> None:
    world = World(resourceVersion="1")
    world.come_up()
    world.reconcile()
    server, now = Server(world), 0.0
    server.refuses = False
    reconcile = reconciler(server)
    reconcile._backoff = Backoff(lambda: now)
    world.objects["Service", "smol"]["spec"]["selector"] = {"app": "theirs"}
    delays = [await reconcile(KEY) for _ in range(WRITES + 10)]
    assert server.applied.count("Service") == WRITES
    assert delays[-1] == WRITE_SECONDS
    now = WRITE_SECONDS
    await reconcile(KEY)
    assert server.applied.count("Service") == WRITES + 1


@pytest.mark.parametrize(
    ("error", "pauses"),
    [
        (Invalid(500, "etcdserver: request is too large"), True),
        (Invalid(422, 'NetworkPolicy "x" is invalid: spec.a: Invalid value'), True),
        (Invalid(422, "ValidatingAdmissionPolicy 'p' denied request: no"), False),
        (Forbidden(403, 'services "x" is forbidden: exceeded quota: few'), False),
    ],
)
async def test_what_stays_invalid_is_tried_after_pauses_that_double(error: ApiError, pauses: bool) -> None:
    world = World(resourceVersion="1")
    world.come_up()
    world.reconcile()
    server, now = Server(world), 0.0
    del world.objects["NetworkPolicy", "smol"]
    server.refuses, server.forbids, server.error = False, "NetworkPolicy", error
    reconcile = reconciler(server)
    reconcile._backoff = Backoff(lambda: now)
    for tries, pause in enumerate((30.0, 60.0, 120.0, 240.0, 300.0, 300.0), 1):
        for _ in range(3):
            await reconcile(KEY)
            assert conditions(server)["Stalled"][0] == "True"
        assert server.refused == (tries if pauses else 3 * tries)
        now += pause
    server.refused = 0
    world.raw["spec"]["endpoint"] = {"allowedNamespaces": ["other"]}
    world.raw["metadata"]["generation"] = world.raw["metadata"].get("generation", 0) + 1
    now -= 1
    await reconcile(KEY)
    assert server.refused == 1, "another spec is tried at once"


async def test_a_pass_that_was_too_long_goes_on_in_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tacho_operator.shell.execute.PASS_SECONDS", -1.0)
    world = World(resourceVersion="1")
    world.raw["status"] = {"observedGeneration": 1}
    server = Server(world)
    server.refuses = False
    reconcile = reconciler(server)
    assert await reconcile(KEY) == module.STALE_RETRY_SECONDS
    assert not server.created


class NotedEvents(Server):
    """Keeps the reasons of events."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.posted: list[str] = []

    async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        if manifest["kind"] == "Event":
            self.posted.append(manifest["reason"])
        return await super().create(manifest)


async def test_what_a_refused_note_should_keep_is_told_once_it_is_kept() -> None:
    """A tenant's webhook refused the note: each reconcile told the same again."""
    world = measured_world()
    world.raw["metadata"] |= {"resourceVersion": "1", "annotations": {MEASURE_AGAIN_ANNOTATION: "1"}}
    world.reconcile(1)
    for tries in (1, 2):
        (probe,) = world.pods("probe")
        container_state(probe, state={"terminated": {"exitCode": 1, "message": "out of memory"}})
        probe["status"]["phase"] = "Failed"
        if tries == 1:
            world.reconcile(5)
            world.reconcile(RETRY_SECONDS)
    server = NotedEvents(world)
    server.refuses, server.forbids, server.forbids_changes = False, "ConfigMap", True
    reconcile = reconciler(server)
    for _ in range(3):
        await reconcile(KEY)
        world.raw["status"] = server.status
    assert server.posted.count(EVENT) == 0
    assert "smol-live" in conditions(server)["Stalled"][2]
    server.forbids = ""
    await reconcile(KEY)
    assert server.posted.count(EVENT) == 1
