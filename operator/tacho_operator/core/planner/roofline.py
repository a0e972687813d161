"""Upper bounds of speed from memory bandwidth and arithmetic rate. Predictions, never shown as measured."""

from __future__ import annotations

from dataclasses import dataclass

from tacho_contract.model import Architecture, ModelFacts
from tacho_operator.core.planner.catalog.gpus import Gpu
from tacho_operator.core.planner.sizing import kv
from tacho_operator.core.planner.sizing.weights import linear_elements

EMBEDDINGS_READ = ("embedding",)
"""Tables of which a step reads a row or two a token, not the whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roofline:
    """What the hardware could do at best."""

    decode_tokens_per_second: float
    """One stream."""
    replica_tokens_per_second: float
    """All streams of the plan's concurrency together."""


def read_share(facts: ModelFacts, architecture: Architecture, streams: int) -> float:
    """Part of the weights that one decoding step reads: all but the embedding table, and of the experts
    those that ``streams`` tokens hit: ``1 - (1 - top_k / E)^streams``."""
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


def roofline(
    facts: ModelFacts,
    architecture: Architecture,
    gpu: Gpu,
    *,
    gpus: int,
    weights_bytes: int,
    key_value_bytes: float,
    context_tokens: int,
    streams: int,
    arithmetic: str,
) -> Roofline | None:
    """``t(B) >= max((W_r + B L k_kv) / BW, 2 P_active B / F)`` and ``tok/s = B / t(B)``.

    ``weights_bytes`` is the whole model's resident form over all GPUs, ``gpus`` how many read at once (tensor
    parallel; pipeline stages take turns). None: the GPU's bandwidth is unknown.
    Source: Williams et al., "Roofline" (CACM 52/4); Pope et al., "Efficiently Scaling Transformer Inference".
    """
    bandwidth = gpu.bandwidth_bytes * gpus
    if not bandwidth or not weights_bytes:
        return None
    cache = kv.bytes_per_token(architecture, key_value_bytes) * context_tokens
    one = weights_bytes * read_share(facts, architecture, 1) + cache
    many = weights_bytes * read_share(facts, architecture, streams) + streams * cache
    rate = {"fp8": gpu.fp8_flops, "int8": gpu.int8_ops}.get(arithmetic, 0.0) or gpu.fp16_flops
    compute = 2 * active_parameters(architecture) * streams / (rate * gpus) if rate else 0.0
    return Roofline(
        decode_tokens_per_second=bandwidth / one,
        replica_tokens_per_second=streams / max(many / bandwidth, compute),
    )


def active_parameters(architecture: Architecture) -> float:
    """Parameters one token passes through, by the shape numbers (packed tensors do not count elements)."""
    whole = linear_elements(architecture)
    if architecture.experts:
        expert = architecture.layers * 3.0 * architecture.hidden_size * architecture.moe_intermediate_size
        whole -= expert * (architecture.experts - architecture.experts_per_token)
    return max(0.0, whole) + architecture.vocabulary * architecture.hidden_size
