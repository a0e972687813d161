"""Upper bounds of speed from memory bandwidth and arithmetic rate. Predictions, never shown as measured."""

from __future__ import annotations

from dataclasses import dataclass

from tacho_contract.model import Architecture, ModelFacts
from tacho_engines.base import Placement
from tacho_engines.hardware.gpus import is_slice
from tacho_engines.memory import kv
from tacho_engines.memory.weights import linear_elements
from tacho_engines.profile import StepTiming
from tacho_engines.shared.images import version_key
from tacho_engines.shared.switches import parse_arguments

EMBEDDINGS_READ = ("embedding",)
"""Tables of which a step reads a row or two a token, not the whole."""


LEAST_STEP_SECONDS = 0.002
"""Minimum time of a decoding step, for any model size. vLLM on an H200 with 16 virtual cores took 1.8 to 2.4
ms for one stream of models of 0.6 to 1.5 billion parameters (docs/results/h200, benchmarks/planner/h200)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedBound:
    """Upper bounds of speed on this hardware."""

    decode_tokens_per_second: float
    """Upper bound of one stream's output tokens per second."""
    replica_tokens_per_second: float
    """Aggregate of all streams of the plan's concurrency."""
    step_weights_bytes: int
    """Weights that one stream's step reads, over all GPUs."""
    prefill_tokens_per_second: float | None = None
    """Upper bound of one prompt's tokens per second, without the cost of attention, which grows with its
    length. None: unknown."""

    def streamed_tokens_per_second(self, streams: int, input_tokens: int, output_tokens: int) -> float:
        """The bound of ``streams`` requests that follow one another: each output token waits for a step and
        for its share of the prompts."""
        step = max(streams / self.replica_tokens_per_second, LEAST_STEP_SECONDS)
        prompts = streams * input_tokens / max(1, output_tokens)
        return streams / (
            step + (prompts / self.prefill_tokens_per_second if self.prefill_tokens_per_second else 0)
        )


def read_share(facts: ModelFacts, architecture: Architecture, streams: int) -> float:
    """Share of the weights that one decoding step reads.

    All weights but the embedding table count; of the experts, only those that ``streams`` tokens hit: ``1 -
    (1 - top_k / E)^streams``.
    """
    total = sum(t.stored_bytes for t in facts.tensors if t.kind != "draft")
    if not total:
        return 1.0
    tables = (
        0
        if architecture.tied_embeddings
        else sum(t.stored_bytes for t in facts.tensors if t.kind in EMBEDDINGS_READ)
    )
    experts = sum(t.stored_bytes for t in facts.tensors if t.kind == "expert")
    idle = 0.0
    if architecture.experts and architecture.experts_per_token:
        idle = (1 - min(1.0, architecture.experts_per_token / architecture.experts)) ** max(1, streams)
    return max(0.0, (total - tables - experts * idle) / total)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeStep:
    """Bytes that one decoding step of a placement reads, and operations that it computes."""

    placement: Placement
    weights_bytes: int
    """The whole model's resident form over all GPUs."""
    key_value_bytes: float
    """Bytes of one element of the KV cache."""
    context_tokens: int
    """Context length of each stream, in tokens."""

    @property
    def gpus(self) -> int:
        """GPUs that read in parallel: tensor-parallel ones. Pipeline stages run one after the other."""
        return max(1, self.placement.tensor)

    def read_bytes(self, streams: int) -> float:
        facts, architecture = self.placement.facts, self.placement.architecture
        cache = kv.bytes_per_token(architecture, self.key_value_bytes) * self.context_tokens
        return self.weights_bytes * read_share(facts, architecture, streams) + streams * cache

    def bound(self, streams: int) -> SpeedBound | None:
        """``t(B) >= max((W_r + B L k_kv) / BW, 2 P_active B / F)`` and ``tok/s = B / t(B)``.

        None: the device's bandwidth is unknown.
        Source: Williams et al., "Roofline" (CACM 52/4); Pope et al., "Efficiently Scaling
        Transformer Inference".
        """
        device = self.placement.device
        bandwidth = device.bandwidth_bytes * self.gpus
        if not bandwidth or not self.weights_bytes:
            return None
        special = {"fp8": device.fp8_flops, "int8": device.int8_ops}
        rate = special.get(self.placement.method.arithmetic, 0.0) or device.fp16_flops
        facts, architecture = self.placement.facts, self.placement.architecture
        active = active_parameters(architecture)
        compute = 2 * active * streams / (rate * self.gpus) if rate else 0.0
        # The head computes the last token of a prompt alone.
        prompt = active - architecture.vocabulary * architecture.hidden_size
        return SpeedBound(
            decode_tokens_per_second=bandwidth / self.read_bytes(1),
            replica_tokens_per_second=streams / max(self.read_bytes(streams) / bandwidth, compute),
            step_weights_bytes=round(self.weights_bytes * read_share(facts, architecture, 1)),
            prefill_tokens_per_second=rate * self.gpus / (2 * prompt) if rate and prompt > 0 else None,
        )


def active_parameters(architecture: Architecture) -> float:
    """Parameters one token passes through, by the shape numbers (packed tensors do not count elements)."""
    whole = linear_elements(architecture)
    if architecture.experts:
        expert = architecture.layers * 3.0 * architecture.hidden_size * architecture.moe_intermediate_size
        whole -= expert * (architecture.experts - architecture.experts_per_token)
    return max(0.0, whole) + architecture.vocabulary * architecture.hidden_size


TIMED_LAYERS = ("full", "sliding")
"""Kinds of attention of the models that were timed; a window that holds the whole request is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedSpeed:
    """One stream's rate, and the measurement behind it."""

    tokens_per_second: float
    ran: str
    """The measurement, as a clause."""


def expected(
    steps: tuple[StepTiming, ...], placement: Placement, bound: SpeedBound | None
) -> ExpectedSpeed | None:
    """Expected speed of one stream; None where no step of that kind was timed."""
    if bound is None or not _is_timed_shape(placement):
        return None
    row = next((row for row in steps if _covers(row, placement)), None)
    if row is None:
        return None
    reading_seconds = 1 / bound.decode_tokens_per_second
    seconds = row.seconds(reading_seconds, placement.architecture.layers)
    return ExpectedSpeed(tokens_per_second=1 / seconds, ran=row.ran)


def _is_timed_shape(placement: Placement) -> bool:
    """A dense model of text on one whole GPU."""
    whole = placement.count == 1 and placement.tensor == placement.pipeline == 1
    return whole and not is_slice(placement.device) and _dense(placement.architecture)


def _dense(architecture: Architecture) -> bool:
    kinds = {group.kind for group in architecture.layer_groups}
    plain = not architecture.experts and not architecture.multimodal
    return plain and architecture.layers > 0 and kinds <= set(TIMED_LAYERS)


def _covers(row: StepTiming, placement: Placement) -> bool:
    options = placement.options
    switches = {*parse_arguments(options.arguments), *options.env}
    return (
        placement.method.method in row.methods
        and placement.facts.quantization.scheme in row.schemes
        and placement.device.capability == row.capability
        and version_key(placement.version) >= version_key(row.since)
        and switches <= set(row.alike)
    )
