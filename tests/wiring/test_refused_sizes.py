"""The API server refuses sizes of the Deployment, several one after the other."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tacho_operator.shell.api_errors import Forbidden
from tests.wiring.reconciling import Ordered, conditions, reconciler
from tests.wiring.sampled import ADDRESS, KEY, Looking
from tools.harness.world import World, world_of


class Refusing(Ordered):
    """Admits a Deployment of ``most`` replicas."""

    def __init__(self, world: World, most: int) -> None:
        super().__init__(world)
        self.refuses, self.most = False, most
        self.tried: list[int] = []

    async def apply(self, manifest: dict[str, Any], **options: Any) -> dict[str, Any]:
        if manifest["kind"] == "Deployment":
            self.tried.append(manifest["spec"]["replicas"])
            if self.tried[-1] > self.most:
                raise Forbidden(403, f"admission webhook w denied the request: at most {self.most}")
            self._world.objects["Deployment", manifest["metadata"]["name"]]["spec"] |= manifest["spec"]
        found = await super().apply(manifest, **options)
        if manifest["kind"] == "LLMDeployment":
            self._world.raw["status"] = manifest["status"]
        return found

    async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        made = await super().create(manifest)
        self._world.objects[manifest["kind"], manifest["metadata"]["name"]] = made
        return made


async def test_each_is_tried_again_and_none_is_told_as_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one was an event of success, with no word of its refusal."""
    world = world_of()
    world.raw["metadata"]["resourceVersion"] = "1"
    looking = Looking(world)
    looking.now = world.now.timestamp()
    looking.reconcile()
    server = Refusing(world, most=1)
    reconcile = reconciler(server)
    reconcile._clock = lambda: world.now
    told: list[tuple[str, str]] = []

    async def post(_raw: object, events: Any, _now: object) -> None:
        told.extend((event.reason, event.message) for event in events if "Rescale" in event.reason)

    monkeypatch.setattr(reconcile.events, "post", post)
    generated = 0.0

    async def turn(**load: int) -> float | None:
        """A look at the load, and the reconcile that follows."""
        nonlocal generated
        generated += 1e4
        await looking.look(generation_tokens_total=generated, **load)
        for pod in world.pods("server"):
            pod["status"]["podIP"] = ADDRESS
        world.scaling = None
        observed = looking.scaler.observed(KEY, world.observed())
        world.scaling = observed.scaling
        world.now += timedelta(seconds=10)
        return await reconcile(KEY)

    wanted = []
    for running, waiting in ((8, 0), (50, 200)):
        for _ in range(4):
            delay = await turn(running=running, waiting=waiting)
        wanted.append(server.tried[-1])
        assert server.tried.count(wanted[-1]) > 1, "it is tried again"
        assert delay is not None
        assert conditions(server)["ScalingActive"][:2] == ("False", "FailedUpdateScale")
        assert conditions(server)["Stalled"][:2] == ("True", "AdmissionDenied")
        assert f"1 of {wanted[-1]} replicas serve" in conditions(server)["Ready"][2]
        assert world.sizes() == dict.fromkeys(world.sizes(), 1)
    assert 1 < wanted[0] < wanted[1]
    assert [reason for reason, _ in told] == ["FailedRescale", "FailedRescale"]
    assert all("at most 1" in message for _, message in told)
    told.clear()
    server.most = wanted[1]
    for _ in range(2):
        await turn(running=50, waiting=200)
    assert world.sizes() == dict.fromkeys(world.sizes(), wanted[1])
    assert conditions(server)["ScalingActive"][0] == "True"
    assert conditions(server)["Stalled"][0] == "False"
    assert [reason for reason, _ in told] == ["SuccessfulRescale"]
    assert told[0][1].startswith(f"New size: {wanted[1]};")
