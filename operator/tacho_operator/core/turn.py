"""What one turn has decided, room by room. The status is made of it, and so are the children."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tacho_operator.core.measurement.step import Measuring
from tacho_operator.core.problems import Problem
from tacho_operator.core.revisions.frozen import Revision
from tacho_operator.core.revisions.step import Planning
from tacho_operator.core.rollout.decision import Rollout


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The next step in each room."""

    revisions: Mapping[str, Revision]
    """All that can be read, the one about to be made included, by name."""
    planning: Planning
    rollout: Rollout
    measuring: Measuring
    asked: int
    """Replicas that a person or the scaler wants."""
    replicas: int
    """The same, or fewer where a claim does not let them all start."""
    blocking: tuple[Problem, ...] = ()
    """What concerns the resource as a whole: names, quota, claims."""

    @property
    def wanted(self) -> str:
        """The revision that spec asks for; "" while it has no plan."""
        return self.planning.wanted
