"""The constant state of one request in one recurrent layer, in the model's dtype.

Shapes are vLLM's (model_executor/layers/mamba/mamba_utils.py, MambaStateShapeCalculator).
"""

from __future__ import annotations

from typing import Any

from tacho_contract.model import Architecture
from tacho_runtime.headers.values import first, integer, number, sequence

DTYPE_BYTES = {"float32": 4, "float64": 8}


def _element_bytes(shape: Architecture) -> int:
    return DTYPE_BYTES.get(shape.dtype, 2)


def mamba_state_bytes(config: dict[str, Any], shape: Architecture) -> int:
    """Convolution and SSM state of a Mamba or Mamba-2 layer; 0 when the configuration does not say enough."""
    inner = first(config, "mamba_d_ssm", "mamba_intermediate", "intermediate_size_mamba")
    heads = first(config, "mamba_n_heads", "mamba_num_heads", "n_mamba_heads")
    head_dim = first(config, "mamba_d_head", "mamba_head_dim", "mamba_headdim")
    family = str(config.get("model_type", ""))
    if family == "mamba2":
        heads, head_dim = heads or first(config, "num_heads"), head_dim or first(config, "head_dim")
    inner = inner or heads * head_dim
    if not inner:
        expand = number(config.get("mamba_expand")) or number(config.get("expand")) or 2.0
        own = first(config, "intermediate_size") if family in ("mamba", "falcon_mamba") else 0
        inner = own or int(expand * shape.hidden_size)
    kernel = first(config, "mamba_d_conv", "conv_kernel", "mamba_conv_kernel", "d_conv")
    state = first(config, "mamba_d_state", "ssm_state_size", "state_size", "d_state")
    if not inner or not kernel or not state:
        return 0
    groups = first(config, "mamba_n_groups", "n_groups", "mamba_ngroups") if heads else 0
    convolution = (inner + 2 * groups * state) * (kernel - 1)
    return (convolution + inner * state) * _element_bytes(shape)


def linear_state_bytes(kind: str, config: dict[str, Any], shape: Architecture) -> int:
    """State of a linear-attention layer (gated delta net, lightning) or a short convolution (LFM2)."""
    if kind == "conv":
        return shape.hidden_size * max(0, integer(config.get("conv_L_cache")) - 1) * _element_bytes(shape)
    key_heads, value_heads = first(config, "linear_num_key_heads"), first(config, "linear_num_value_heads")
    key_dim, value_dim = first(config, "linear_key_head_dim"), first(config, "linear_value_head_dim")
    if key_heads and value_heads and key_dim and value_dim:
        kernel = first(config, "linear_conv_kernel_dim") or 4
        convolution = (2 * key_heads * key_dim + value_heads * value_dim) * (kernel - 1)
        return (convolution + value_heads * key_dim * value_dim) * _element_bytes(shape)
    if sequence(config.get("attn_type_list")) or "minimax" in str(config.get("model_type", "")):
        # Lightning attention keeps a matrix of head_dim x head_dim a head, in 32 bits.
        return shape.attention_heads * shape.head_dim * shape.head_dim * 4
    return 0
