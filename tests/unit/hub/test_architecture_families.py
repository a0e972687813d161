# ruff: noqa: E501 - tables, a row each
"""Shapes of families that name, split or leave out what others have in one place."""

from __future__ import annotations

from typing import Any

import pytest

from tacho_runtime.headers.architecture import read_architecture
from tacho_runtime.headers.facts import facts_from_config_and_tensors
from tacho_runtime.headers.tensors import StoredTensor, kind_of
from tools.mock.checkpoints import listed


@pytest.mark.parametrize(
    ("wrapper", "inner", "expected"),
    [
        # google/gemma-3-4b-it and 12b-it, which leave out heads, their width, vocabulary and context
        ("gemma3", {"hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34,
                    "rope_scaling": {"factor": 8.0, "rope_type": "linear"}, "sliding_window": 1024}, (34, 8, 4, 256, 262208, 131072)),
        ("gemma3", {"hidden_size": 3840, "intermediate_size": 15360, "model_type": "gemma3_text", "num_hidden_layers": 48,
                    "num_attention_heads": 16, "num_key_value_heads": 8, "sliding_window": 1024}, (48, 16, 8, 256, 262208, 131072)),
        # llava-hf/llava-1.5-7b-hf, and one of Mistral
        ("llava", {"max_position_embeddings": 4096, "model_type": "llama", "vocab_size": 32064}, (32, 32, 32, 128, 32064, 4096)),
        ("llava_next", {"max_position_embeddings": 32768, "model_type": "mistral", "sliding_window": None,
                        "vocab_size": 32064}, (32, 32, 8, 128, 32064, 32768)),
        # A null is no gap: transformers keeps it.
        ("paligemma", {"hidden_size": 2048, "model_type": "gemma2", "num_attention_heads": 8, "head_dim": None},
         (26, 8, 4, 256, 256000, 8192)),
    ],
)  # fmt: skip
def test_a_language_model_inside_another_has_its_familys_defaults(
    wrapper: str, inner: dict[str, Any], expected: tuple[int, ...]
) -> None:
    shape, unknown = read_architecture(
        {"model_type": wrapper, "text_config": inner, "torch_dtype": "bfloat16"}
    )
    numbers = (shape.layers, shape.attention_heads, shape.key_value_heads, shape.head_dim)
    assert (*numbers, shape.vocabulary, shape.max_positions) == expected
    assert unknown == []
    windows = {group.window_tokens for group in shape.layer_groups}
    assert bool(windows - {0}) == wrapper.startswith(("gemma", "pali"))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        # As in GLM-4V, DeepSeek-VL2, MiniCPM-V and Molmo: more layers than the language model's two
        ("transformer.vision.transformer.layers.62.mlp.fc1.weight", "vision"),
        ("vision.blocks.26.attn.qkv.weight", "vision"),
        ("vpm.encoder.layers.26.mlp.fc1.weight", "vision"),
        ("model.vision_backbone.image_vit.transformer.resblocks.0.feed_forward.w1.weight", "vision"),
        ("transformer.encoder.layers.1.mlp.dense_h_to_4h.weight", "linear"),
        ("transformer.output_layer.weight", "lm_head"),
        ("model.transformer.ff_out.weight", "lm_head"),
        ("model.transformer.blocks.0.ff_out.weight", "linear"),
        ("model.transformer.wte.embedding", "embedding"),
        ("model.layers.2.self_attn.q_proj.weight", "draft"),
        ("talker.model.layers.0.mlp.gate_proj.weight", "draft"),
        ("token2wav.code2wav_dit_model.transformer_blocks.0.ff.ff.0.weight", "draft"),
    ],
)
def test_parts_of_other_families_by_their_names(name: str, kind: str) -> None:
    assert kind_of(name, (8, 8), layers=2) == kind


def test_a_head_of_any_name_is_none_that_is_tied() -> None:
    config = {"model_type": "internlm2", "num_hidden_layers": 1}
    rows = [
        StoredTensor(name, "BF16", (8, 8), 128) for name in ("model.tok_embeddings.weight", "output.weight")
    ]
    for stored, tied in ((rows, False), (rows[:1], True)):
        found = facts_from_config_and_tensors(config, stored, listed("x", stored, "")).architecture
        assert found is not None
        assert found.tied_embeddings is tied


KIMI = {
    "full_attn_layers": [4],
    "kda_layers": [1, 2, 3],
    "num_heads": 32,
    "head_dim": 128,
    "short_conv_kernel_size": 4,
}
NEMOTRON = [
    {"attention": {"n_heads_in_group": 2}},
    {"attention": {"no_op": True}},
    {"attention": {"replace_with_linear": True}},
]
MAMBA_2 = {
    "mamba_d_conv": 4, "mamba_d_state": 128, "mamba_n_heads": 8, "mamba_d_head": 64, "mamba_n_groups": 1,
}  # fmt: skip
FAMILIES: list[tuple[dict[str, Any], list[tuple[str, int]], int]] = [
    # (configuration, (kind, layers), unknown lines)
    ({"num_hidden_layers": 4, "sliding_window": 64, "use_sliding_window": False}, [("full", 4)], 0),
    ({"num_hidden_layers": 4, "sliding_window": 64, "use_sliding_window": True, "max_window_layers": 3,
      "model_type": "qwen2"}, [("full", 3), ("sliding", 1)], 0),
    ({"num_hidden_layers": 4, "sliding_window": 64, "max_window_layers": 3, "model_type": "qwen2"}, [("full", 4)], 0),
    ({"num_hidden_layers": 8, "sliding_window": 64, "sliding_window_pattern": 4}, [("sliding", 6), ("full", 2)], 0),
    ({"num_hidden_layers": 8, "model_type": "llama4_text", "attention_chunk_size": 8192,
      "no_rope_layers": [1, 1, 1, 0] * 2}, [("chunked", 6), ("full", 2)], 0),
    ({"num_hidden_layers": 4, "layer_types": ["full_attention", "mamba", "mamba", "mamba"], "mamba_d_conv": 4,
      "mamba_d_state": 128, "mamba_n_heads": 8, "mamba_d_head": 64, "mamba_n_groups": 1},
     [("full", 1), ("mamba", 3)], 0),
    ({"num_hidden_layers": 2, "model_type": "falcon_h1", "mamba_d_ssm": 512, "mamba_d_conv": 4, "mamba_d_state": 128,
      "mamba_n_heads": 8, "mamba_n_groups": 1}, [("full", 2), ("mamba", 2)], 0),
    ({"num_hidden_layers": 4, "attn_layer_indices": [1], "mamba_d_conv": 4, "mamba_d_state": 16},
     [("mamba", 3), ("full", 1)], 0),
    ({"num_hidden_layers": 3, "attn_type_list": [0, 0, 1]}, [("linear_attention", 2), ("full", 1)], 0),
    ({"num_hidden_layers": 2, "layer_types": ["conv", "full_attention"], "conv_L_cache": 3},
     [("linear_attention", 1), ("full", 1)], 0),
    ({"num_hidden_layers": 2, "model_type": "mamba2", "num_heads": 8, "head_dim": 64, "state_size": 128,
      "conv_kernel": 4, "n_groups": 1}, [("mamba", 2)], 0),
    ({"num_hidden_layers": 2, "layer_types": ["full_attention", "quantum_attention"]}, [("full", 1), ("none", 1)], 2),
    ({"num_hidden_layers": 3, "layer_types": ["full_attention"]}, [("full", 1)], 1),
    ({"num_hidden_layers": 1, "layer_types": ["full_attention"] * 3}, [("full", 1)], 1),
    ({"num_hidden_layers": 3, "hybrid_override_pattern": "**"}, [("full", 2)], 1),
    ({"num_hidden_layers": 1, "hybrid_layer_pattern": [0] * 2}, [("full", 1)], 1),
    ({"num_hidden_layers": 1, "attn_type_list": [1] * 2}, [("full", 1)], 1),
    # Step-3.5 lists its drafts' layers too.
    ({"num_hidden_layers": 1, "layer_types": ["full_attention"] * 4, "num_nextn_predict_layers": 3}, [("full", 1)], 0),
    ({"num_hidden_layers": 1, "layer_types": ["full_attention"] * 4, "num_nextn_predict_layers": 2}, [("full", 1)], 1),
    ({"num_hidden_layers": 1, "layer_types": ["mamba"]}, [("mamba", 1)], 1),
    ({"num_hidden_layers": 2, "num_kv_shared_layers": 1}, [("full", 1), ("none", 1)], 0),
    ({"num_hidden_layers": 4, "linear_attn_config": KIMI, "kv_lora_rank": 512, "qk_rope_head_dim": 64},
     [("linear_attention", 3), ("mla", 1)], 0),
    ({"num_hidden_layers": 2, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "index_topk": 2048}, [("mla", 2)], 1),
    ({"num_hidden_layers": 3, "block_configs": NEMOTRON}, [("full", 1), ("none", 2)], 0),
    # As Transformers 5 writes them: Nemotron-H, Granite 4, Kimi Linear, DeepSeek 3.2 and GLM 5.
    ({"model_type": "nemotron_h", "layers_block_type": ["linear_attention", "moe", "full_attention", "mlp"],
      **MAMBA_2}, [("mamba", 1), ("none", 2), ("full", 1)], 0),
    ({"num_hidden_layers": 3, "model_type": "granitemoehybrid", **MAMBA_2,
      "layer_types": ["linear_attention", "full_attention", "linear_attention"]}, [("mamba", 2), ("full", 1)], 0),
    ({"num_hidden_layers": 2, "layer_types": ["linear_attention", "full_attention"], "linear_num_heads": 32,
      "linear_head_dim": 128, "linear_conv_kernel_dim": 4, "kv_lora_rank": 512, "qk_rope_head_dim": 64},
     [("linear_attention", 1), ("mla", 1)], 0),
    ({"num_hidden_layers": 2, "layer_types": ["indexed_attention"] * 2, "index_topk": 2048, "kv_lora_rank": 512,
      "qk_rope_head_dim": 0}, [("mla", 2)], 1),
    ({"num_hidden_layers": 1, "layer_types": ["indexed_attention"]}, [("full", 1)], 1),
    # Zamba 2's shared attention stands beside Mamba.
    ({"num_hidden_layers": 3, "layers_block_type": ["mamba", "mamba", "hybrid"], "model_type": "zamba2",
      **MAMBA_2}, [("mamba", 3), ("full", 1)], 0),
]  # fmt: skip


@pytest.mark.parametrize(("config", "expected", "unknown"), FAMILIES)
def test_families(config: dict[str, Any], expected: list[tuple[str, int]], unknown: int) -> None:
    full = {
        "hidden_size": 256, "num_attention_heads": 4, "vocab_size": 10, "max_position_embeddings": 100,
        "torch_dtype": "float16", **config,
    }  # fmt: skip
    shape, missing = read_architecture(full)
    assert [(g.kind, g.layers) for g in shape.layer_groups] == expected
    assert len(missing) == unknown, missing


def test_what_newer_families_call_otherwise() -> None:
    base = {"num_hidden_layers": 4, "num_attention_heads": 4, "hidden_size": 256, "torch_dtype": "bfloat16"}
    shape, missing = read_architecture({**base, "padded_vocab_size": 64, "model_max_length": 4096})
    assert (shape.vocabulary, shape.max_positions, missing) == (64, 4096, [])
    kimi, _ = read_architecture({**base, "linear_attn_config": KIMI})
    assert kimi.layer_groups[0].state_bytes == 3 * (3 * 32 * 128 * 3 * 2 + 32 * 128 * 128 * 4)
    nemotron, _ = read_architecture({**base, "num_key_value_heads": None, "block_configs": NEMOTRON})
    assert nemotron.layer_groups[0].key_value_heads == 2


BASE = {
    "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 8, "vocab_size": 10,
    "max_position_embeddings": 100, "torch_dtype": "bfloat16",
}  # fmt: skip
FULL, HALF = "full_attention", "sliding_attention"
MIMO = {
    "hybrid_layer_pattern": [0, 1, 1, 0], "sliding_window": 128, "attention_chunk_size": 128, "head_dim": 192,
    "v_head_dim": 128, "num_key_value_heads": 4, "swa_num_key_value_heads": 8, "swa_head_dim": 192,
    "swa_v_head_dim": 128, "model_type": "mimo_v2_flash",
}  # fmt: skip
LATENT = {"kv_lora_rank": 256, "qk_rope_head_dim": 32, "qk_nope_head_dim": 64, "v_head_dim": 64}
SHARED_CACHE = {"layer_types": [HALF, FULL] * 2, "num_kv_shared_layers": 2, "sliding_window": 512}
DECI = {"block_configs": [{"attention": {"n_heads_in_group": n}} for n in (8, 8, 4, 4)]}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"num_attention_groups": 2}, [("full", 4, 2, 32)]),  # Step 3.5
        ({"attn_config": {"kv_n_heads": 2}}, [("full", 4, 2, 32)]),  # DBRX
        (MIMO, [("full", 2, 4, 192), ("sliding", 2, 8, 192)]),
        ({**LATENT, "model_type": "minicpm3"}, [("full", 4, 8, 96)]),
        ({**LATENT, "model_type": "longcat_flash"}, [("mla", 8, 1, 288)]),
        (SHARED_CACHE, [("sliding", 1, 8, 32), ("full", 1, 8, 32), ("none", 2, 0, 0)]),
        ({"num_key_value_heads": [2, 2, 4, 4]}, [("full", 2, 2, 32), ("full", 2, 4, 32)]),
        (DECI, [("full", 2, 1, 32), ("full", 2, 2, 32)]),
    ],
)
def test_heads_and_caches_by_layer(config: dict[str, Any], expected: list[tuple[str, int, int, int]]) -> None:
    shape, unknown = read_architecture({**BASE, **config})
    found = [(g.kind, g.layers, g.key_value_heads, g.key_head_dim) for g in shape.layer_groups]
    assert (found, unknown) == (expected, [])


def test_a_state_has_the_type_that_its_configuration_names() -> None:
    """Qwen 3.5: convolutions in 16 bits, the matrix in 32."""
    delta = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8,
             "linear_value_head_dim": 8, "full_attention_interval": 4}  # fmt: skip
    shape, _ = read_architecture({**BASE, **delta, "mamba_ssm_dtype": "float32"})
    (group,) = [g for g in shape.layer_groups if g.state_bytes]
    assert group.state_bytes == 3 * ((2 * 2 * 8 + 4 * 8) * 3 * 2 + 4 * 8 * 8 * 4)


@pytest.mark.parametrize(
    ("config", "positions"),
    [
        ({"max_position_embeddings": 8192, "model_max_length": 131072}, 131072),  # Command-R
        ({"max_position_embeddings": 32768, "seq_length": 8192}, 8192),
    ],
)
def test_the_longest_context_under_several_names(config: dict[str, int], positions: int) -> None:
    assert read_architecture({**BASE, **config})[0].max_positions == positions


def test_experts_of_each_layer() -> None:
    """Hunyuan's and Ernie's configurations have a list."""
    listed = {"num_experts": 64, "moe_topk": [8] * 4, "moe_intermediate_size": [32] * 4}
    shape, _ = read_architecture({**BASE, **listed, "intermediate_size": 64})
    assert (shape.experts, shape.experts_per_token, shape.moe_intermediate_size) == (64, 8, 32)
    both, _ = read_architecture({**BASE, "moe_num_experts": [64, 64], "moe_k": 6})
    assert (both.experts, both.experts_per_token) == (64, 6)
    gemma3n, _ = read_architecture({**BASE, "intermediate_size": [16384, 8192]})
    assert gemma3n.intermediate_size == 16384
