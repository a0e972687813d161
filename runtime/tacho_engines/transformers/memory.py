"""Transformers, with bitsandbytes or as stored: weights, one layer expanded, the running requests' cache."""

from __future__ import annotations

from tacho_contract.model import Architecture, ModelFacts
from tacho_contract.units import MIB
from tacho_engines.base import Context, Placement
from tacho_engines.memory import kv, weights
from tacho_engines.memory.account import Account, requests_held
from tacho_engines.memory.bits import INT8_BITS, NF4_BITS, NF4_DOUBLE_QUANT_BITS
from tacho_engines.memory.shape import ceil_div

CONTEXT_BYTES = 512 * MIB
"""CUDA context and cuBLAS workspaces, outside PyTorch's allocator."""
LOGIT_BYTES = 8
"""16-bit logits of the last position and their 32-bit copy."""
HIDDEN_COPIES = 4
CACHE_ELEMENT_BYTES = 2.0
"""The cache is kept in 16 bits whatever the weights are."""


def linear_bits(method: str, double_quant: bool) -> float | None:
    """Bits of a linear weight as bitsandbytes keeps it; None: as stored."""
    if method in ("bnb-nf4", "bnb-fp4"):
        return NF4_DOUBLE_QUANT_BITS if double_quant else NF4_BITS
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


def account(placement: Placement, context: Context) -> Account:
    """One process that keeps whole layers on each GPU (device_map) and caches what requests use."""
    facts, architecture, options = placement.facts, placement.architecture, placement.options
    method, length, concurrency = placement.method.method, context.max_model_len, context.concurrency
    stage = ceil_div(max(1, architecture.layers), max(1, placement.count)) / max(1, architecture.layers)
    resident = int(weights_bytes(facts, method, options.double_quant is not False) * stage)
    state = kv.state_bytes(architecture)
    token = kv.bytes_per_token(architecture, CACHE_ELEMENT_BYTES) * stage
    row = HIDDEN_COPIES * architecture.hidden_size + 3 * architecture.intermediate_size
    forward = 2 * length * row + LOGIT_BYTES * architecture.vocabulary * concurrency
    compute = 4 if options.compute_dtype == "float32" else 2
    activation = forward + expanded_bytes(architecture, method, compute)
    budget, fixed = placement.device.part_bytes, resident + activation + CONTEXT_BYTES
    request = max(1.0, token * length + state)
    return Account(
        weights_bytes=resident,
        cache_bytes=int(token * length * concurrency) + state * concurrency,
        cache_tokens=length * concurrency,
        concurrency=requests_held(budget, fixed, request, concurrency),
        activation_bytes=activation,
        other_bytes=CONTEXT_BYTES,
        budget_bytes=budget,
        fixed_bytes=fixed,
        request_bytes=int(request),
    )
