"""KV cache size: bytes for each token, and for each request."""

from __future__ import annotations

from tacho_contract.model import Architecture, LayerGroup
from tacho_engines.memory.rounding import ceil_div

PER_TOKEN_KINDS = ("full", "sliding", "chunked", "mla")
"""Layer kinds whose state grows with the context; the others keep a constant state per request."""


def layer_groups(architecture: Architecture) -> tuple[LayerGroup, ...]:
    """The groups of layers that keep state; one group of full attention where only head counts are known."""
    if architecture.layer_groups:
        return tuple(g for g in architecture.layer_groups if g.kind != "none" and g.layers > 0)
    heads = architecture.key_value_heads or architecture.attention_heads
    return (
        LayerGroup(
            kind="full",
            layers=architecture.layers,
            key_value_heads=heads,
            key_head_dim=architecture.head_dim,
            value_head_dim=architecture.head_dim,
        ),
    )


def group_bytes_per_token(
    architecture: Architecture, group: LayerGroup, element_bytes: float, tensor_parallel: int = 1
) -> float:
    """Bytes of KV cache for one token in one group's layers on one GPU.

    GQA: ``layers x max(1, n_kv / TP) x (d_k + d_v) x b``; heads are replicated once TP exceeds them. MLA
    keeps one latent vector of ``kv_lora_rank + qk_rope_head_dim`` whatever TP is. Source: vLLM
    ``v1/kv_cache_interface.py`` (FullAttentionSpec.page_size_bytes, MLAAttentionSpec with num_kv_heads = 1).
    """
    if group.kind not in PER_TOKEN_KINDS:
        return 0.0
    if group.kind == "mla":
        latent = architecture.kv_lora_rank + architecture.qk_rope_head_dim
        return group.layers * (latent or group.key_head_dim + group.value_head_dim) * element_bytes
    heads = max(1, ceil_div(group.key_value_heads, tensor_parallel))
    return group.layers * heads * (group.key_head_dim + group.value_head_dim) * element_bytes


def bytes_per_token(architecture: Architecture, element_bytes: float) -> float:
    """Bytes of KV cache for one token in all layers, on one GPU."""
    groups = layer_groups(architecture)
    return sum(group_bytes_per_token(architecture, group, element_bytes) for group in groups)


def missing(architecture: Architecture) -> str:
    """Names of the values that a plan needs and the model's files lack, as text; "" where none is missing."""
    absent = [
        name
        for name, value in (("layers", architecture.layers), ("hidden size", architecture.hidden_size))
        if value < 1
    ]
    growing = [group for group in layer_groups(architecture) if group.kind in PER_TOKEN_KINDS]
    known = all(_is_known(architecture, group) for group in growing)
    if not absent and not (known and (growing or state_bytes(architecture))):
        absent.append("attention heads and their width")
    return ", ".join(absent)


def _is_known(architecture: Architecture, group: LayerGroup) -> bool:
    """Whether the heads of a group whose state grows, and their width, are known: no engine has one of 0."""
    heads = group.kind == "mla" or group.key_value_heads or architecture.attention_heads
    return bool(heads) and group_bytes_per_token(architecture, group, 1.0) > 0


def state_bytes(architecture: Architecture) -> int:
    """Bytes of state that one request keeps on one GPU whatever its length (Mamba, linear attention)."""
    return sum(group.state_bytes for group in layer_groups(architecture))
