"""The order of effects: what is recorded comes before what stands on it."""

from __future__ import annotations

from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from tacho_operator.core.types import Observed
from tacho_operator.shell.kube import ApiError, Forbidden, Kube
from tacho_operator.shell.metrics import Metrics
from tacho_operator.shell.observe import Observer
from tacho_operator.shell.reconcile import Reconciler
from tacho_operator.shell.workqueue import Key
from tests.unit.core.builders import CONFIG, NOW, facts
from tests.unit.core.world import World


class Server:
    """Takes everything but the status, while it is told to refuse it."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.created: list[str] = []
        self.refuses = True
        self.forbids = ""

    async def observe(self, key: Key) -> Observed:
        assert key.name
        return self._world.observed()

    async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        if manifest["kind"] == self.forbids:
            raise Forbidden(403, "exceeded quota: q")
        self.created.append(manifest["kind"])
        return manifest

    async def delete(self, kind: str, namespace: str, name: str, *, uid: str) -> None:
        assert kind == "Pod", "nothing but the inspect pod has had its time"

    async def apply(self, manifest: dict[str, Any], *, uid: str, subresource: str = "") -> dict[str, Any]:
        assert uid
        if subresource == "status" and self.refuses:
            raise ApiError(422, "status.x: Invalid value")
        return manifest


def reconciler(server: Server) -> Reconciler:
    return Reconciler(
        kube=cast(Kube, server),
        observer=cast(Observer, server),
        config=CONFIG,
        metrics=Metrics(CollectorRegistry()),
        clock=lambda: NOW,
    )


async def test_no_pods_are_made_of_a_revision_that_could_not_be_recorded() -> None:
    """It would be planned anew at every turn, and by the next version of the operator differently."""
    world = World(resourceVersion="1")
    world.turn()
    world.inspected(facts())
    server = Server(world)
    server.refuses = False
    server.forbids = "ControllerRevision"
    await reconciler(server)(Key("ml", "smol"))
    assert "Service" in server.created
    assert "Deployment" not in server.created
    server.forbids = ""
    await reconciler(server)(Key("ml", "smol"))
    assert "Deployment" in server.created


async def test_no_event_tells_of_a_status_that_could_not_be_written() -> None:
    """It would be told again at every try."""
    world = World(resourceVersion="1")
    world.claims = {"models": None}
    server = Server(world)
    reconcile = reconciler(server)
    for _ in range(3):
        with pytest.raises(ApiError):
            await reconcile(Key("ml", "smol"))
    assert "Event" not in server.created
    server.refuses = False
    await reconcile(Key("ml", "smol"))
    assert server.created.count("Event") == 1
