"""A Ready that is lost is told before the children are written, and nothing else before it is known."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tacho_contract.units import format_time
from tacho_operator.core.children import VICTIM_COST
from tacho_operator.core.names import DELETION_COST_ANNOTATION, ROLE_INSPECT, ROLE_LABEL
from tacho_operator.shell import ready_pods
from tacho_operator.shell.api_errors import ApiError
from tacho_operator.shell.store.store import Store
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
    """Its pods stop being ready while the first child is written, as the watch has shown then."""

    def __init__(self, world: World, store: Store) -> None:
        super().__init__(world)
        self.store = store
        self.show("5")

    def show(self, version: str) -> None:
        for pod in self._world.pods("server"):
            pod["metadata"] |= {"resourceVersion": version, "namespace": KEY.namespace}
            self.store.put("Pod", pod)

    async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        made = await super().create(manifest)
        self._world.objects[manifest["kind"], manifest["metadata"]["name"]] = manifest
        for pod in self._world.pods("server"):
            self._world.runs(pod, "Running", ready=False)
        self.show("6")
        return made


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


@pytest.mark.parametrize("check_seconds", [0.0, 1000.0], ids=["slow", "fast"])
async def test_one_that_is_lost_while_children_are_written_is_told_before_the_next_one(
    check_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With webhooks of 34 s for each write it was told after 306 s."""
    monkeypatch.setattr(ready_pods, "CHECK_SECONDS", check_seconds)
    world = serving_without_policies()
    server = LosesReady(world, store_at("7"))
    reconcile = reconciler(server, server.store)
    delay = await reconcile(KEY)
    if check_seconds:
        assert server.order == ["NetworkPolicy", "PodDisruptionBudget"], "usual writes take no check"
        return
    assert (server.order, delay) == (["NetworkPolicy"], 0.0)
    await reconcile(KEY)
    assert server.order[1:3] == ["LLMDeployment", "PodDisruptionBudget"]
    assert conditions(server)["Ready"][0] == "False"


class SlowTrials(LosesReady):
    """Its pods stop being ready while a revision is tried, and no trial has an answer."""

    async def try_create(self, manifest: dict[str, Any]) -> None:
        await super().try_create(manifest)
        for pod in self._world.pods("server"):
            self._world.runs(pod, "Running", ready=False)
        self.show("6")
        await asyncio.sleep(3600)


async def test_one_that_is_lost_while_a_revision_is_tried_is_told_before_the_trial_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With webhooks of 30 s for Deployments and pods it was told after 60 s."""
    monkeypatch.setattr(ready_pods, "CHECK_SECONDS", 0.0)
    world = World(resourceVersion="1")
    world.come_up()
    world.settle()
    world.change(context={"maxModelLen": 1024, "concurrency": 2})
    server = SlowTrials(world, store_at("7"))
    reconcile = reconciler(server, server.store)
    async with asyncio.timeout(20):
        assert await reconcile(KEY) == 0.0
    assert (server.tried, server.order) == (["Deployment"], [])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await reconcile(KEY)
    assert server.order[:1] == ["LLMDeployment"]
    assert conditions(server)["Ready"][0] == "False"


class LosesReadyByAnnotation(LosesReady):
    """Its pods stop being ready while the first of them is annotated."""

    async def annotate(self, live: dict[str, Any], annotations: dict[str, str]) -> dict[str, Any]:
        found = await super().annotate(live, annotations)
        for pod in self._world.pods("server"):
            self._world.runs(pod, "Running", ready=False)
        self.show("8")
        return found


async def test_one_that_is_lost_while_pods_are_annotated_is_told_before_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a webhook of 30 s for pods it was told after a minute."""
    monkeypatch.setattr(ready_pods, "CHECK_SECONDS", 0.0)
    world = serving_without_policies()
    server = LosesReadyByAnnotation(world, store_at("8"))
    for pod in world.pods("server"):
        pod["metadata"]["annotations"] = {DELETION_COST_ANNOTATION: VICTIM_COST}
    reconcile = reconciler(server, server.store)
    assert await reconcile(KEY) == 0.0
    assert server.order == ["annotation"]
    await reconcile(KEY)
    assert server.order[1:2] == ["LLMDeployment"]
    assert conditions(server)["Ready"][0] == "False"


async def test_a_timeout_of_the_trial_itself_is_no_lost_pod() -> None:
    async def late() -> None:
        async with ready_pods.unless_outdated(lambda: False):
            raise TimeoutError("of a request")

    with pytest.raises(TimeoutError, match="of a request"):
        await late()


class Touched(LosesReady):
    """Somebody annotates its pods again and again."""

    version = 5

    async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.show(str(self.version))
        return await Ordered.create(self, manifest)


async def test_pods_that_are_changed_again_and_again_keep_no_refusal_from_status(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where a webhook took seconds, each pass ended after its first write, and no status was written."""
    monkeypatch.setattr(ready_pods, "CHECK_SECONDS", 0.0)
    world = serving_without_policies()
    server = Touched(world, store_at("7"))
    server.forbids = "NetworkPolicy"
    reconcile = reconciler(server, server.store)
    for _ in range(ready_pods.MOST_EARLY):
        assert await reconcile(KEY) == 0.0
    assert "LLMDeployment" not in server.order
    assert await reconcile(KEY)
    assert server.created[:1] == ["PodDisruptionBudget"]
    assert conditions(server)["Stalled"][0] == "True"
    assert await reconcile(KEY) == 0.0, "a pass was completed between"
    assert reconcile._early._counts
    server.gone = True
    await reconcile(KEY)
    assert not reconcile._early._counts
