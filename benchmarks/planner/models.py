"""Facts of the models that the published engine logs are of: the shared fakes, and a few more."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

from benchmarks.engines.random_model import SHAPES
from tacho_contract.model import ModelFacts, StoredQuantization, TensorClass
from tacho_runtime.headers.facts import facts_from_config_and_tensors
from tacho_runtime.headers.safetensors import DTYPE_BITS
from tacho_runtime.headers.tensors import StoredTensor
from tools.mock.checkpoints import facts_for, listed
from tools.mock.published import CONFIGS
from tools.mock.quantized import QUANTIZERS
from tools.mock.shapes import BY_FAMILY, Row, gated

Config = dict[str, Any]
LLAMA_405B_SKIPPED = (0, 125)
"""First and last layer, whose MLP stays in 16 bits (model card, "fbgemm")."""


def _like(name: str, **changes: Any) -> Config:
    return {**CONFIGS[name][0], **changes}


def _llama(
    hidden: int, wide: int, layers: int, heads: int, kv: int, vocabulary: int, positions: int
) -> Config:
    return _like(
        "llama-2-7b",
        hidden_size=hidden,
        intermediate_size=wide,
        num_hidden_layers=layers,
        torch_dtype="bfloat16",
        num_attention_heads=heads,
        num_key_value_heads=kv,
        vocab_size=vocabulary,
        max_position_embeddings=positions,
    )


def block_fp8(rows: Iterable[Row]) -> Iterator[Row]:
    """DeepSeek's and Qwen's FP8: a scale for each 128 x 128 block of every projection."""
    for name, dtype, shape in rows:
        if len(shape) == 2 and "_proj." in name:
            yield name, "F8_E4M3", shape
            yield f"{name}_scale_inv", "BF16", (-(-shape[0] // 128), -(-shape[1] // 128))
        else:
            yield name, dtype, shape


def mlp_fp8(rows: Iterable[Row]) -> Iterator[Row]:
    """Llama-3.1-405B-FP8: the MLPs only, a scale for each row, first and last layer excepted."""
    skipped = tuple(f"model.layers.{n}.mlp." for n in LLAMA_405B_SKIPPED)
    for name, dtype, shape in rows:
        if ".mlp." in name and not name.startswith(skipped):
            yield name, "F8_E4M3", shape
            yield name.replace(".weight", ".weight_scale"), "F32", (shape[0], 1)
        else:
            yield name, dtype, shape


def deepseek_v2(c: Config) -> Iterator[Row]:
    hidden, heads, latent = c["hidden_size"], c["num_attention_heads"], c["kv_lora_rank"]
    nope, rope, value, low = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"], c["q_lora_rank"]
    yield "model.embed_tokens.weight", "BF16", (c["vocab_size"], hidden)
    for n in range(c["num_hidden_layers"]):
        at = f"model.layers.{n}"
        for name, shape in (
            ("q_a_proj", (low, hidden)),
            ("q_b_proj", (heads * (nope + rope), low)),
            ("kv_a_proj_with_mqa", (latent + rope, hidden)),
            ("kv_b_proj", (heads * (nope + value), latent)),
            ("o_proj", (hidden, heads * value)),
        ):
            yield f"{at}.self_attn.{name}.weight", "BF16", shape
        yield f"{at}.input_layernorm.weight", "BF16", (2 * hidden,)
        if n < c["first_k_dense_replace"]:
            yield from gated(f"{at}.mlp", hidden, c["intermediate_size"], "BF16")
            continue
        yield f"{at}.mlp.gate.weight", "BF16", (c["n_routed_experts"], hidden)
        yield from gated(
            f"{at}.mlp.shared_experts", hidden, c["n_shared_experts"] * c["moe_intermediate_size"], "BF16"
        )
        for expert in range(c["n_routed_experts"]):
            yield from gated(f"{at}.mlp.experts.{expert}", hidden, c["moe_intermediate_size"], "BF16")
    yield "model.norm.weight", "BF16", (hidden,)
    yield "lm_head.weight", "BF16", (c["vocab_size"], hidden)


def qwen25_vl(c: Config) -> Iterator[Row]:
    """The language model and its vision tower: gated MLP, a patch embedding, a merger."""
    yield from BY_FAMILY["qwen2"](c)
    vision = c["vision_config"]
    width, inner = vision["hidden_size"], vision["intermediate_size"]
    yield "visual.patch_embed.proj.weight", "BF16", (width, 3, 2, 14, 14)
    for block in range(vision["depth"]):
        for part, shape in (
            ("attn.qkv", (3 * width, width)),
            ("attn.proj", (width, width)),
            ("mlp.gate_proj", (inner, width)),
            ("mlp.up_proj", (inner, width)),
            ("mlp.down_proj", (width, inner)),
        ):
            yield f"visual.blocks.{block}.{part}.weight", "BF16", shape
    yield "visual.merger.mlp.0.weight", "BF16", (4 * width, 4 * width)
    yield "visual.merger.mlp.2.weight", "BF16", (vision["out_hidden_size"], 4 * width)


BLOCK_FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}
QWEN3_235B = _like(
    "qwen3-30b-a3b",
    hidden_size=4096,
    num_hidden_layers=94,
    num_attention_heads=64,
    moe_intermediate_size=1536,
    intermediate_size=12288,
)
QWEN25_VISION = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3456, "out_hidden_size": 8192}

LLAMA_3_2_ROPE = {
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
    "rope_type": "llama3",
}

LLAMA_3_2_1B = {
    **_llama(2048, 8192, 16, 32, 8, 128256, 131072),
    "head_dim": 64,
    "tie_word_embeddings": True,
}

GEMMA_3_27B = {
    **_llama(5376, 21504, 62, 32, 16, 262208, 131072),
    "architectures": ["Gemma3ForCausalLM"],
    "model_type": "gemma3_text",
    "head_dim": 128,
    "sliding_window": 1024,
    "sliding_window_pattern": 6,
    "tie_word_embeddings": True,
}

MORE: dict[str, tuple[Config, Callable[[Config], Iterator[Row]]]] = {
    "llama-2-70b": (_llama(8192, 28672, 80, 64, 8, 32000, 4096), BY_FAMILY["llama"]),
    # As released on 2024-07-23: 16 heads for keys and values, 8 since August.
    "llama-3.1-405b-fp8": (
        {
            **_llama(16384, 53248, 126, 128, 16, 128256, 131072),
            "quantization_config": {"quant_method": "fbgemm_fp8"},
        },
        lambda c: mlp_fp8(BY_FAMILY["llama"](c)),
    ),
    "qwen2.5-14b-131k": (
        _like(
            "qwen2.5-7b",
            hidden_size=5120,
            intermediate_size=13824,
            num_hidden_layers=48,
            num_attention_heads=40,
            num_key_value_heads=8,
            max_position_embeddings=131072,
        ),
        BY_FAMILY["qwen2"],
    ),
    "qwen2.5-vl-72b": (
        _like("qwen2.5-72b", max_position_embeddings=128000, vision_config=QWEN25_VISION),
        qwen25_vl,
    ),
    "qwen3-8b-block-fp8": (
        _like("qwen3-8b", quantization_config=BLOCK_FP8),
        lambda c: block_fp8(BY_FAMILY["qwen3"](c)),
    ),
    "qwen3-30b-a3b-block-fp8": (
        _like("qwen3-30b-a3b", quantization_config=BLOCK_FP8),
        lambda c: block_fp8(BY_FAMILY["qwen3_moe"](c)),
    ),
    **{
        name: ({**shape, "torch_dtype": "bfloat16"}, BY_FAMILY["qwen3_moe"])
        for name, shape in SHAPES.items()
        if name.endswith("-as-qwen3")
    },
    "qwen3-moe-12-layers": (_like("qwen3-30b-a3b", num_hidden_layers=12), BY_FAMILY["qwen3_moe"]),
    "qwen3-235b-a22b": (QWEN3_235B, BY_FAMILY["qwen3_moe"]),
    "qwen3-235b-a22b-block-fp8": (
        {**QWEN3_235B, "quantization_config": BLOCK_FP8},
        lambda c: block_fp8(BY_FAMILY["qwen3_moe"](c)),
    ),
    "deepseek-coder-v2": (
        {
            "architectures": ["DeepseekV2ForCausalLM"],
            "model_type": "deepseek_v2",
            "hidden_size": 5120,
            "num_hidden_layers": 60,
            "num_attention_heads": 128,
            "num_key_value_heads": 128,
            "q_lora_rank": 1536,
            "kv_lora_rank": 512,
            "qk_nope_head_dim": 128,
            "qk_rope_head_dim": 64,
            "v_head_dim": 128,
            "intermediate_size": 12288,
            "moe_intermediate_size": 1536,
            "n_routed_experts": 160,
            "n_shared_experts": 2,
            "num_experts_per_tok": 6,
            "first_k_dense_replace": 1,
            "vocab_size": 102400,
            "torch_dtype": "bfloat16",
            "max_position_embeddings": 163840,
            "tie_word_embeddings": False,
        },
        deepseek_v2,
    ),
    "deepseek-coder-6.7b": (_llama(4096, 11008, 32, 32, 32, 32256, 16384), BY_FAMILY["llama"]),
    "llama-3.2-1b": (LLAMA_3_2_1B, BY_FAMILY["llama"]),
    "qwen3-0.6b": (
        _like(
            "qwen3-8b",
            hidden_size=1024,
            intermediate_size=3072,
            num_hidden_layers=28,
            num_attention_heads=16,
            tie_word_embeddings=True,
        ),
        BY_FAMILY["qwen3"],
    ),
    "llama-3.2-3b": (
        {
            **_llama(3072, 8192, 28, 24, 8, 128256, 131072),
            "head_dim": 128,
            "tie_word_embeddings": True,
            "rope_scaling": LLAMA_3_2_ROPE,
        },
        BY_FAMILY["llama"],
    ),
    "qwen2.5-1.5b": (
        _like(
            "qwen2.5-0.5b",
            hidden_size=1536,
            intermediate_size=8960,
            num_hidden_layers=28,
            num_attention_heads=12,
        ),
        BY_FAMILY["qwen2"],
    ),
    # As benchmarks/engines/random_model.py makes them: with the vocabulary of the tokenizer used there.
    "llama-2-7b-49k": (_like("llama-2-7b", vocab_size=49152, torch_dtype="bfloat16"), BY_FAMILY["llama"]),
    "mistral-7b-49k": (_like("mistral-7b-v0.2", vocab_size=49152), BY_FAMILY["llama"]),
    "qwen2.5-3b": (
        _like(
            "qwen2.5-0.5b",
            hidden_size=2048,
            intermediate_size=11008,
            num_hidden_layers=36,
            num_attention_heads=16,
        ),
        BY_FAMILY["qwen2"],
    ),
    "phi-3-mini-as-llama-49k": (_llama(3072, 8192, 32, 32, 32, 49152, 4096), BY_FAMILY["llama"]),
    "danube3-4b-49k": (_llama(3840, 10240, 24, 32, 8, 49152, 8192), BY_FAMILY["llama"]),
    "rho-1b": (_llama(2048, 5632, 22, 32, 4, 32000, 2048), BY_FAMILY["llama"]),
    "gemma-3-27b-text": (GEMMA_3_27B, BY_FAMILY["llama"]),
    "yi-1.5-34b": (_llama(7168, 20480, 60, 56, 8, 64000, 4096), BY_FAMILY["llama"]),
}
LLAMA_IN_Q4_0 = "llama-3.1-8b-q4_0"


@cache
def facts(name: str) -> ModelFacts:
    """What inspection would find out about the published model ``name``; a suffix quantizes it, as in
    tools/mock/checkpoints.py.
    """
    if name == LLAMA_IN_Q4_0:
        return _llama_in_q4_0()
    base = name if name in MORE else name.rpartition("-")[0]
    if base not in MORE:
        return facts_for(name)
    config, shapes = MORE[base]
    if base != name:
        settings, stored = QUANTIZERS[name.rpartition("-")[2]]
        config, shapes = {**config, "quantization_config": settings}, _stored(stored, shapes)
    rows = [StoredTensor(n, dtype, shape, _size_bytes(dtype, shape)) for n, dtype, shape in shapes(config)]
    return facts_from_config_and_tensors(config, rows, listed(name, rows, "c" * 40))


def _stored(quantizer: Callable[..., Iterable[Row]], shapes: Callable[[Config], Iterable[Row]]) -> Any:
    return lambda config: quantizer(shapes(config))


def _llama_in_q4_0() -> ModelFacts:
    """benchmarks.llamacpp.random_gguf's llama-3.1-8b: Q4_0 but for the norms, 49,152 tokens."""
    llama = facts("llama-3.1-8b")
    assert llama.architecture
    hidden, vocabulary, block_bits = 4096, 49152, 4.5
    linear = 32 * (2 * hidden * hidden + 2 * hidden * 1024 + 3 * hidden * 14336)
    sizes = {"linear": linear, "embedding": vocabulary * hidden, "lm_head": vocabulary * hidden}
    tensors = [
        TensorClass(
            kind=kind, dtype="Q4_0", tensors=1, parameters=size, stored_bytes=int(size * block_bits / 8)
        )
        for kind, size in sizes.items()
    ]
    norms = TensorClass(
        kind="norm", dtype="F32", tensors=65, parameters=65 * hidden, stored_bytes=65 * hidden * 4
    )
    return dataclasses.replace(
        llama,
        format="gguf",
        architecture=dataclasses.replace(llama.architecture, name="llama", vocabulary=vocabulary),
        quantization=StoredQuantization(method="gguf", bits=4, scheme="Q4_0"),
        tensors=(*tensors, norms),
        gguf_companions=True,
    )


def _size_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return (count * DTYPE_BITS[dtype] + 7) // 8
