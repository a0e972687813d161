# ruff: noqa: E501 - configurations, a row each
"""Configurations of published models, as their config.json gives them, cut to the fields that matter.

``parameters`` is what the model's page on its hub says (safetensors), or its paper; tests hold the shapes in
``shapes.py`` against it, so that a wrong number here does not stay.
"""

from __future__ import annotations

from typing import Any

Config = dict[str, Any]


def _llama(
    hidden: int, wide: int, layers: int, heads: int, kv: int, vocabulary: int, positions: int
) -> Config:
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden,
        "intermediate_size": wide, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv, "vocab_size": vocabulary, "max_position_embeddings": positions,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    }  # fmt: skip


LLAMA3_ROPE = {
    "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}  # fmt: skip


def _qwen2(
    hidden: int, wide: int, layers: int, heads: int, kv: int, vocabulary: int, tied: bool = False
) -> Config:
    return {
        **_llama(hidden, wide, layers, heads, kv, vocabulary, 32768), "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2", "tie_word_embeddings": tied, "use_sliding_window": False, "sliding_window": 131072,
        "max_window_layers": layers,
    }  # fmt: skip


def _qwen3(hidden: int, wide: int, layers: int, heads: int, kv: int, tied: bool = False) -> Config:
    return {
        **_llama(hidden, wide, layers, heads, kv, 151936, 40960), "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3", "head_dim": 128, "tie_word_embeddings": tied, "use_sliding_window": False,
        "sliding_window": None, "max_window_layers": layers,
    }  # fmt: skip


def _gemma2(hidden: int, wide: int, layers: int, heads: int, kv: int, head_dim: int) -> Config:
    return {
        "architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "hidden_size": hidden,
        "intermediate_size": wide, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv, "head_dim": head_dim, "vocab_size": 256000, "max_position_embeddings": 8192,
        "sliding_window": 4096, "torch_dtype": "bfloat16",
    }  # fmt: skip


def _gemma3(hidden: int, wide: int, layers: int, heads: int, kv: int, head_dim: int) -> Config:
    return {
        "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "torch_dtype": "bfloat16",
        "text_config": {
            "model_type": "gemma3_text", "hidden_size": hidden, "intermediate_size": wide,
            "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv,
            "head_dim": head_dim, "vocab_size": 262208, "max_position_embeddings": 131072, "sliding_window": 1024,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        },
        "vision_config": {
            "model_type": "siglip_vision_model", "hidden_size": 1152, "intermediate_size": 4304,
            "num_hidden_layers": 27, "num_attention_heads": 16, "image_size": 896, "patch_size": 14,
        },
    }  # fmt: skip


def _gpt_oss(layers: int, experts: int) -> Config:
    return {
        "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "hidden_size": 2880,
        "intermediate_size": 2880, "num_hidden_layers": layers, "num_attention_heads": 64,
        "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 201088, "max_position_embeddings": 131072,
        "initial_context_length": 4096, "num_local_experts": experts, "num_experts_per_tok": 4,
        "experts_per_token": 4, "sliding_window": 128, "tie_word_embeddings": False,
        "layer_types": ["sliding_attention", "full_attention"] * (layers // 2), "torch_dtype": "bfloat16",
        "rope_scaling": {
            "rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": False,
            "original_max_position_embeddings": 4096,
        },
        "quantization_config": {
            "quant_method": "mxfp4",
            "modules_to_not_convert": [
                "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head",
            ],
        },
    }  # fmt: skip


LLAMA_3_1_8B = {**_llama(4096, 14336, 32, 32, 8, 128256, 131072), "rope_scaling": LLAMA3_ROPE}
MISTRAL_7B = {
    **_llama(4096, 14336, 32, 32, 8, 32000, 32768), "architectures": ["MistralForCausalLM"],
    "model_type": "mistral", "sliding_window": None,
}  # fmt: skip

CONFIGS: dict[str, tuple[Config, int]] = {
    # name: (config.json, parameters)
    "llama-2-7b": ({**_llama(4096, 11008, 32, 32, 32, 32000, 4096), "torch_dtype": "float16"}, 6_738_415_616),
    "llama-3.1-8b": (LLAMA_3_1_8B, 8_030_261_248),
    "llama-3.1-70b": (
        {**_llama(8192, 28672, 80, 64, 8, 128256, 131072), "rope_scaling": LLAMA3_ROPE}, 70_553_706_496,
    ),
    "mistral-7b-v0.1": (
        {**MISTRAL_7B, "sliding_window": 4096, "max_position_embeddings": 32768}, 7_241_732_096,
    ),
    "mistral-7b-v0.2": (MISTRAL_7B, 7_241_732_096),
    "mixtral-8x7b": (
        {**MISTRAL_7B, "architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "num_local_experts": 8,
         "num_experts_per_tok": 2}, 46_702_792_704,
    ),
    "phi-2": (
        {"architectures": ["PhiForCausalLM"], "model_type": "phi", "hidden_size": 2560, "intermediate_size": 10240,
         "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 51200,
         "max_position_embeddings": 2048, "partial_rotary_factor": 0.4, "tie_word_embeddings": False,
         "torch_dtype": "float16"}, 2_779_683_840,
    ),
    "octocoder": (
        {"architectures": ["GPTBigCodeForCausalLM"], "model_type": "gpt_bigcode", "n_embd": 6144, "n_head": 48,
         "n_layer": 40, "n_inner": 24576, "n_positions": 8192, "vocab_size": 49152, "multi_query": True,
         "torch_dtype": "bfloat16"}, 15_517_456_384,
    ),
    "qwen2.5-0.5b": (_qwen2(896, 4864, 24, 14, 2, 151936, tied=True), 494_032_768),
    "qwen2.5-7b": (_qwen2(3584, 18944, 28, 28, 4, 152064), 7_615_616_512),
    "qwen2.5-32b": (_qwen2(5120, 27648, 64, 40, 8, 152064), 32_763_876_352),
    "qwen2.5-72b": (_qwen2(8192, 29568, 80, 64, 8, 152064), 72_706_203_648),
    "qwen3-8b": (_qwen3(4096, 12288, 36, 32, 8), 8_190_735_360),
    "qwen3-30b-a3b": (
        {**_qwen3(2048, 6144, 48, 32, 4), "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe",
         "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768, "decoder_sparse_step": 1,
         "mlp_only_layers": []}, 30_532_122_624,
    ),
    "gemma-2-2b": (_gemma2(2304, 9216, 26, 8, 4, 256), 2_614_341_888),
    "gemma-2-9b": (_gemma2(3584, 14336, 42, 16, 8, 256), 9_241_705_984),
    "gemma-3-4b": (_gemma3(2560, 10240, 34, 8, 4, 256), 4_300_079_472),
    "gemma-3-27b": (_gemma3(5376, 21504, 62, 32, 16, 128), 27_432_406_640),
    "deepseek-v3": (
        {"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "hidden_size": 7168,
         "intermediate_size": 18432, "moe_intermediate_size": 2048, "num_hidden_layers": 61,
         "num_nextn_predict_layers": 1, "first_k_dense_replace": 3, "n_routed_experts": 256, "n_shared_experts": 1,
         "num_experts_per_tok": 8, "num_attention_heads": 128, "num_key_value_heads": 128, "q_lora_rank": 1536,
         "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
         "vocab_size": 129280, "max_position_embeddings": 163840, "tie_word_embeddings": False,
         "torch_dtype": "bfloat16", "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config"},
         "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096, "beta_fast": 32,
                          "beta_slow": 1, "mscale": 1.0, "mscale_all_dim": 1.0},
         "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic",
                                 "weight_block_size": [128, 128]}}, 684_531_386_000,
    ),
    "gpt-oss-20b": (_gpt_oss(24, 32), 20_914_757_184),
    "gpt-oss-120b": (_gpt_oss(36, 128), 116_829_156_672),
    "jamba-v0.1": (
        {"architectures": ["JambaForCausalLM"], "model_type": "jamba", "hidden_size": 4096,
         "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
         "vocab_size": 65536, "max_position_embeddings": 262144, "num_experts": 16, "num_experts_per_tok": 2,
         "expert_layer_period": 2, "expert_layer_offset": 1, "attn_layer_period": 8, "attn_layer_offset": 4,
         "mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_dt_rank": 256, "sliding_window": None,
         "tie_word_embeddings": False, "torch_dtype": "bfloat16"}, 51_570_323_328,
    ),
    "qwen3-next-80b-a3b": (
        {"architectures": ["Qwen3NextForCausalLM"], "model_type": "qwen3_next", "hidden_size": 2048,
         "intermediate_size": 5120, "num_hidden_layers": 48, "num_attention_heads": 16, "num_key_value_heads": 2,
         "head_dim": 256, "vocab_size": 151936, "max_position_embeddings": 262144, "num_experts": 512,
         "num_experts_per_tok": 10, "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512,
         "full_attention_interval": 4, "linear_conv_kernel_dim": 4, "linear_key_head_dim": 128,
         "linear_num_key_heads": 16, "linear_num_value_heads": 32, "linear_value_head_dim": 128,
         "partial_rotary_factor": 0.25, "tie_word_embeddings": False, "torch_dtype": "bfloat16"}, 81_324_862_720,
    ),
    "nemotron-h-8b": (
        {"architectures": ["NemotronHForCausalLM"], "model_type": "nemotron_h", "hidden_size": 4096,
         "intermediate_size": 21504, "num_hidden_layers": 52, "num_attention_heads": 32, "num_key_value_heads": 8,
         "attention_head_dim": 128, "vocab_size": 131072, "max_position_embeddings": 8192, "mamba_num_heads": 128,
         "mamba_head_dim": 64, "n_groups": 8, "ssm_state_size": 128, "conv_kernel": 4, "expand": 2,
         "hybrid_override_pattern": "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-",
         "tie_word_embeddings": False, "torch_dtype": "bfloat16"}, 8_100_000_000,
    ),
}  # fmt: skip

SMALL = _llama(64, 128, 2, 4, 2, 256, 512)
"""A model of a few kB with the shape of Llama, for tests that move its bytes."""
