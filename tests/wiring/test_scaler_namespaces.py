"""No namespace's pods or resources delay the scaling decisions of another namespace."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from typing import Any

import pytest

from tacho_operator.core.autoscaling.algorithm.types import Correction
from tacho_operator.shell.loads import TimedLoad
from tacho_operator.shell.scaler import ScaledResource, Scaler
from tacho_operator.shell.workqueue import Key
from tests.wiring.sampled import KEY, Looking
from tools.harness.world import world_of

SLOW_ADDRESS = "10.9.9.9"


@pytest.fixture
def looking() -> Looking:
    found = Looking(world_of())
    found.reconcile()
    return found


def put_beside(looking: Looking, key: Key, address: str) -> None:
    """Adds a resource like the first one, with its pods at another address; none where it is empty."""
    observed = looking.world.observed()
    for pod in observed.pods:
        pod["status"]["podIP"] = address
    looking.scaler.observed(key, observed)


async def test_after_a_reading_that_failed_the_next_one_is_made(
    looking: Looking, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = asyncio.Event()

    async def reading(*_: object) -> dict[str, TimedLoad]:
        if looking.scaler._samples > 1:
            read.set()
            return {}
        raise OSError("no more threads")

    monkeypatch.setattr(looking.pods, "read", reading)
    monkeypatch.setattr(looking.scaler, "_period_seconds", 0.01)
    task = asyncio.create_task(looking.scaler.run())
    async with asyncio.timeout(5):
        await read.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_what_made_a_decision_fail_is_not_kept(
    looking: Looking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each later one failed too, until the operator was restarted."""

    def decide(scaler: Scaler, key: Key, known: ScaledResource, *rest: Any) -> bool:
        assert not math.isnan(known.state.correction.factor)
        return decide_(scaler, key, known, *rest)

    decide_ = Scaler._decide
    monkeypatch.setattr(Scaler, "_decide", decide)
    known = looking.scaler._watched[KEY]
    known.state = dataclasses.replace(known.state, correction=Correction(math.nan))
    await looking.scaler.sample()
    assert known.decision is None
    await looking.scaler.sample()
    assert known.decision is not None


@pytest.mark.parametrize(("names_itself", "running"), [("own", 50), ("", 50), ("another", None)])
async def test_the_load_of_a_pod_that_got_the_address_of_another_counts_for_nothing(
    looking: Looking, names_itself: str, running: int | None
) -> None:
    """Another namespace's load decided how many replicas a resource has, and raised its measured capacity."""
    (pod,) = looking.world.pods("server")
    uid = pod["metadata"]["uid"] if names_itself == "own" else names_itself
    for number in range(3):
        total = 1e4 * number
        await looking.look(running=50, waiting=200, generation_tokens_total=total, pod_uid=uid)
        looking.reconcile()
    assert looking.sample("requests_running") == running
    assert (looking.world.status["autoscaling"]["desiredReplicas"] > 1) == (running is not None)
    assert looking.world.brief("ScalingActive")[0] == ("False" if running is None else "True")
