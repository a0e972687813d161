"""What a reconcile tells the parts that its decision came from."""

from __future__ import annotations

from typing import cast

import pytest

from tacho_operator.api.status.status import LLMDeploymentStatus
from tacho_operator.core.names import MEASURE_AGAIN_ANNOTATION
from tacho_operator.core.types import Observed
from tacho_operator.shell import reconcile as module
from tacho_operator.shell.api_errors import ApiError
from tacho_operator.shell.observe import UndecidedResource
from tacho_operator.shell.probe_turns import ProbeTurns
from tacho_operator.shell.scaler import Scaler
from tacho_operator.shell.store.store import Store
from tacho_operator.shell.workqueue import Key
from tests.unit.core.measured_world import measured_world
from tests.wiring.reconciling import KEY, Server, Unscaled, reconciler, store_at
from tools.harness.world import World


class Told(Unscaled):
    """A scaler that keeps what it is told."""

    def __init__(self) -> None:
        self.unread_keys: list[Key] = []
        self.measured: list[int] = []
        """Number of measurements in each status."""

    def unread(self, key: Key) -> None:
        self.unread_keys.append(key)

    def follow(self, key: Key, observed: Observed, status: object) -> None:
        self.measured.append(len(cast(LLMDeploymentStatus, status).measurements))


def with_scaler(server: Server, scaler: Told) -> module.Reconciler:
    reconcile = reconciler(server)
    object.__setattr__(reconcile._sources, "scaler", cast(Scaler, scaler))
    return reconcile


async def test_figures_of_pods_that_cannot_be_read_are_not_taken_as_present() -> None:
    server, scaler = Server(World(resourceVersion="1")), Told()
    server.fails = True
    with pytest.raises(ApiError):
        await with_scaler(server, scaler)(KEY)
    assert scaler.unread_keys == [KEY]


async def test_the_scaler_has_a_measurement_as_soon_as_it_is_decided() -> None:
    """Also where each write of status is refused."""
    world = measured_world()
    world.raw["metadata"]["resourceVersion"] = "1"
    world.raw["status"]["measurements"] = []
    server, scaler = Server(world), Told()
    with pytest.raises(ApiError):
        await with_scaler(server, scaler)(KEY)
    assert scaler.measured == [1]


async def test_a_resource_that_cannot_be_decided_holds_no_place_among_those_that_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = measured_world()
    world.raw["metadata"]["resourceVersion"] = "1"
    world.change(workload={"inputTokens": 900, "outputTokens": 10})
    server = Server(world)
    server.refuses = False
    turns = ProbeTurns(0, Store(lambda _: None), call=lambda key: None)
    reconcile = reconciler(server, turns=turns)
    await reconcile(KEY)
    assert KEY in turns._waiting

    def failing(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(module, "decide", failing)
    with pytest.raises(UndecidedResource):
        await reconcile(KEY)
    assert KEY not in turns._waiting


async def test_a_measured_probe_pod_stays_while_the_store_is_interrupted() -> None:
    world = measured_world()
    world.raw["metadata"] |= {"resourceVersion": "1", "annotations": {MEASURE_AGAIN_ANNOTATION: "now"}}
    world.settle()
    (probe,) = world.pods("probe")
    world.serves(probe)
    server, store = Server(world), store_at("7")
    server.refuses = False
    store.lost("Pod", "", "Pod: reconnecting")
    assert await reconciler(server, store)(KEY) == module.STALE_RETRY_SECONDS
    assert server.deleted == []
    store.runs("Pod", "")
    await reconciler(server, store)(KEY)
    assert server.deleted == [probe["metadata"]["name"]]
