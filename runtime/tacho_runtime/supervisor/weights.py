"""Whether what an engine loaded is what was planned: pure."""

from __future__ import annotations

from tacho_contract.failure import Failure, FailureClass
from tacho_contract.launch import RuntimeConfig
from tacho_contract.units import gib
from tacho_engines.base import EngineFigures

FACTOR = 1.25
"""Of the 38 starts of tests/unit/planner/data/engine_logs.json that tell it, loaded weights were at most 1.07
times the predicted (DeepSeek-R1; the next is 1.03). Eight bits that are not applied make 1.76 times, four
bits 2.8: Llama-3.1-8B on an H200."""
SLACK_BYTES = 256 * 1024**2
"""What a load takes beside the tensors; of a small model it is more than that share."""


OTHER_WEIGHTS = ("float32", "speculative", "load-format", "load_format", "lora")
"""In a switch: a type twice as wide, a drafter's weights, weights that are not the checkpoint's, adapters."""


def not_applied(config: RuntimeConfig, figures: EngineFigures) -> Failure | None:
    """QuantizationNotApplied where far more was loaded than predicted, else None.

    Some engines serve a checkpoint unquantized, and without a word, where its configuration misses a field.
    Nothing is said where no method was asked for, or where the user's own switches change what is loaded.
    """
    loaded, predicted = figures.weights_bytes, config.predicted_weights_bytes
    if loaded is None or not predicted or config.quantization_method == "none":
        return None
    if any(word in argument for argument in config.extra_args for word in OTHER_WEIGHTS):
        return None
    if loaded <= FACTOR * predicted + SLACK_BYTES:
        return None
    return Failure(
        failure_class=FailureClass.QUANTIZATION_NOT_APPLIED,
        message=f"{config.engine} loaded {gib(loaded)} of weights where {config.quantization_method} should "
        f"leave {gib(predicted)}: the quantization was not applied",
        next_step="check the checkpoint's quantization_config (a GPTQ one needs modules_in_block_to_quantize "
        "or readable safetensors headers), spec.engine.image and spec.engine.extraArgs",
        details={"loadedBytes": str(loaded), "predictedBytes": str(predicted)},
    )
