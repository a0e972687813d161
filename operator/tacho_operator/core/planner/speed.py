"""The time of a step, by the bytes it reads, the operations it computes and what its engine adds.

One decoding step of ``B`` streams with contexts of ``L`` tokens, one prompt of ``I`` tokens, and a step
with ``n`` prompts take

    t(B) = layers (l + b) + sqrt(memory^2 + compute(B)^2) + (B L k / BW) m + B layers heads a
    p(I) = (2 P I + 2 layers width I^2 c) / (F f)
    memory = W m / BW + p Q u / F,  compute(B) = 2 P B / (F f)
    s(B, n) = ((t(B) + n p(I))^o + (H + layers h)^o)^(1/o)

with W the weights that it reads (of the experts those that ``B`` tokens hit), Q those that are quantized, p
what ``whole_passes`` adds to unpacking for one stream, k the KV cache of a token, P the active parameters,
BW and F the GPU's memory bandwidth and rate in 16 bits, and l, b, m, u, f, a, c, h, H, o the constants of a
``StepLaw``. Prompts of streams with ``O`` output tokens come independently, so that ``M = 1 - exp(-(B - 1)
/ O)`` of all steps compute any, ``n = (B - 1) / O / M`` of them each, and take ``s``. A step with no more
tokens than its engine has CUDA graphs for has ``H = h = 0``. The gap between two tokens is ``g = (1 - M)
t(B) + M s(B, n)``. A request waits for one (alone for none), and its prompt is in the next step. So streams
give ``B O / (O g + s(B, 1))`` tokens per second.

Source: Williams et al., "Roofline" (CACM 52/4); Pope et al., "Efficiently Scaling Transformer Inference".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tacho_contract.model import Architecture, ModelFacts
from tacho_engines.base import Placement
from tacho_engines.memory import kv
from tacho_engines.memory.weights import linear_elements
from tacho_engines.profile import KernelTiming, StepLaw
from tacho_engines.shared.compatibility import arithmetic

HEAD_BYTES = 2
"""Bytes per element of the output head (last layer), which quantization methods leave in 16 bits."""

COMMON_HEAD = 64
"""Head sizes that are a multiple of this number have fast attention kernels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedBound:
    """The highest speed that the hardware allows, by memory bandwidth and arithmetic rate."""

    decode_tokens_per_second: float
    """Upper bound of one stream's output tokens per second."""
    step_weights_bytes: int
    """Bytes of weights that a decoding step of one stream reads, over all GPUs."""
    prefill_tokens_per_second: float | None = None
    """Upper bound of one prompt's tokens per second; the cost of attention, which grows with the length, is
    left out. None: unknown.
    """


def read_share(facts: ModelFacts, architecture: Architecture, streams: int) -> float:
    """Share of the weights that one decoding step reads, of those that steps read at all.

    Of the experts, only those count that ``streams`` tokens hit: ``1 - (1 - top_k / E)^streams``.
    """
    sizes: dict[str, int] = {}
    for tensor in facts.tensors:
        sizes[tensor.kind] = sizes.get(tensor.kind, 0) + tensor.stored_bytes
    unread = ("draft",) if architecture.tied_embeddings else ("draft", "embedding")
    total = sum(size for kind, size in sizes.items() if kind not in unread)
    hit = architecture.experts_per_token / architecture.experts if architecture.experts else 0.0
    if not total or not hit:
        return 1.0
    idle = (1 - min(1.0, hit)) ** max(1, streams)
    return max(0.0, 1 - sizes.get("expert", 0) * idle / total)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeStep:
    """Bytes that one decoding step reads and operations that it computes, of a model on given devices."""

    placement: Placement
    weights_bytes: int
    """Bytes of weights in GPU memory that steps read, over all GPUs and with all experts."""
    key_value_bytes: float
    """Bytes of one element of the KV cache."""
    input_tokens: int
    output_tokens: int

    @property
    def gpus(self) -> int:
        """Number of GPUs that read in parallel: the tensor-parallel ones. Pipeline stages take turns."""
        return max(1, self.placement.tensor)

    @property
    def bandwidth(self) -> float:
        return self.placement.device.bandwidth_bytes * self.gpus

    def step_weights_bytes(self, streams: int) -> float:
        return self.weights_bytes * read_share(self.placement.facts, self.placement.architecture, streams)

    def cache_bytes(self, streams: int) -> float:
        """Bytes of KV cache that a step reads: each stream's prompt and, on average, half of its output; of
        layers with windows what is within.
        """
        architecture, context = self.placement.architecture, self.input_tokens + self.output_tokens / 2
        read = (
            kv.group_bytes_per_token(architecture, group, self.key_value_bytes)
            * min(context, group.window_tokens or context)
            for group in kv.layer_groups(architecture)
        )
        return streams * sum(read)

    def bound(self) -> SpeedBound | None:
        """The highest speed on this hardware; None where its bandwidth or a size of the model is unknown."""
        read = self.step_weights_bytes(1) + self.cache_bytes(1)
        if not self.bandwidth or not read:
            return None
        rate = special_rate(self.placement) or self.placement.device.fp16_flops
        prompt = prompt_parameters(self.placement.architecture)
        return SpeedBound(
            decode_tokens_per_second=self.bandwidth / read,
            step_weights_bytes=round(self.step_weights_bytes(1)),
            prefill_tokens_per_second=rate * self.gpus / (2 * prompt) if rate and prompt > 0 else None,
        )

    def seconds(self, streams: int, law: StepLaw, kernel: KernelTiming) -> float:
        """Seconds of one decoding step of ``streams`` requests, without any prompt."""
        architecture, rate = self.placement.architecture, self._rate
        weights = self.step_weights_bytes(streams)
        head = min(weights, HEAD_BYTES * architecture.vocabulary * architecture.hidden_size)
        whole = whole_passes(architecture, kernel.pass_elements)
        unpacking = kernel.unpacking * whole if streams == 1 else kernel.batch_unpacking
        memory = law.traffic * weights / self.bandwidth + unpacking * (weights - head) / rate
        compute = 2 * active_parameters(architecture) * streams / (rate * kernel.arithmetic)
        heads = architecture.layers * architecture.key_value_heads / self.gpus
        odd = law.odd_head if architecture.head_dim % COMMON_HEAD else 1.0
        more = kernel.layer_microseconds if streams == 1 else kernel.batch_layer_microseconds
        return (
            architecture.layers * (law.layer_microseconds + more) / 1e6
            + math.hypot(memory, compute)
            + law.traffic * self.cache_bytes(streams) / self.bandwidth
            + streams * heads * odd * law.attention_nanoseconds / 1e9
        )

    def prompt_seconds(self, law: StepLaw, kernel: KernelTiming) -> float:
        """Seconds that one prompt adds to a step, without reading the weights: the step does that anyway."""
        architecture, tokens = self.placement.architecture, self.input_tokens
        width = architecture.attention_heads * architecture.head_dim
        attention = law.prompt_attention * architecture.layers * width * tokens**2
        products = prompt_parameters(architecture) * tokens
        return 2 * (products + attention) / (self._rate * kernel.arithmetic)

    def launch_seconds(self, streams: int, prompts: float, kernel: KernelTiming) -> float:
        """Seconds that the host takes to launch the kernels of a step of ``streams`` requests that computes
        ``prompts`` of their prompts; 0 where it has a CUDA graph.
        """
        tokens = streams + prompts * (self.input_tokens - 1)
        if tokens <= kernel.graph_tokens:
            return 0.0
        layers = self.placement.architecture.layers
        return (kernel.prompt_step_microseconds + layers * kernel.launch_microseconds) / 1e6

    @property
    def _rate(self) -> float:
        """Arithmetic rate of all parallel GPUs, in 16-bit operations per second."""
        return (self.placement.device.fp16_flops or math.inf) * self.gpus


def whole_passes(architecture: Architecture, elements: int) -> float:
    """Elements for which a kernel takes time over those of a layer, where it takes whole passes of a row.

    With 1,024 ``elements`` a pass, a row of 3,584 takes four passes, as one of 4,096.
    """
    hidden, wide = architecture.hidden_size, architecture.intermediate_size
    heads = architecture.attention_heads * architecture.head_dim
    projected = heads + 2 * architecture.key_value_heads * architecture.head_dim
    rows = ((hidden, projected + 2 * wide), (heads, hidden), (wide, hidden))
    stored = sum(length * count for length, count in rows)
    if not elements or not stored:
        return 1.0
    return sum(math.ceil(length / elements) * elements * count for length, count in rows) / stored


def special_rate(placement: Placement) -> float:
    """Operations per second of the GPU's units for the placement's number format; 0: none, or none needed."""
    device = placement.device
    rates = {"fp8": device.fp8_flops, "fp4": device.fp4_flops, "int8": device.int8_ops}
    return rates.get(arithmetic(placement), 0.0)


def active_parameters(architecture: Architecture) -> float:
    """Number of parameters that one token passes through, from the architecture: quantized tensors do not
    show their number of elements.
    """
    whole = linear_elements(architecture)
    if architecture.experts:
        expert = architecture.layers * 3.0 * architecture.hidden_size * architecture.moe_intermediate_size
        whole -= expert * (architecture.experts - architecture.experts_per_token)
    return max(0.0, whole) + architecture.vocabulary * architecture.hidden_size


def prompt_parameters(architecture: Architecture) -> float:
    """Number of parameters that each token of a prompt passes through. The output head is left out, as it
    computes the last token only.
    """
    return active_parameters(architecture) - architecture.vocabulary * architecture.hidden_size
