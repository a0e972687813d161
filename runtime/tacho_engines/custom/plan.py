"""The half of the plan of an engine that is the user's own: listed and sized, never predicted."""

from __future__ import annotations

from tacho_contract.failure import FailureClass
from tacho_engines.base import Context, Options, Placement, PlanHalf, Refusal, Splits
from tacho_engines.custom import arguments, compatibility
from tacho_engines.custom.row import ROW
from tacho_engines.row import Preset
from tacho_engines.shared.compatibility import refused
from tacho_engines.shared.simple import SimplePlan

_PRESETS = {preset.name: preset for preset in ROW.presets}


def _preset(options: Options) -> Preset | None:
    return _PRESETS.get(options.preset)


class CustomPlan(SimplePlan):
    """Its command is the user's, so nothing is known of what it keeps in memory or refuses; of a preset,
    what it has switches for."""

    def refusal(self, placement: Placement) -> Refusal | None:
        if not placement.image:
            return refused(
                FailureClass.INVALID_CONFIG,
                "engine.name is custom, but engine.image is empty",
                "Set engine.image to the image that holds the engine",
            )
        preset = _preset(placement.options)
        return compatibility.refusal(placement, preset) if preset else None

    def splits(self, placement: Placement) -> Splits | Refusal:
        """As said; what is not said follows from the number of GPUs."""
        options, gpus = placement.options, max(1, placement.count)
        preset = _preset(options)
        if preset and preset.spreads_layers:
            tensor = options.tensor or 1
            return ((tensor, options.pipeline or gpus // tensor),)
        pipeline = options.pipeline or (gpus // options.tensor if options.tensor else 1)
        return ((options.tensor or gpus // pipeline, pipeline),)

    def account(self, _placement: Placement, _context: Context) -> None:
        return None

    def arguments(self, placement: Placement, context: Context) -> tuple[str, ...]:
        preset = _preset(placement.options)
        return arguments.arguments(placement, context, preset) if preset else ()


PLAN: PlanHalf = CustomPlan(ROW)
