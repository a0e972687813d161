"""Children of a deleted resource whose name is used again: awaited for a while, then taken over."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

import pytest

from tacho_contract.units import format_time
from tacho_operator.core.types import Observed, ReconcileDecision
from tacho_operator.shell.api_errors import Conflict
from tacho_operator.shell.bounded_reading import METADATA_ONLY
from tacho_operator.shell.drift import Rewrites
from tacho_operator.shell.execute import COLLECTION_SECONDS, ExecuteResult, NotCollected, execute
from tacho_operator.shell.kube import Kube
from tools.harness.resources import NOW


def child(kind: str, owner_uid: str, **metadata: Any) -> dict[str, Any]:
    owner = {"apiVersion": "tacho.dev/v1alpha1", "kind": "LLMDeployment", "name": "demo", "uid": owner_uid}
    own = {"name": "child", "namespace": "team", "ownerReferences": [{**owner, "controller": True}]}
    return {"apiVersion": "v1", "kind": kind, "metadata": {**own, **metadata}}


def decision_of(desired: dict[str, Any]) -> ReconcileDecision:
    return ReconcileDecision(status=None, reason="", now=NOW, apply=(desired,))


def observed(raw: dict[str, Any]) -> Observed:
    return Observed(raw=raw, resource=cast(Any, None))


class Server:
    """Holds one child; keeps what is asked of it."""

    def __init__(self, held: dict[str, Any]) -> None:
        self.held, self.requests = held, list[str]()

    async def create(self, manifest: dict[str, Any]) -> None:
        raise Conflict(409, "already exists")

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        return self.held

    async def apply(self, manifest: dict[str, Any], *, uid: str, manager: str) -> dict[str, Any]:
        self.requests.append(f"apply {uid}")
        return manifest

    async def delete(self, kind: str, namespace: str, name: str, *, uid: str) -> None:
        self.requests.append(f"delete {uid}")


RAW = {"metadata": {"name": "demo", "namespace": "team", "uid": "now", "creationTimestamp": None}}


@pytest.mark.parametrize("clock_error", [timedelta(hours=-2), timedelta(0), timedelta(hours=2)])
@pytest.mark.parametrize(
    ("kind", "waited_seconds", "metadata", "requests"),
    [
        ("ConfigMap", COLLECTION_SECONDS - 1, {}, []),
        ("ConfigMap", COLLECTION_SECONDS, {}, ["apply old"]),
        ("Service", COLLECTION_SECONDS, {}, ["apply old"]),
        ("Pod", COLLECTION_SECONDS, {}, ["delete old"]),
        ("ControllerRevision", COLLECTION_SECONDS, {}, ["delete old"]),
        ("ConfigMap", COLLECTION_SECONDS, {"deletionTimestamp": format_time(NOW)}, []),
    ],
)
async def test_a_former_child_is_awaited_then_taken_over(
    kind: str, waited_seconds: float, metadata: dict[str, Any], requests: list[str], clock_error: timedelta
) -> None:
    server = Server(child(kind, "former", uid="old", **metadata))
    raw = {"metadata": {**RAW["metadata"], "creationTimestamp": format_time(NOW + clock_error)}}
    decision = decision_of(child(kind, "now"))
    clock = [5.0]
    rewrites = Rewrites(lambda: clock[0])
    outcome = await execute(cast(Kube, server), observed(raw), decision, rewrites)
    assert isinstance(outcome.error, NotCollected)
    assert server.requests == []
    clock[0] += waited_seconds
    outcome = await execute(cast(Kube, server), observed(raw), decision, rewrites)
    assert server.requests == requests
    assert (outcome.error is None) == bool(requests)


async def test_a_later_resource_of_the_name_waits_anew() -> None:
    server = Server(child("ConfigMap", "former", uid="old"))
    clock = [5.0]
    rewrites = Rewrites(lambda: clock[0])
    await execute(cast(Kube, server), observed(RAW), decision_of(child("ConfigMap", "now")), rewrites)
    clock[0] += COLLECTION_SECONDS
    later = {"metadata": {**RAW["metadata"], "uid": "later"}}
    await execute(cast(Kube, server), observed(later), decision_of(child("ConfigMap", "later")), rewrites)
    assert server.requests == []


def test_of_a_deleted_resource_no_wait_is_kept() -> None:
    clock = [5.0]
    rewrites = Rewrites(lambda: clock[0])
    rewrites.uncollected_seconds(("team", "demo"), "now")
    clock[0] += COLLECTION_SECONDS
    assert rewrites.uncollected_seconds(("team", "demo"), "now") == COLLECTION_SECONDS
    rewrites.forget(("team", "demo"))
    assert rewrites.uncollected_seconds(("team", "demo"), "now") == 0.0


async def test_another_owners_object_is_never_taken_over() -> None:
    held = child("ConfigMap", "former", uid="old")
    held["metadata"]["ownerReferences"][0]["name"] = "other"
    server = Server(held)
    raw = {"metadata": {"name": "demo", "namespace": "team", "uid": "now", "creationTimestamp": None}}
    raw["metadata"]["creationTimestamp"] = format_time(NOW - timedelta(hours=1))
    decision = decision_of(child("ConfigMap", "now"))
    outcome = await execute(cast(Kube, server), observed(raw), decision, Rewrites())
    assert server.requests == []
    assert [refusal.taken for refusal in outcome.refusals] == [True]


async def test_an_own_child_that_a_user_hid_from_the_store_is_written_over_or_told() -> None:
    """References to owners that were too long to be read hid a Service that led elsewhere: Ready stayed."""
    desired = {**child("Service", "now"), "spec": {"selector": {"app": "ours"}}}
    live = {**desired, "metadata": {**desired["metadata"], "uid": "live"}}

    async def carried_out(held: dict[str, Any]) -> tuple[list[str], ExecuteResult]:
        server = Server(held)
        done = await execute(cast(Kube, server), observed(RAW), decision_of(desired), Rewrites(lambda: 0.0))
        return server.requests, done

    requests, done = await carried_out(live)
    assert (requests, done.writes) == ([], 0), "the store is late"
    requests, done = await carried_out({**live, "spec": {"selector": {"app": "theirs"}}})
    assert (requests, done.writes, done.refusals) == (["apply live"], 1, ())
    requests, done = await carried_out({"metadata": live["metadata"], METADATA_ONLY: "it is too long"})
    (refusal,) = done.refusals
    assert (requests, refusal.kind, refusal.invalid) == ([], "Service", True)
    assert "it cannot be read: it is too long" in refusal.message
