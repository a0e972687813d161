"""Efficiency of the engine: one stream's measured speed against the hardware's bounds.

Source: Williams et al., "Roofline" (CACM 52/4); Pope et al., "Efficiently Scaling Transformer Inference".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tacho_contract.measurement import Measurement
from tacho_engines.hardware.gpus import named_gpu
from tacho_operator.core.measurement.rounding import interval
from tacho_operator.core.planner.types import ModelPlan
from tacho_operator.core.revisions.frozen import Revision

LOW_EFFICIENCY, ABOVE_ROOFLINE = "LowEfficiency", "AboveRoofline"
LOWEST_EFFICIENCY = 0.40
"""Large models in 16 bits come to 0.6 to 0.85. Below it a kernel, a clock or a bus is the wrong one, or the
model is so small, or quantized so far, that what a step costs whatever it reads is most of its time."""
AS_EXPECTED = 0.80
"""Share of the plan's expected speed above which the kernels are the right kind, however little of the memory
bandwidth a small model uses."""
GUESSED_PERCENT = 100
"""A plan's band of a factor of two or more: such steps were not timed."""
HIGHEST_EFFICIENCY = 1.02
"""Highest plausible share of the memory bandwidth. Above it, the GPU is not the labelled one, or tokens came
from elsewhere."""
GUESSING_WORDS = ("speculative", "draft")
"""Words in an engine's arguments that mean speculative decoding: one step yields several tokens, so the bound
does not apply."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """Shares of 1; None is unknown."""

    decode: float | None = None
    """Share of the memory bandwidth that one stream's decoding uses."""
    prefill: float | None = None
    """Share of the peak arithmetic rate that one prompt's prefill uses (MFU)."""
    expected: float | None = None
    """Measured speed as a share of the plan's expected single-stream speed, which was timed on the same kind
    of GPU."""

    def flags(self) -> Iterator[str]:
        """Flags of a measurement that follow from its efficiency.

        Prefill gives none: kernels may compute in 8 bits, two to four times as fast, what a plan counts in 16
        (llama.cpp's do).
        """
        if self.decode is None:
            return
        if self.decode > HIGHEST_EFFICIENCY:
            yield ABOVE_ROOFLINE
        elif self.decode < LOWEST_EFFICIENCY and (self.expected is None or self.expected < AS_EXPECTED):
            yield LOW_EFFICIENCY


def efficiency(measurement: Measurement, revision: Revision | None) -> Efficiency:
    """Efficiency of one stream; empty on a CPU, on a product that the table lacks, and with speculative
    decoding."""
    single = measurement.single_stream
    if single is None or revision is None or _guesses(revision):
        return Efficiency()
    workload = measurement.workload
    context_tokens = workload.input_tokens + workload.output_tokens / 2
    decode = decode_bound(revision.plan, context_tokens)
    prefill = revision.plan.predicted.prefill_tokens_per_second if decode else None
    predicted = revision.plan.predicted
    # Earlier operators froze the speed of one stream alone, without a band.
    timed = (
        predicted.expected_output_tokens_per_second is None
        or (predicted.decode_within_percent or GUESSED_PERCENT) < GUESSED_PERCENT
    )
    expected = predicted.expected_decode_tokens_per_second if timed else None
    known = interval(single.decode_ci_percent) is not None or single.decode_ci_percent is None
    decoded = single.decode_tokens_per_second if known else None
    rate = single.prefill_tokens_per_second
    return Efficiency(
        decode=decoded / decode if decode and decoded is not None else None,
        prefill=rate / prefill if rate and prefill else None,
        expected=decoded / expected if decode and expected and decoded is not None else None,
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
