"""A Ready that is lost is told before the children are written, and nothing else before it is known."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tacho_contract.units import format_time
from tacho_operator.core.children import VICTIM_COST
from tacho_operator.core.names import (
    DELETION_COST_ANNOTATION,
    MEASURE_AGAIN_ANNOTATION,
    ROLE_INSPECT,
    ROLE_LABEL,
)
from tacho_operator.shell import ready_pods
from tacho_operator.shell.api_errors import ApiError
from tacho_operator.shell.store.store import Store
from tests.unit.core.measured_world import measured_world
from tests.wiring.reconciling import KEY, Ordered, conditions, reconciler, store_at
from tools.harness.resources import NOW
from tools.harness.world import World


def lost(*, service: bool) -> World:
    """A resource whose only pod is no longer ready, with its Service or without."""
    world = World(resourceVersion="1")
    world.come_up()
    world.settle()
    (pod,) = world.pods("server")
    world.runs(pod, "Running", ready=False)
    if not service:
        (name,) = world.names("Service")
        world._remove("Service", name)
    return world


@pytest.mark.parametrize("refused", [False, True])
async def test_it_is_told_before_children_are_written(refused: bool) -> None:
    """With a webhook of 29 s for each trial or child it was told after a minute."""
    server = Ordered(lost(service=False))
    server.refuses = refused
    reconcile = reconciler(server)
    if refused:
        with pytest.raises(ApiError):
            await reconcile(KEY)
        assert server.created == ["Service"], "it is made all the same"
        return
    await reconcile(KEY)
    assert server.order[:2] == ["LLMDeployment", "Service"]
    assert conditions(server)["Ready"][0] == "False"
    assert {status["readyReplicas"] for status in server.statuses} == {0}


async def test_it_takes_no_write_of_its_own_where_no_child_is_written() -> None:
    server = Ordered(lost(service=True))
    await reconciler(server)(KEY)
    assert [kind for kind in server.order if kind != "Event"] == ["LLMDeployment"]


@pytest.mark.parametrize("change", ["annotation", "deletion"])
async def test_it_is_told_before_pods_are_annotated_or_deleted(change: str) -> None:
    """A webhook may take seconds for each of hundreds."""
    world = lost(service=True)
    (pod,) = world.pods("server")
    if change == "annotation":
        cost = {DELETION_COST_ANNOTATION: VICTIM_COST}
        pod["metadata"] |= {"namespace": KEY.namespace, "annotations": cost}
    else:
        labels = {**pod["metadata"]["labels"], ROLE_LABEL: ROLE_INSPECT}
        ended = {**pod["metadata"], "name": "inspect", "uid": "inspect", "labels": labels}
        world.objects["Pod", "inspect"] = {**pod, "metadata": ended}
    server = Ordered(world)
    await reconciler(server)(KEY)
    order = [kind for kind in server.order if kind != "Event"]
    assert order[:2] == ["LLMDeployment", change]


async def test_what_no_write_has_shown_yet_is_not_told_beside_it() -> None:
    """For a minute a resource that is refused each time was not Stalled."""
    world = lost(service=False)
    stored = world.raw["status"]
    server = Ordered(world)
    server.forbids = "Service"
    await reconciler(server)(KEY)
    early = server.statuses[0]
    changed = {name for name in early | stored if early.get(name) != stored.get(name)}
    assert changed == {"conditions", "readyReplicas"}
    former = {item["type"]: item for item in stored["conditions"]}
    assert [item["type"] for item in early["conditions"] if former[item["type"]] != item] == ["Ready"]


async def test_when_it_was_lost_does_not_change_with_what_is_refused() -> None:
    server = Ordered(lost(service=False))
    server.forbids = "Service"
    reconcile = reconciler(server)
    looks = iter(NOW + timedelta(seconds=30 * number) for number in range(1, 100))
    reconcile._clock = lambda: next(looks)
    await reconcile(KEY)
    first = format_time(NOW + timedelta(seconds=30))
    assert server.of("Ready") == [("False", first)] * 2
    assert server.of("Stalled")[1] == ("True", first)


def without_service(selector: dict[str, str] | None) -> World:
    """A resource whose pod is ready, and whose Service was deleted, or selects other pods."""
    world = World(resourceVersion="1")
    world.come_up()
    world.settle()
    (name,) = world.names("Service")
    if selector is None:
        world._remove("Service", name)
    else:
        world.objects["Service", name]["spec"]["selector"] = selector
    return world


@pytest.mark.parametrize("selector", [None, {"app": "other"}], ids=["deleted", "misled"])
async def test_a_service_that_leads_nowhere_is_told_before_it_is_written(
    selector: dict[str, str] | None,
) -> None:
    """With a webhook of 30 s for Services, Ready was True for three tries without any."""
    server = Ordered(without_service(selector))
    await reconciler(server)(KEY)
    assert [kind for kind in server.order if kind != "Event"] == ["LLMDeployment", "Service", "LLMDeployment"]
    assert list(dict.fromkeys(status for status, _ in server.of("Ready"))) == ["False", "True"]


@pytest.mark.parametrize(
    ("kind", "is_made"), [("NetworkPolicy", False), ("Service", False), ("PodDisruptionBudget", True)]
)
async def test_ready_is_lost_until_the_service_is_written(kind: str, is_made: bool) -> None:
    """Whether its own write fails, or one before it; one after it takes nothing back."""
    world = serving_without_policies()
    world._remove("Service", *world.names("Service"))
    server = Ordered(world)
    server.forbids, server.error = kind, ApiError(500, "context deadline exceeded")
    with pytest.raises(ApiError):
        await reconciler(server)(KEY)
    assert ("Service" in server.created) == is_made
    assert [status for status, _ in server.of("Ready")] == ["False", "True" if is_made else "False"]
    assert conditions(server)["Ready"][2].startswith("Pods are ready, and the Service") != is_made


class LosesReady(Ordered):
    """Its pods stop being ready during a write that ends only after that is in status."""

    def __init__(self, world: World, store: Store, hangs: str) -> None:
        super().__init__(world)
        self.store, self.hangs = store, hangs
        self.show("5")

    def show(self, version: str) -> None:
        for pod in self._world.pods("server"):
            pod["metadata"] |= {"resourceVersion": version, "namespace": KEY.namespace}
            self.store.put("Pod", pod)

    async def hang(self, what: str) -> None:
        if what != self.hangs:
            return
        for pod in self._world.pods("server"):
            self._world.runs(pod, "Running", ready=False)
        self.show("6")
        async with asyncio.timeout(10):
            while not self.status or conditions(self)["Ready"][0] != "False":
                await asyncio.sleep(0.01)
        self.order.append("end")

    async def apply(self, manifest: dict[str, Any], **options: Any) -> dict[str, Any]:
        made = await super().apply(manifest, **options)
        await self.hang(manifest["kind"])
        return made

    async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        made = await super().create(manifest)
        await self.hang(manifest["kind"])
        self._world.objects[manifest["kind"], manifest["metadata"]["name"]] = manifest
        return made

    async def try_create(self, manifest: dict[str, Any]) -> None:
        await super().try_create(manifest)
        await self.hang("trial")

    async def annotate(self, live: dict[str, Any], annotations: dict[str, str]) -> dict[str, Any]:
        found = await super().annotate(live, annotations)
        await self.hang("annotation")
        return found

    async def delete(self, kind: str, namespace: str, name: str, *, uid: str, version: str = "") -> None:
        await super().delete(kind, namespace, name, uid=uid, version=version)
        self._world._remove(kind, name)
        await self.hang("deletion")


def serving_without_policies() -> World:
    """Two ready replicas, and two children that the next reconcile writes."""
    world = World(resourceVersion="1")
    world.raw["spec"]["replicas"] = 2
    world.come_up()
    world.settle()
    for kind in ("NetworkPolicy", "PodDisruptionBudget"):
        (name,) = world.names(kind)
        world._remove(kind, name)
    return world


def writing(hangs: str) -> World:
    """A resource that serves, and whose next reconcile makes that write."""
    world = serving_without_policies()
    (pod, *_) = world.pods("server")
    if hangs == "Deployment":
        (name,) = world.names("Deployment")
        world.objects["Deployment", name]["spec"]["replicas"] = 1
    if hangs == "trial":
        world.change(context={"maxModelLen": 1024, "concurrency": 2})
    if hangs == "annotation":
        pod["metadata"]["annotations"] = {DELETION_COST_ANNOTATION: VICTIM_COST}
    if hangs == "deletion":
        labels = {**pod["metadata"]["labels"], ROLE_LABEL: ROLE_INSPECT}
        ended = {**pod["metadata"], "name": "inspect", "uid": "inspect", "labels": labels}
        world.objects["Pod", "inspect"] = {**pod, "metadata": ended}
    return world


@pytest.mark.parametrize("hangs", ["NetworkPolicy", "Deployment", "trial", "annotation", "deletion"])
async def test_one_that_is_lost_while_a_write_hangs_is_written_before_its_end(
    hangs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With webhooks of 34 s it was written after that write, and after both applies of a Deployment."""
    monkeypatch.setattr(ready_pods, "CHECK_SECONDS", 0.01)
    server = LosesReady(writing(hangs), store_at("7"), hangs)
    reconcile = reconciler(server, server.store)
    assert await reconcile(KEY) == 0.0
    server.statuses = list(filter(None, server.statuses))  # an apply of a child has none
    assert [status for status, _ in server.of("Ready")] == ["False"], "what was decided before is not written"
    assert server.order.index("LLMDeployment") < server.order.index("end")
    assert {status["readyReplicas"] for status in server.statuses} == {0}
    assert len(server.events) == 1
    server.hangs = ""
    await reconcile(KEY)
    assert conditions(server)["Ready"][0] == "False"


async def test_one_that_is_lost_while_a_measured_probe_pod_is_deleted_is_written_before_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its measurement is in status first, with Ready as it was then."""
    monkeypatch.setattr(ready_pods, "CHECK_SECONDS", 0.01)
    world = measured_world()
    world.raw["metadata"] |= {"resourceVersion": "1", "annotations": {MEASURE_AGAIN_ANNOTATION: "now"}}
    world.settle()
    (probe,) = world.pods("probe")
    world.serves(probe)
    world.condition("Measured").update(status="Unknown", reason="Measuring")
    server = LosesReady(world, store_at("7"), "deletion")
    await reconciler(server, server.store)(KEY)
    statuses = [status for status in server.statuses if status]
    assert [find_ready(status) for status in statuses] == ["True", "False"]
    assert server.order.index("deletion") < server.order.index("end")
    assert statuses[0]["measurements"] == statuses[1]["measurements"]
    reasons = [event["reason"] for event in server.events]
    assert "MeasurementComplete" in reasons
    assert len(reasons) == len(set(reasons)), "none is posted a second time"


def find_ready(status: dict[str, Any]) -> str:
    return next(str(item["status"]) for item in status["conditions"] if item["type"] == "Ready")


class LosesRevision(LosesReady):
    """The pods of one revision stop being ready while a NetworkPolicy is made, and a check sees that."""

    def __init__(self, world: World, store: Store, revision: str) -> None:
        super().__init__(world, store, "NetworkPolicy")
        self.revision = revision
        self.sizes: dict[str, int] = {}
        """Replicas of the Deployments that were applied."""

    async def apply(self, manifest: dict[str, Any], **options: Any) -> dict[str, Any]:
        if manifest["kind"] == "Deployment":
            self.sizes[manifest["metadata"]["name"]] = manifest["spec"]["replicas"]
        return await super().apply(manifest, **options)

    async def hang(self, what: str) -> None:
        if what != self.hangs:
            return
        for pod in self._world.pods("server", self.revision):
            self._world.runs(pod, "Running", ready=False)
        self.show("6")
        seen = self.observed
        async with asyncio.timeout(10):
            while self.observed < seen + 2 and not self.status:
                self.show(str(int(self._world.pods("server")[0]["metadata"]["resourceVersion"]) + 1))
                await asyncio.sleep(0.05)
        self.order.append("end")


def replacing() -> tuple[World, str, str]:
    """A rollout whose next pass makes a NetworkPolicy, and then takes a pod from the old revision."""
    world = World(resourceVersion="1")
    world.raw["spec"]["replicas"] = 2
    world.come_up()
    world.settle()
    old = world.selected()
    world.roll_out()
    for _ in range(20):
        (new,) = world.sizes().keys() - {old}
        for pod in world.pods("server", new):
            world.serves(pod)
        if any(
            item["kind"] == "Deployment"
            and item["spec"]["replicas"] < world.sizes()[item["metadata"]["name"]]
            for item in world.decision().apply
        ):
            break
        world.reconcile(3)
        world.deployment_controller()
    world._remove("NetworkPolicy", *world.names("NetworkPolicy"))
    return world, old, new


@pytest.mark.parametrize("is_lost", [False, True])
async def test_servers_that_are_the_last_stay(is_lost: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new revision fails while a webhook hangs: the pass deleted the old one's pods after that."""
    monkeypatch.setattr(ready_pods, "CHECK_SECONDS", 0.01)
    world, old, new = replacing()
    server = LosesRevision(world, store_at("7"), new if is_lost else "none")
    reconcile = reconciler(server, server.store)
    reconcile._clock = lambda: world.now
    await reconcile(KEY)
    assert server.order.index("NetworkPolicy") < server.order.index("end")
    assert server.sizes.get(old, 2) == (2 if is_lost else 1)


async def test_pods_that_the_service_does_not_select_keep_no_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """The active revision's pod is lost while a webhook hangs, and a candidate's pod is ready."""
    monkeypatch.setattr(ready_pods, "CHECK_SECONDS", 0.01)
    world = World(resourceVersion="1")
    world.come_up()
    world.settle()
    old = world.selected()
    world.roll_out()
    (new,) = world.sizes().keys() - {old}
    for pod in world.pods("server", new):
        world.serves(pod)
    world._remove("NetworkPolicy", *world.names("NetworkPolicy"))
    server = LosesRevision(world, store_at("7"), old)
    reconcile = reconciler(server, server.store)
    reconcile._clock = lambda: world.now
    await reconcile(KEY)
    assert "LLMDeployment" in server.order[: server.order.index("end")], "Ready was lost while it hung"
    assert find_ready(next(filter(None, server.statuses))) == "False"


async def test_usual_writes_take_no_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready_pods, "CHECK_SECONDS", 1000.0)
    server = LosesReady(serving_without_policies(), store_at("7"), "")
    await reconciler(server, server.store)(KEY)
    assert server.observed == 1


class Touched(LosesReady):
    """Somebody annotates its pods again and again, while each write is slow."""

    async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        for version in ("6", "7", "8"):
            self.show(version)
            await asyncio.sleep(0.05)
        return await super().create(manifest)


@pytest.mark.parametrize("is_stale", [False, True])
async def test_pods_that_are_changed_again_and_again_keep_nothing_from_status(
    is_stale: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a webhook took seconds, each pass ended after its first write, and no status was written."""
    monkeypatch.setattr(ready_pods, "CHECK_SECONDS", 0.01)
    server = Touched(serving_without_policies(), store_at("7"), "")
    server.forbids = "NetworkPolicy"
    if is_stale:
        server.store.is_stale = lambda _namespace: True  # type: ignore[method-assign]
    assert await reconciler(server, server.store)(KEY)
    assert server.created[:1] == ["PodDisruptionBudget"]
    assert conditions(server)["Stalled"][0] == "True"
    assert conditions(server)["Ready"][0] == "True"
    assert (server.observed == 1) == is_stale, "a store that is not whole tells of no pod that it is lost"
