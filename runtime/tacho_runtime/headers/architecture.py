"""Reads a model's shape (layers, heads, sizes) from its config.json, and lists what is missing there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tacho_contract.model import Architecture
from tacho_runtime.headers.family_defaults import with_defaults
from tacho_runtime.headers.json_values import first, integer, mapping, number, sequence, text
from tacho_runtime.headers.layers import LAYER_LIMIT, layer_groups, state_heads

TEXT_CONFIGS = ("text_config", "llm_config", "language_config", "thinker_config")
ATTENTION = {"full", "sliding", "chunked", "mla"}
TOWERS = ("vision_config", "audio_config", "vision_tower", "mm_vision_tower", "speech_config", "visual")
UNSCALED_ROPE = (
    *("su", "longrope", "llama3", "default", "mrope", "dynamic_ntk_alpha", "proportional"),
    *("yarn", "deepseek_yarn", "deepseek_llama_scaling"),
)
"""Rope types with which max_position_embeddings already includes the scaling (vLLM 0.32 config/model.py,
_get_and_verify_max_len).
"""
POSITIONS = (
    *("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_sequence_length"),
    *("max_seq_length", "seq_len"),
)
"""Names of the longest context, of which the least counts. Source: vLLM 0.32
transformers_utils/model_arch_config_convertor.py, derive_max_model_len_and_key."""
TIED_BY_DEFAULT = ("gemma", "cohere", "gpt2", "gpt_bigcode", "bloom", "falcon", "opt", "mpt", "codegen_tied")
"""Model families that share input and output embeddings unless config.json says otherwise (transformers'
configuration classes).
"""


def text_config(config: dict[str, Any]) -> dict[str, Any]:
    """The language model's part of a multimodal configuration, completed with outer keys that it does not set
    itself."""
    for key in TEXT_CONFIGS:
        inner = mapping(config.get(key))
        if key == "thinker_config" and inner:
            return text_config(inner)
        if inner:
            outer = ("torch_dtype", "dtype", "tie_word_embeddings", "sliding_window_pattern")
            return {**{k: config[k] for k in outer if k in config}, **inner}
    return config


def read_architecture(config: dict[str, Any]) -> tuple[Architecture, list[str]]:
    """The numbers of ``config`` (a config.json's content, any values), and the names of unknown values as
    message clauses."""
    inner = with_defaults(text_config(config))
    layers = first(inner, "num_hidden_layers", "n_layer", "n_layers", "num_layers") or len(
        sequence(inner.get("layers_block_type"))  # all that Transformers 5 writes of Nemotron-H
    )
    hidden = first(inner, "hidden_size", "n_embd", "d_model", "dim", "model_dim")
    heads = first(inner, "num_attention_heads", "n_head", "n_heads", "num_heads")
    head_dim = first(inner, "head_dim", "attention_head_dim", "kv_channels") or (
        hidden // heads if heads else 0
    )
    names = sequence(config.get("architectures"))
    rope_dim = first(inner, "qk_rope_head_dim")
    shape = Architecture(
        name=text(names[0])[:80] if names else "",
        model_type=text(inner.get("model_type") or config.get("model_type"))[:40],
        hidden_size=hidden,
        layers=layers if layers <= LAYER_LIMIT else 0,
        attention_heads=heads,
        key_value_heads=_key_value_heads(inner, heads),
        head_dim=head_dim,
        intermediate_size=_largest(inner, "intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
        or _default_mlp_width(inner),
        vocabulary=first(inner, "vocab_size", "padded_vocab_size") or first(config, "vocab_size"),
        max_positions=_max_positions(inner),
        rotary_dim=rope_dim or _rotary_dim(inner, head_dim),
        kv_lora_rank=first(inner, "kv_lora_rank"),
        qk_rope_head_dim=rope_dim,
        experts=_largest(inner, "n_routed_experts", "num_experts", "num_local_experts", "moe_num_experts"),
        experts_per_token=_largest(
            inner,
            *(
                "num_experts_per_tok",
                "num_experts_per_token",
                "top_k_experts",
                "moe_topk",
                "moe_top_k",
                "moe_k",
            ),
        ),
        moe_intermediate_size=_largest(inner, "moe_intermediate_size", "expert_ffn_hidden_size"),
        tied_embeddings=_tied(config, inner),
        multimodal=any(config.get(key) for key in TOWERS),
        dtype=_dtype(inner) or _dtype(config),
        needs_remote_code="auto_map" in config,
        configuration=text(config.get("model_type"))[:40] if "auto_map" in config else "",
    )
    if shape.experts <= 1:
        shape = replace(shape, experts=0, experts_per_token=0, moe_intermediate_size=0)
    elif not shape.moe_intermediate_size:
        # Mixtral-like families name the experts' width intermediate_size.
        shape = replace(shape, moe_intermediate_size=shape.intermediate_size)
    groups, unknown = layer_groups(inner, shape)
    shape = replace(shape, layer_groups=groups, state_heads=state_heads(inner))
    return shape, _unknown(shape) + unknown


def _largest(config: dict[str, Any], *keys: str) -> int:
    """As ``first``, also of lists, which have one number for each layer or kind of expert."""
    listed = {
        key: max(map(integer, numbers))
        for key in keys
        if (numbers := sequence(config.get(key))[:LAYER_LIMIT])
    }
    return first({**config, **listed}, *keys)


def _unknown(shape: Architecture) -> list[str]:
    needed = {
        "number of layers": shape.layers,
        "hidden size": shape.hidden_size,
        "number of attention heads": shape.attention_heads
        or not ATTENTION & {g.kind for g in shape.layer_groups},
        "size of an attention head": shape.head_dim or not shape.attention_heads,
        "vocabulary size": shape.vocabulary,
        "longest context": shape.max_positions,
        "dtype": shape.dtype,
    }
    return [what for what, value in needed.items() if not value]


def _key_value_heads(config: dict[str, Any], heads: int) -> int:
    family = text(config.get("model_type"))
    if family == "gpt_bigcode" or family == "falcon":
        if config.get("new_decoder_architecture") is True:
            return first(config, "num_kv_heads") or heads
        return 1 if config.get("multi_query", family == "gpt_bigcode") is True else heads
    attention = [mapping(mapping(b).get("attention")) for b in sequence(config.get("block_configs"))]
    if shared := [n for n in (first(a, "n_heads_in_group") for a in attention) if n]:
        return heads // min(shared) or heads
    counts = config.get("num_key_value_heads")
    if isinstance(counts, list):
        return max((integer(n) for n in counts), default=0) or heads
    names = (
        "num_key_value_heads",
        "num_kv_heads",
        "n_head_kv",
        "multi_query_group_num",
        "num_attention_groups",
    )
    return first(config, *names) or first(mapping(config.get("attn_config")), "kv_n_heads") or heads


def _default_mlp_width(config: dict[str, Any]) -> int:
    """Width of the MLP by the default of GPT-2's families, four times the hidden size; 0 for others."""
    return 4 * first(config, "n_embd") if "n_embd" in config else 0


def _rope(config: dict[str, Any]) -> dict[str, Any]:
    """The rope settings, under either of their names. Where they differ by layer type, those of layers with
    full attention.
    """
    rope = mapping(config.get("rope_parameters")) or mapping(config.get("rope_scaling"))
    return mapping(rope.get("full_attention")) or rope


def _max_positions(config: dict[str, Any]) -> int:
    """Longest context in tokens, computed as by vLLM.

    Rope scaling multiplies max_position_embeddings, except for types that already include it.
    """
    named = [positions for key in POSITIONS if (positions := integer(config.get(key)))]
    # Command-R's other figure is that of its training.
    positions = first(config, "model_max_length") or min(named, default=0) or first(config, "n_ctx")
    rope = _rope(config)
    kind = text(rope.get("rope_type")) or text(rope.get("type"))
    factor = number(rope.get("factor"))
    if (
        kind
        and factor > 1
        and kind not in UNSCALED_ROPE
        and not text(config.get("model_type")).startswith("gemma3")
    ):
        positions = int(positions * factor)
    return positions


def _rotary_dim(config: dict[str, Any], head_dim: int) -> int:
    if text(config.get("model_type")) in ("gpt2", "gpt_bigcode", "opt", "bloom", "mpt", "mamba", "mamba2"):
        return 0
    if explicit := first(config, "rotary_dim", "rotary_emb_dim"):
        return explicit
    share = next(
        (n for n in (number(s) for s in (config.get("partial_rotary_factor"), config.get("rotary_pct"),
                                         _rope(config).get("partial_rotary_factor"))) if 0 < n <= 1),
        1.0,
    )  # fmt: skip
    return int(head_dim * share)


def _tied(config: dict[str, Any], inner: dict[str, Any]) -> bool:
    for place in (inner, config):
        if isinstance(place.get("tie_word_embeddings"), bool):
            return bool(place["tie_word_embeddings"])
    family = text(inner.get("model_type"))
    return family.startswith(TIED_BY_DEFAULT)


def _dtype(config: dict[str, Any]) -> str:
    name = text(config.get("torch_dtype")) or text(config.get("dtype"))
    name = name.removeprefix("torch.")
    return name if name in ("bfloat16", "float16", "float32") else ""
