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
class StartCase:
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
    text: str


def hf_mem(case: StartCase) -> Answer:
    """Stored bytes and a cache of one context: every layer in full, no latent attention, no overhead."""
    shape = case.architecture
    weights = case.stored_bytes / case.gpus
    if case.facts.quantization.method in NO_KV_TYPE:
        return Answer(None, weights, "error")
    head_dim = shape.hidden_size // shape.attention_heads if shape.kv_lora_rank else shape.head_dim
    element = 1 if case.facts.quantization.method == "fp8" else 2
    heads = shape.key_value_heads or shape.attention_heads
    cache = 2 * shape.layers * heads * head_dim * element * case.max_model_len
    total = case.stored_bytes + cache
    return Answer(total <= case.gpus * case.gpu_bytes, weights, f"{total / GIB:.1f} GiB")


def gpustack(case: StartCase) -> Answer:
    """``1.2 x weights + 2 GiB`` within 0.9 of the GPUs; the context plays no part."""
    claim = 1.2 * case.stored_bytes + 2 * GIB
    limit = GPUSTACK_UTILIZATION * case.gpus * case.gpu_bytes
    return Answer(claim <= limit, 1.2 * case.stored_bytes / case.gpus, f"{claim / GIB:.1f} GiB")


def kaito(case: StartCase) -> Answer:
    """GPUs needed: ``int(1.02 W / ((0.84 M - 2.3 GiB - KV / n) / 1.05)) + 1``."""
    shape, size = case.architecture, 1.02 * case.stored_bytes
    nominal = next(g for g in NOMINAL_GIB if g * GIB >= case.gpu_label_bytes) * GIB
    if shape.kv_lora_rank:
        token = 2 * shape.layers * (shape.kv_lora_rank + shape.qk_rope_head_dim)
    else:
        token = 4 * shape.layers * (shape.key_value_heads or shape.attention_heads) * shape.head_dim
    fixed = KAITO_FIXED_BYTES + token * case.max_model_len / case.gpus
    available = KAITO_UTILIZATION * nominal
    if available <= fixed:
        return Answer(False, size / case.gpus, "error")
    needed = int(size / ((available - fixed) / 1.05)) + 1
    return Answer(needed <= case.gpus, size / case.gpus, f"{needed} GPU{'s' if needed > 1 else ''}")


PEERS = {"hf-mem": hf_mem, "gpustack": gpustack, "KAITO": kaito}
