"""Memory of CTranslate2: the converted model, a KV cache that grows with the requests, and prompts."""

from __future__ import annotations

import math

from tacho_contract.model import Architecture, ModelFacts
from tacho_contract.units import MIB
from tacho_engines.base import Context, Placement
from tacho_engines.memory import kv, weights
from tacho_engines.memory.account import Account, requests_held

CONTEXT_BYTES = 512 * MIB
PROCESS_BYTES = 192 * MIB
"""Bytes of the server process on the host: Python, tokenizer and HTTP. Measured: 307 MiB in all, with 129 MiB
of weights.
"""
SCORING_BYTES = 256 * MIB
"""Bytes needed to compute log-probabilities of a given text; as tacho_ctranslate2.backend.SCORING_BYTES."""
SEGMENT_BYTES = 64 * MIB
"""Bytes that each worker needs for the vocabulary rows of a request that wants log-probabilities; as
tacho_ctranslate2.backend.SEGMENT_BYTES. Measured with SmolLM2 on a CPU: 47 to 65 MiB for each of 1, 2 and 4.
"""
ELEMENT_BYTES = {"int8_float32": 4.0, "float32": 4.0}
"""Bytes per element of activations, cache and unquantized weights, by compute type; two bytes for all other
types. Source: CTranslate2 documentation, "Quantization", implicit types: int8 computes in float32,
int8_float16 in float16."""
SCALE_BYTES = 4
"""Bytes of the scale of each output row in an int8 matrix."""
CONVERTER_BYTES = 650 * MIB
"""Bytes of the converter process without a model: PyTorch, Transformers, converter. Measured: 649 MiB."""
COPIES = 3
"""Copies of the largest tensor in 32 bits in quantization, of SmolLM2-135M (docs/design/planner.md)."""
INT8_FLOAT16 = "ct2-int8-float16"
HALF_SINCE = {"bfloat16": (8, 0), "float16": (7, 0)}
"""Lowest compute capability with tensor cores for a type. Source: CTranslate2 hardware_support.md."""


def quantization(placement: Placement) -> str:
    """The compute type for CTranslate2.

    A CPU does not compute in 16 bits: unquantized weights are expanded to 32 bits once, in the conversion.
    """
    method = placement.method.method
    if method == INT8_FLOAT16:
        return "int8_float16"
    if method == "ct2-int8":
        return "int8_float32"
    if placement.device.on_host:
        return "float32"
    stored = placement.architecture.dtype
    known, least = placement.device.capability, HALF_SINCE.get(stored, (0, 0))
    return stored if stored in HALF_SINCE and not (0, 0) < known < least else "float16"


def element_bytes(placement: Placement) -> float:
    """Bytes of one element of activations and of the KV cache."""
    if placement.facts.format == "ct2":
        return 4.0 if placement.device.on_host or placement.method.method == "ct2-int8" else 2.0
    return ELEMENT_BYTES.get(quantization(placement), 2.0)


def weights_bytes(placement: Placement) -> int:
    """Bytes of the converted weights: linear layers *and* embeddings are quantized. A converted model is as
    stored."""
    facts, architecture = placement.facts, placement.architecture
    if facts.format == "ct2":
        return facts.files.total_bytes
    if not facts.tensors:
        # Pickled files are not opened: at two bytes a weight, as they are published.
        return int(facts.files.total_bytes / 2 * (element_bytes(placement) if _plain(placement) else 1))
    if _plain(placement):
        return int(weights.parts(facts).total / 2 * element_bytes(placement))
    quantized = weights.parameters(facts, "linear", "expert", "embedding", "lm_head")
    other = weights.parameters(facts, "norm", "bias", "router", "other")
    rows = quantized / max(1, architecture.hidden_size)
    return int(quantized + rows * SCALE_BYTES + other * element_bytes(placement))


def embedding_table_bytes(placement: Placement) -> int:
    """Bytes of the embedding table, unless it is the output head as well; 0 where the file does not tell."""
    facts, architecture = placement.facts, placement.architecture
    if facts.format == "ct2" or architecture.tied_embeddings:
        return 0
    if _plain(placement):
        return int(weights.parts(facts).embedding / 2 * element_bytes(placement))
    elements = weights.parameters(facts, "embedding")
    return int(elements + elements / max(1, architecture.hidden_size) * SCALE_BYTES)


def _plain(placement: Placement) -> bool:
    return placement.method.method == "none"


def conversion_bytes(placement: Placement) -> int:
    """Peak memory in bytes of the converter, which holds checkpoint and result; 0 for a converted model.

    It ends before the model is served.
    """
    facts, architecture = placement.facts, placement.architecture
    if facts.format == "ct2":
        return 0
    largest = architecture.vocabulary * architecture.hidden_size * 4
    return CONVERTER_BYTES + checkpoint_bytes(facts) + weights_bytes(placement) + COPIES * largest


def checkpoint_bytes(facts: ModelFacts) -> int:
    return sum(tensor.stored_bytes for tensor in facts.tensors) or facts.files.total_bytes


def activation_bytes(architecture: Architecture, element: float, length: int, concurrency: int) -> int:
    """Bytes that the longest prompt and all requests need in addition to weights and cache.

    A prompt has hidden states, and logits of the whole vocabulary for each token; each request has one row of
    logits. Prompts that are processed together are bounded in tokens (tacho_ctranslate2.backend.TokenBudget).
    """
    row = 4 * architecture.hidden_size + 3 * architecture.intermediate_size + architecture.vocabulary
    return int(element * length * row + 4 * architecture.vocabulary * concurrency)


def most_workers(placement: Placement, concurrency: int) -> int:
    """Most requests that are computed at the same time: as many as there are CPUs."""
    cpus = placement.options.usable_cpus
    return concurrency if cpus is None else min(concurrency, max(1, math.ceil(cpus)))


def account(placement: Placement, context: Context) -> Account:
    """The memory account of one GPU or of the host. CTranslate2 uses one GPU per model here."""
    architecture = placement.architecture
    length, concurrency = context.max_model_len, context.concurrency
    element, resident = element_bytes(placement), weights_bytes(placement)
    request = kv.bytes_per_token(architecture, element) * length
    activation = activation_bytes(architecture, element, length, concurrency)
    rows = SCORING_BYTES + SEGMENT_BYTES * most_workers(placement, concurrency)
    other = (PROCESS_BYTES if placement.device.on_host else CONTEXT_BYTES) + rows
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
        start_bytes=conversion_bytes(placement),
        unread_bytes=embedding_table_bytes(placement),
    )
