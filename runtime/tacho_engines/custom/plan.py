"""Custom engines for the planner: the switches of a preset. Their memory is not predicted."""

from __future__ import annotations

from tacho_contract.failure import FailureClass
from tacho_engines.base import Context, EngineOptions, EngineRefusal, Placement, PlannerAdapter, Splits
from tacho_engines.custom.presets import PRESETS
from tacho_engines.profile import EngineImage, EngineProfile, EngineSpeed, Preset
from tacho_engines.shared.compatibility import refused

PROFILE = EngineProfile(
    name="custom",
    title="A custom engine",
    image=EngineImage(reference="", version="", entrypoint=(), uid=-1),
    devices=("gpu", "cpu"),
    formats=("safetensors", "gguf", "ct2", "pytorch", "custom"),
    methods=(),
    speed=EngineSpeed(efficiency=0.0, batching=True),
    predicted=False,
)


def preset_refusal(placement: Placement, preset: Preset) -> EngineRefusal | None:
    """The first field of spec that has no effect with this preset, as a refusal; None: all have one.

    The API refuses those fields as well, by rules made from the same data.
    """
    options, method = placement.options, placement.method.method
    name = f"the preset {preset.name}"
    if placement.device.on_host:
        return refused(FailureClass.UNSUPPORTED_GPU, f"{name} runs on GPUs", "Set gpu.count to 1 or more")
    if method not in preset.methods:
        return refused(
            FailureClass.UNSUPPORTED_QUANTIZATION,
            f"{name} has no switch for quantization.method {method}",
            f"Set quantization.method to one of: {', '.join(preset.methods)}",
        )
    if options.kv_cache_dtype and options.kv_cache_dtype not in preset.cache_types:
        known = ", ".join(preset.cache_types)
        return refused(
            FailureClass.UNSUPPORTED_QUANTIZATION,
            f"{name} has no switch for quantization.kvCacheDtype {options.kv_cache_dtype}",
            f"Set it to one of: {known}" if known else "Remove quantization.kvCacheDtype",
        )
    return None


_PRESETS = {preset.name: preset for preset in PRESETS}


def _preset(options: EngineOptions) -> Preset | None:
    return _PRESETS.get(options.preset)


class CustomPlan(PlannerAdapter):
    """The planner adapter of a custom engine.

    The command is the user's: memory is never predicted, and only an empty image is refused. With a preset,
    arguments and refusals follow from its switches.
    """

    def refusal(self, placement: Placement) -> EngineRefusal | None:
        if not placement.image:
            return refused(
                FailureClass.INVALID_CONFIG,
                "engine.name is custom, but engine.image is empty",
                "Set engine.image to the image that holds the engine",
            )
        preset = _preset(placement.options)
        return preset_refusal(placement, preset) if preset else None

    def splits(self, placement: Placement) -> Splits | EngineRefusal:
        """The user's tensor and pipeline sizes; a size that is not set follows from the number of GPUs."""
        options, gpus = placement.options, max(1, placement.count)
        pipeline = options.pipeline or (gpus // options.tensor if options.tensor else 1)
        return ((options.tensor or gpus // pipeline, pipeline),)

    def account(self, _placement: Placement, _context: Context) -> None:
        return None

    def arguments(self, placement: Placement, context: Context) -> tuple[str, ...]:
        """The preset's switches for context, spread over GPUs, and types of weights and cache."""
        preset = _preset(placement.options)
        if preset is None:
            return ()
        values = {
            "max_model_len": context.max_model_len,
            "concurrency": context.concurrency,
            "tensor": placement.tensor,
            "pipeline": placement.pipeline,
        }
        options = placement.options
        switches = (
            *preset.context,
            *(preset.tensor if placement.tensor > 1 else ()),
            *(preset.pipeline if placement.pipeline > 1 else ()),
            *preset.methods[placement.method.method],
            *(preset.cache_types[options.kv_cache_dtype] if options.kv_cache_dtype else ()),
            *(preset.trust_remote_code if options.trust_remote_code else ()),
        )
        return tuple(word.format_map(values) for word in switches)


PLAN: PlannerAdapter = CustomPlan(PROFILE, presets=PRESETS)
