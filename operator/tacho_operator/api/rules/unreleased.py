"""What the API already has a place for but tacho does not do yet: refused, never ignored.

Each gate is one entry. Lifting it is removing that entry; the table of accepted and refused resources
names gates, so it needs no change.
"""

from __future__ import annotations

from tacho_operator.api.rules.rule import Rule


def _gate(name: str, cel: str, what: str, instead: str) -> Rule:
    return Rule(name=name, path="spec", cel=cel, message=f"{what}: not supported yet; {instead}")


def _absent(name: str, what: str, instead: str) -> Rule:
    return _gate(f"{name}-absent", f"!has(self.{name})", what, instead)


GATES: tuple[Rule, ...] = (
    _absent("rollout", "settings of rollouts", "remove rollout; a new revision surges and then takes over"),
    _absent("endpoint", "API keys and allowed namespaces", "remove endpoint"),
)
