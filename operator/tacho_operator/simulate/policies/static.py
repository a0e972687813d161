"""As many replicas as there are at the beginning, whatever comes."""

from __future__ import annotations

from dataclasses import dataclass

from tacho_operator.simulate.policy import Choice, Policy, Setting, View


@dataclass(frozen=True, slots=True)
class Static:
    replicas: int
    name: str = "static"
    source: str = "a fixed number of replicas"
    period_seconds: float = 3600.0

    def decide(self, view: View) -> Choice:
        del view
        return Choice(replicas=self.replicas, sentence=f"always {self.replicas}")


def make(setting: Setting) -> Policy:
    """Of ``initial``, where that is said."""
    if setting.initial is None:
        return Static(setting.least)
    return Static(setting.initial, name=f"static-{setting.initial}")
