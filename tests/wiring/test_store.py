"""The store: trimmed, indexed, told of what changed, and never older than what it has shown."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tacho_operator.shell.kube import FIELD_MANAGER, SIZE_MANAGER
from tacho_operator.shell.store import objects
from tacho_operator.shell.store.expectations import Expectation, seen
from tacho_operator.shell.store.store import later
from tacho_operator.shell.workqueue import Key
from tests.wiring.storing import KEY, own_config_map, pod, thing, told


def test_children_are_found_by_their_owner_and_forgotten_when_they_go() -> None:
    store, changes = told()
    store.put("Pod", pod("b", node="n1"))
    store.put("Pod", pod("a"))
    store.put("Pod", pod("c", owner="other", node="n1"))
    assert [found["metadata"]["name"] for found in store.children("Pod", KEY)] == ["a", "b"]
    assert store.owners_on("n1") == {KEY, Key("ml", "other")}
    store.remove("Pod", "ml", "b")
    assert [found["metadata"]["name"] for found in store.children("Pod", KEY)] == ["a"]
    assert store.owners_on("n1") == {Key("ml", "other")}
    assert [change.owner for change in changes] == ["smol", "smol", "other", "smol"]


def test_an_object_that_changes_hands_concerns_both() -> None:
    store, changes = told()
    store.put("Pod", pod("a"))
    store.put("Pod", pod("a", "2", owner="other"))
    assert [change.owner for change in changes] == ["smol", "other", "smol"]
    assert store.children("Pod", KEY) == []


def test_what_nobody_reads_is_neither_held_nor_told() -> None:
    store, changes = told()
    store.put("Pod", pod("a", status={"phase": "Running", "hostIP": "10.0.0.1"}))
    store.put("Pod", pod("a", "2", status={"phase": "Running", "hostIP": "10.0.0.2"}))
    assert len(changes) == 1, "nothing that is read has changed"
    (found,) = store.children("Pod", KEY)
    assert found["metadata"]["resourceVersion"] == "2"
    assert "containers" not in found["spec"]
    store.put("Pod", pod("a", "3", status={"phase": "Failed"}))
    assert len(changes) == 2


def test_what_our_own_applies_own_is_kept() -> None:
    """Whose a Deployment's size is decides what is applied."""
    store, _ = told()
    own = {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": {"f:data": {}}}
    size = {"manager": SIZE_MANAGER, "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}}
    store.put("LLMDeployment", thing("smol", owner=""))
    theirs = {**own, "operation": "Update"}
    entries = [{"manager": "kubectl"}, own, theirs, size, {**own, "subresource": "status"}]
    store.put("ConfigMap", own_config_map(metadata={"managedFields": entries}, data={"a": "1"}))
    (found,) = store.children("ConfigMap", KEY)
    assert found["metadata"]["managedFields"] == [own, size]


def test_what_is_read_may_be_changed_by_its_reader() -> None:
    store, _ = told()
    store.put("LLMDeployment", thing("smol", owner=""))
    store.put("ConfigMap", own_config_map(data={"a": "1"}))
    store.children("ConfigMap", KEY)[0]["data"]["a"] = "2"
    assert store.children("ConfigMap", KEY)[0]["data"] == {"a": "1"}


def test_an_older_page_of_a_list_never_takes_the_place_of_what_was_seen() -> None:
    store, _ = told()
    store.put("LLMDeployment", thing("smol", owner=""))
    store.put("ConfigMap", own_config_map("10", data={"a": "new"}))
    store.put("ConfigMap", own_config_map("9", data={"a": "old"}))
    assert store.children("ConfigMap", KEY)[0]["data"] == {"a": "new"}
    store.put("ConfigMap", own_config_map("9", uid="former", data={"a": "gone"}))
    assert store.children("ConfigMap", KEY)[0]["data"] == {"a": "new"}, "of the former object of that name"
    store.put("ConfigMap", own_config_map("11", uid="another", data={"a": "replaced"}))
    assert store.children("ConfigMap", KEY)[0]["data"] == {"a": "replaced"}


def node(name: str, version: str = "1", *, memory: str = "8Gi") -> dict[str, Any]:
    metadata = {"name": name, "uid": f"uid-{name}", "resourceVersion": version}
    status = {"allocatable": {"memory": memory}, "conditions": [{"type": "Ready", "status": "True"}]}
    return {"metadata": metadata, "spec": {}, "status": status}


def test_nodes_are_as_they_were_told_last() -> None:
    store, _ = told()
    assert store.nodes() == ()
    store.put("Node", node("a"))
    (before,) = store.nodes() or ()
    store.put("Node", node("a", "2", memory="4Gi"))
    (after,) = store.nodes() or ()
    assert (before.name, before != after) == ("a", True)
    store.put("Node", node("b"))
    found = store.nodes() or ()
    assert len(found) == 2
    assert found[0] is after, "5,000 nodes would take 0.2 s at each change of one"
    store.remove("Node", "", "a")
    assert [found.name for found in store.nodes() or ()] == ["b"]
    store.forbidden("Node", "")
    assert store.nodes() is None


def test_what_a_complete_list_leaves_out_is_gone() -> None:
    store, changes = told()
    store.put("Service", thing("a"))
    store.put("Service", thing("b"))
    changes.clear()
    store.keep_only("Service", "elsewhere", set())
    assert changes == [], "another namespace's list says nothing of this one"
    store.keep_only("Service", "ml", {("ml", "a")})
    assert [change.name for change in changes] == ["b"]


def test_versions_compare_as_numbers() -> None:
    assert later("10", "9")
    assert not later("9", "10")
    assert later("x", "x")
    assert not later("x", "1")


async def test_a_write_is_seen_by_its_version_or_by_the_streams() -> None:
    store, _ = told()
    wrote = Expectation("ConfigMap", "ml", "smol-live", "uid-smol-live", "8")
    deleted = Expectation("Pod", "ml", "a", "uid-a", "")
    store.put("Pod", pod("a"))
    store.put("ConfigMap", thing("smol-live", "7"))
    assert not wrote.seen(store)
    assert not deleted.seen(store)
    waiting = asyncio.create_task(seen(store, (wrote, deleted), 5))
    await asyncio.sleep(0)
    store.put("ConfigMap", thing("smol-live", "8"))
    await asyncio.sleep(0)
    assert not waiting.done()
    store.put("Pod", pod("a", "9", metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}))
    assert await waiting
    gone = Expectation("ConfigMap", "ml", "made-and-deleted", "u", "12")
    assert not await seen(store, (gone,), 0.01)
    store.at("ConfigMap", "", "12")
    assert gone.seen(store), "what was deleted since will never be shown"


def test_a_write_is_not_seen_in_another_object_of_the_same_name() -> None:
    store, _ = told()
    store.put("ConfigMap", thing("smol-live", "9", uid="made-by-somebody-since"))
    assert not Expectation("ConfigMap", "ml", "smol-live", "uid-smol-live", "8").seen(store)
    deleted = Expectation("ConfigMap", "ml", "smol-live", "uid-smol-live", "")
    assert deleted.seen(store), "what was deleted is gone"


async def test_a_stream_that_is_interrupted_says_so_until_it_runs() -> None:
    store, _ = told()
    store.lost("Pod", "", "Pod: reconnecting")
    assert store.stale() == ("Pod: reconnecting",)
    store.runs("Pod", "")
    assert store.stale() == ()


def test_what_may_not_be_read_in_one_namespace_is_unknown_there_alone() -> None:
    """Else a claim that is there would be said to be missing."""
    store, _ = told()
    store.forbidden("PersistentVolumeClaim", "ml")
    store.runs("PersistentVolumeClaim", "other")
    assert not store.may_read("PersistentVolumeClaim", "ml")
    assert store.may_read("PersistentVolumeClaim", "other")
    store.runs("PersistentVolumeClaim", "ml")
    assert store.may_read("PersistentVolumeClaim", "ml")
    store.forbidden("PersistentVolumeClaim", "")
    assert not store.may_read("PersistentVolumeClaim", "ml")


def test_resources_are_found_by_their_claims_and_none_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Text of a megabyte each, at each change of any claim, stopped the event loop."""
    store, _ = told()
    specs: dict[str, Any] = {
        "model": {"model": {"uri": "pvc://models/demo"}},
        "cache": {"cache": {"persistentVolumeClaim": {"claimName": "models"}}},
        "volume": {
            "podTemplate": {"spec": {"volumes": [{"persistentVolumeClaim": {"claimName": "models"}}]}}
        },
        "text": {
            "engine": {"env": [{"name": "A", "value": "models"}]},
            "model": {"uri": "hf://models/models"},
        },
        "other": {"model": {"uri": "pvc://models-2/demo"}, "cache": "of an old type"},
    }
    for name, spec in specs.items():
        store.put("LLMDeployment", thing(name, owner="", spec=spec))
    assert {key.name for key in store.naming({("ml", "models")})} == {"model", "cache", "volume"}
    assert store.naming({("other", "models")}) == []


ODD = ("x", 5, ["x"], [5], {"a": 1}, [None], True)


@pytest.mark.parametrize("place", ["model", "model.hub", "model.hub.env", "cache", "conditions", "status"])
@pytest.mark.parametrize("odd", ODD)
async def test_an_object_of_an_old_definition_is_held_whatever_its_types(place: str, odd: object) -> None:
    """One that the store refuses is never complete: then nothing is decided for anyone."""
    found = thing("smol", owner="", spec={"model": {"uri": "hf://a/b", "hub": {}}}, status={"conditions": []})
    *path, last = {"conditions": "status.conditions", "status": "status"}.get(place, f"spec.{place}").split(
        "."
    )
    inner = found
    for key in path:
        inner = inner[key]
    inner[last] = odd
    store, _ = told()
    store.put("LLMDeployment", found)
    assert store.resource(KEY) is not None
    assert await store.history("ml") == ()


async def test_the_measurements_of_a_namespace_are_read_beside_other_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In one step, 2,000 resources of one namespace kept all others waiting for 0.7 s."""
    monkeypatch.setattr(objects, "STEP_SECONDS", 0.0)
    store, _ = told()
    for number in range(5):
        store.put("LLMDeployment", thing(f"r-{number}", owner="", status={"measurements": [{}]}))
    reading, turns = asyncio.ensure_future(store.history("ml")), 0
    while not reading.done():
        await asyncio.sleep(0)
        turns += 1
        if turns == 3:
            store.remove("LLMDeployment", "ml", "r-4")
    assert turns >= 5
    assert await reading == await store.history("ml") == ()


async def test_a_bookmark_ends_the_wait_for_a_write() -> None:
    store, _ = told()
    waiting = asyncio.create_task(seen(store, (Expectation("Pod", "ml", "a", "u", "8"),), 60.0))
    await asyncio.sleep(0)
    store.at("Pod", "", "9")
    async with asyncio.timeout(10):
        assert await waiting


def test_what_a_pod_without_a_node_waits_for_is_kept() -> None:
    store, _ = told()
    selector = {"nvidia.com/gpu.product": "NVIDIA-H200"}
    for name, node in (("waits", ""), ("runs", "n1")):
        item = pod(name, node=node)
        item["spec"]["nodeSelector"] = selector
        store.put("Pod", item)
    kept = {item["metadata"]["name"]: item["spec"] for item in store.children("Pod", KEY)}
    assert kept == {"waits": {"nodeSelector": selector}, "runs": {"nodeName": "n1"}}
