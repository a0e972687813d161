"""The ways of scaling that are known, by name."""

from __future__ import annotations

from tacho_operator.simulate.policies import static, tacho
from tacho_operator.simulate.policy import Factory

POLICIES: dict[str, Factory] = {"tacho": tacho.make, "static": static.make}
