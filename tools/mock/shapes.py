"""The tensors of published models: name, dtype and shape, as their safetensors headers list them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Config = dict[str, Any]
Row = tuple[str, str, tuple[int, ...]]
"""(name, dtype, shape)."""


def llama(c: Config, dtype: str = "BF16") -> Iterator[Row]:
    """Llama, Mistral, Mixtral, Qwen2, Qwen3, Qwen3-MoE and Gemma-2: one skeleton, with each family's
    additions."""
    hidden, family = c["hidden_size"], c["model_type"]
    head = c.get("head_dim") or hidden // c["num_attention_heads"]
    q, kv = c["num_attention_heads"] * head, c["num_key_value_heads"] * head
    yield "model.embed_tokens.weight", dtype, (c["vocab_size"], hidden)
    for n in range(c["num_hidden_layers"]):
        at = f"model.layers.{n}"
        for name, rows in (("q", q), ("k", kv), ("v", kv)):
            yield f"{at}.self_attn.{name}_proj.weight", dtype, (rows, hidden)
            if family == "qwen2":
                yield f"{at}.self_attn.{name}_proj.bias", dtype, (rows,)
        yield f"{at}.self_attn.o_proj.weight", dtype, (hidden, q)
        if family.startswith(("qwen3", "gemma3")):
            yield f"{at}.self_attn.q_norm.weight", dtype, (head,)
            yield f"{at}.self_attn.k_norm.weight", dtype, (head,)
        norms = ["input_layernorm", "post_attention_layernorm"]
        if family.startswith("gemma"):
            norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
        for norm in norms:
            yield f"{at}.{norm}.weight", dtype, (hidden,)
        yield from feed_forward(c, at, dtype)
    yield "model.norm.weight", dtype, (hidden,)
    if not c.get("tie_word_embeddings", family.startswith("gemma")):
        yield "lm_head.weight", dtype, (c["vocab_size"], hidden)


def feed_forward(c: Config, at: str, dtype: str) -> Iterator[Row]:
    hidden = c["hidden_size"]
    if c["model_type"] == "mixtral":
        yield f"{at}.block_sparse_moe.gate.weight", dtype, (c["num_local_experts"], hidden)
        for e in range(c["num_local_experts"]):
            for name in ("w1", "w2", "w3"):
                shape = (hidden, c["intermediate_size"]) if name == "w2" else (c["intermediate_size"], hidden)
                yield f"{at}.block_sparse_moe.experts.{e}.{name}.weight", dtype, shape
    elif c["model_type"] in ("qwen3_moe", "qwen3_next"):
        yield f"{at}.mlp.gate.weight", dtype, (c["num_experts"], hidden)
        for e in range(c["num_experts"]):
            yield from gated(f"{at}.mlp.experts.{e}", hidden, c["moe_intermediate_size"], dtype)
        if wide := c.get("shared_expert_intermediate_size"):
            yield from gated(f"{at}.mlp.shared_expert", hidden, wide, dtype)
            yield f"{at}.mlp.shared_expert_gate.weight", dtype, (1, hidden)
    else:
        yield from gated(f"{at}.mlp", hidden, c["intermediate_size"], dtype)


def gated(at: str, hidden: int, wide: int, dtype: str) -> Iterator[Row]:
    yield f"{at}.gate_proj.weight", dtype, (wide, hidden)
    yield f"{at}.up_proj.weight", dtype, (wide, hidden)
    yield f"{at}.down_proj.weight", dtype, (hidden, wide)


def _with_bias(name: str, rows: int, columns: int, dtype: str) -> Iterator[Row]:
    yield f"{name}.weight", dtype, (rows, columns)
    yield f"{name}.bias", dtype, (rows,)


def _norm_with_bias(name: str, size: int, dtype: str) -> Iterator[Row]:
    yield f"{name}.weight", dtype, (size,)
    yield f"{name}.bias", dtype, (size,)


def phi(c: Config) -> Iterator[Row]:
    hidden, wide = c["hidden_size"], c["intermediate_size"]
    yield "model.embed_tokens.weight", "F16", (c["vocab_size"], hidden)
    for n in range(c["num_hidden_layers"]):
        at = f"model.layers.{n}"
        for name in ("q_proj", "k_proj", "v_proj", "dense"):
            yield from _with_bias(f"{at}.self_attn.{name}", hidden, hidden, "F16")
        yield from _with_bias(f"{at}.mlp.fc1", wide, hidden, "F16")
        yield from _with_bias(f"{at}.mlp.fc2", hidden, wide, "F16")
        yield from _norm_with_bias(f"{at}.input_layernorm", hidden, "F16")
    yield from _norm_with_bias("model.final_layernorm", hidden, "F16")
    yield from _with_bias("lm_head", c["vocab_size"], hidden, "F16")


def gpt_bigcode(c: Config) -> Iterator[Row]:
    hidden, wide, head = c["n_embd"], c["n_inner"], c["n_embd"] // c["n_head"]
    yield "transformer.wte.weight", "BF16", (c["vocab_size"], hidden)
    yield "transformer.wpe.weight", "BF16", (c["n_positions"], hidden)
    for n in range(c["n_layer"]):
        at = f"transformer.h.{n}"
        yield from _norm_with_bias(f"{at}.ln_1", hidden, "BF16")
        yield from _with_bias(f"{at}.attn.c_attn", hidden + 2 * head, hidden, "BF16")
        yield from _with_bias(f"{at}.attn.c_proj", hidden, hidden, "BF16")
        yield from _norm_with_bias(f"{at}.ln_2", hidden, "BF16")
        yield from _with_bias(f"{at}.mlp.c_fc", wide, hidden, "BF16")
        yield from _with_bias(f"{at}.mlp.c_proj", hidden, wide, "BF16")
    yield from _norm_with_bias("transformer.ln_f", hidden, "BF16")


def gemma3(c: Config) -> Iterator[Row]:
    inner, vision = c["text_config"], c["vision_config"]
    for name, dtype, shape in llama(inner):
        yield f"language_model.{name}", dtype, shape
    yield (
        "multi_modal_projector.mm_input_projection_weight",
        "BF16",
        (vision["hidden_size"], inner["hidden_size"]),
    )
    yield "multi_modal_projector.mm_soft_emb_norm.weight", "BF16", (vision["hidden_size"],)
    hidden, wide, patch = vision["hidden_size"], vision["intermediate_size"], vision["patch_size"]
    at = "vision_tower.vision_model"
    yield f"{at}.embeddings.patch_embedding.weight", "BF16", (hidden, 3, patch, patch)
    yield f"{at}.embeddings.patch_embedding.bias", "BF16", (hidden,)
    yield f"{at}.embeddings.position_embedding.weight", "BF16", ((vision["image_size"] // patch) ** 2, hidden)
    for n in range(vision["num_hidden_layers"]):
        layer = f"{at}.encoder.layers.{n}"
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            yield from _with_bias(f"{layer}.self_attn.{name}", hidden, hidden, "BF16")
        yield from _norm_with_bias(f"{layer}.layer_norm1", hidden, "BF16")
        yield from _norm_with_bias(f"{layer}.layer_norm2", hidden, "BF16")
        yield from _with_bias(f"{layer}.mlp.fc1", wide, hidden, "BF16")
        yield from _with_bias(f"{layer}.mlp.fc2", hidden, wide, "BF16")
    yield from _norm_with_bias(f"{at}.post_layernorm", hidden, "BF16")


def deepseek_v3(c: Config) -> Iterator[Row]:
    hidden = c["hidden_size"]
    yield "model.embed_tokens.weight", "BF16", (c["vocab_size"], hidden)
    draft = c["num_hidden_layers"]
    for n in range(draft + c["num_nextn_predict_layers"]):
        at = f"model.layers.{n}"
        if n == draft:
            yield f"{at}.embed_tokens.weight", "BF16", (c["vocab_size"], hidden)
            yield f"{at}.enorm.weight", "BF16", (hidden,)
            yield f"{at}.hnorm.weight", "BF16", (hidden,)
            yield f"{at}.eh_proj.weight", "BF16", (hidden, 2 * hidden)
            yield f"{at}.shared_head.norm.weight", "BF16", (hidden,)
            yield f"{at}.shared_head.head.weight", "BF16", (c["vocab_size"], hidden)
        yield from _latent_attention(c, at)
        yield f"{at}.input_layernorm.weight", "BF16", (hidden,)
        yield f"{at}.post_attention_layernorm.weight", "BF16", (hidden,)
        if n < c["first_k_dense_replace"]:
            yield from _gated_fp8(f"{at}.mlp", hidden, c["intermediate_size"])
            continue
        yield f"{at}.mlp.gate.weight", "BF16", (c["n_routed_experts"], hidden)
        yield f"{at}.mlp.gate.e_score_correction_bias", "F32", (c["n_routed_experts"],)
        yield from _gated_fp8(f"{at}.mlp.shared_experts", hidden, c["moe_intermediate_size"])
        for e in range(c["n_routed_experts"]):
            yield from _gated_fp8(f"{at}.mlp.experts.{e}", hidden, c["moe_intermediate_size"])
    yield "model.norm.weight", "BF16", (hidden,)
    yield "lm_head.weight", "BF16", (c["vocab_size"], hidden)


def _latent_attention(c: Config, at: str) -> Iterator[Row]:
    hidden, heads, latent = c["hidden_size"], c["num_attention_heads"], c["kv_lora_rank"]
    nope, rope, value, low = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"], c["q_lora_rank"]
    yield from _fp8(f"{at}.self_attn.q_a_proj", low, hidden)
    yield f"{at}.self_attn.q_a_layernorm.weight", "BF16", (low,)
    yield from _fp8(f"{at}.self_attn.q_b_proj", heads * (nope + rope), low)
    yield from _fp8(f"{at}.self_attn.kv_a_proj_with_mqa", latent + rope, hidden)
    yield f"{at}.self_attn.kv_a_layernorm.weight", "BF16", (latent,)
    yield from _fp8(f"{at}.self_attn.kv_b_proj", heads * (nope + value), latent)
    yield from _fp8(f"{at}.self_attn.o_proj", hidden, heads * value)


def _gated_fp8(at: str, hidden: int, wide: int) -> Iterator[Row]:
    for name, _, shape in gated(at, hidden, wide, "F8_E4M3"):
        yield from _fp8(name.removesuffix(".weight"), *shape)


def _fp8(name: str, rows: int, columns: int) -> Iterator[Row]:
    yield f"{name}.weight", "F8_E4M3", (rows, columns)
    yield f"{name}.weight_scale_inv", "F32", (-(-rows // 128), -(-columns // 128))


def gpt_oss(c: Config) -> Iterator[Row]:
    hidden, wide, experts, head = (
        c["hidden_size"],
        c["intermediate_size"],
        c["num_local_experts"],
        c["head_dim"],
    )
    q, kv = c["num_attention_heads"] * head, c["num_key_value_heads"] * head
    yield "model.embed_tokens.weight", "BF16", (c["vocab_size"], hidden)
    for n in range(c["num_hidden_layers"]):
        at = f"model.layers.{n}"
        for name, rows, columns in (("q", q, hidden), ("k", kv, hidden), ("v", kv, hidden), ("o", hidden, q)):
            yield from _with_bias(f"{at}.self_attn.{name}_proj", rows, columns, "BF16")
        yield f"{at}.self_attn.sinks", "BF16", (c["num_attention_heads"],)
        yield from _with_bias(f"{at}.mlp.router", experts, hidden, "BF16")
        for name, rows, columns in (("gate_up", 2 * wide, hidden), ("down", hidden, wide)):
            yield f"{at}.mlp.experts.{name}_proj_blocks", "U8", (experts, rows, columns // 32, 16)
            yield f"{at}.mlp.experts.{name}_proj_scales", "U8", (experts, rows, columns // 32)
            yield f"{at}.mlp.experts.{name}_proj_bias", "BF16", (experts, rows)
        yield f"{at}.input_layernorm.weight", "BF16", (hidden,)
        yield f"{at}.post_attention_layernorm.weight", "BF16", (hidden,)
    yield "model.norm.weight", "BF16", (hidden,)
    yield "lm_head.weight", "BF16", (c["vocab_size"], hidden)


BY_FAMILY: dict[str, Callable[[Config], Iterator[Row]]] = {
    "llama": llama,
    "mistral": llama,
    "mixtral": llama,
    "qwen2": llama,
    "qwen3": llama,
    "qwen3_moe": llama,
    "gemma2": llama,
    "gemma3": gemma3,
    "phi": phi,
    "gpt_bigcode": gpt_bigcode,
    "deepseek_v3": deepseek_v3,
    "gpt_oss": gpt_oss,
}
