"""The half of the plan of an engine that is the user's own: listed and sized, never predicted."""

from __future__ import annotations

from tacho_contract.failure import FailureClass
from tacho_engines.base import Context, Placement, PlanHalf, Refusal, Splits
from tacho_engines.custom.row import ROW
from tacho_engines.shared.compatibility import refused
from tacho_engines.shared.simple import SimplePlan


class CustomPlan(SimplePlan):
    """Its command is the user's, so nothing is known of what it keeps in memory or refuses."""

    def refusal(self, placement: Placement) -> Refusal | None:
        if placement.image:
            return None
        return refused(
            FailureClass.INVALID_CONFIG,
            "engine.name is custom, but engine.image is empty",
            "Set engine.image to the image that holds the engine",
        )

    def splits(self, placement: Placement) -> Splits | Refusal:
        options = placement.options
        return ((options.tensor or 1, options.pipeline or 1),)

    def account(self, _placement: Placement, _context: Context) -> None:
        return None


PLAN: PlanHalf = CustomPlan(ROW)
