"""The ways of scaling that are known, by name."""

from __future__ import annotations

from tacho_operator.simulate.policies import static
from tacho_operator.simulate.policy import Factory

POLICIES: dict[str, Factory] = {"static": static.make}
