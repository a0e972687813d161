"""Bytes of a checkpoint's weights in an engine's memory, on the most loaded GPU."""

from __future__ import annotations

from dataclasses import dataclass

from tacho_contract.model import OTHER, Architecture, ModelFacts, TensorClass
from tacho_engines.memory.rounding import ceil_div, round_up

NF4_BITS = 4 + 32 / 64
"""Bits per weight in NF4 or FP4, with blocks of 64 and a 32-bit constant each. Source: QLoRA
(arXiv:2305.14314), section 3.
"""
NF4_DOUBLE_QUANT_BITS = 4 + 8 / 64 + 32 / (64 * 256)
"""Bits per weight in NF4 or FP4 with double quantization, which quantizes the blocks' constants, too."""
INT8_BITS = 8.01
"""Bits per weight with LLM.int8(): 8 bits, and a 32-bit scale for each row."""
FP8_BITS = 8.0


VOCABULARY_PADDING = 64
"""Multiple to which the vocabulary is padded. Source: vLLM layers/vocab_parallel_embedding.py
DEFAULT_VOCAB_PADDING_SIZE.
"""
SIXTEEN_BIT = ("BF16", "F16", "F32", "F64")
NEVER_LOADED = ("draft",)
"""Kinds of tensors that are not loaded unless speculative decoding is on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Bytes of the whole model in memory, grouped by how GPUs share them."""

    split: float = 0.0
    """Bytes of linear layers and experts, which tensor parallelism divides."""
    experts: float = 0.0
    embedding: float = 0.0
    head: float = 0.0
    replicated: float = 0.0
    """Bytes of norms, routers, biases and projections to a latent, which every GPU has."""

    @property
    def total(self) -> float:
        return self.split + self.experts + self.embedding + self.head + self.replicated


def parameters(facts: ModelFacts, *kinds: str) -> int:
    """Number of elements, as stored, of the tensors of ``kinds``."""
    return sum(t.parameters for t in facts.tensors if t.kind in kinds)


def quantized_in_checkpoint(facts: ModelFacts) -> bool:
    """Whether the checkpoint itself is quantized (its stored bytes are then what stays resident)."""
    return facts.quantization.method not in ("", "none")


def parts(
    facts: ModelFacts, *, linear_bits: float | None = None, experts_too: bool = True, plain_bytes: float = 2.0
) -> Parts:
    """Bytes of the whole model by part.

    ``linear_bits``: linear layers are quantized at load to this many bits, experts likewise where
    ``experts_too``. None: every tensor stays as stored, those of 16 and 32 bits in ``plain_bytes``.
    Quantization at load leaves alone embedding, output head, norms, biases, router and vision tower (vLLM:
    these are not LinearBase, or are in the method's own skip list).
    """
    quantized = ("linear", "latent", "expert") if experts_too else ("linear", "latent")
    scales = "experts" if parameters(facts, "expert") else "split"
    sums = {"split": 0.0, "experts": 0.0, "embedding": 0.0, "head": 0.0, "replicated": 0.0}
    for tensor in facts.tensors:
        if tensor.kind in NEVER_LOADED:
            continue
        bits = linear_bits if tensor.kind in quantized and tensor.dtype in SIXTEEN_BIT else None
        sums[_part(tensor.kind, scales)] += (
            tensor.parameters * bits / 8 if bits else _resident(tensor, plain_bytes)
        )
    return Parts(**sums)


def _resident(tensor: TensorClass, plain_bytes: float) -> float:
    """Bytes of a tensor in memory: as stored, or ``plain_bytes`` for each element that is not quantized."""
    if tensor.dtype in SIXTEEN_BIT and tensor.kind not in ("scale", "router"):
        return plain_bytes * tensor.parameters
    return float(tensor.stored_bytes)


def _part(kind: str, scales: str) -> str:
    """Name of the part of Parts that a kind of tensors belongs to. ``scales``: the part of the weights that
    scales belong to.
    """
    if kind == "scale":
        return scales
    if kind in ("norm", "router", "bias", "latent", OTHER):
        return "replicated"
    return {"embedding": "embedding", "lm_head": "head", "expert": "experts"}.get(kind, "split")


def embedding_table_bytes(parts: Parts, architecture: Architecture) -> float:
    """Bytes of the embedding table, of which a decoding step reads one row a token; 0 where it is the output
    head as well.
    """
    return 0.0 if architecture.tied_embeddings else parts.embedding


def per_gpu(parts: Parts, architecture: Architecture, *, tensor: int, pipeline: int) -> int:
    """Bytes on the most loaded GPU.

    ``(linear + experts) / TP + (embedding + head) / TP + replicated`` of the layers of one stage; the last
    stage also has the head, the first the embedding. Key and value projections are replicated once TP
    exceeds their heads. The vocabulary is padded to a multiple of 64 for each GPU. Source: vLLM
    layers/linear.py, layers/vocab_parallel_embedding.py, distributed/utils.py get_pp_indices.
    """
    layers = max(1, architecture.layers)
    stage = ceil_div(layers, pipeline) / layers
    padded = _padding_bytes(architecture, tensor)
    ends = parts.embedding + parts.head if pipeline == 1 else max(parts.embedding, parts.head)
    spread = (parts.split + parts.experts) * stage / tensor + (ends + padded) / tensor
    extra = _replicated_key_values(parts, architecture, tensor) * stage
    return int(spread + extra + parts.replicated * stage)


def _padding_bytes(architecture: Architecture, tensor: int) -> float:
    vocabulary = architecture.vocabulary
    padded = round_up(vocabulary, VOCABULARY_PADDING * tensor) if vocabulary else 0
    return 2.0 * architecture.hidden_size * (padded - vocabulary)


def _replicated_key_values(parts: Parts, architecture: Architecture, tensor: int) -> float:
    """Additional bytes per GPU where there are fewer KV heads than GPUs: each keeps one of each."""
    heads = architecture.key_value_heads
    if not heads or tensor <= heads or architecture.kv_lora_rank:
        return 0.0
    per_layer = 2 * architecture.hidden_size * architecture.head_dim
    elements = architecture.layers * per_layer * (1 - heads / tensor)
    stored = parts.split + parts.experts
    shapes = linear_elements(architecture)
    return elements * (stored / shapes if shapes else 2.0)


def linear_elements(architecture: Architecture) -> float:
    """Number of elements of attention and MLP projections by the model's shape alone (dense models, gated
    MLP)."""
    hidden, heads, dim = architecture.hidden_size, architecture.attention_heads, architecture.head_dim
    attention = hidden * dim * (2 * heads + 2 * architecture.key_value_heads)
    wide = architecture.moe_intermediate_size * architecture.experts or architecture.intermediate_size
    return float(architecture.layers * (attention + 3 * hidden * wide))


def rotary_bytes(architecture: Architecture, max_model_len: int) -> int:
    """Bytes of the table of cosines and sines on every GPU: ``positions x rotary_dim x 2``.

    As many positions as the checkpoint's context or the requested one, whichever is longer. Source: vLLM
    layers/rotary_embedding.py _compute_cos_sin_cache (Llama-3.1-8B: 131072 x 128 x 2 = 32 MiB).
    """
    positions = max(architecture.max_positions, max_model_len)
    return positions * architecture.rotary_dim * 2
