"""Children of a deleted resource whose name is used again: left to the collector, and later deleted."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import Any, cast

import pytest

from tacho_operator.shell import former_children
from tacho_operator.shell.api_errors import ApiError, Conflict, Forbidden, Missing
from tacho_operator.shell.former_children import (
    COLLECTION_SECONDS,
    EMPTYING_SECONDS,
    KINDS,
    LONGEST_PAUSE_SECONDS,
    PERIOD_SECONDS,
    ROUND_LIMIT,
    keep_due,
)
from tacho_operator.shell.store import objects
from tacho_operator.shell.store.objects import ORPHANS_STEP
from tacho_operator.shell.store.store import Orphan, Store
from tests.wiring.uncollected import Cluster, Manifest, child, owner, unreadable

OTHERS = [kind for kind in KINDS if kind != "Deployment"]


@pytest.mark.parametrize("kind", OTHERS)
async def test_a_former_child_is_left_to_the_collector_and_then_deleted(kind: str) -> None:
    cluster = Cluster(child(kind))
    assert await cluster.rounds(COLLECTION_SECONDS - PERIOD_SECONDS) == []
    assert await cluster.rounds(PERIOD_SECONDS) == [f"delete {kind} demo-{kind.lower()}"]


async def test_nothing_that_a_resource_of_the_name_makes_is_waited_for() -> None:
    """Where the successor is refused, or cannot be decided about, it writes no child."""
    cluster = Cluster(*map(child, OTHERS))
    assert len(await cluster.rounds(COLLECTION_SECONDS)) == len(OTHERS)
    assert set(cluster.objects) == {("LLMDeployment", "team", "demo")}


LEFT: dict[str, Callable[[], list[Manifest]]] = {
    "of the live resource": lambda: [child("Service", "s", owner("now"))],
    "of another resource": lambda: [child("Service", "s", owner("former", name="other"))],
    "of another kind": lambda: [child("Service", "s", owner("former", kind="Deployment"))],
    "of another group": lambda: [child("Service", "s", owner("former", apiVersion="other.dev/v1"))],
    "of a group that begins alike": lambda: [child("Service", "s", owner("f", apiVersion="tacho.devil/v1"))],
    "without a controller": lambda: [child("Service", "s", owner("former", controller=False))],
    "without an owner": lambda: [child("Service", "s", owner("former"), ownerReferences=[])],
    "with another owner beside": lambda: [child("Service", "s", owner("f"), owner("now", controller=False))],
    "being deleted": lambda: [child("Service", deletionTimestamp="2026-11-26T04:00:00Z")],
    "without the label": lambda: [child("Service", labels={})],
    "with the label of a resource that is not": lambda: [
        child("Service", "s", owner("f", name="gone"), labels={"tacho.dev/deployment": "gone"})
    ],
    "a pod of a ReplicaSet": lambda: [
        child("Pod", "p", owner("rs", apiVersion="apps/v1", kind="ReplicaSet"))
    ],
    "a ReplicaSet": lambda: [child("ReplicaSet")],
    "in another namespace": lambda: [child("Service", namespace="elsewhere")],
}


@pytest.mark.parametrize("left", LEFT)
async def test_what_is_no_former_child_is_left(left: str) -> None:
    cluster = Cluster(*LEFT[left]())
    assert await cluster.rounds(4 * COLLECTION_SECONDS) == []
    assert bool(cluster.reads) is ("beside" in left), "the store has the controller alone"


@pytest.mark.parametrize("uid", ["former", ""])
async def test_the_live_resource_decides_where_the_store_is_late(uid: str) -> None:
    cluster = Cluster(child("Service"))
    if uid:
        cluster.live("LLMDeployment", "demo")["metadata"]["uid"] = uid
    else:
        del cluster.objects["LLMDeployment", "team", "demo"]
    assert await cluster.rounds(4 * COLLECTION_SECONDS) == []


async def test_children_of_every_former_resource_go_where_it_was_made_anew_twice() -> None:
    """The store still has the second one."""
    cluster = Cluster(child("Service"), child("ConfigMap", "third", owner("third")), uid="second")
    cluster.live("LLMDeployment", "demo")["metadata"]["uid"] = "third"
    assert await cluster.rounds(COLLECTION_SECONDS) == ["delete Service demo-service"]
    assert await cluster.rounds(4 * COLLECTION_SECONDS) == []


@pytest.mark.parametrize(
    "change",
    [
        {"ownerReferences": [owner("now")]},
        {"ownerReferences": [owner("former"), owner("x", kind="Job", controller=False)]},
        {"ownerReferences": [owner("former", controller=False)]},
        {"uid": "another"},
        {"deletionTimestamp": "2026-11-26T04:00:00Z"},
        {"labels": {"tacho.dev/deployment": "other"}},
    ],
    ids=["adopted", "owned twice", "not controlled", "replaced", "being deleted", "renamed"],
)
async def test_the_live_child_decides_where_the_store_is_late(
    change: Manifest, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = Cluster(child("Service"))
    cluster.live("Service", "demo-service")["metadata"].update(change)
    assert await cluster.rounds(4 * COLLECTION_SECONDS) == []
    assert not caplog.records


async def test_a_child_that_vanished_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster(child("Service"))
    del cluster.objects["Service", "team", "demo-service"]
    assert await cluster.rounds(COLLECTION_SECONDS) == []
    assert not caplog.records


@pytest.mark.parametrize("status", [{"replicas": 2}, {}], ids=["with pods", "without pods yet"])
async def test_a_deployment_is_emptied_first_and_deleted_once_its_pods_are_gone(status: Manifest) -> None:
    cluster = Cluster({**child("Deployment"), "status": status})
    assert await cluster.rounds(COLLECTION_SECONDS) == ["apply Deployment demo-deployment"]
    live = cluster.live("Deployment", "demo-deployment")
    assert live["spec"]["replicas"] == 0
    live["metadata"]["generation"], live["status"] = 2, {"observedGeneration": 2, "replicas": 1}
    assert await cluster.rounds(2 * PERIOD_SECONDS) == [], "a pod is there"
    live["status"] = {"observedGeneration": 1}
    assert await cluster.rounds(2 * PERIOD_SECONDS) == [], "its controller has not seen that"
    live["status"] = {"observedGeneration": 2}
    assert await cluster.rounds(PERIOD_SECONDS) == ["delete Deployment demo-deployment"]


@pytest.mark.parametrize("refused", [False, True])
async def test_a_deployment_that_does_not_become_empty_is_deleted_after_a_while(refused: bool) -> None:
    cluster = Cluster(child("Deployment"))
    if refused:
        cluster.errors["apply"] = Forbidden(403, "denied")
    await cluster.rounds(COLLECTION_SECONDS)
    writes = await cluster.rounds(EMPTYING_SECONDS - PERIOD_SECONDS)
    assert "delete Deployment demo-deployment" not in writes
    assert "delete Deployment demo-deployment" in await cluster.rounds(EMPTYING_SECONDS)


async def test_a_deployment_whose_content_cannot_be_read_is_emptied_and_deleted() -> None:
    """Anyone may nest a Deployment's managedFields a thousand deep."""
    cluster = Cluster(child("Deployment", generation=2))
    unread = await unreadable(cluster.live("Deployment", "demo-deployment"))
    cluster.objects["Deployment", "team", "demo-deployment"] = {**unread, "spec": {}}
    assert await cluster.rounds(COLLECTION_SECONDS) == ["apply Deployment demo-deployment"]
    assert "delete Deployment demo-deployment" in await cluster.rounds(EMPTYING_SECONDS)


async def test_what_was_cut_may_have_another_owner_and_is_left() -> None:
    other = {"apiVersion": "<" * 720_000, "kind": "Job", "name": "j", "uid": "j"}
    cluster = Cluster(child("Service"))
    live = cluster.live("Service", "demo-service")
    live["metadata"]["ownerReferences"].append(other)
    cut = await unreadable(live)
    assert cut["metadata"]["ownerReferences"] == [owner("former")]
    cluster.objects["Service", "team", "demo-service"] = cut
    assert await cluster.rounds(4 * COLLECTION_SECONDS) == []


@pytest.mark.parametrize("error", [
    Forbidden(403, "no"), Missing(404, "no"), Conflict(409, "no"), ApiError(503, "no"),
    ApiError(0, "silence"), TimeoutError(), KeyError("uid"),
], ids=lambda error: type(error).__name__)  # fmt: skip
async def test_an_error_with_one_child_stops_no_other_and_is_retried(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = Cluster(child("Service", "bad"), child("ConfigMap"), child("Service", "good"))
    cluster.errors["bad"] = error
    await cluster.rounds(COLLECTION_SECONDS)
    assert {name for _, _, name in cluster.objects} == {"demo", "bad"}
    await cluster.rounds(COLLECTION_SECONDS)
    complaints = [record for record in caplog.records if "is not deleted yet" in record.message]
    assert len(complaints) == 1, "each try would be a line"
    cluster.errors.clear()
    assert await cluster.rounds(COLLECTION_SECONDS) == ["delete Service bad"]


async def test_a_child_that_takes_long_is_given_up_for_now(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(child("Service", "slow"), child("Service", "quick"))
    monkeypatch.setattr(former_children, "TRY_SECONDS", 0.01)
    get = cluster.get

    async def slow(kind: str, namespace: str, name: str) -> Manifest | None:
        if name == "slow":
            await asyncio.sleep(60)
        return await get(kind, namespace, name)

    monkeypatch.setattr(cluster, "get", slow)
    async with asyncio.timeout(10):
        assert await cluster.rounds(COLLECTION_SECONDS) == ["delete Service quick"]


async def test_a_deletion_that_takes_longer_than_a_first_try_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A dead webhook that is to be ignored is waited for, 10 s by default."""
    cluster = Cluster(child("Service", "slow"))
    monkeypatch.setattr(former_children, "TRY_SECONDS", 0.05)
    delete = cluster.delete

    async def slow(*place: str, uid: str, version: str) -> bool:
        await asyncio.sleep(0.12)
        return await delete(*place, uid=uid, version=version)

    monkeypatch.setattr(cluster, "delete", slow)
    assert await cluster.rounds(2 * COLLECTION_SECONDS) == ["delete Service slow"]


async def test_what_failed_is_tried_after_what_did_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each try may take longer than a round has."""
    teams = tuple(f"t{number}" for number in range(9))
    cluster = Cluster(*(child("Service", team, namespace=team) for team in teams), namespaces=teams)
    cluster.errors = {team: ApiError(0, "silence") for team in teams}
    await cluster.rounds(COLLECTION_SECONDS)
    tried: list[str] = []
    get = cluster.get

    async def noted(kind: str, namespace: str, name: str) -> Manifest | None:
        tried.append(name)
        return await get(kind, namespace, name)

    cluster.put(child("Service", "y", namespace=teams[1]))
    await cluster.loop.round()
    cluster.clock += 5 * COLLECTION_SECONDS
    monkeypatch.setattr(cluster, "get", noted)
    await cluster.loop.round()
    assert sorted(tried) == sorted([*teams, "y", "demo"])
    assert tried[0] == "y"


async def test_a_round_of_slow_answers_ends_and_the_next_one_begins_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cluster = Cluster(*(child("Service", f"s{number}") for number in range(20)))
    get = cluster.get

    async def slow(kind: str, namespace: str, name: str) -> Manifest | None:
        cluster.clock += 9
        return await get(kind, namespace, name)

    await cluster.rounds(COLLECTION_SECONDS - PERIOD_SECONDS)
    monkeypatch.setattr(cluster, "get", slow)
    assert len(await cluster.rounds(PERIOD_SECONDS)) < 5
    found = len(cluster.objects)
    await cluster.loop.round()
    assert len(cluster.objects) < found


async def test_nothing_is_deleted_where_a_watch_is_interrupted() -> None:
    cluster = Cluster(child("Service"), child("Service", namespace="other"), namespaces=("team", "other"))
    cluster.store.lost("Service", "team", "the stream broke")
    assert await cluster.rounds(2 * COLLECTION_SECONDS) == ["delete Service demo-service"]
    assert ("Service", "team", "demo-service") in cluster.objects
    cluster.store.runs("Service", "team")
    assert await cluster.rounds(0) == ["delete Service demo-service"]


async def test_a_standby_waits_too_and_deletes_nothing() -> None:
    cluster = Cluster(child("Service"))
    cluster.leads = False
    assert await cluster.rounds(2 * COLLECTION_SECONDS) == []
    cluster.leads = True
    assert await cluster.rounds(0) == ["delete Service demo-service"]


def forged(number: int, **fields: Any) -> list[Manifest]:
    return [child("ConfigMap", f"c{index}", owner(f"x{index}", **fields)) for index in range(number)]


@pytest.mark.parametrize("fields", [{}, {"kind": "Job"}], ids=["of false uids", "of other kinds"])
async def test_forged_children_hold_up_no_other_namespace(fields: Manifest) -> None:
    forgeries = forged(20 * ROUND_LIMIT, **fields)
    real = [child(kind, namespace="other") for kind in OTHERS]
    cluster = Cluster(*forgeries, *real, namespaces=("team", "other"))
    cluster.errors = {item["metadata"]["name"]: Forbidden(403, "no") for item in forgeries}
    await cluster.rounds(COLLECTION_SECONDS)
    assert not [place for place in cluster.objects if place[1] == "other" and place[0] != "LLMDeployment"]


async def test_children_that_are_refused_hold_up_no_other_of_their_namespace() -> None:
    forgeries = forged(3 * ROUND_LIMIT)
    cluster = Cluster(*forgeries, child("Service"))
    cluster.errors = {item["metadata"]["name"]: Forbidden(403, "no") for item in forgeries}
    await cluster.rounds(COLLECTION_SECONDS + 60 * PERIOD_SECONDS)
    assert ("Service", "team", "demo-service") not in cluster.objects


def test_of_those_that_are_due_the_ones_that_wait_for_longest_are_kept() -> None:
    heap: list[Any] = []
    for number in random.Random(1).sample(range(3 * ROUND_LIMIT), 3 * ROUND_LIMIT):
        keep_due(heap, (-float(number), number, cast(Orphan, None), cast(Any, None)))
    assert sorted(-due for due, *_ in heap) == [float(number) for number in range(ROUND_LIMIT)]


async def test_thousands_that_are_refused_hold_up_no_other_of_their_namespace() -> None:
    """More than are tried within the longest pause, and read before the other."""
    forgeries = forged(int(1.5 * ROUND_LIMIT * LONGEST_PAUSE_SECONDS / PERIOD_SECONDS))
    cluster = Cluster(*forgeries, child("NetworkPolicy"))
    cluster.errors = {item["metadata"]["name"]: Forbidden(403, "no") for item in forgeries}
    await cluster.rounds(COLLECTION_SECONDS + 200 * PERIOD_SECONDS)
    assert ("NetworkPolicy", "team", "demo-networkpolicy") not in cluster.objects


@pytest.mark.parametrize(
    "fields",
    [{"labels": {"tacho.dev/deployment": "other"}}, {"ownerReferences": [owner("former", kind="Job")]}],
    ids=["label", "owner"],
)
async def test_what_becomes_a_former_child_again_is_deleted(fields: Manifest) -> None:
    cluster = Cluster(child("Service", **fields))
    cluster.put({"kind": "LLMDeployment", "metadata": {
        "name": "other", "namespace": "team", "uid": "other", "resourceVersion": "1"}})  # fmt: skip
    await cluster.rounds(COLLECTION_SECONDS)
    cluster.put(child("Service", resourceVersion="2"))
    assert await cluster.rounds(COLLECTION_SECONDS) == ["delete Service demo-service"]


async def test_thousands_cost_a_round_little_and_the_event_loop_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "UNOWNED", 5 * ORPHANS_STEP)
    cluster = Cluster(*forged(5 * ORPHANS_STEP, kind="Job"))
    read: list[str] = []
    stored = Store.read

    def counted(store: Store, kind: str, name: tuple[str, str]) -> Manifest | None:
        read.append(name[1])
        return stored(store, kind, name)

    monkeypatch.setattr(Store, "read", counted)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    await cluster.loop.round()
    task.cancel()
    assert len(read) == ROUND_LIMIT
    assert turns >= ROUND_LIMIT + 5, "others run between two that are unpacked, and between steps"
    await cluster.loop.round()
    assert len(set(read)) == 2 * ROUND_LIMIT, "each is unpacked once"


async def test_a_round_is_bounded_over_all_namespaces() -> None:
    teams = ("a", "b", "c")
    crowd = [child("ConfigMap", f"c{n}", namespace=team) for n in range(60) for team in teams]
    cluster = Cluster(*crowd, namespaces=teams)
    await cluster.loop.round()
    assert len(cluster.loop._seen) == ROUND_LIMIT
    await cluster.loop.round()
    cluster.clock += COLLECTION_SECONDS
    await cluster.loop.round()
    assert len(cluster.requests) == ROUND_LIMIT


async def test_what_has_gone_is_forgotten() -> None:
    cluster = Cluster(child("Service"))
    await cluster.rounds(0)
    assert len(cluster.loop._seen) == 1
    cluster.store.remove("Service", "team", "demo-service")
    await cluster.rounds(0)
    assert cluster.loop._seen == {}


async def test_a_defect_ends_neither_the_loop_nor_goes_unseen(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = Cluster(child("Service"))
    rounds = 0

    async def broken() -> None:
        nonlocal rounds
        rounds += 1
        raise RuntimeError("a defect")

    monkeypatch.setattr(former_children, "PERIOD_SECONDS", 0.001)
    monkeypatch.setattr(cluster.loop, "round", broken)
    task = asyncio.create_task(cluster.loop.run())
    until = time.monotonic() + 10
    while rounds < 3 and time.monotonic() < until:
        await asyncio.sleep(0.001)
    assert not task.done()
    task.cancel()
    assert rounds >= 3
    assert caplog.records[0].levelno == logging.ERROR
