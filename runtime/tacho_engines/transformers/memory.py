"""Memory of Transformers, with or without bitsandbytes: weights, one expanded layer, the requests' KV
cache."""

from __future__ import annotations

import math

from tacho_contract.model import Architecture, ModelFacts
from tacho_contract.units import MIB
from tacho_engines.base import Context, EngineOptions, Placement
from tacho_engines.memory import kv, weights
from tacho_engines.memory.account import Account
from tacho_engines.memory.rounding import ceil_div
from tacho_engines.memory.weights import INT8_BITS, NF4_BITS, NF4_DOUBLE_QUANT_BITS
from tacho_engines.shared.switches import integer, parse_arguments

CONTEXT_BYTES = 512 * MIB
"""Bytes of CUDA context and cuBLAS workspaces, outside PyTorch's allocator."""
HOST_PROCESS_BYTES = 1024 * MIB
"""Host bytes of the process: Python with torch, transformers and bitsandbytes (docs/design/planner.md)."""
LOGIT_BYTES = 14
"""Bytes per logit of a sequence's last position: the model's own, a copy in 32 bits, and copies made by
sampling."""
SCORE_BYTES = 192 * MIB
"""Bytes needed while the tokens of a given text are scored: 128 MiB of keys and values, and 60 MiB of logits,
their copy in 32 bits, and logarithms (tacho_transformers/backend.py).
"""
PREFILL_TOKENS = 512
PAGE_TOKENS = 64
SPARE_SECTORS = 2
"""Sectors of the KV cache that the library keeps and gives to no request."""
HIDDEN_COPIES = 4
EAGER = tuple(f"{name}ForCausalLM" for name in ("GptOss", "GraniteSWA", "GraniteMoeSWA"))
"""Architectures without SDPA, which keep a score for each head, token and cached token."""
SCORED_BYTES = 8
"""Bytes of such a score: in 16 bits, in 32 by softmax, and in 16 again. Source: transformers
integrations/eager_paged.py."""
CACHE_ELEMENT_BYTES = 2.0
"""Bytes of an element of the KV cache: 16 bits for any type of weights."""


def linear_bits(method: str, double_quant: bool) -> float | None:
    """Bits of a linear weight in bitsandbytes' form; None: as stored."""
    if method in ("bnb-nf4", "bnb-fp4"):
        return NF4_DOUBLE_QUANT_BITS if double_quant else NF4_BITS
    return INT8_BITS if method == "bnb-int8" else None


def expanded_bytes(architecture: Architecture, method: str, compute_bytes: int) -> int:
    """Extra bytes of the largest linear layer while it is multiplied.

    4 bits: the weight in 16 bits, and once more in the compute type where that is another. 8 bits: its
    re-arranged copy. Source: bitsandbytes autograd/_functions.py MatMul4Bit, MatMul8bitLt.
    """
    elements = architecture.hidden_size * (architecture.intermediate_size or 4 * architecture.hidden_size)
    if method in ("bnb-nf4", "bnb-fp4"):
        return elements * (2 + (compute_bytes if compute_bytes > 2 else 0))
    return 2 * elements if method == "bnb-int8" else 0


def kept_bytes(architecture: Architecture, method: str, *, on_host: bool) -> int:
    """Estimated bytes that loading leaves unused in PyTorch's GPU allocator, as multiples of one vocabulary
    table in 16 bits.

    Measured on an H200. Quantizing an 8B model with two such tables to 8 bits left 2.27 tables unused; a 1B
    with one table about one. Unquantized, two starts of the 8B used 0.9 and 1.0 GiB more, and its output head
    has 0.98 GiB.
    """
    head = 0 if architecture.tied_embeddings else 1
    tables = {"bnb-int8": 1 + head, "none": head}.get(method, 0)
    return 0 if on_host else 2 * tables * architecture.vocabulary * architecture.hidden_size


def loaded(facts: ModelFacts, method: str, double_quant: bool) -> weights.Parts:
    """Bytes of the whole model's weights in memory, by part.

    bitsandbytes replaces linear layers only. A layer's experts are one three-dimensional tensor and stay as
    stored: a Qwen3-MoE of 333 million parameters kept 657 of 665 MB in NF4. Source: transformers
    integrations/bitsandbytes.py replace_with_bnb_linear.
    """
    bits = None if weights.quantized_in_checkpoint(facts) else linear_bits(method, double_quant)
    return weights.parts(facts, linear_bits=bits, experts_too=False)


def fallbacks(placement: Placement) -> tuple[str, ...]:
    """Parts of the model that are not quantized although quantization was requested."""
    facts, method = placement.facts, placement.method.method
    if weights.quantized_in_checkpoint(facts) or linear_bits(method, False) is None:
        return ()
    experts = weights.parameters(facts, "expert")
    return (
        (f"experts stay as stored, as {method} of Transformers quantizes linear layers",) if experts else ()
    )


def switch(options: EngineOptions, name: str, default: int) -> int:
    """The number that the user set for a launcher argument, else ``default``."""
    return integer(parse_arguments(options.arguments).get(name)) or default


def page_tokens(options: EngineOptions) -> int:
    """Number of tokens per block of the KV cache."""
    return switch(options, "page-tokens", PAGE_TOKENS)


def cells(options: EngineOptions, context: Context) -> int:
    """Number of tokens that the KV cache holds: whole blocks for every request at its full length."""
    page = page_tokens(options)
    return ceil_div(context.max_model_len, page) * page * context.concurrency


def shared_out(architecture: Architecture, tokens: int, page: int) -> tuple[float, int]:
    """(tokens of all layers that the KV cache has place for, most tokens that one kind of attention may have
    of it), where requests need ``tokens``.

    Kinds of attention draw on it in sectors, each as many pages of one layer as is a multiple of all their
    numbers of layers. Of Gemma 3's 34 layers five have full attention: they could have 7 times the tokens.
    Source: transformers generation/continuous_batching/cache.py PagedAttentionCache.
    """
    layers = [group.layers for group in kv.layer_groups(architecture)] or [1]
    sector = math.lcm(*layers)
    sectors = ceil_div(tokens // page * sum(layers), sector)
    return (sectors + SPARE_SECTORS) * sector * page / sum(layers), sectors * sector // min(layers) * page


def batch_bytes(
    architecture: Architecture, options: EngineOptions, context: Context, used_tokens: int | None = None
) -> int:
    """Bytes of one step of the batch beside weights and cache, with ``used_tokens`` of the cache in use;
    None: all.

    A plan assumes all of the cache, as requests may grow to that, and as the library refuses to start without
    it. The attention mask is allocated at start, ``prefill x (cells + prefill) x 2`` for each kind of
    attention. A step reads every cached K and V of one layer back and repeats them for all heads. The logits
    of all sequences are kept in 16 and in 32 bits. Source: transformers generation/continuous_batching,
    cache.py (PagedAttentionMemoryHandler) and input_outputs.py.
    """
    prefill = max(switch(options, "prefill-tokens", PREFILL_TOKENS), context.concurrency)
    page = page_tokens(options)
    cache_tokens = shared_out(architecture, cells(options, context), page)[1] + prefill
    read = cache_tokens if used_tokens is None else min(cache_tokens, used_tokens + prefill)
    groups = kv.layer_groups(architecture)
    masks = len({group.kind for group in groups}) or 1
    heads, dim = architecture.attention_heads, architecture.head_dim
    stored = max((group.key_value_heads for group in groups), default=0)
    row = HIDDEN_COPIES * architecture.hidden_size + 3 * architecture.intermediate_size
    scored = SCORED_BYTES * heads * prefill if architecture.name in EAGER else 0
    return (
        scored * min(read, cells(options, context) + prefill)
        + 2 * masks * prefill * cache_tokens
        + 2 * read * 2 * (heads + stored) * dim
        + 2 * prefill * row
        + LOGIT_BYTES * architecture.vocabulary * context.concurrency
        + SCORE_BYTES
    )


def account(placement: Placement, context: Context, used_tokens: int | None = None) -> Account:
    """The memory account of one GPU or of the host process.

    It allocates its cache at start, for exactly the requested context length and concurrency.
    ``used_tokens``: see ``batch_bytes``.
    """
    facts, architecture, options = placement.facts, placement.architecture, placement.options
    method, concurrency = placement.method.method, context.concurrency
    parts = loaded(facts, method, options.double_quant is not False)
    resident = int(parts.total)
    # Layers that use another's cache get one, too (continuous_batching/cache.py bytes_per_block).
    with_cache = sum(group.layers for group in kv.layer_groups(architecture))
    every = max(1.0, architecture.layers / max(1, with_cache))
    token = kv.bytes_per_token(architecture, CACHE_ELEMENT_BYTES) * every
    tokens = cells(options, context)
    cache = int(token * shared_out(architecture, tokens, page_tokens(options))[0])
    compute = 4 if options.compute_dtype == "float32" else 2
    activation = batch_bytes(architecture, options, context, used_tokens)
    activation += expanded_bytes(architecture, method, compute)
    activation += kept_bytes(architecture, method, on_host=placement.device.on_host)
    other = HOST_PROCESS_BYTES if placement.device.on_host else CONTEXT_BYTES
    return Account(
        weights_bytes=resident,
        cache_bytes=cache,
        cache_tokens=tokens,
        concurrency=float(concurrency),
        activation_bytes=activation,
        other_bytes=other,
        budget_bytes=placement.device.part_bytes,
        fixed_bytes=resident + activation + other,
        request_bytes=max(1, cache // concurrency),
        unread_bytes=int(weights.embedding_table_bytes(parts, architecture)),
    )
