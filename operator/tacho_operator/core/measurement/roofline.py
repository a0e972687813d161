"""How near the hardware's bounds the engine runs: what was measured of one stream against what GPUs could do.

Source: Williams et al., "Roofline" (CACM 52/4); Pope et al., "Efficiently Scaling Transformer Inference".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tacho_contract.measurement import Measurement
from tacho_engines.hardware.gpus import named_gpu
from tacho_operator.core.planner.types import ModelPlan
from tacho_operator.core.revisions.frozen import Revision

LOW_EFFICIENCY, ABOVE_ROOFLINE = "LowEfficiency", "AboveRoofline"
LOWEST_EFFICIENCY = 0.40
"""Large models in 16 bits come to 0.6 to 0.85. Below it a kernel, a clock or a bus is the wrong one, or the
model is so small, or quantized so far, that what a step costs whatever it reads is most of its time."""
AS_EXPECTED = 0.80
"""Of the rate at which the engine was timed with such a plan: what comes so near has no kernel of the wrong
kind, however little of the memory's bandwidth a small model uses."""
HIGHEST_EFFICIENCY = 1.02
"""Nothing reads faster than the memory: the GPU is not what its label says, or tokens came from elsewhere."""
GUESSING_WORDS = ("speculative", "draft")
"""In an engine's arguments: several tokens come of one step, and the bound is not theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """Shares of 1; None is unknown."""

    decode: float | None = None
    """Of the memory's bandwidth, while one stream decodes."""
    prefill: float | None = None
    """Of the arithmetic peak, while one prompt is read (MFU)."""
    expected: float | None = None
    """Of the rate that the plan expects of one stream, which was timed on such a GPU."""

    def flags(self) -> Iterator[str]:
        """What it says of the figures. Prefill says nothing: kernels may compute in 8 bits, two to four times
        as fast, what a plan counts in 16 (llama.cpp's do)."""
        if self.decode is None:
            return
        if self.decode > HIGHEST_EFFICIENCY:
            yield ABOVE_ROOFLINE
        elif self.decode < LOWEST_EFFICIENCY and (self.expected is None or self.expected < AS_EXPECTED):
            yield LOW_EFFICIENCY


def efficiency(measurement: Measurement, revision: Revision | None) -> Efficiency:
    """Of one stream; empty on a CPU, of a product that the table does not have, and where steps give several
    tokens."""
    single = measurement.single_stream
    if single is None or revision is None or _guesses(revision):
        return Efficiency()
    workload = measurement.workload
    context_tokens = workload.input_tokens + workload.output_tokens / 2
    decode = decode_bound(revision.plan, context_tokens)
    prefill = revision.plan.predicted.prefill_tokens_per_second if decode else None
    expected = revision.plan.predicted.expected_decode_tokens_per_second
    rate = single.prefill_tokens_per_second
    return Efficiency(
        decode=single.decode_tokens_per_second / decode if decode else None,
        prefill=rate / prefill if rate and prefill else None,
        expected=single.decode_tokens_per_second / expected if decode and expected else None,
    )


def decode_bound(plan: ModelPlan, context_tokens: float) -> float | None:
    """Tokens per second of one stream in that context: ``BW / (W_r + L k_kv)``. None: not known."""
    found = plan.predicted
    device = named_gpu(plan.gpu_product) if plan.gpu_count and plan.gpu_product else None
    if device is None or not device.bandwidth_bytes or not found.step_weights_bytes:
        return None
    gpus = max(1, plan.tensor_parallel)  # pipeline stages take turns
    cache = 0.0
    if found.kv_cache_bytes and found.kv_cache_tokens:
        whole = found.kv_cache_bytes * gpus * max(1, plan.pipeline_parallel)
        cache = context_tokens * whole / found.kv_cache_tokens
    return device.bandwidth_bytes * gpus / (found.step_weights_bytes + cache)


def _guesses(revision: Revision) -> bool:
    written = f"{revision.plan.arguments} {revision.pod_template}".lower()
    return any(word in written for word in GUESSING_WORDS)
