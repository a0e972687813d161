"""Children that were dropped before their owner came are read once that comes, and not again and again."""

from __future__ import annotations

from datetime import timedelta
from typing import cast

import pytest

from tacho_contract.units import format_time
from tacho_operator.shell.child_reads import CHILDREN, ChildReads
from tacho_operator.shell.kube import Kube
from tacho_operator.shell.observe import UndecidedResource
from tacho_operator.shell.store import bounds, objects
from tacho_operator.shell.store.store import Store
from tests.wiring.storing import KEY, own_config_map, owned_by, pod, thing, told
from tests.wiring.test_namespace_children import SMOL, Live, chain, observer, own
from tools.harness.resources import CLAIM_SPEC, NOW, raw_resource


@pytest.mark.parametrize("late", ["ReplicaSet", "Deployment", "LLMDeployment"])
@pytest.mark.parametrize("controllers", [1, 9])
async def test_pods_that_were_dropped_before_their_owner_came_are_read(
    late: str, controllers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand pods may come while the watch of their ReplicaSet is interrupted. ``controllers``: number of
    others, which may be more than are remembered."""
    monkeypatch.setattr(objects, "UNOWNED", 5)
    monkeypatch.setattr(bounds, "DROPPED_OWNERS", 3)
    store, _ = told()
    owners = dict(chain()[:3])
    for kind in owners:
        if kind != late:
            store.put(kind, owners[kind])
    pods = [pod(f"p{number}", metadata=owned_by("ReplicaSet", "smol-1-a")) for number in range(12)]
    others = [
        pod(f"x{number}", metadata=owned_by("ReplicaSet", f"x{number}")) for number in range(controllers)
    ]
    for item in (*pods, *others):
        store.put("Pod", item)
    store.put(late, owners[late])
    live = Live(*owners.items(), *(("Pod", item) for item in pods))
    watched = observer(store, live)
    observed = await watched.observe(KEY)
    assert observed is not None
    assert len(observed.pods) == 12
    lists = live.lists
    changed = owners[late] | {"metadata": owners[late]["metadata"] | {"resourceVersion": "2"}, "x": 1}
    store.put(late, changed)
    await watched.observe(KEY)
    assert live.lists == lists, "once"


async def test_an_owner_that_comes_twice_has_its_children_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "UNOWNED", 5)
    store, _ = told()
    services = [own("Service", f"s{number}") for number in range(8)]
    for kind, item in services:
        store.put(kind, item)
    store.put("LLMDeployment", SMOL)
    live = Live(*services)
    observed = await observer(store, live).observe(KEY)
    assert observed is not None
    assert len(observed.services) == 8
    store.remove("LLMDeployment", "ml", "smol", uid="uid-smol")
    store.put("LLMDeployment", SMOL)
    assert not store.bounds.over_limit
    for kind, item in (*services, ("LLMDeployment", SMOL)):
        store.remove(kind, "ml", item["metadata"]["name"])
    assert all(store._kinds[kind].is_empty("ml") for kind in CHILDREN)


@pytest.mark.parametrize("anew", ["LLMDeployment", "Deployment"])
async def test_an_owner_that_a_list_shows_in_place_of_a_former_one_has_its_children(
    anew: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its watch was interrupted while it was made anew. The present one's pods came meanwhile, and none is
    dropped for pods that others forge later."""
    monkeypatch.setattr(objects, "UNOWNED", 5)
    store, _ = told()
    for kind, item in chain()[:4]:
        former = item | {"metadata": item["metadata"] | {"uid": "former"}}
        store.put(kind, former if kind == anew else item)
    owner = dict(chain())[anew]
    store.put(anew, owner | {"metadata": owner["metadata"] | {"resourceVersion": "2"}}, listed=True)
    for number in range(8):
        for kind in ("Pod", "ReplicaSet", "Deployment"):
            store.put(kind, thing(f"x{number}", metadata=owned_by("ReplicaSet", "ghost")))
    assert store.holds("Deployment", "ml", "smol-1")
    assert store.holds("ReplicaSet", "ml", "smol-1-a")
    assert store.holds("Pod", "ml", "smol-1-a-x")


async def test_an_owner_that_another_resource_had_has_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "UNOWNED", 5)
    store, _ = told()
    (resource, smol), (kind, deployment), (_, replica_set) = chain()[:3]
    store.put(resource, raw_resource(CLAIM_SPEC, name="other", uid="uid-other", resourceVersion="1"))
    store.put(kind, thing("smol-1", owner="other", metadata=owned_by("LLMDeployment", "other")))
    store.put("ReplicaSet", replica_set)
    store.put(resource, smol)
    store.put(kind, deployment | {"metadata": deployment["metadata"] | {"resourceVersion": "2"}})
    for number in range(8):
        store.put("ReplicaSet", thing(f"x{number}", metadata=owned_by("Deployment", "ghost")))
    assert store.holds("ReplicaSet", "ml", "smol-1-a")


def test_of_controllers_whose_children_were_dropped_few_are_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(objects, "UNOWNED", 5)
    monkeypatch.setattr(bounds, "DROPPED_OWNERS", 3)
    store, _ = told()
    dropped = store.bounds._dropped_owners
    for number in range(12):
        store.put("Service", thing(f"s{number}", owner="ghost"))
    assert not dropped._uids, "they have no controller that could come"
    for number in range(12):
        store.remove("Service", "ml", f"s{number}")
        store.put("Pod", pod(f"p{number}", metadata=owned_by("ReplicaSet", f"x{number}")))
    store.put("Pod", pod("elsewhere", metadata={"namespace": "honest", **owned_by("ReplicaSet", "y")}))
    assert dropped._uids == {"ml": {bounds.ANY}}
    for number in range(12):
        store.remove("Pod", "ml", f"p{number}")
    assert not dropped._uids, "nothing of the namespace is stored any more"


@pytest.mark.parametrize(("minutes", "may_lack"), [(59, True), (61, False)])
def test_owners_that_are_made_long_after_the_last_child_was_dropped_lack_none(
    minutes: int, may_lack: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a flood each new Deployment and ReplicaSet made its resource undecided, for ever."""
    monkeypatch.setattr(objects, "UNOWNED", 5)
    monkeypatch.setattr(bounds, "DROPPED_OWNERS", 3)
    store = Store(lambda _: None, lambda: NOW)
    store.put("LLMDeployment", SMOL)
    for number in range(12):
        store.put("Pod", pod(f"p{number}", metadata=owned_by("ReplicaSet", f"x{number}")))
    assert store.bounds._dropped_owners._uids == {"ml": {bounds.ANY}}
    made = {"creationTimestamp": format_time(NOW + timedelta(minutes=minutes))}
    _, deployment = own("Deployment", "smol-1")
    store.put("Deployment", deployment | {"metadata": deployment["metadata"] | made})
    assert bool(store.bounds.over_limit) == may_lack


def test_a_forged_label_names_no_resource_to_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be remembered for ever."""
    monkeypatch.setattr(objects, "UNOWNED", 1)
    store, _ = told()
    forged = thing("a", owner="ghost", metadata=owned_by("LLMDeployment", "smol"))
    store.put("ReplicaSet", forged)
    for number in range(2):
        store.put("Pod", pod(f"p{number}", owner="ghost", metadata=owned_by("ReplicaSet", "a")))
    store.put("LLMDeployment", SMOL)
    assert not store.bounds.over_limit


@pytest.mark.parametrize(("places", "limit", "owner"), [(2, 100, "uid-smol"), (100, 1, "forged")])
async def test_a_read_ends_where_not_all_can_be_known(
    places: int, limit: int, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no place, or the label is that of too many: of the next kinds there may be 10,000, too."""
    monkeypatch.setattr(objects, "NAMESPACE_CHILDREN", places)
    monkeypatch.setattr(objects, "RESOURCE_CHILDREN", 0)
    monkeypatch.setattr(objects, "CHILD_LIMIT", limit)
    store, _ = told()
    store.put(*chain()[0])
    store.bounds.over_limit[KEY] += 1
    metadata = owned_by("LLMDeployment", "smol", owner)
    live = Live(*(("Service", thing(f"s{number}", metadata=metadata)) for number in range(3)))
    reads = ChildReads(cast(Kube, live), store)
    await reads.read(KEY)
    assert live.lists == CHILDREN.index("Service") + 1
    assert store.bounds.over_limit[KEY]
    assert not reads.is_due(KEY)


async def test_who_makes_children_unknown_again_and_again_waits_for_longer_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, _ = told()
    store.put(*chain()[0])
    now = [1000.0]
    reads = ChildReads(cast(Kube, Live(*chain())), store, lambda: now[0])
    paused = []
    for _ in range(9):
        assert reads.is_due(KEY)
        await reads.read(KEY)
        began = now[0]
        while not reads.is_due(KEY):
            now[0] += 1.0
        paused.append(now[0] - began)
    assert paused == [1, 2, 4, 8, 16, 32, 64, 120, 120]
    now[0] += 600.0
    await reads.read(KEY)
    now[0] += 1.0
    assert reads.is_due(KEY), "it was quiet"


async def test_while_the_next_read_waits_nothing_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    store, _ = told()
    live = Live(*chain())
    watched = observer(store, live)
    for kind, item in chain():
        store.put(kind, item)
    for is_first in (True, False):
        store.bounds.over_limit[KEY] += 1
        if is_first:
            assert await watched.observe(KEY) is not None
        else:
            with pytest.raises(UndecidedResource, match="not all its children are known"):
                await watched.observe(KEY)
    assert live.lists == len(CHILDREN)
    store.remove("LLMDeployment", "ml", "smol", uid="uid-smol")
    assert await watched.observe(KEY) is None
    assert not watched._child_reads._ended


def test_children_without_a_place_are_noted_of_resources_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A label names anything: of none that is no resource a note would ever be removed."""
    monkeypatch.setattr(objects, "NAMESPACE_CHILDREN", 1)
    monkeypatch.setattr(objects, "RESOURCE_CHILDREN", 1)
    store, _ = told()
    for number in range(4):
        metadata = owned_by("LLMDeployment", "smol")
        store.put("Service", thing(f"x{number}", owner=f"ghost-{number}", metadata=metadata))
    store.put("Service", thing("smol", metadata=owned_by("LLMDeployment", "smol")))
    store.put("ConfigMap", own_config_map())
    store.put("LLMDeployment", SMOL)
    assert set(store.bounds.over_limit) <= {KEY}
    assert store.bounds.over_limit[KEY]
