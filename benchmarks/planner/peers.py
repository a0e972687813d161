"""The published formulas of three other estimators, for the same inputs.

hf-mem@e9946791 (src/hf_mem), gpustack@47277d79 (policies/utils.py estimate_model_vram), KAITO@056b8280
(pkg/workspace/estimator/nodesestimator/estimator.go).
"""

from __future__ import annotations

from dataclasses import dataclass

from tacho_contract.model import Architecture, ModelFacts
from tacho_contract.units import GIB

NOMINAL_GIB = (8, 12, 16, 24, 32, 40, 48, 80, 96, 141, 180, 192, 288)
"""Memory as products are sold, which KAITO's tables hold."""
GPUSTACK_UTILIZATION = 0.9
KAITO_UTILIZATION = 0.84
KAITO_FIXED_BYTES = 2.3 * GIB
NO_KV_TYPE = ("awq", "gptq")
"""Quantizations for which hf-mem raises, because it cannot tell the cache's type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question: does this model start there?"""

    facts: ModelFacts
    architecture: Architecture
    gpus: int
    gpu_bytes: int
    """Usable memory of one GPU."""
    gpu_label_bytes: int
    """What nvidia-smi says."""
    max_model_len: int

    @property
    def stored_bytes(self) -> int:
        return sum(t.stored_bytes for t in self.facts.tensors)


@dataclass(frozen=True, slots=True)
class Answer:
    """``fits`` None: the formula gives no answer. Weights are of one GPU."""

    fits: bool | None
    weights_bytes: float
    words: str


def hf_mem(asked: Asked) -> Answer:
    """Stored bytes and a cache of one context: every layer in full, no latent attention, no overhead."""
    shape = asked.architecture
    weights = asked.stored_bytes / asked.gpus
    if asked.facts.quantization.method in NO_KV_TYPE:
        return Answer(None, weights, "error")
    head_dim = shape.hidden_size // shape.attention_heads if shape.kv_lora_rank else shape.head_dim
    element = 1 if asked.facts.quantization.method == "fp8" else 2
    heads = shape.key_value_heads or shape.attention_heads
    cache = 2 * shape.layers * heads * head_dim * element * asked.max_model_len
    total = asked.stored_bytes + cache
    return Answer(total <= asked.gpus * asked.gpu_bytes, weights, f"{total / GIB:.1f} GiB")


def gpustack(asked: Asked) -> Answer:
    """``1.2 x weights + 2 GiB`` within 0.9 of the GPUs; the context plays no part."""
    claim = 1.2 * asked.stored_bytes + 2 * GIB
    room = GPUSTACK_UTILIZATION * asked.gpus * asked.gpu_bytes
    return Answer(claim <= room, 1.2 * asked.stored_bytes / asked.gpus, f"{claim / GIB:.1f} GiB")


def kaito(asked: Asked) -> Answer:
    """GPUs needed: ``int(1.02 W / ((0.84 M - 2.3 GiB - KV / n) / 1.05)) + 1``."""
    shape, size = asked.architecture, 1.02 * asked.stored_bytes
    nominal = next(g for g in NOMINAL_GIB if g * GIB >= asked.gpu_label_bytes) * GIB
    if shape.kv_lora_rank:
        token = 2 * shape.layers * (shape.kv_lora_rank + shape.qk_rope_head_dim)
    else:
        token = 4 * shape.layers * (shape.key_value_heads or shape.attention_heads) * shape.head_dim
    fixed = KAITO_FIXED_BYTES + token * asked.max_model_len / asked.gpus
    available = KAITO_UTILIZATION * nominal
    if available <= fixed:
        return Answer(False, size / asked.gpus, "error")
    needed = int(size / ((available - fixed) / 1.05)) + 1
    return Answer(needed <= asked.gpus, size / asked.gpus, f"{needed} GPU{'s' if needed > 1 else ''}")


PEERS = {"hf-mem": hf_mem, "gpustack": gpustack, "KAITO": kaito}
