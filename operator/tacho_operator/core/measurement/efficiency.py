"""Efficiency of an engine: its measured speed as a share of the hardware's limit, and of the plan's
expectation.

Source: Williams et al., "Roofline" (CACM 52/4); Pope et al., "Efficiently Scaling Transformer Inference".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from tacho_contract import codec
from tacho_contract.launch import ENV_RUNTIME_CONFIG, RuntimeConfig
from tacho_contract.measurement import CurvePoint, Measurement
from tacho_engines.hardware.gpus import named_gpu
from tacho_engines.shared.switches import split_switch
from tacho_operator.api.status.measurement import AgainstPlan
from tacho_operator.core.measurement.rounding import interval, rounded, too_wide
from tacho_operator.core.planner.types import ModelPlan
from tacho_operator.core.revisions.controller_revision import Revision

LOW_EFFICIENCY, ABOVE_ROOFLINE = "LowEfficiency", "AboveRoofline"
LOWEST_EFFICIENCY = 0.40
"""Lowest decode efficiency without the flag LowEfficiency. Large models in 16 bits reach 0.6 to 0.85.

Below 0.4 a wrong kernel, a low clock or a slow bus limits the speed. Or the model is so small that fixed
costs of a step dominate.
"""
AS_EXPECTED = 0.80
"""Share of the plan's expected speed above which LowEfficiency is not set: the kernels are right, even if a
small model uses little of the memory bandwidth. A plan's wider band lowers it.
"""
GUESSED_PERCENT = 100
"""Width in percent from which a plan's predicted speed counts as a guess: no step was timed on such a GPU."""
HIGHEST_EFFICIENCY = 1.02
"""Highest plausible share of the memory bandwidth. Above it the GPU is not the labelled one, or tokens did
not come from its decoding.
"""
SHORT, GUESSING_WORDS = ("sc", "md", "hfd"), ("speculative", "draft")
"""Short engine switches, and words in names of others, that mean speculative decoding. One step then yields
several tokens, so the bandwidth bound does not apply.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Efficiency:
    """Measured speeds as shares of a limit (1 = the limit). A field is None where it is unknown."""

    decode: float | None = None
    """Share of the GPU's memory bandwidth that decoding of a single stream uses."""
    prefill: float | None = None
    """Share of the GPU's peak arithmetic rate that the prefill of a single prompt uses (MFU)."""
    expected: float | None = None
    """Measured single-stream speed as a share of what the plan predicted from timings on this kind of GPU."""
    least_expected: float = AS_EXPECTED
    """Share of the predicted speed from which on the engine is as fast as planned."""

    def flags(self) -> Iterator[str]:
        """The flags AboveRoofline and LowEfficiency, where the speed of one stream is too high or too low.

        Prefill gives no flag: kernels may compute in 8 bits, up to four times as fast as the 16 bits that a
        plan assumes (llama.cpp's do).
        """
        if self.decode is None:
            return
        if self.decode > HIGHEST_EFFICIENCY:
            yield ABOVE_ROOFLINE
        elif self.decode < LOWEST_EFFICIENCY and (
            self.expected is None or self.expected < self.least_expected
        ):
            yield LOW_EFFICIENCY

    @property
    def denied(self) -> str:
        """The message clause for the flag AboveRoofline; "" without that flag."""
        if ABOVE_ROOFLINE not in self.flags() or self.decode is None:
            return ""
        return f"one stream would use {100 * self.decode:.0f} % of the GPU's memory bandwidth"


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
    within = predicted.decode_within_percent or GUESSED_PERCENT
    timed = within < GUESSED_PERCENT
    expected = predicted.expected_decode_tokens_per_second if timed else None
    known = interval(single.decode_ci_percent) is not None or single.decode_ci_percent is None
    decoded = single.decode_tokens_per_second if known else None
    rate = single.prefill_tokens_per_second
    return Efficiency(
        decode=decoded / decode if decode and decoded is not None else None,
        prefill=rate / prefill if rate and prefill else None,
        expected=decoded / expected if decode and expected and decoded is not None else None,
        least_expected=min(AS_EXPECTED, 100 / (100 + within)),
    )


def decode_bound(plan: ModelPlan, context_tokens: float) -> float | None:
    """The most tokens per second that one stream can have at that context length: ``BW / (W_r + L k_kv)``.

    None where the GPU's memory bandwidth or the model's sizes are unknown.
    """
    found = plan.predicted
    device = named_gpu(plan.gpu_product) if plan.gpu_count and plan.gpu_product else None
    if device is None or not device.bandwidth_bytes or not found.step_weights_bytes:
        return None
    gpus = max(1, plan.tensor_parallel)  # pipeline stages take turns
    cache = 0.0
    if found.kv_cache_bytes and (tokens := found.kv_cache_workload_tokens or found.kv_cache_tokens):
        whole = found.kv_cache_bytes * gpus * max(1, plan.pipeline_parallel)
        cache = context_tokens * whole / tokens
    return device.bandwidth_bytes * gpus / (found.step_weights_bytes + cache)


def _guesses(revision: Revision) -> bool:
    """Whether names of the engine's switches or variables ask for speculative decoding. Values, as the name
    of a model, may have the same words.
    """
    written = [*revision.plan.arguments]
    for container in (revision.pod_template.get("spec") or {}).get("containers") or ():
        for item in container.get("env") or ():
            value = str(item.get("value", "")).replace("$$", "$")
            found = codec.read(RuntimeConfig, value) if item["name"] == ENV_RUNTIME_CONFIG else None
            written += [f"--{item['name']}"] if found is None else _command(found)
    switches = (switch[0].lower() for word in written if (switch := split_switch(word)))
    return any(_is_guessing(name) for name in switches)


def _is_guessing(switch: str) -> bool:
    """Whether a switch is of speculative decoding, in vLLM's and llama.cpp's short forms too."""
    words = switch.replace(".", "-").split("-")
    return switch in SHORT or words[0] == "spec" or any(word in words for word in GUESSING_WORDS)


def _command(found: RuntimeConfig) -> tuple[str, ...]:
    return (*found.entrypoint, *(found.custom.command if found.custom else ()), *found.extra_args)


BOUNDED = ("Edge", "Plateau")
"""Boundaries at which the capacity itself is known, not only a lower bound of it."""


def against_plan(measurement: Measurement, revision: Revision | None) -> AgainstPlan | None:
    """The measured speeds in percent of the speeds that the plan predicted.

    None where the plan predicted none of the measured speeds, or was made for another workload, SLO or probe.
    """
    if revision is None or revision.measure_key != measurement.measure_key:
        return None
    plan, single, capacity = revision.plan, measurement.single_stream, measurement.capacity
    expected = plan.predicted
    known = capacity is not None and capacity.boundary in BOUNDED
    found = AgainstPlan(
        decode_percent=_percent(
            single.decode_tokens_per_second if single else None, expected.expected_decode_tokens_per_second
        ),
        output_percent=_percent(
            rate_at(measurement.curve, plan.concurrency), expected.expected_output_tokens_per_second
        ),
        capacity_percent=_percent(
            capacity.output_tokens_per_second if capacity and known else None,
            expected.expected_capacity_tokens_per_second,
        ),
    )
    return None if found == AgainstPlan() else found


def rate_at(curve: Iterable[CurvePoint], streams: int) -> float | None:
    """Output tokens per second at ``streams`` streams, interpolated between the measured levels.

    The time between two tokens is taken to be linear between two levels. None where no level with a known
    rate is at ``streams`` or on both sides of it.
    """
    gaps = {
        level.concurrency: level.concurrency / level.output_tokens_per_second
        for level in curve
        if level.output_tokens_per_second and level.steady and not too_wide(level.ci_percent)
    }
    if streams in gaps:
        return streams / gaps[streams]
    for low, high in pairwise(sorted(gaps)):
        if low < streams < high:
            part = (streams - low) / (high - low)
            return streams / (gaps[low] + part * (gaps[high] - gaps[low]))
    return None


def _percent(measured: float | None, expected: float | None) -> float | None:
    return rounded(100 * measured / expected) if measured and expected else None
