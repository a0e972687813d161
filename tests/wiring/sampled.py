"""A scaler over one world, whose pods report the load that a test gives them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from prometheus_client import CollectorRegistry

from tacho_contract.report import Load
from tacho_operator.shell.loads import Loads, TimedLoad
from tacho_operator.shell.resource_metrics import ScalingMetrics
from tacho_operator.shell.scaler import Scaler
from tacho_operator.shell.workqueue import Key
from tools.harness.world import World

KEY = Key("ml", "smol")
ADDRESS = "10.0.0.7"


class Pods:
    """What /load of each address says now."""

    def __init__(self) -> None:
        self.answers: dict[str, Load] = {}
        self.asked: list[str] = []
        self.now = 1_000_000.0

    async def read(self, addresses: Iterable[str]) -> dict[str, TimedLoad]:
        self.asked = list(addresses)
        return {
            address: TimedLoad(self.answers[address], self.now)
            for address in self.asked
            if address in self.answers
        }


class Looking:
    """A scaler over one world, and what it called for."""

    def __init__(self, world: World) -> None:
        self.world, self.pods, self.called = world, Pods(), []
        self.is_stale = False
        """Whether watches are interrupted."""
        self.registry = CollectorRegistry()
        self.scaler = self.start()

    @property
    def now(self) -> float:
        return self.pods.now

    @now.setter
    def now(self, now: float) -> None:
        self.pods.now = now

    def start(self) -> Scaler:
        return Scaler(
            cast("Loads", self.pods),
            period_seconds=10,
            call=self.called.append,
            sink=ScalingMetrics(self.registry),
            is_stale=lambda _: self.is_stale,
            clock=lambda: self.now,
        )

    def reconcile(self) -> None:
        for index, pod in enumerate(self.world.pods("server")):
            pod["status"]["podIP"] = f"10.0.0.{7 + index}"
        self.world.scaling = None
        observed = self.scaler.observed(KEY, self.world.observed())
        self.world.scaling = observed.scaling
        self.scaler.follow(KEY, observed, self.world.reconcile(1).status)

    async def look(self, **figures: Any) -> None:
        self.now += 10
        if figures:
            self.pods.answers[ADDRESS] = Load(observed_time=str(self.now), **figures)
        self.called.clear()
        await self.scaler.sample()

    def sample(self, name: str, **labels: str) -> float | None:
        where = {"namespace": "ml", "name": "smol", **labels}
        return self.registry.get_sample_value(f"tacho_llmdeployment_{name}", where)
