"""CTranslate2: the converted model, and a cache that grows with the running requests."""

from __future__ import annotations

from tacho_contract.model import Architecture, ModelFacts
from tacho_contract.units import MIB
from tacho_engines.base import Context, Placement
from tacho_engines.memory import kv, weights
from tacho_engines.memory.account import Account, requests_held

CONTEXT_BYTES = 512 * MIB
PROCESS_BYTES = 128 * MIB
"""On the host, where there is no CUDA context."""
ELEMENT_BYTES = {"none": 2.0, "ct2-int8-float16": 2.0, "ct2-int8": 4.0}
"""Type of activations, of the cache and of what is not quantized. Source: CTranslate2 documentation,
"Quantization", implicit types: int8 computes in float32, int8_float16 in float16."""
SCALE_BYTES = 4
"""One 32-bit scale for each output row."""


def weights_bytes(facts: ModelFacts, architecture: Architecture, method: str) -> int:
    """The converted weights: linear layers *and* embeddings are quantized. A converted model is as stored."""
    if facts.format == "ct2":
        return facts.files.total_bytes
    if method == "none":
        return int(weights.parts(facts).total)
    quantized = weights.parameters(facts, "linear", "expert", "embedding", "lm_head")
    other = weights.parameters(facts, "norm", "bias", "router", "other")
    rows = quantized / max(1, architecture.hidden_size)
    return int(quantized + rows * SCALE_BYTES + other * ELEMENT_BYTES[method])


def account(placement: Placement, context: Context) -> Account:
    """One GPU (CTranslate2 splits no model over several here), or the host."""
    facts, architecture, method = placement.facts, placement.architecture, placement.method.method
    length, concurrency = context.max_model_len, context.concurrency
    resident = weights_bytes(facts, architecture, method)
    element = ELEMENT_BYTES.get(method, 2.0)
    request = kv.bytes_per_token(architecture, element) * length
    row = 4 * architecture.hidden_size + 3 * architecture.intermediate_size
    activation = int(element * length * row + 4 * architecture.vocabulary * concurrency)
    other = PROCESS_BYTES if placement.device.on_host else CONTEXT_BYTES
    budget, fixed = placement.device.part_bytes, resident + activation + other
    return Account(
        weights_bytes=resident,
        cache_bytes=int(request * concurrency),
        cache_tokens=length * concurrency,
        concurrency=requests_held(budget, fixed, request, concurrency),
        activation_bytes=activation,
        other_bytes=other,
        budget_bytes=budget,
        fixed_bytes=fixed,
        request_bytes=int(request),
    )
