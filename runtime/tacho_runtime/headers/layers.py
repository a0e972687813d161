"""The state that each layer keeps for a request: attention window, latent cache or recurrent state, and its
size.

Shapes of recurrent states are vLLM's (model_executor/layers/mamba/mamba_utils.py, MambaStateShapeCalculator).
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any

from tacho_contract.model import Architecture, LayerGroup
from tacho_runtime.headers.json_values import first, integer, mapping, number, sequence, text

LAYER_LIMIT = 2000
"""Most layers of which a number is believed; published models have 126 at most."""
ONE_A_LAYER = (
    "layer_types",
    "layers_block_type",
    "attn_type_list",
    "block_configs",
    "hybrid_layer_pattern",
    "hybrid_override_pattern",
)
"""Lists with one entry for each layer. ``block_types`` repeats, and heads default to the model's."""
DRAFTS = ("num_nextn_predict_layers", "num_mtp_layers", "mtp_num_hidden_layers", "num_mtp_modules")
"""Numbers of draft layers, which some lists hold too (Step-3.5)."""
INDEXER = "the sparse attention's indexer"
MORE_CACHES = {
    "index_topk": INDEXER,
    "compress_ratios": "compressed attention",
    "cross_attention_layers": "the layers with cross-attention",
    "layer_group_size": "the layers with linear attention",
}
"""Settings of models with another cache, which is not counted (DeepSeek 3.2: 132 bytes a token and layer)."""
NO_LATENT_CACHE = ("minicpm3",)
"""Families with latent attention whose engines cache the keys and values of every head. Source: vLLM
models/minicpm3.py."""
DTYPE_BYTES = {"float32": 4, "float64": 8}


def _element_bytes(shape: Architecture) -> int:
    return DTYPE_BYTES.get(shape.dtype, 2)


def _matrix_bytes(config: dict[str, Any], shape: Architecture) -> int:
    """Bytes of an element of a state's matrix, whose type some configurations name. Source: vLLM 0.32
    models/config.py NemotronHForCausalLMConfig, Qwen3_5ForConditionalGenerationConfig.
    """
    named = text(config.get("mamba_ssm_cache_dtype")) or text(config.get("mamba_ssm_dtype"))
    if not named and text(config.get("model_type")) == "nemotron_h":
        named = "float32"
    return DTYPE_BYTES.get(named, 2) if named else _element_bytes(shape)


def mamba_state_bytes(config: dict[str, Any], shape: Architecture) -> int:
    """Bytes of convolution and SSM state of a Mamba or Mamba-2 layer; 0 where the config lacks values."""
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
    return convolution * _element_bytes(shape) + inner * state * _matrix_bytes(config, shape)


def linear_state_bytes(kind: str, config: dict[str, Any], shape: Architecture) -> int:
    """State bytes of a linear-attention layer (gated delta net, lightning) or a short convolution (LFM2)."""
    if kind == "conv":
        return shape.hidden_size * max(0, integer(config.get("conv_L_cache")) - 1) * _element_bytes(shape)
    delta = _kimi_delta(config)
    if heads := first(delta, "num_heads"):
        size, taps = first(delta, "head_dim"), first(delta, "short_conv_kernel_size") - 1
        return heads * size * (3 * max(0, taps) * _element_bytes(shape) + 4 * size)
    key_heads, value_heads = first(config, "linear_num_key_heads"), first(config, "linear_num_value_heads")
    key_dim, value_dim = first(config, "linear_key_head_dim"), first(config, "linear_value_head_dim")
    if key_heads and value_heads and key_dim and value_dim:
        kernel = first(config, "linear_conv_kernel_dim") or 4
        convolution = (2 * key_heads * key_dim + value_heads * value_dim) * (kernel - 1)
        matrix = value_heads * key_dim * value_dim * _matrix_bytes(config, shape)
        return convolution * _element_bytes(shape) + matrix
    if sequence(config.get("attn_type_list")) or "minimax" in str(config.get("model_type", "")):
        # Lightning attention keeps a matrix of head_dim x head_dim a head, in 32 bits.
        return shape.attention_heads * shape.head_dim * shape.head_dim * 4
    return 0


def _kimi_delta(config: dict[str, Any]) -> dict[str, Any]:
    """The settings of Kimi's delta attention, whose matrix has 32 bits, under the names of its repositories.
    Transformers 5 has others.
    """
    if "linear_num_heads" not in config:
        return mapping(config.get("linear_attn_config"))
    return {
        "num_heads": config["linear_num_heads"],
        "head_dim": config.get("linear_head_dim"),
        "short_conv_kernel_size": config.get("linear_conv_kernel_dim"),
    }


def state_heads(config: dict[str, Any]) -> int:
    """As in Architecture. Source: vLLM 0.32 layers/mamba/mamba_mixer2.py, layers/mamba/gdn."""
    heads = first(config, "mamba_n_heads", "mamba_num_heads", "n_mamba_heads")
    if heads:
        groups = first(config, "mamba_n_groups", "n_groups", "mamba_ngroups")
        return heads if groups <= 1 else math.gcd(heads, groups)
    delta = first(_kimi_delta(config), "num_heads")
    return delta or math.gcd(first(config, "linear_num_key_heads"), first(config, "linear_num_value_heads"))


KINDS = {
    "full_attention": "full", "attention": "full", "full": "full", "global": "full",
    "global_attention": "full",
    "hybrid": "hybrid", "indexed_attention": "full", "*": "full",
    "sliding_attention": "sliding", "local_attention": "sliding",
    "sliding": "sliding", "local": "sliding", "chunked_attention": "chunked",
    "linear_attention": "linear_attention",
    "linear": "linear_attention", "conv": "conv", "mamba": "mamba", "mamba2": "mamba", "m": "mamba",
    "recurrent": "unknown", "-": "none", "mlp": "none", "moe": "none", "e": "none",
}  # fmt: skip
"""Kind of layer by its name in ``layer_types``, ``layers_block_type`` and ``hybrid_override_pattern``
(transformers' configurations).
"""


def layer_kinds(config: dict[str, Any], layers: int) -> tuple[list[str], list[str]]:
    """(the kind of each layer, names of unknown values for messages).

    A layer with attention and recurrence side by side (Falcon-H1) is ``hybrid``: see layer_groups.
    """
    for key in ("layer_types", "layers_block_type", "block_types"):
        names = [text(name).lower() for name in sequence(config.get(key))]
        if names and key == "block_types":
            names = [names[i % len(names)] for i in range(layers)]
        if names:
            kinds = [KINDS.get(name, "unknown") for name in names[:layers]]
            strange = sorted({n for n in names if KINDS.get(n, "unknown") == "unknown"})
            return kinds, [f"state of layers of the type {', '.join(strange)[:80]}"] if strange else []
    if blocks := sequence(config.get("block_configs")):  # Nemotron's search leaves attention out of some
        attention = [mapping(mapping(block).get("attention")) for block in blocks[:layers]]
        return ["none" if a.get("no_op") or a.get("replace_with_linear") else "full" for a in attention], []
    if windows := sequence(config.get("hybrid_layer_pattern")):  # MiMo
        return ["sliding" if window == 1 else "full" for window in windows[:layers]], []
    if pattern := text(config.get("hybrid_override_pattern")):
        return [KINDS.get(letter.lower(), "unknown") for letter in pattern[:layers]], []
    return [_kind_by_rule(config, layer) for layer in range(layers)], []


def _kind_by_rule(config: dict[str, Any], layer: int) -> str:
    """Kind of one layer, for families whose configuration has a rule in place of a list.

    The rules are those of each family's modeling code in transformers.
    """
    family = text(config.get("model_type")).lower()
    if period := integer(config.get("attn_layer_period")):
        return "full" if layer % period == integer(config.get("attn_layer_offset")) else "mamba"
    if indices := sequence(config.get("attn_layer_indices")):
        return "full" if layer in indices else "mamba"
    if kinds := sequence(config.get("attn_type_list")):
        return "full" if layer < len(kinds) and kinds[layer] == 1 else "linear_attention"
    if interval := integer(config.get("full_attention_interval")):
        return "full" if (layer + 1) % interval == 0 else "linear_attention"
    full = sequence(mapping(config.get("linear_attn_config")).get("full_attn_layers"))
    if full and layer + 1 not in full:
        return "linear_attention"
    if family in ("mamba", "mamba2", "falcon_mamba"):
        return "mamba"
    if chunk := integer(config.get("attention_chunk_size")):
        rope = sequence(config.get("no_rope_layers"))
        with_rope = rope[layer] == 1 if layer < len(rope) else (layer + 1) % 4 != 0
        return "chunked" if chunk and with_rope else "full"
    return _window_kind(config, family, layer)


def _window_kind(config: dict[str, Any], family: str, layer: int) -> str:
    windows = config.get("use_sliding_window", not family.startswith("qwen"))
    if not integer(config.get("sliding_window")) or not windows:
        return "full"
    if "max_window_layers" in config and family.startswith("qwen"):
        return "sliding" if layer >= integer(config["max_window_layers"]) else "full"
    default = {"gemma2": 2, "gemma3_text": 6, "gemma3": 6, "cohere2": 4}.get(family, 0)
    if pattern := integer(config.get("sliding_window_pattern")) or default:
        return "full" if (layer + 1) % pattern == 0 else "sliding"
    return "full" if family == "gpt_oss" and layer % 2 else "sliding"


def layer_groups(config: dict[str, Any], shape: Architecture) -> tuple[tuple[LayerGroup, ...], list[str]]:
    """Layers grouped by the state that they keep, and names of unknown values, for messages.

    Layers that hold attention and recurrence side by side (Falcon-H1, Zamba) count in two groups."""
    kinds, unknown = layer_kinds(config, shape.layers)
    family = text(config.get("model_type")).lower()
    if _has_latent_cache(config):
        kinds = ["mla" if kind == "full" else kind for kind in kinds]
    if not linear_state_bytes("linear_attention", config, shape) and mamba_state_bytes(config, shape):
        # Transformers 5 has this one name for all recurrent layers.
        kinds = ["mamba" if kind == "linear_attention" else kind for kind in kinds]
    if family == "longcat_flash":
        kinds = kinds * 2  # each layer has attention twice
    unknown += _miscounted(config, shape.layers)
    if shared := min(integer(config.get("num_kv_shared_layers")), len(kinds)):
        kinds[len(kinds) - shared :] = ["none"] * shared  # which use the cache of earlier ones
    if family == "falcon_h1":
        kinds = ["hybrid"] * shape.layers
    counts = Counter(zip(kinds, _heads_by_layer(config, shape, len(kinds)), strict=True))
    for (kind, heads), layers in list(counts.items()):
        if kind == "hybrid":
            del counts[kind, heads]
            counts["full", heads] += layers
            counts["mamba", heads] += layers
    more = {what for key, what in MORE_CACHES.items() if config.get(key)}
    unknown += [f"cache of {what}" for what in sorted(more | _indexers(config))]
    groups = []
    for (kind, heads), layers in counts.items():
        group, missing = _group(kind, layers, config, replace(shape, key_value_heads=heads))
        groups.append(group)
        unknown += missing
    return tuple(groups), unknown


def _miscounted(config: dict[str, Any], layers: int) -> list[str]:
    """For messages: the lists that describe another number of layers. They are not refused, as engines cut
    lists that are too long."""
    lists = {key: len(sequence(config.get(key)) or text(config.get(key))) for key in ONE_A_LAYER}
    most = layers + first(config, *DRAFTS)
    return [
        f"{key} describes {n} of {layers} layers" for key, n in lists.items() if n and not layers <= n <= most
    ]


def _has_latent_cache(config: dict[str, Any]) -> bool:
    """Whether attention caches the latent of DeepSeek's MLA. Its rotary part may have no width."""
    latent = integer(config.get("kv_lora_rank")) and config.get("qk_rope_head_dim") is not None
    return bool(latent) and text(config.get("model_type")).lower() not in NO_LATENT_CACHE


def _indexers(config: dict[str, Any]) -> set[str]:
    named = "indexed_attention" in map(text, sequence(config.get("layer_types")))
    return {INDEXER} if named else set()


def _heads_by_layer(config: dict[str, Any], shape: Architecture, layers: int) -> list[int]:
    """Number of key and value heads of each layer, where configurations give it by layer."""
    found = [integer(heads) for heads in sequence(config.get("num_key_value_heads"))]
    for block in sequence(config.get("block_configs")):
        shared = first(mapping(mapping(block).get("attention")), "n_heads_in_group")
        found.append(shape.attention_heads // shared if shared else shape.key_value_heads)
    return (found + [shape.key_value_heads] * layers)[:layers]


def _group(
    kind: str, layers: int, config: dict[str, Any], shape: Architecture
) -> tuple[LayerGroup, list[str]]:
    if kind == "mla":
        latent = shape.kv_lora_rank + shape.qk_rope_head_dim
        return LayerGroup(kind="mla", layers=layers, key_value_heads=1, key_head_dim=latent), []
    if kind in ("full", "sliding", "chunked"):
        return _attention(kind, layers, config, shape), []
    if kind == "mamba":
        state = mamba_state_bytes(config, shape) * layers
        return LayerGroup(kind="mamba", layers=layers, state_bytes=state), _missing(state, "Mamba")
    if kind in ("linear_attention", "conv"):
        state = linear_state_bytes(kind, config, shape) * layers
        return LayerGroup(kind="linear_attention", layers=layers, state_bytes=state), _missing(
            state, "linear attention"
        )
    if kind == "none":
        return LayerGroup(kind="none", layers=layers), []
    return LayerGroup(kind="none", layers=layers), [f"what state {layers} layers keep"]


def _missing(state_bytes: int, name: str) -> list[str]:
    return [] if state_bytes else [f"state size of the {name} layers"]


def _attention(kind: str, layers: int, config: dict[str, Any], shape: Architecture) -> LayerGroup:
    heads, size = shape.key_value_heads, shape.head_dim
    width, window = first(config, "v_head_dim"), 0
    if kind == "full":
        # Gemma 4 gives its global layers other heads than its windowed ones.
        heads = first(config, "num_global_key_value_heads") or heads
        size = first(config, "global_head_dim") or size
    if kind == "sliding":
        window = first(config, "sliding_window", "sliding_window_size", "attention_window_size",
                       "local_attention")  # fmt: skip
        # So does MiMo, the other way round.
        heads = first(config, "swa_num_key_value_heads") or heads
        size, width = first(config, "swa_head_dim") or size, first(config, "swa_v_head_dim") or width
    if kind == "chunked":
        window = first(config, "attention_chunk_size")
    if text(config.get("model_type")) in NO_LATENT_CACHE:
        heads, size = shape.attention_heads, first(config, "qk_nope_head_dim") + shape.qk_rope_head_dim
        width = size  # values are padded to the keys' width
    return LayerGroup(
        kind=kind,
        layers=layers,
        key_value_heads=heads,
        key_head_dim=size,
        value_head_dim=width or size,
        window_tokens=window,
    )
