"""The order of effects: an event tells of a status that is stored."""

from __future__ import annotations

from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from tacho_operator.core.model import Observed
from tacho_operator.shell.kube import ApiError, Kube
from tacho_operator.shell.metrics import Metrics
from tacho_operator.shell.observe import Observer
from tacho_operator.shell.reconcile import Reconciler
from tacho_operator.shell.workqueue import Key
from tests.unit.core.builders import CONFIG, NOW
from tests.unit.core.world import World


class Server:
    """Takes everything but the status, while it is told to refuse it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.created: list[str] = []
        self.refuses = True

    async def observe(self, key: Key) -> Observed:
        assert key.name
        return self._world.observed()

    async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self.created.append(manifest["kind"])
        return manifest

    async def apply(self, manifest: dict[str, Any], *, uid: str, subresource: str = "") -> dict[str, Any]:
        assert uid
        if subresource == "status" and self.refuses:
            raise ApiError(422, "status.x: Invalid value")
        return manifest


async def test_no_event_tells_of_a_status_that_could_not_be_written() -> None:
    """It would be told again at every try."""
    world = World(resourceVersion="1")
    world.claims = {"models": None}
    server = Server(world)
    reconcile = Reconciler(
        kube=cast(Kube, server),
        observer=cast(Observer, server),
        config=CONFIG,
        metrics=Metrics(CollectorRegistry()),
        clock=lambda: NOW,
    )
    for _ in range(3):
        with pytest.raises(ApiError):
            await reconcile(Key("ml", "smol"))
    assert "Event" not in server.created
    server.refuses = False
    await reconcile(Key("ml", "smol"))
    assert server.created.count("Event") == 1
