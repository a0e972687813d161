"""The tensors of published models that mix attention with recurrence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tools.mock.shapes import Config, Row, feed_forward, gated


def jamba(c: Config) -> Iterator[Row]:
    hidden, wide = c["hidden_size"], c["intermediate_size"]
    head = hidden // c["num_attention_heads"]
    inner, state, rank = c["mamba_expand"] * hidden, c["mamba_d_state"], c["mamba_dt_rank"]
    yield "model.embed_tokens.weight", "BF16", (c["vocab_size"], hidden)
    for n in range(c["num_hidden_layers"]):
        at = f"model.layers.{n}"
        if n % c["attn_layer_period"] == c["attn_layer_offset"]:
            kv = c["num_key_value_heads"] * head
            for name, rows in (("q", hidden), ("k", kv), ("v", kv), ("o", hidden)):
                yield f"{at}.self_attn.{name}_proj.weight", "BF16", (rows, hidden)
        else:
            yield f"{at}.mamba.in_proj.weight", "BF16", (2 * inner, hidden)
            yield f"{at}.mamba.conv1d.weight", "BF16", (inner, 1, c["mamba_d_conv"])
            yield f"{at}.mamba.conv1d.bias", "BF16", (inner,)
            yield f"{at}.mamba.x_proj.weight", "BF16", (rank + 2 * state, inner)
            yield f"{at}.mamba.dt_proj.weight", "BF16", (inner, rank)
            yield f"{at}.mamba.dt_proj.bias", "BF16", (inner,)
            yield f"{at}.mamba.A_log", "BF16", (inner, state)
            yield f"{at}.mamba.D", "BF16", (inner,)
            yield f"{at}.mamba.out_proj.weight", "BF16", (hidden, inner)
            for name, size in (("dt", rank), ("b", state), ("c", state)):
                yield f"{at}.mamba.{name}_layernorm.weight", "BF16", (size,)
        if n % c["expert_layer_period"] == c["expert_layer_offset"]:
            yield f"{at}.feed_forward.router.weight", "BF16", (c["num_experts"], hidden)
            for e in range(c["num_experts"]):
                yield from gated(f"{at}.feed_forward.experts.{e}", hidden, wide, "BF16")
        else:
            yield from gated(f"{at}.feed_forward", hidden, wide, "BF16")
        yield f"{at}.input_layernorm.weight", "BF16", (hidden,)
        yield f"{at}.pre_ff_layernorm.weight", "BF16", (hidden,)
    yield "model.final_layernorm.weight", "BF16", (hidden,)
    yield "lm_head.weight", "BF16", (c["vocab_size"], hidden)


def qwen3_next(c: Config) -> Iterator[Row]:
    hidden = c["hidden_size"]
    yield "model.embed_tokens.weight", "BF16", (c["vocab_size"], hidden)
    for n in range(c["num_hidden_layers"]):
        at = f"model.layers.{n}"
        if (n + 1) % c["full_attention_interval"] == 0:
            yield from _gated_attention(c, at)
        else:
            yield from _delta_net(c, at)
        yield from feed_forward(c, at, "BF16")
        yield f"{at}.input_layernorm.weight", "BF16", (hidden,)
        yield f"{at}.post_attention_layernorm.weight", "BF16", (hidden,)
    yield "model.norm.weight", "BF16", (hidden,)
    yield "lm_head.weight", "BF16", (c["vocab_size"], hidden)
    yield "mtp.fc.weight", "BF16", (hidden, 2 * hidden)
    for norm in ("norm", "pre_fc_norm_embedding", "pre_fc_norm_hidden"):
        yield f"mtp.{norm}.weight", "BF16", (hidden,)
    yield from _gated_attention(c, "mtp.layers.0")
    yield from feed_forward(c, "mtp.layers.0", "BF16")
    yield "mtp.layers.0.input_layernorm.weight", "BF16", (hidden,)
    yield "mtp.layers.0.post_attention_layernorm.weight", "BF16", (hidden,)


def _gated_attention(c: Config, at: str) -> Iterator[Row]:
    """Attention whose query projection also makes the output gate."""
    hidden, head = c["hidden_size"], c["head_dim"]
    q, kv = c["num_attention_heads"] * head, c["num_key_value_heads"] * head
    for name, rows in (("q", 2 * q), ("k", kv), ("v", kv)):
        yield f"{at}.self_attn.{name}_proj.weight", "BF16", (rows, hidden)
    yield f"{at}.self_attn.o_proj.weight", "BF16", (hidden, q)
    yield f"{at}.self_attn.q_norm.weight", "BF16", (head,)
    yield f"{at}.self_attn.k_norm.weight", "BF16", (head,)


def _delta_net(c: Config, at: str) -> Iterator[Row]:
    hidden, values = c["hidden_size"], c["linear_num_value_heads"]
    key_size = c["linear_num_key_heads"] * c["linear_key_head_dim"]
    value_size = values * c["linear_value_head_dim"]
    yield f"{at}.linear_attn.in_proj_qkvz.weight", "BF16", (2 * key_size + 2 * value_size, hidden)
    yield f"{at}.linear_attn.in_proj_ba.weight", "BF16", (2 * values, hidden)
    yield (
        f"{at}.linear_attn.conv1d.weight",
        "BF16",
        (2 * key_size + value_size, 1, c["linear_conv_kernel_dim"]),
    )
    yield f"{at}.linear_attn.A_log", "BF16", (values,)
    yield f"{at}.linear_attn.dt_bias", "BF16", (values,)
    yield f"{at}.linear_attn.norm.weight", "BF16", (c["linear_value_head_dim"],)
    yield f"{at}.linear_attn.out_proj.weight", "BF16", (hidden, value_size)


def nemotron_h(c: Config) -> Iterator[Row]:
    hidden, head = c["hidden_size"], c["attention_head_dim"]
    heads, state = c["mamba_num_heads"], c["ssm_state_size"]
    inner = heads * c["mamba_head_dim"]
    width = inner + 2 * c["n_groups"] * state
    yield "backbone.embeddings.weight", "BF16", (c["vocab_size"], hidden)
    for n, letter in enumerate(c["hybrid_override_pattern"]):
        at = f"backbone.layers.{n}"
        yield f"{at}.norm.weight", "BF16", (hidden,)
        if letter == "M":
            yield f"{at}.mixer.in_proj.weight", "BF16", (inner + width + heads, hidden)
            yield f"{at}.mixer.conv1d.weight", "BF16", (width, 1, c["conv_kernel"])
            yield f"{at}.mixer.conv1d.bias", "BF16", (width,)
            for name in ("A_log", "D", "dt_bias"):
                yield f"{at}.mixer.{name}", "BF16", (heads,)
            yield f"{at}.mixer.norm.weight", "BF16", (inner,)
            yield f"{at}.mixer.out_proj.weight", "BF16", (hidden, inner)
        elif letter == "*":
            q, kv = c["num_attention_heads"] * head, c["num_key_value_heads"] * head
            for name, rows, columns in (
                ("q", q, hidden),
                ("k", kv, hidden),
                ("v", kv, hidden),
                ("o", hidden, q),
            ):
                yield f"{at}.mixer.{name}_proj.weight", "BF16", (rows, columns)
        else:
            yield f"{at}.mixer.up_proj.weight", "BF16", (c["intermediate_size"], hidden)
            yield f"{at}.mixer.down_proj.weight", "BF16", (hidden, c["intermediate_size"])
    yield "backbone.norm_f.weight", "BF16", (hidden,)
    yield "lm_head.weight", "BF16", (c["vocab_size"], hidden)


BY_HYBRID_FAMILY: dict[str, Callable[[dict[str, Any]], Iterator[Row]]] = {
    "jamba": jamba,
    "qwen3_next": qwen3_next,
    "nemotron_h": nemotron_h,
}
