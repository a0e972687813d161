"""A fixed number of replicas."""

from __future__ import annotations

from dataclasses import dataclass

from tacho_simulate.policy import PolicyDecision, PolicyView, Setting, SimulatedPolicy


@dataclass(frozen=True, slots=True)
class Static:
    replicas: int
    name: str = "static"
    source: str = "a fixed number of replicas"
    period_seconds: float = 3600.0

    def decide(self, view: PolicyView) -> PolicyDecision:
        del view
        return PolicyDecision(replicas=self.replicas, reason=f"always {self.replicas}")


def make(setting: Setting) -> SimulatedPolicy:
    """Of ``initial``, where that is reason."""
    if setting.initial_replicas is None:
        return Static(setting.min_replicas)
    return Static(setting.initial_replicas, name=f"static-{setting.initial_replicas}")
