"""Of each namespace a bounded number of children is stored, and what is beyond makes no decision wrong."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest

from tacho_operator.core.types import Manifest
from tacho_operator.shell.api_errors import ApiError
from tacho_operator.shell.child_reads import ChildReads
from tacho_operator.shell.kube import Kube, Page
from tacho_operator.shell.observe import CHILDREN, Observer, UndecidedResource
from tacho_operator.shell.reports import Reports
from tacho_operator.shell.store import bounds, objects
from tacho_operator.shell.store.store import Store
from tests.wiring.storing import KEY, own_config_map, owned_by, pod, thing, told
from tools.harness.resources import CLAIM_SPEC, raw_resource

SMOL = raw_resource(CLAIM_SPEC, uid="uid-smol", resourceVersion="1")


def own(kind: str, name: str, **content: Any) -> tuple[str, Manifest]:
    return kind, thing(name, metadata=owned_by("LLMDeployment", "smol"), **content)


def chain() -> list[tuple[str, Manifest]]:
    return [
        ("LLMDeployment", SMOL),
        own("Deployment", "smol-1", spec={"replicas": 1}),
        ("ReplicaSet", thing("smol-1-a", metadata=owned_by("Deployment", "smol-1"))),
        ("Pod", pod("smol-1-a-x", node="n1", metadata=owned_by("ReplicaSet", "smol-1-a"))),
        own("Service", "smol"),
        ("ConfigMap", own_config_map()),
    ]


class Live:
    """An API server that lists these objects."""

    def __init__(self, *found: tuple[str, Manifest]) -> None:
        self.found, self.lists, self.error = list(found), 0, cast(ApiError | None, None)

    async def get(self, *_: str) -> Manifest | None:
        return None

    async def pages(self, kind: str, namespace: str, selector: str) -> AsyncIterator[Page]:
        assert (namespace, selector) == ("ml", "tacho.dev/deployment=smol")
        self.lists += 1
        if self.error is not None and kind == "Pod":
            raise self.error
        yield Page([item for other, item in self.found if other == kind], "9")


def observer(store: Store, live: Live) -> Observer:
    return Observer(cast(Kube, live), store, Reports(late=lambda key: None))


def stored(store: Store) -> int:
    return sum(store.size(kind) for kind in CHILDREN)


def test_of_children_that_nobody_owns_the_latest_are_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """200,000 with long names filled the operator's memory."""
    monkeypatch.setattr(objects, "UNOWNED", 10)
    store, _ = told()
    for kind, item in chain():
        store.put(kind, item)
    own_count = stored(store)
    for number in range(50):
        for kind in ("ConfigMap", "Pod"):
            store.put(kind, thing(f"x{number}", metadata=owned_by("LLMDeployment", "smol", "forged")))
    store.put("ConfigMap", thing("smol-other", metadata=owned_by("LLMDeployment", "smol")))
    assert stored(store) == own_count + 20
    assert store.holds("Pod", "ml", "x49")
    assert not store.holds("Pod", "ml", "x39")
    elsewhere = thing("y")
    elsewhere["metadata"]["namespace"] = "honest"
    store.put("Pod", elsewhere)
    assert stored(store) == own_count + 21, "another namespace has its own"
    assert {kind: len(store.children(kind, KEY, {"uid-smol"})) for kind in ("Service", "ConfigMap")} == {
        "Service": 1,
        "ConfigMap": 1,
    }
    for number in range(50):
        store.remove("Pod", "ml", f"x{number}", uid=f"uid-x{number}")
    assert not store._kinds["Pod"]._unowned.get("ml")


@pytest.mark.parametrize("seed", range(20))
def test_children_whose_events_come_before_their_owners_are_found(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(objects, "UNOWNED", 5)
    store, _ = told()
    found = chain()
    random.Random(seed).shuffle(found)
    for kind, item in found:
        store.put(kind, item)
    for number in range(20):
        for kind in CHILDREN:
            store.put(kind, thing(f"x{number}"))
    for kind, item in chain():
        assert store.holds(kind, "ml", item["metadata"]["name"]), kind
        store.put(kind, {**item, "metadata": {**item["metadata"], "resourceVersion": "2"}})
    assert store._kinds["Pod"].owned["ml"] == 1
    for kind, item in found:
        store.remove(kind, "ml", item["metadata"]["name"])
    assert all("ml" not in store._kinds[kind].owned for kind in CHILDREN)


async def test_beyond_the_children_of_a_namespace_nothing_is_decided_until_all_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(objects, "NAMESPACE_CHILDREN", 20)
    monkeypatch.setattr(objects, "RESOURCE_CHILDREN", 0)
    store, changes = told()
    store.put("Node", {"metadata": {"name": "n1", "uid": "n1", "resourceVersion": "1"}})
    store.put(*chain()[0])
    for number in range(30):
        store.put(*own("PodDisruptionBudget", f"p{number}"))
    assert stored(store) == 20
    live = Live(*chain()[1:], *(own("PodDisruptionBudget", f"p{number}") for number in range(3)))
    for kind, item in chain()[1:]:
        store.put(kind, item)
    assert changes[-1].owner == "smol", "it is decided again"
    with pytest.raises(UndecidedResource, match="controls too many objects") as undecided:
        await observer(store, live).observe(KEY)
    assert not undecided.value.found.is_whole, "Ready is Unknown"
    assert stored(store) == 22, "two whose owner is not stored"
    assert live.lists == 0, "while others fill the namespace its children are not read"
    for number in range(30):
        store.remove("PodDisruptionBudget", "ml", f"p{number}", uid=f"uid-p{number}")
    with monkeypatch.context() as patch:
        patch.setattr(live, "error", ApiError(503, "busy"))
        with pytest.raises(ApiError):
            await observer(store, live).observe(KEY)
    observed = await observer(store, live).observe(KEY)
    assert observed is not None
    assert (len(observed.pods), len(observed.services), len(observed.disruption_budgets)) == (1, 1, 0)
    lists = live.lists
    await observer(store, live).observe(KEY)
    assert live.lists == lists, "it is read once"


async def test_a_child_that_has_no_place_while_the_others_are_read_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, _ = told()
    monkeypatch.setattr(objects, "RESOURCE_CHILDREN", 0)
    monkeypatch.setattr(objects, "NAMESPACE_CHILDREN", 0)
    store.put(*chain()[0])
    store.put(*own("Service", "smol"))
    monkeypatch.setattr(objects, "NAMESPACE_CHILDREN", 5)
    live = Live(*chain())
    pages = live.pages

    async def and_another(kind: str, namespace: str, selector: str) -> AsyncIterator[Page]:
        async for page in pages(kind, namespace, selector):
            yield page
        if kind == "Pod":  # the last kind
            store.put("Pod", pod("other", metadata=owned_by("ReplicaSet", "smol-1-a")))

    monkeypatch.setattr(live, "pages", and_another)
    with pytest.raises(UndecidedResource, match="not all its children are known"):
        await observer(store, live).observe(KEY)
    monkeypatch.setattr(objects, "NAMESPACE_CHILDREN", 6)
    live.found.append(("Pod", pod("other", metadata=owned_by("ReplicaSet", "smol-1-a"))))
    observed = await observer(store, live).observe(KEY)
    assert observed is not None
    assert len(observed.pods) == 2


async def test_children_that_came_before_their_owner_have_no_place_beyond_the_others_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who gave one ReplicaSet after the other an owner, each with a thousand pods, filled the memory."""
    monkeypatch.setattr(objects, "NAMESPACE_CHILDREN", 14)
    monkeypatch.setattr(objects, "RESOURCE_CHILDREN", 0)
    monkeypatch.setattr(objects, "UNOWNED", 5)
    store, _ = told()
    for kind, item in chain()[:2]:
        store.put(kind, item)
    live = Live(*chain()[:2])
    for number in range(6):
        alone = thing(f"r{number}", "1")
        store.put("ReplicaSet", alone)
        for index in range(5):
            item = pod(f"p{number}-{index}", node="n1", metadata=owned_by("ReplicaSet", f"r{number}"))
            store.put("Pod", item)
            live.found.append(("Pod", item))
        owned = thing(f"r{number}", "2", metadata=owned_by("Deployment", "smol-1"))
        store.put("ReplicaSet", owned)
        live.found.append(("ReplicaSet", owned))
        assert sum(store._kinds[kind].owned["ml"] for kind in CHILDREN) <= 14
    assert store.size("Pod") <= 14 + 5
    assert store.bounds.incomplete_on("n1") == {KEY}
    with pytest.raises(UndecidedResource, match="those of its namespace more than 14"):
        await observer(store, live).observe(KEY)
    monkeypatch.setattr(objects, "NAMESPACE_CHILDREN", 100)
    reads = ChildReads(cast(Kube, live), store)
    await reads.read(KEY)  # the ReplicaSets come again, and pods of theirs had been dropped before
    await reads.read(KEY)
    observed = await observer(store, live).observe(KEY)
    assert observed is not None
    assert (len(observed.pods), len(observed.replica_sets)) == (30, 6)


def test_a_child_that_gets_an_owner_has_no_place_beyond_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "NAMESPACE_CHILDREN", 1)
    monkeypatch.setattr(objects, "RESOURCE_CHILDREN", 0)
    store, _ = told()
    store.put(*chain()[0])
    store.put(*own("Service", "smol"))
    store.put("Service", thing("late"))
    store.put("Service", thing("late", "2", metadata=owned_by("LLMDeployment", "smol")))
    assert not store.holds("Service", "ml", "late")
    assert store.bounds.over_limit[KEY] == 1


def test_owners_that_own_each_other_are_no_chain_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand of them were more calls in each other than Python makes."""
    store, _ = told()
    store.put(*chain()[0])
    for number in range(1000):
        metadata = owned_by("Deployment", f"d{number}") if number else {}
        store.put("Deployment", thing(f"d{number + 1}", metadata=metadata))
    store.put("Deployment", thing("d1", "2", metadata=owned_by("LLMDeployment", "smol")))
    assert store._kinds["Deployment"].owned["ml"] == 1


async def test_children_are_not_put_while_the_reflector_lists_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    store, _ = told()
    store.put(*chain()[0])
    with monkeypatch.context() as patch:
        patch.setattr(objects, "NAMESPACE_CHILDREN", 0)
        patch.setattr(objects, "RESOURCE_CHILDREN", 0)
        store.put(*own("Service", "smol"))
    store.lost("Service", "", "it is listed")
    for is_lost in (True, False):
        if is_lost:
            with pytest.raises(UndecidedResource):
                await observer(store, Live(*chain())).observe(KEY)
            store.runs("Service", "")
        else:
            assert await observer(store, Live(*chain())).observe(KEY) is not None
        assert store.holds("Service", "ml", "smol") != is_lost


def test_what_has_no_place_is_decided_about_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "RESOURCE_CHILDREN", 0)
    monkeypatch.setattr(objects, "NAMESPACE_CHILDREN", 0)
    store, changes = told()
    store.put(*chain()[0])
    changes.clear()
    store.put(*own("Service", "smol"))
    assert [(change.kind, change.owner) for change in changes] == [("Service", "smol")]


def test_children_of_a_deleted_resource_are_held_as_those_that_nobody_owns() -> None:
    store, _ = told()
    store.put(*chain()[0])
    store.put(*own("Service", "smol"))
    store.remove("LLMDeployment", "ml", "smol", uid="uid-smol")
    store.put("LLMDeployment", raw_resource(CLAIM_SPEC, uid="uid-new"))
    kind, late = own("Service", "smol")
    store.put(kind, {**late, "spec": {"x": 1}, "metadata": {**late["metadata"], "resourceVersion": "2"}})
    assert store._kinds["Service"].owned["ml"] == 0


def test_many_resources_that_serve_have_place_for_all_their_children(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What has a revision is held beyond the limit of resources, as after an upgrade: so are its children."""
    monkeypatch.setattr(objects, "NAMESPACE_CHILDREN", 20)
    monkeypatch.setattr(objects, "RESOURCE_CHILDREN", 4)
    store = Store(lambda _: None, max_resources=5)
    names = [f"m{number}" for number in range(8)]
    for name in names:
        status = {"revisions": [{"name": f"{name}-1"}]}
        store.put(
            "LLMDeployment", raw_resource(CLAIM_SPEC, name=name, uid=f"uid-{name}") | {"status": status}
        )
    for number in range(4):
        for name in names:
            metadata = owned_by("LLMDeployment", name)
            store.put("Deployment", thing(f"{name}-{number}", owner=name, metadata=metadata))
    assert store.size("Deployment") == 32
    assert not store.bounds.over_limit
    store.put("Deployment", thing("m0-4", owner="m0", metadata=owned_by("LLMDeployment", "m0")))
    assert set(store.bounds.over_limit) == {("ml", "m0")}
    for name in names:
        store.remove("LLMDeployment", "ml", name, uid=f"uid-{name}")
    assert store.bounds.most_children("ml") == 20


def test_a_pod_that_is_not_stored_is_a_neighbour_that_is_always_active(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else a namespace could hide what it measures or starts behind forged children."""
    store, _ = told()
    for kind, item in chain()[:3]:
        store.put(kind, item)
    monkeypatch.setattr(objects, "NAMESPACE_CHILDREN", 0)
    monkeypatch.setattr(objects, "RESOURCE_CHILDREN", 0)
    pods = [chain()[3][1], pod("orphan", node="n2", metadata=owned_by("ReplicaSet", "over_limit"))]
    for item in pods:
        store.put("Pod", item)
    for node in ("n1", "n2"):
        (found,) = store.neighbours_on({node})
        assert (found.namespace, found.until) == ("ml", None)
    assert store.neighbours_on({"n3"}) == []
    store.remove("LLMDeployment", "ml", "smol")
    assert store.neighbours_on({"n1", "n2"}) == []


def test_of_a_namespace_few_nodes_are_remembered_that_do_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand names for each of a thousand resources took 160 MB."""
    monkeypatch.setattr(objects, "NAMESPACE_CHILDREN", 0)
    monkeypatch.setattr(objects, "RESOURCE_CHILDREN", 0)
    monkeypatch.setattr(bounds, "NODES", 5)
    store, _ = told()
    store.put("Node", {"metadata": {"name": "real", "uid": "real", "resourceVersion": "1"}})
    for name in ("a", "b"):
        store.put("LLMDeployment", raw_resource(CLAIM_SPEC, name=name, uid=f"uid-{name}"))
        for number in range(4):
            for node in (f"{name}{number}", "real"):
                metadata = owned_by("LLMDeployment", name)
                store.put("Pod", pod(f"{node}-{number}", owner=name, node=node, metadata=metadata))
    there = [
        node for node in (f"{name}{number}" for name in "ab" for number in range(4)) if remembers(store, node)
    ]
    assert there == ["a0", "a1", "a2", "a3"]
    assert store.bounds.incomplete_on("real") == {("ml", "a"), ("ml", "b")}
    store.remove("LLMDeployment", "ml", "a", uid="uid-a")
    store.put("Pod", pod("late", owner="b", node="b9", metadata=owned_by("LLMDeployment", "b")))
    assert remembers(store, "b9")
    store.put("LLMDeployment", raw_resource(CLAIM_SPEC, name="c", uid="uid-c"))
    store.put("Pod", pod("c9", owner="c", node="c9", metadata=owned_by("LLMDeployment", "c")))
    store.remove("LLMDeployment", "ml", "c", uid="uid-c")
    for number in range(4):
        store.put(
            "Pod", pod(f"e{number}", owner="b", node=f"e{number}", metadata=owned_by("LLMDeployment", "b"))
        )
    assert [remembers(store, f"e{number}") for number in range(4)] == [True, True, True, False]


def remembers(store: Store, node: str) -> bool:
    return bool(store.bounds.incomplete_on(node))


def test_a_label_of_no_resource_makes_none_incomplete(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each such name would be remembered for ever."""
    monkeypatch.setattr(objects, "NAMESPACE_CHILDREN", 0)
    monkeypatch.setattr(objects, "RESOURCE_CHILDREN", 0)
    store, _ = told()
    store.put(*chain()[0])
    store.put("Service", thing("a", owner="ghost", metadata=owned_by("LLMDeployment", "smol")))
    assert not store.bounds.over_limit
    assert store.holds("Service", "ml", "a"), "as one that nobody owns"


def test_of_removed_objects_the_latest_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "REMOVED", 3)
    store, _ = told()
    for number in range(9):
        store.remove("Pod", "ml", f"p{number}", uid=f"uid-p{number}")
    assert [number for number in range(9) if store.bounds.was_removed(f"uid-p{number}")] == [6, 7, 8]


def test_one_controller_has_no_more_than_twice_what_is_read_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "CHILD_LIMIT", 10)
    store, _ = told()
    store.put(*chain()[0])
    for number in range(50):
        store.put(*own("Service", f"s{number}"))
    assert store.size("Service") == 20
    assert store.excess("Service", "ml", {"uid-smol"}) is objects.Excess.COUNT


def test_claims_of_a_namespace_with_very_many_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "CLAIMS", 10)
    store, _ = told()
    for number in range(20):
        for version in "12":
            store.put("PersistentVolumeClaim", thing(f"c{number}", version, owner=""))
    assert store.size("PersistentVolumeClaim") == 10
    assert not store.known("PersistentVolumeClaim", "ml")
    assert store.known("PersistentVolumeClaim", "honest")
