"""Scaling policies by name, with their defaults."""

from __future__ import annotations

from dataclasses import dataclass

from tacho_simulate.policies import (
    aibrix,
    greedy,
    hpa,
    kaito,
    kubeai,
    production_stack,
    tacho,
    wva,
)
from tacho_simulate.policy import Factory, PolicyDecision, PolicyView, Setting, SimulatedPolicy


@dataclass(frozen=True, slots=True)
class Static:
    """A fixed number of replicas."""

    replicas: int
    name: str = "static"
    source: str = "a fixed number of replicas"
    period_seconds: float = 3600.0

    def decide(self, view: PolicyView) -> PolicyDecision:
        del view
        return PolicyDecision(replicas=self.replicas, reason=f"fixed at {self.replicas} replicas")


def static(setting: Setting) -> SimulatedPolicy:
    """The initial replicas where the setting gives them, else the minimum."""
    if setting.initial_replicas is None:
        return Static(setting.min_replicas)
    return Static(setting.initial_replicas, name=f"static-{setting.initial_replicas}")


POLICIES: dict[str, Factory] = {
    "tacho": tacho.make,
    "static": static,
    "hpa-queue": hpa.on_queue,
    "hpa-kv-cache": hpa.on_kv_cache,
    "hpa-concurrency": hpa.on_concurrency,
    "kubeai": kubeai.KubeAI,
    "aibrix-apa": aibrix.make_apa,
    "aibrix-kpa": aibrix.make_kpa,
    "kaito": kaito.Kaito,
    "production-stack": production_stack.Chart,
    "production-stack-operator": production_stack.Operator,
    "wva": wva.WVA,
    "greedy": greedy.GreedyReference,
}
