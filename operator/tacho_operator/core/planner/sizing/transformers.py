"""Transformers, with bitsandbytes or as stored: weights, one layer expanded, the running requests' cache."""

from __future__ import annotations

from tacho_contract.model import Architecture, ModelFacts
from tacho_contract.units import MIB
from tacho_operator.core.planner.sizing import kv, weights
from tacho_operator.core.planner.sizing.account import Account
from tacho_operator.core.planner.sizing.shape import ceil_div

CONTEXT_BYTES = 512 * MIB
"""CUDA context and cuBLAS workspaces, outside PyTorch's allocator."""
FOUR_BIT = {True: 4 + 8 / 64 + 32 / (64 * 256), False: 4 + 32 / 64}
"""Bits of an NF4 or FP4 weight in blocks of 64, with and without double quantization of the block constants.
Source: QLoRA (arXiv:2305.14314), section 3."""
INT8_BITS = 8.01
LOGIT_BYTES = 8
"""16-bit logits of the last position and their 32-bit copy."""
HIDDEN_COPIES = 4


def linear_bits(method: str, double_quant: bool) -> float | None:
    """Bits of a linear weight as bitsandbytes keeps it; None: as stored."""
    if method in ("bnb-nf4", "bnb-fp4"):
        return FOUR_BIT[double_quant]
    return INT8_BITS if method == "bnb-int8" else None


def expanded_bytes(architecture: Architecture, method: str, compute_bytes: int) -> int:
    """What the largest linear layer takes besides while it is multiplied.

    4 bits: the weight in 16 bits, and once more in the compute type where that is another. 8 bits: its
    re-arranged copy. Source: bitsandbytes autograd/_functions.py MatMul4Bit, MatMul8bitLt.
    """
    elements = architecture.hidden_size * (architecture.intermediate_size or 4 * architecture.hidden_size)
    if method in ("bnb-nf4", "bnb-fp4"):
        return elements * (2 + (compute_bytes if compute_bytes > 2 else 0))
    return 2 * elements if method == "bnb-int8" else 0


def weights_bytes(facts: ModelFacts, method: str, double_quant: bool) -> int:
    """Resident weights of the whole model."""
    bits = None if weights.quantized_in_checkpoint(facts) else linear_bits(method, double_quant)
    return int(weights.parts(facts, linear_bits=bits).total)


def account(
    facts: ModelFacts,
    architecture: Architecture,
    *,
    memory_bytes: int,
    gpus: int,
    method: str,
    double_quant: bool,
    compute_bytes: int,
    length: int,
    concurrency: int,
) -> Account:
    """One process that keeps whole layers on each of ``gpus`` (device_map) and caches what requests use."""
    stage = ceil_div(max(1, architecture.layers), gpus) / max(1, architecture.layers)
    resident = int(weights_bytes(facts, method, double_quant) * stage)
    token = kv.bytes_per_token(architecture, 2.0) * stage
    cache = int(token * length * concurrency) + kv.state_bytes(architecture) * concurrency
    row = HIDDEN_COPIES * architecture.hidden_size + 3 * architecture.intermediate_size
    forward = 2 * length * row + LOGIT_BYTES * architecture.vocabulary * concurrency
    activation = forward + expanded_bytes(architecture, method, compute_bytes)
    other = CONTEXT_BYTES if memory_bytes else 0
    left = memory_bytes - resident - activation - other
    per_request = max(1.0, token * length + kv.state_bytes(architecture))
    return Account(
        weights_bytes=resident,
        cache_bytes=cache,
        cache_tokens=length * concurrency,
        concurrency=max(0.0, left / per_request),
        activation_bytes=activation,
        graph_bytes=0,
        other_bytes=other,
        budget_bytes=memory_bytes,
        fixed_bytes=resident + activation + other,
        request_bytes=int(per_request),
    )
