"""What PyTorch's allocator keeps beside vLLM's weights.

A tensor of 10 MiB or more gets memory in steps of 2 MiB. What is left of the last step goes to another
tensor where it is more than 1 MiB; vLLM switches that off for tensors of 20 MiB and more while it loads
weights (max_split_size_mb), so that each of those keeps its last step whole. Source:
c10/core/AllocatorConfig.h, c10/cuda/CUDACachingAllocator.cpp should_split. Seen on an H200: Qwen2.5-1.5B
takes 95 MiB more than its tensors have (3.5 of them in smaller tensors, which are not predicted), phi-2
16; models whose tensors are multiples of 2 MiB (an 8B of Llama) take nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from tacho_contract.model import Architecture
from tacho_contract.units import MIB
from tacho_engines.memory import weights
from tacho_engines.memory.shape import ceil_div, round_up

STEP_BYTES = 2 * MIB
LARGE_BYTES, WHOLE_BYTES = 10 * MIB, 20 * MIB
UNQUANTIZED_BYTES = 2.0
LEFT_BYTES = MIB
"""Less is left where it is."""

ATTENTION = ("full", "sliding", "chunked")
"""Layers of these kinds have the same projections."""


def beside_bytes(
    architecture: Architecture, parts: weights.Parts, *, gated: bool, tensor: int, pipeline: int
) -> int:
    """Of the most loaded GPU, where the whole model's weights are ``parts``. ``gated``: the MLP has two
    projections up, which are one tensor. 0 where shapes do not follow from the configuration."""
    linear = list(_linear(architecture, gated=gated))
    elements, experts = sum(linear), list(_experts(architecture))
    alike = all(group.kind in ATTENTION for group in architecture.layer_groups)
    if architecture.kv_lora_rank or not architecture.layers or not elements or not alike:
        return 0
    layers = ceil_div(architecture.layers, pipeline)
    per_element = _stored(parts.split / architecture.layers / elements)
    per_expert = _stored(parts.experts / architecture.layers / sum(experts)) if sum(experts) else 0.0
    if per_expert < UNQUANTIZED_BYTES:
        experts = []  # packed ones are laid out anew once they are loaded, padded for their kernel
    sizes = [per_element * each / tensor for each in linear] + [
        per_expert * each / tensor for each in experts
    ]
    ends = [size / tensor for size in (parts.embedding, parts.head) if size]
    return layers * sum(map(_left, sizes)) + sum(map(_left, ends if pipeline == 1 else ends[:1]))


def _stored(bytes_each: float) -> float:
    """Bytes of an element in its own tensor: the mean without the scales, which have tensors of their own."""
    return 2.0 ** math.floor(math.log2(bytes_each)) if bytes_each else 0.0


def _left(size_bytes: float) -> int:
    """Bytes beside a tensor."""
    size = round(size_bytes)
    left = round_up(size, STEP_BYTES) - size
    if size < LARGE_BYTES or (size < WHOLE_BYTES and left > LEFT_BYTES):
        return 0
    return left


def _linear(architecture: Architecture, *, gated: bool) -> Iterator[float]:
    """Elements of a layer's tensors, as vLLM keeps them: queries, keys and values in one."""
    hidden, dim = architecture.hidden_size, architecture.head_dim
    yield hidden * dim * (architecture.attention_heads + 2 * architecture.key_value_heads)
    yield hidden * dim * architecture.attention_heads
    if not architecture.experts:
        wide = architecture.intermediate_size or 4 * hidden
        yield (2 if gated else 1) * hidden * wide
        yield hidden * wide


def _experts(architecture: Architecture) -> Iterator[float]:
    """All of a layer's experts are two tensors."""
    if architecture.experts:
        all_wide = architecture.experts * architecture.moe_intermediate_size
        yield 2 * architecture.hidden_size * all_wide
        yield architecture.hidden_size * all_wide
