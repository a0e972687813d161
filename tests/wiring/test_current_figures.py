"""No figure of the load outlasts what it rests on: it is unknown once no present pods are decided about."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any, cast

import pytest

from tacho_operator.core.autoscaling.status_view import RECOMMEND
from tacho_operator.shell import scaler as module
from tacho_operator.shell.api_errors import ApiError
from tacho_operator.shell.scaler import CURRENT_SECONDS
from tests.wiring.reconciling import Server, Unscaled, reconciler
from tests.wiring.sampled import KEY, Looking
from tools.harness.resources import at
from tools.harness.world import MOCK_SPEC, World, world_of

FIGURES = ("demand_replicas", "utilization_ratio", "requests_running", "pods_silent")
LOOKS = int(CURRENT_SECONDS / 10)


async def look(looking: Looking, number: int = 0) -> None:
    await looking.look(running=50, waiting=200, generation_tokens_total=1e4 * number)


async def known(**autoscaling: Any) -> Looking:
    looking = Looking(world_of(**autoscaling))
    looking.reconcile()
    for number in range(4):
        await look(looking, number)
        looking.reconcile()
    assert is_known(looking)
    return looking


def is_known(looking: Looking) -> bool:
    shown = {looking.sample(name) is not None for name in FIGURES}
    answered = looking.scaler.latest(KEY) is not None
    assert shown == {answered}, "metrics and /scaling agree"
    return answered


@pytest.fixture
def defect(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """The scaler's decisions fail while the list has an item."""
    left: list[None] = []
    step = module.step

    def broken(*arguments: Any) -> Any:
        return step(*arguments) if not left else 1 / 0

    monkeypatch.setattr(module, "step", broken)
    return left


@pytest.mark.parametrize("mode", ["Enforce", RECOMMEND])
async def test_a_decision_that_fails_leaves_no_figure_and_is_a_condition(
    mode: str, defect: list[None]
) -> None:
    looking = await known(mode=mode)
    sizes, world = looking.world.sizes(), looking.world
    defect.append(None)
    await look(looking, 4)
    assert not is_known(looking)
    assert looking.called == [KEY], "status has to say so"
    looking.reconcile()
    assert world.brief("ScalingActive") == ("False", "InternalError")
    assert "ZeroDivisionError" in world.condition("ScalingActive")["message"]
    assert not {"demandReplicas", "utilizationPercent", "reason"} & world.status["autoscaling"].keys()
    assert ("desiredReplicas" in world.status["autoscaling"]) == (mode == "Enforce")
    assert world.sizes() == sizes
    await look(looking, 5)
    assert looking.called == [], "once"
    defect.clear()
    await look(looking, 6)
    await look(looking, 7)
    assert is_known(looking)
    looking.reconcile()
    assert world.brief("ScalingActive")[1] != "InternalError"
    assert float(world.status["autoscaling"]["demandReplicas"]) > 0


async def test_a_state_that_no_decision_can_use_is_not_kept() -> None:
    looking = await known()
    watched = looking.scaler._watched[KEY]
    watched.state = dataclasses.replace(watched.state, speed=cast(Any, "fast"))
    await look(looking, 4)
    assert not is_known(looking)
    await look(looking, 5)
    await look(looking, 6)
    assert is_known(looking)


@pytest.mark.parametrize("cause", ["watch", "unread"])
async def test_figures_of_pods_that_may_be_others_by_now_are_unknown(cause: str) -> None:
    looking = await known()
    if cause == "watch":
        looking.is_stale = True
    else:
        looking.scaler.unread(KEY)
    for number in range(4, 4 + LOOKS):
        await look(looking, number)
        assert is_known(looking), "an API server ends each watch now and then"
    await look(looking, 20)
    assert not is_known(looking)
    assert looking.pods.asked == []
    looking.is_stale = False
    looking.reconcile()
    await look(looking, 21)
    assert looking.sample("demand_replicas") is None, "a first sample has no rate"
    await look(looking, 22)
    assert is_known(looking)


async def test_a_sampling_that_fails_each_time_leaves_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    looking = await known()

    async def failing(*_: object) -> None:
        raise OSError("no more threads")

    monkeypatch.setattr(looking.pods, "read", failing)
    for _ in range(LOOKS + 1):
        with pytest.raises(OSError, match="threads"):
            await look(looking)
    assert looking.scaler.latest(KEY) is None
    with pytest.raises(OSError, match="threads"):
        await look(looking)
    assert not is_known(looking)


async def test_a_successor_of_the_same_name_begins_without_figures() -> None:
    looking = await known()
    looking.world.raw["metadata"]["uid"] = "another"
    looking.scaler.observed(KEY, looking.world.observed())
    assert not is_known(looking)


async def test_a_resource_that_is_being_deleted_has_no_figures() -> None:
    """Nothing applies a decision about it, and a finalizer may keep it for ever."""
    looking = await known()
    looking.world.raw["metadata"]["deletionTimestamp"] = at(0)
    looking.reconcile()
    await look(looking, 5)
    assert not is_known(looking)
    assert looking.sample("desired_replicas") is None


async def test_a_reconcile_that_reads_no_pods_says_so_to_the_scaler(monkeypatch: pytest.MonkeyPatch) -> None:
    server, unread = Server(World(MOCK_SPEC, resourceVersion="1")), []
    monkeypatch.setattr(Unscaled, "unread", lambda _, key: unread.append(key))
    server.refuses, server.fails = False, True
    with pytest.raises(ApiError):
        await reconciler(server)(KEY)
    assert unread == [KEY]
    server.fails = False
    async with asyncio.timeout(10):
        await reconciler(server)(KEY)
    assert unread == [KEY]


async def test_a_pod_that_no_longer_answers_is_not_idle() -> None:
    """Its GPU time counted as idle for as long as it hung, as it had no request when it answered last."""
    looking = Looking(world_of())
    looking.reconcile()
    (pod,) = looking.world.pods("server")
    await looking.look(running=0, waiting=0, generation_tokens_total=1.0)
    assert looking.scaler.idle(KEY) == {pod["metadata"]["uid"]: True}
    looking.pods.answers.clear()
    for _ in range(LOOKS):
        await looking.look()
    assert looking.scaler.idle(KEY) == {pod["metadata"]["uid"]: True}
    await looking.look()
    assert looking.scaler.idle(KEY) == {}


async def test_a_pod_whose_sample_is_dated_far_ahead_is_not_idle() -> None:
    """As after the clock was set back."""
    looking = Looking(world_of())
    looking.reconcile()
    await looking.look(running=0, waiting=0, generation_tokens_total=1.0)
    (uid,) = looking.scaler.idle(KEY)
    looking.now -= CURRENT_SECONDS
    assert looking.scaler.idle(KEY) == {uid: True}
    looking.now -= 1
    assert looking.scaler.idle(KEY) == {}
