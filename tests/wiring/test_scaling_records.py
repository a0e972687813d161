"""A scaling decision is in status before its size is written, whatever ends the operator in between."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tacho_operator.core.reconcile import decide
from tacho_operator.core.types import Observed
from tacho_operator.shell.api_errors import ApiError
from tests.wiring.reconciling import Ordered, reconciler
from tests.wiring.sampled import KEY, Looking
from tools.harness.resources import CONFIG
from tools.harness.world import AUTOSCALING, World, world_of


class Killed(BaseException):
    """The operator's process has ended."""


class Dying(Ordered):
    """Ends the operator at its first write of a kind, before the write or after it."""

    def __init__(self, world: World, kind: str = "", *, late: bool = False) -> None:
        super().__init__(world)
        self._kind, self._late = kind, late

    async def apply(self, manifest: dict[str, Any], **options: Any) -> dict[str, Any]:
        ends = manifest["kind"] == self._kind
        if ends and not self._late:
            raise Killed
        found = await super().apply(manifest, **options)
        if manifest["kind"] == "LLMDeployment":
            self._world.raw["status"] = manifest["status"]
        elif manifest["kind"] == "Deployment":
            live = self._world.objects["Deployment", manifest["metadata"]["name"]]
            live["spec"] |= manifest["spec"]
        if ends:
            raise Killed
        return found


async def grown(looking: Looking) -> Observed:
    """As it is observed once far more than one replica carries, and before that is written."""
    for number in range(4):
        await looking.look(running=50, waiting=200, generation_tokens_total=1e4 * number)
        found = looking.scaler.observed(KEY, looking.world.observed())
        if found.scaling and found.scaling.replicas > 1:
            looking.world.scaling = found.scaling
            return looking.world.observed()
        looking.reconcile()
    raise AssertionError("nothing was decided")


@pytest.fixture
async def looking() -> Looking:
    world = world_of()
    world.raw["metadata"]["resourceVersion"] = "1"
    found = Looking(world)
    # The scaler's clock and the world's are one here: a restart reads times.
    found.now = world.now.timestamp()
    found.reconcile()
    return found


def restart(looking: Looking) -> None:
    looking.registry = CollectorRegistry()
    looking.scaler = looking.start()
    looking.reconcile()


def size(world: World) -> int:
    (found,) = world.sizes().values()
    return int(found)


def steps(world: World) -> list[tuple[int, int]]:
    made = world.status["autoscaling"].get("decisions", [])
    return [(item["fromReplicas"], item["toReplicas"]) for item in made]


async def test_it_is_in_status_first_and_nothing_else_that_a_write_may_refuse(looking: Looking) -> None:
    await grown(looking)
    world = looking.world
    stored, server = dict(world.status), Dying(world)
    server.refuses = False
    await reconciler(server)(KEY)
    order = [kind for kind in server.order if kind in ("LLMDeployment", "Deployment")]
    assert order == ["LLMDeployment", "Deployment", "LLMDeployment"]
    early = server.statuses[0]
    assert {name for name in early | stored if early.get(name) != stored.get(name)} == {"autoscaling"}
    assert early["autoscaling"] == server.statuses[-1]["autoscaling"]
    assert size(world) == early["autoscaling"]["desiredReplicas"] == steps(world)[0][1]


@pytest.mark.parametrize("made", [0, 1])
async def test_a_figure_alone_takes_no_write_before_children(looking: Looking, made: int) -> None:
    """Nor does a decision that is in status already."""
    world = looking.world
    for number in range(4 * made):
        await looking.look(running=8, waiting=0, generation_tokens_total=1e4 * number)
        looking.reconcile()
    assert not made or len(steps(world)) == made
    (policy,) = world.names("NetworkPolicy")
    world._remove("NetworkPolicy", policy)
    await looking.look(running=3, waiting=0, generation_tokens_total=4e4 * made)
    world.scaling = looking.scaler.observed(KEY, world.observed()).scaling
    server = Dying(world)
    server.refuses = False
    await reconciler(server)(KEY)
    assert [kind for kind in server.order if kind != "Event"] == ["NetworkPolicy", "LLMDeployment"]


@pytest.mark.parametrize(
    ("kind", "late"),
    [("LLMDeployment", False), ("LLMDeployment", True), ("Deployment", False), ("Deployment", True)],
)
async def test_whoever_is_killed_between_two_writes_leaves_a_record_of_what_it_did(
    looking: Looking, kind: str, late: bool
) -> None:
    """And of nothing else: of what it did not do, the next one decides by the load of then."""
    await grown(looking)
    world = looking.world
    server = Dying(world, kind, late=late)
    server.refuses = False
    with pytest.raises(Killed):
        await reconciler(server)(KEY)
    is_written = (kind, late) == ("Deployment", True)
    before = steps(world)
    assert (size(world) > 1) == is_written
    assert len(before) == (0 if (kind, late) == ("LLMDeployment", False) else 1)

    restart(looking)
    assert (size(world) > 1) == is_written, "a restart by itself changes no size"
    await looking.look(running=50, waiting=200, generation_tokens_total=1e6)
    looking.reconcile()
    assert steps(world) == (before if is_written else [])
    for number in range(3):
        await looking.look(running=50, waiting=200, generation_tokens_total=2e6 + 1e4 * number)
        looking.reconcile()
    assert steps(world)[-1] == (1, steps(world)[-1][1])
    assert [item[0] for item in steps(world)].count(1) == 1, "no change is told twice"


async def test_a_size_that_arrives_after_the_first_look_at_it_is_kept(looking: Looking) -> None:
    """The watch of the Deployment may be behind that of the status, as when another process takes over."""
    await grown(looking)
    world = looking.world
    server = Dying(world, "Deployment")
    server.refuses = False
    with pytest.raises(Killed):
        await reconciler(server)(KEY)
    restart(looking)
    (name,) = world.names("Deployment")
    world.objects["Deployment", name]["spec"]["replicas"] = wanted = steps(world)[0][1]
    looking.reconcile()
    await looking.look(running=0, waiting=0, generation_tokens_total=1e6)
    looking.reconcile()
    assert (size(world), steps(world)) == (wanted, [(1, wanted)])


@pytest.mark.parametrize("is_back", [True, False], ids=["decided", "not yet decided"])
async def test_a_size_that_mode_recommend_has_taken_back_leaves_the_record(
    looking: Looking, *, is_back: bool
) -> None:
    world = looking.world
    for number in range(4):
        await looking.look(running=8, waiting=0, generation_tokens_total=1e4 * number)
        looking.reconcile()
    made = steps(world)
    assert [before for before, _ in made] == [1]
    for mode in ("Recommend", "Enforce"):
        world.change(replicas=1, autoscaling={**AUTOSCALING, "mode": mode})
        looking.reconcile()
        if mode == "Recommend" or is_back:
            await looking.look(running=0, waiting=0, generation_tokens_total=1e6)
            looking.reconcile()
    restart(looking)
    await looking.look(running=0, waiting=0, generation_tokens_total=1e6)
    looking.reconcile()
    assert (size(world), steps(world)) == (1, made)


@pytest.mark.parametrize("ends", ["outdated", "refused"])
async def test_its_event_is_posted_though_the_pass_ends_early(
    looking: Looking, ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later decisions find the change in status, and tell of it no more."""
    observed = await grown(looking)
    assert decide(observed, CONFIG, looking.world.now + timedelta(seconds=1)).events
    server = Dying(looking.world)
    server.refuses = False
    reconcile = reconciler(server)
    told: list[str] = []

    async def post(_raw: object, events: Any, _now: object) -> None:
        told.extend(event.reason for event in events)

    monkeypatch.setattr(reconcile.events, "post", post)
    written = server.apply
    if ends == "outdated":
        monkeypatch.setattr("tacho_operator.shell.ready_pods.CHECK_SECONDS", 0.01)

        async def slow(manifest: dict[str, Any], **options: Any) -> dict[str, Any]:
            found = await written(manifest, **options)
            if manifest["kind"] == "Deployment":
                for pod in looking.world.pods("server"):
                    looking.world.runs(pod, "Running", ready=False)
                async with asyncio.timeout(10):
                    while server.order.count("LLMDeployment") < 2:
                        await asyncio.sleep(0.01)
            return found

        monkeypatch.setattr(server, "apply", slow)
        assert await reconcile(KEY) == 0.0
        assert told.pop(0) == "Starting", "the lost Ready"
    else:

        async def apply(manifest: dict[str, Any], **options: Any) -> dict[str, Any]:
            if manifest["kind"] == "LLMDeployment" and "Deployment" in server.order:
                raise ApiError(503, "overloaded")
            return await written(manifest, **options)

        monkeypatch.setattr(server, "apply", apply)
        with pytest.raises(ApiError):
            await reconcile(KEY)
    assert told == ["SuccessfulRescale"]
