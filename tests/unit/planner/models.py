"""Facts of published models, made of their configurations and of tensors named and shaped like theirs.

Shapes are those of the models' config.json; the tensors are what transformers' modules (or the checkpoint's own
files, for quantized ones) hold. ``facts(name)`` reads them through the same code that reads a real repository.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from tacho_runtime.contract import ModelFacts
from tacho_runtime.hub.facts import TensorRow, facts_from_config_and_tensors

SIZES = {"BF16": 2, "F16": 2, "F32": 4, "I32": 4, "F8_E4M3": 1, "U8": 1, "I8": 1}


def _row(name: str, dtype: str, *shape: int) -> TensorRow:
    count = 1
    for size in shape:
        count *= size
    return (name, dtype, shape, count * SIZES[dtype])


def _llama(hidden: int, layers: int, heads: int, kv: int, inner: int, vocab: int, positions: int, **more: Any) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": hidden,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv,
        "intermediate_size": inner, "vocab_size": vocab, "max_position_embeddings": positions,
        "torch_dtype": "bfloat16", "tie_word_embeddings": False, **more,
    }  # fmt: skip


def _qwen2(hidden: int, layers: int, heads: int, kv: int, inner: int, vocab: int, **more: Any) -> dict[str, Any]:
    return _llama(hidden, layers, heads, kv, inner, vocab, 32768, model_type="qwen2", architectures=["Qwen2ForCausalLM"], attention_bias=True, **more)


def _qwen3(hidden: int, layers: int, heads: int, kv: int, inner: int, **more: Any) -> dict[str, Any]:
    return _llama(hidden, layers, heads, kv, inner, 151936, 40960, model_type="qwen3", architectures=["Qwen3ForCausalLM"], head_dim=128, qk_norm=True, **more)


def _qwen3_moe(hidden: int, layers: int, heads: int, kv: int, expert: int) -> dict[str, Any]:
    return {**_qwen3(hidden, layers, heads, kv, 4 * expert), "model_type": "qwen3_moe",
            "architectures": ["Qwen3MoeForCausalLM"], "num_experts": 128, "num_experts_per_tok": 8,
            "moe_intermediate_size": expert}  # fmt: skip


def _gemma(hidden: int, layers: int, heads: int, kv: int, dim: int, inner: int, vocab: int, positions: int, **more: Any) -> dict[str, Any]:
    return _llama(hidden, layers, heads, kv, inner, vocab, positions, head_dim=dim, norms_per_layer=4, **{"tie_word_embeddings": True, **more})


def _gpt_oss(layers: int, experts: int) -> dict[str, Any]:
    return _llama(
        2880, layers, 64, 8, 2880, 201088, 131072, model_type="gpt_oss", architectures=["GptOssForCausalLM"],
        head_dim=64, num_local_experts=experts, num_experts_per_tok=4, sliding_window=128, attention_bias=True,
        layer_types=["sliding_attention", "full_attention"] * (layers // 2),
        quantization_config={"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]},
    )  # fmt: skip


def _deepseek(**more: Any) -> dict[str, Any]:
    return {
        "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "hidden_size": 7168, "num_hidden_layers": 61,
        "num_attention_heads": 128, "num_key_value_heads": 128, "q_lora_rank": 1536, "kv_lora_rank": 512,
        "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "intermediate_size": 18432,
        "moe_intermediate_size": 2048, "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8,
        "first_k_dense_replace": 3, "vocab_size": 129280, "max_position_embeddings": 163840, "torch_dtype": "bfloat16",
        "tie_word_embeddings": False, **more,
    }  # fmt: skip


FP8_BLOCK = {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "desc_act": False}


def _compressed(bits: int, *, group: int = 0, inputs: bool = False, kind: str = "int") -> dict[str, Any]:
    activations = {"num_bits": bits, "type": kind, "dynamic": True, "strategy": "token"} if inputs else None
    weights = {"num_bits": bits, "type": kind, "symmetric": True, "strategy": "group" if group else "channel", "group_size": group or None}
    return {"quant_method": "compressed-tensors", "ignore": ["lm_head"],
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": activations}}}  # fmt: skip


LLAMA31 = {"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}}
L8B = _llama(4096, 32, 32, 8, 14336, 128256, 131072, **LLAMA31)
L70B = _llama(8192, 80, 64, 8, 28672, 128256, 131072, **LLAMA31)
L2_7B = _llama(4096, 32, 32, 32, 11008, 32000, 4096, torch_dtype="float16")
MISTRAL = _llama(4096, 32, 32, 8, 14336, 32000, 32768, model_type="mistral", architectures=["MistralForCausalLM"])
MIXTRAL = {**MISTRAL, "model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "num_local_experts": 8, "num_experts_per_tok": 2}
Q25_7B = _qwen2(3584, 28, 28, 4, 18944, 152064)
Q25_72B = _qwen2(8192, 80, 64, 8, 29568, 152064)
Q3_8B = _qwen3(4096, 36, 32, 8, 12288)

CONFIGS: dict[str, dict[str, Any]] = {
    "llama-2-7b": L2_7B,
    "llama-2-7b-awq": {**L2_7B, "quantization_config": AWQ},
    "llama-2-7b-gptq": {**L2_7B, "quantization_config": GPTQ},
    "llama-2-70b": _llama(8192, 80, 64, 8, 28672, 32000, 4096, torch_dtype="float16"),
    "llama-3.1-8b": L8B,
    "llama-3.1-8b-awq": {**L8B, "quantization_config": AWQ, "torch_dtype": "float16"},
    "llama-3.1-8b-gptq": {**L8B, "quantization_config": GPTQ, "torch_dtype": "float16"},
    "llama-3.1-8b-w4a16": {**L8B, "quantization_config": _compressed(4, group=128)},
    "llama-3.1-8b-w8a8": {**L8B, "quantization_config": _compressed(8, inputs=True)},
    "llama-3.1-8b-fp8": {**L8B, "quantization_config": _compressed(8, inputs=True, kind="float")},
    "llama-3.1-70b": L70B,
    "llama-3.1-70b-w8a8": {**L70B, "quantization_config": _compressed(8, inputs=True)},
    "llama-3.1-70b-awq": {**L70B, "quantization_config": AWQ, "torch_dtype": "float16"},
    "llama-3.1-405b-fp8": {
        **_llama(16384, 126, 128, 8, 53248, 128256, 131072, **LLAMA31),
        "quantization_config": {"quant_method": "fbgemm_fp8", "mlp_only": True, "skip_layers": [0, 125]},
    },
    "mistral-7b": MISTRAL,
    "mistral-7b-awq": {**MISTRAL, "quantization_config": AWQ},
    "mixtral-8x7b": MIXTRAL,
    "phi-2": {
        "architectures": ["PhiForCausalLM"], "model_type": "phi", "hidden_size": 2560, "intermediate_size": 10240,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 51200,
        "max_position_embeddings": 2048, "partial_rotary_factor": 0.4, "tie_word_embeddings": False, "torch_dtype": "float16",
    },
    "octocoder": {
        "architectures": ["GPTBigCodeForCausalLM"], "model_type": "gpt_bigcode", "n_embd": 6144, "n_layer": 40,
        "n_head": 48, "n_inner": 24576, "n_positions": 8192, "vocab_size": 49152, "multi_query": True, "torch_dtype": "bfloat16",
    },
    "qwen2.5-7b": Q25_7B,
    "qwen2.5-7b-awq": {**Q25_7B, "quantization_config": AWQ, "torch_dtype": "float16"},
    "qwen2.5-14b-131k": {**_qwen2(5120, 48, 40, 8, 13824, 152064), "max_position_embeddings": 131072},
    "qwen2.5-72b": Q25_72B,
    "qwen2.5-72b-awq": {**Q25_72B, "quantization_config": AWQ, "torch_dtype": "float16"},
    "qwen2.5-vl-72b": {**Q25_72B, "max_position_embeddings": 128000, "vision_config": {"depth": 32, "hidden_size": 1280, "intermediate_size": 3456, "out_hidden_size": 8192}},
    "qwen3-8b": Q3_8B,
    "qwen3-8b-fp8": {**Q3_8B, "quantization_config": FP8_BLOCK},
    "qwen3-30b-a3b": _qwen3_moe(2048, 48, 32, 4, 768),
    "qwen3-30b-a3b-fp8": {**_qwen3_moe(2048, 48, 32, 4, 768), "quantization_config": FP8_BLOCK},
    "qwen3-235b-a22b": _qwen3_moe(4096, 94, 64, 4, 1536),
    "qwen3-235b-a22b-fp8": {**_qwen3_moe(4096, 94, 64, 4, 1536), "quantization_config": FP8_BLOCK},
    "gemma-2-9b": _gemma(3584, 42, 16, 8, 256, 14336, 256000, 8192, model_type="gemma2", sliding_window=4096),
    "gemma-2-27b": _gemma(4608, 46, 32, 16, 128, 36864, 256000, 8192, model_type="gemma2", sliding_window=4096),
    "gemma-3-27b-text": _gemma(5376, 62, 32, 16, 128, 21504, 262208, 131072, model_type="gemma3_text", sliding_window=1024, qk_norm=True),
    "deepseek-v3": _deepseek(num_nextn_predict_layers=1, quantization_config=FP8_BLOCK),
    "deepseek-coder-v2": _deepseek(
        architectures=["DeepseekV2ForCausalLM"], model_type="deepseek_v2", hidden_size=5120, num_hidden_layers=60,
        intermediate_size=12288, moe_intermediate_size=1536, n_routed_experts=160, n_shared_experts=2,
        num_experts_per_tok=6, first_k_dense_replace=1, vocab_size=102400,
    ),  # fmt: skip
    "gpt-oss-20b": _gpt_oss(24, 32),
    "gpt-oss-120b": _gpt_oss(36, 128),
    "deepseek-coder-6.7b": _llama(4096, 32, 32, 32, 11008, 32256, 16384),
    "yi-1.5-34b": _llama(7168, 60, 56, 8, 20480, 64000, 4096),
}  # fmt: skip


def _weight(config: dict[str, Any], name: str, rows: int, columns: int, layer: int = -1) -> Iterator[TensorRow]:
    """A linear layer of ``rows`` outputs and ``columns`` inputs, as this checkpoint's format stores it."""
    quantization = config.get("quantization_config", {})
    method = quantization.get("quant_method", "")
    dense = "F16" if config["torch_dtype"] == "float16" else "BF16"
    if method == "fbgemm_fp8" and (".mlp." not in name or layer in quantization["skip_layers"]):
        method = ""
    if method == "mxfp4" and ".experts." not in name:
        method = ""
    if method in ("fp8", "fbgemm_fp8"):
        yield _row(f"{name}.weight", "F8_E4M3", rows, columns)
        scales = (-(-rows // 128), -(-columns // 128)) if method == "fp8" else (rows, 1)
        yield _row(f"{name}.weight_scale_inv", "F32", *scales)
    elif method == "awq":
        groups = columns // 128
        yield _row(f"{name}.qweight", "I32", columns, rows // 8)
        yield _row(f"{name}.qzeros", "I32", groups, rows // 8)
        yield _row(f"{name}.scales", "F16", groups, rows)
    elif method == "gptq":
        groups = columns // 128
        yield _row(f"{name}.qweight", "I32", columns // 8, rows)
        yield _row(f"{name}.qzeros", "I32", groups, rows // 8)
        yield _row(f"{name}.scales", "F16", groups, rows)
        yield _row(f"{name}.g_idx", "I32", columns)
    elif method == "compressed-tensors":
        group = quantization["config_groups"]["group_0"]
        if group["weights"]["num_bits"] == 4:
            yield _row(f"{name}.weight_packed", "I32", rows, columns // 8)
            yield _row(f"{name}.weight_scale", "BF16", rows, columns // 128)
        else:
            yield _row(f"{name}.weight", "I8" if group["weights"]["type"] == "int" else "F8_E4M3", rows, columns)
            yield _row(f"{name}.weight_scale", "BF16", rows, 1)
    else:
        yield _row(f"{name}.weight", dense, rows, columns)


def _attention(config: dict[str, Any], prefix: str, layer: int) -> Iterator[TensorRow]:
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    kv, dim = config["num_key_value_heads"], config.get("head_dim") or hidden // heads
    dense = "F16" if config["torch_dtype"] == "float16" else "BF16"
    if config.get("kv_lora_rank"):
        yield from _latent_attention(config, prefix, layer)
        return
    for part, width in (("q", heads * dim), ("k", kv * dim), ("v", kv * dim)):
        yield from _weight(config, f"{prefix}self_attn.{part}_proj", width, hidden, layer)
        if config.get("attention_bias"):
            yield _row(f"{prefix}self_attn.{part}_proj.bias", dense, width)
    yield from _weight(config, f"{prefix}self_attn.o_proj", hidden, heads * dim, layer)
    if config.get("qk_norm"):
        yield _row(f"{prefix}self_attn.q_norm.weight", dense, dim)
        yield _row(f"{prefix}self_attn.k_norm.weight", dense, dim)
    if config["model_type"] == "gpt_oss":
        yield _row(f"{prefix}self_attn.sinks", dense, heads)
        yield _row(f"{prefix}self_attn.o_proj.bias", dense, hidden)


def _latent_attention(config: dict[str, Any], prefix: str, layer: int) -> Iterator[TensorRow]:
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    nope, rope, value = config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"]
    latent, query = config["kv_lora_rank"], config["q_lora_rank"]
    name = f"{prefix}self_attn."
    yield from _weight(config, f"{name}q_a_proj", query, hidden, layer)
    yield _row(f"{name}q_a_layernorm.weight", "BF16", query)
    yield from _weight(config, f"{name}q_b_proj", heads * (nope + rope), query, layer)
    yield from _weight(config, f"{name}kv_a_proj_with_mqa", latent + rope, hidden, layer)
    yield _row(f"{name}kv_a_layernorm.weight", "BF16", latent)
    yield from _weight(config, f"{name}kv_b_proj", heads * (nope + value), latent, layer)
    yield from _weight(config, f"{name}o_proj", hidden, heads * value, layer)


def _mlp(config: dict[str, Any], prefix: str, inner: int, layer: int) -> Iterator[TensorRow]:
    hidden = config["hidden_size"]
    for part in ("gate", "up"):
        yield from _weight(config, f"{prefix}{part}_proj", inner, hidden, layer)
    yield from _weight(config, f"{prefix}down_proj", hidden, inner, layer)


def _experts(config: dict[str, Any], prefix: str, layer: int) -> Iterator[TensorRow]:
    hidden = config["hidden_size"]
    count = config.get("num_experts") or config.get("n_routed_experts") or config["num_local_experts"]
    inner = config.get("moe_intermediate_size") or config["intermediate_size"]
    if config["model_type"] == "gpt_oss":
        for name, rows, columns in (("gate_up_proj", 2 * inner, hidden), ("down_proj", hidden, inner)):
            yield _row(f"{prefix}mlp.experts.{name}_blocks", "U8", count, rows, columns // 32, 16)
            yield _row(f"{prefix}mlp.experts.{name}_scales", "U8", count, rows, columns // 32)
            yield _row(f"{prefix}mlp.experts.{name}_bias", "BF16", count, rows)
        yield _row(f"{prefix}mlp.router.weight", "BF16", count, hidden)
        yield _row(f"{prefix}mlp.router.bias", "BF16", count)
        return
    yield _row(f"{prefix}mlp.gate.weight", "BF16", count, hidden)
    for expert in range(count):
        yield from _mlp(config, f"{prefix}mlp.experts.{expert}.", inner, layer)
    if shared := config.get("n_shared_experts"):
        yield _row(f"{prefix}mlp.gate.e_score_correction_bias", "F32", count)
        yield from _mlp(config, f"{prefix}mlp.shared_experts.", shared * inner, layer)


def _layer(config: dict[str, Any], prefix: str, layer: int) -> Iterator[TensorRow]:
    dense = "F16" if config["torch_dtype"] == "float16" else "BF16"
    yield from _attention(config, prefix, layer)
    experts = config.get("num_experts") or config.get("n_routed_experts") or config.get("num_local_experts")
    if experts and layer >= config.get("first_k_dense_replace", 0):
        yield from _experts(config, prefix, layer)
    else:
        yield from _mlp(config, f"{prefix}mlp.", config["intermediate_size"], layer)
    for norm in range(config.get("norms_per_layer", 2)):
        yield _row(f"{prefix}norm{norm}_layernorm.weight", dense, config["hidden_size"])


def _phi(config: dict[str, Any]) -> Iterator[TensorRow]:
    hidden, inner, vocab = config["hidden_size"], config["intermediate_size"], config["vocab_size"]
    yield _row("model.embed_tokens.weight", "F16", vocab, hidden)
    for layer in range(config["num_hidden_layers"]):
        name = f"model.layers.{layer}."
        shapes = [(f"self_attn.{part}", hidden, hidden) for part in ("q_proj", "k_proj", "v_proj", "dense")]
        for part, rows, columns in (*shapes, ("mlp.fc1", inner, hidden), ("mlp.fc2", hidden, inner)):
            yield _row(f"{name}{part}.weight", "F16", rows, columns)
            yield _row(f"{name}{part}.bias", "F16", rows)
        yield _row(f"{name}input_layernorm.weight", "F16", hidden)
        yield _row(f"{name}input_layernorm.bias", "F16", hidden)
    yield _row("model.final_layernorm.weight", "F16", hidden)
    yield _row("model.final_layernorm.bias", "F16", hidden)
    yield _row("lm_head.weight", "F16", vocab, hidden)
    yield _row("lm_head.bias", "F16", vocab)


def _big_code(config: dict[str, Any]) -> Iterator[TensorRow]:
    hidden, inner, kv = config["n_embd"], config["n_inner"], 2 * config["n_embd"] // config["n_head"]
    yield _row("transformer.wte.weight", "BF16", config["vocab_size"], hidden)
    yield _row("transformer.wpe.weight", "BF16", config["n_positions"], hidden)
    for layer in range(config["n_layer"]):
        name = f"transformer.h.{layer}."
        for part, rows, columns in (
            ("attn.c_attn", hidden + kv, hidden),
            ("attn.c_proj", hidden, hidden),
            ("mlp.c_fc", inner, hidden),
            ("mlp.c_proj", hidden, inner),
        ):
            yield _row(f"{name}{part}.weight", "BF16", rows, columns)
            yield _row(f"{name}{part}.bias", "BF16", rows)
        for norm in ("ln_1", "ln_2"):
            yield _row(f"{name}{norm}.weight", "BF16", hidden)
            yield _row(f"{name}{norm}.bias", "BF16", hidden)
    yield _row("transformer.ln_f.weight", "BF16", hidden)
    yield _row("transformer.ln_f.bias", "BF16", hidden)


def _vision(config: dict[str, Any]) -> Iterator[TensorRow]:
    """Qwen2.5-VL's tower: attention and gated MLP with biases, a patch embedding, a merger."""
    vision = config["vision_config"]
    width, inner = vision["hidden_size"], vision["intermediate_size"]
    yield _row("visual.patch_embed.proj.weight", "BF16", width, 3, 2, 14, 14)
    for block in range(vision["depth"]):
        for part, rows, columns in (("attn.qkv", 3 * width, width), ("attn.proj", width, width),
                                    ("mlp.gate_proj", inner, width), ("mlp.up_proj", inner, width),
                                    ("mlp.down_proj", width, inner)):  # fmt: skip
            yield _row(f"visual.blocks.{block}.{part}.weight", "BF16", rows, columns)
    yield _row("visual.merger.mlp.0.weight", "BF16", 4 * width, 4 * width)
    yield _row("visual.merger.mlp.2.weight", "BF16", vision["out_hidden_size"], 4 * width)


def tensors(config: dict[str, Any]) -> Iterator[TensorRow]:
    """Every tensor of the checkpoint: name, type, shape, bytes."""
    if config["model_type"] == "phi":
        yield from _phi(config)
        return
    if config["model_type"] == "gpt_bigcode":
        yield from _big_code(config)
        return
    hidden, vocab = config["hidden_size"], config["vocab_size"]
    dense = "F16" if config["torch_dtype"] == "float16" else "BF16"
    yield _row("model.embed_tokens.weight", dense, vocab, hidden)
    drafts = config.get("num_nextn_predict_layers", 0)
    for layer in range(config["num_hidden_layers"] + drafts):
        yield from _layer(config, f"model.layers.{layer}.", layer)
        if layer >= config["num_hidden_layers"]:
            yield _row(f"model.layers.{layer}.embed_tokens.weight", "BF16", vocab, hidden)
            yield _row(f"model.layers.{layer}.shared_head.head.weight", "BF16", vocab, hidden)
            yield _row(f"model.layers.{layer}.eh_proj.weight", "BF16", hidden, 2 * hidden)
    yield _row("model.norm.weight", dense, hidden)
    if not config["tie_word_embeddings"]:
        yield _row("lm_head.weight", dense, vocab, hidden)
    if "vision_config" in config:
        yield from _vision(config)


@cache
def facts(name: str) -> ModelFacts:
    """What inspection would find out about the published model ``name``."""
    config = CONFIGS[name]
    return facts_from_config_and_tensors(config, tensors(config), uri=f"hf://published/{name}", commit="c" * 40)
