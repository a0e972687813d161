from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tacho_contract import codec
from tacho_contract.model import Architecture, ModelFacts
from tacho_runtime.headers.architecture import read_architecture
from tacho_runtime.headers.facts import facts_from_config_and_tensors
from tacho_runtime.headers.tensors import StoredTensor
from tests.properties import examples
from tools.mock.checkpoints import NAMES, config_and_tensors, facts_for, listed, published_parameters
from tools.mock.published import CONFIGS


def shape_of(name: str) -> Architecture:
    architecture = facts_for(name).architecture
    assert architecture is not None
    return architecture


def groups(name: str) -> set[tuple[str, int, int, int, int, int]]:
    return {
        (g.kind, g.layers, g.key_value_heads, g.key_head_dim, g.value_head_dim, g.window_tokens)
        for g in shape_of(name).layer_groups
    }


def real_parameters(name: str) -> int:
    """Elements, where two 4-bit weights in a byte count as two and their scales as none."""
    packed = "gpt-oss" in name
    total = 0
    for tensor, _, shape, _ in config_and_tensors(name)[1]:
        elements = 1
        for size in shape:
            elements *= size
        if packed and tensor.endswith("_scales"):
            continue
        total += elements * (2 if packed and tensor.endswith("_blocks") else 1)
    return total


@pytest.mark.parametrize("name", NAMES)
def test_shapes_are_the_published_models(name: str) -> None:
    published = published_parameters(name)
    if published % 1_000_000:
        assert real_parameters(name) == published
    else:
        # Its page rounds.
        assert real_parameters(name) == pytest.approx(published, rel=0.002)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_stays_unknown_of_published_models(name: str) -> None:
    facts = facts_for(name)
    assert facts.unknown == ()
    assert not [c for c in facts.tensors if c.kind == "other"]
    assert codec.loads(ModelFacts, codec.dumps(facts)) == facts


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("llama-2-7b", {("full", 32, 32, 128, 128, 0)}),
        ("llama-3.1-8b", {("full", 32, 8, 128, 128, 0)}),
        ("llama-3.1-70b", {("full", 80, 8, 128, 128, 0)}),
        ("mistral-7b-v0.1", {("sliding", 32, 8, 128, 128, 4096)}),
        ("mistral-7b-v0.2", {("full", 32, 8, 128, 128, 0)}),
        ("octocoder", {("full", 40, 1, 128, 128, 0)}),
        ("qwen2.5-7b", {("full", 28, 4, 128, 128, 0)}),
        ("qwen3-30b-a3b", {("full", 48, 4, 128, 128, 0)}),
        ("gemma-2-9b", {("sliding", 21, 8, 256, 256, 4096), ("full", 21, 8, 256, 256, 0)}),
        ("gemma-3-27b", {("sliding", 52, 16, 128, 128, 1024), ("full", 10, 16, 128, 128, 0)}),
        ("gemma-3-4b", {("sliding", 29, 4, 256, 256, 1024), ("full", 5, 4, 256, 256, 0)}),
        ("gpt-oss-20b", {("sliding", 12, 8, 64, 64, 128), ("full", 12, 8, 64, 64, 0)}),
        ("deepseek-v3", {("mla", 61, 1, 576, 0, 0)}),
        ("jamba-v0.1", {("mamba", 28, 0, 0, 0, 0), ("full", 4, 8, 128, 128, 0)}),
        ("qwen3-next-80b-a3b", {("linear_attention", 36, 0, 0, 0, 0), ("full", 12, 2, 256, 256, 0)}),
        ("nemotron-h-8b", {("mamba", 24, 0, 0, 0, 0), ("none", 24, 0, 0, 0, 0), ("full", 4, 8, 128, 128, 0)}),
    ],
)
def test_layer_groups(name: str, expected: set[tuple[str, int, int, int, int, int]]) -> None:
    assert groups(name) == expected


@pytest.mark.parametrize(
    ("name", "bytes_per_layer"),
    [
        # Mamba: (inner * (kernel - 1) + inner * state) * 2 bytes
        ("jamba-v0.1", (8192 * 3 + 8192 * 16) * 2),
        # Mamba-2: (inner + 2 * groups * state) * (kernel - 1) * 2 + heads * head_dim * state * 4 bytes
        ("nemotron-h-8b", (8192 + 2 * 8 * 128) * 3 * 2 + 128 * 64 * 128 * 4),
        # Gated delta net: ((2 * keys + values) * (kernel - 1) + value heads * key dim * value dim) * 2 bytes
        ("qwen3-next-80b-a3b", ((2 * 2048 + 4096) * 3 + 32 * 128 * 128) * 2),
    ],
)
def test_recurrent_state(name: str, bytes_per_layer: int) -> None:
    (group,) = [g for g in shape_of(name).layer_groups if g.state_bytes]
    assert group.state_bytes == group.layers * bytes_per_layer


@pytest.mark.parametrize(
    ("name", "positions", "rotary"),
    [
        ("llama-3.1-8b", 131072, 128),  # llama3 rope: the configuration says the whole
        ("gpt-oss-20b", 131072, 64),  # yarn: 4096 * 32
        ("deepseek-v3", 163840, 64),
        ("gemma-3-27b", 131072, 128),
        ("phi-2", 2048, 32),
        ("octocoder", 8192, 0),  # learned positions
        ("qwen3-next-80b-a3b", 262144, 64),
    ],
)
def test_positions(name: str, positions: int, rotary: int) -> None:
    assert (shape_of(name).max_positions, shape_of(name).rotary_dim) == (positions, rotary)


@pytest.mark.parametrize(
    ("rope", "positions"),
    [
        ({"type": "linear", "factor": 4.0}, 16384),
        ({"rope_type": "dynamic", "factor": 2.0}, 8192),
        ({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}, 4096),
        ({"rope_type": "yarn", "factor": 4.0}, 4096),
        ({"type": "longrope", "short_factor": [1], "long_factor": [2]}, 4096),
        ({"rope_type": "llama3", "factor": 8.0}, 4096),
        ({"rope_type": "default", "rope_theta": 10000.0}, 4096),
        ({"type": "mrope", "mrope_section": [16, 24, 24]}, 4096),
        ({"factor": 1e300, "type": "linear"}, 4096),
        ("nonsense", 4096),
    ],
)
def test_rope_scaling(rope: Any, positions: int) -> None:
    config = {"max_position_embeddings": 4096, "num_hidden_layers": 1, "rope_scaling": rope}
    assert read_architecture(config)[0].max_positions == positions
    assert (
        read_architecture({**config, "rope_scaling": None, "rope_parameters": rope})[0].max_positions
        == positions
    )


def test_rope_parameters_by_layer_type() -> None:
    rope = {
        "full_attention": {"rope_type": "linear", "factor": 8.0},
        "sliding_attention": {"rope_type": "default"},
    }
    config = {"max_position_embeddings": 4096, "num_hidden_layers": 1, "rope_parameters": rope}
    assert read_architecture(config)[0].max_positions == 32768


def test_mixture_of_experts() -> None:
    mixtral, qwen, deepseek = shape_of("mixtral-8x7b"), shape_of("qwen3-30b-a3b"), shape_of("deepseek-v3")
    assert (mixtral.experts, mixtral.experts_per_token, mixtral.moe_intermediate_size) == (8, 2, 14336)
    assert (qwen.experts, qwen.experts_per_token, qwen.moe_intermediate_size) == (128, 8, 768)
    assert (deepseek.experts, deepseek.experts_per_token, deepseek.moe_intermediate_size) == (256, 8, 2048)
    assert shape_of("llama-3.1-8b").experts == 0


def test_embeddings_and_towers() -> None:
    assert shape_of("qwen2.5-0.5b").tied_embeddings
    assert shape_of("gemma-3-4b").tied_embeddings
    assert not shape_of("llama-3.1-8b").tied_embeddings
    assert shape_of("gemma-3-4b").multimodal
    assert shape_of("gemma-3-4b").name == "Gemma3ForConditionalGeneration"
    assert not shape_of("gemma-2-9b").multimodal
    assert shape_of("deepseek-v3").needs_remote_code
    assert shape_of("deepseek-v3").configuration == "deepseek_v3"


def test_draft_layers_are_counted_apart() -> None:
    draft = sum(c.stored_bytes for c in facts_for("deepseek-v3").tensors if c.kind == "draft")
    assert 14e9 < draft < 16e9
    assert sum(c.stored_bytes for c in facts_for("qwen3-next-80b-a3b").tensors if c.kind == "draft") > 3e9


def test_vision_tower_is_counted_apart() -> None:
    vision = sum(c.parameters for c in facts_for("gemma-3-27b").tensors if c.kind == "vision")
    assert vision == pytest.approx(423e6, rel=0.01)


def test_what_is_missing_is_said() -> None:
    assert read_architecture({})[1] == [
        "number of layers",
        "hidden size",
        "vocabulary size",
        "longest context",
        "dtype",
    ]
    assert "number of attention heads" in read_architecture({"num_hidden_layers": 1})[1]
    narrow = read_architecture({"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 16})[1]
    assert "size of an attention head" in narrow
    rows = [StoredTensor("a.weight", "BF16", (2, 2), 8)]
    facts = facts_from_config_and_tensors({"num_hidden_layers": 1}, rows, listed("x", rows, ""))
    assert "dtype" not in facts.unknown
    assert facts.architecture is not None
    assert facts.architecture.dtype == "bfloat16"


@pytest.mark.parametrize(
    "lie",
    [
        {"num_key_value_heads": [-8]},
        {"model_type": "mamba", "mamba_expand": -9e6, "state_size": 16, "conv_kernel": 4},
        {"model_type": "mamba", "expand": -2, "state_size": 16, "conv_kernel": 4},
        {"quantization_config": {"quant_method": "gptq", "bits": -4, "group_size": -1}},
        {"quantization_config": {"quant_method": "fp8", "weight_block_size": [-128, -128]}},
    ],
    ids=str,
)
def test_no_figure_is_negative(lie: dict[str, Any]) -> None:
    """A cache of fewer bytes than none would make any plan fit."""
    config = {"num_hidden_layers": 4, "hidden_size": 64, "num_attention_heads": 8, "vocab_size": 9, **lie}
    rows = [StoredTensor("model.embed_tokens.weight", "BF16", (4, 4), 32)]
    assert "-" not in re.sub(
        r'"[^"]*"', "", codec.dumps(facts_from_config_and_tensors(config, rows, listed("x", rows, "")))
    )


def test_a_lie_about_depth_costs_nothing() -> None:
    assert read_architecture({"num_hidden_layers": 10**9})[0].layers == 0


def documents(*, finite: bool = False) -> st.SearchStrategy[Any]:
    floats = st.floats(allow_nan=not finite, allow_infinity=not finite)
    return st.recursive(
        st.none() | st.booleans() | st.integers() | floats | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=10,
    )


ANY = documents()
QUANTIZATION = st.none() | st.dictionaries(st.text(max_size=8), documents(finite=True), max_size=4)
"""Any other is refused."""
FIELDS = st.sampled_from(
    [
        *sorted({key for name, (config, _) in CONFIGS.items() for key in config if name != "deepseek-v3"}),
        "text_config", "vision_config", "layer_types", "attn_type_list", "no_rope_layers",
       "attn_layer_indices", "layers_block_type", "block_types", "thinker_config", "num_kv_shared_layers"]
)  # fmt: skip


@examples(3)
@given(st.dictionaries(FIELDS, ANY | st.integers(-2, 40), max_size=12), QUANTIZATION)
def test_any_configuration_gives_facts(config: dict[str, Any], quantization: dict[str, Any] | None) -> None:
    config = {**config, "quantization_config": quantization}
    rows = [StoredTensor("model.embed_tokens.weight", "BF16", (4, 4), 32)]
    facts = facts_from_config_and_tensors(config, rows, listed("x", rows, ""))
    assert codec.loads(ModelFacts, codec.dumps(facts)) == facts
    shape = facts.architecture
    assert shape is not None
    numbers = [
        getattr(shape, f) for f in ("layers", "hidden_size", "head_dim", "max_positions", "rotary_dim")
    ]
    assert all(n >= 0 for n in numbers)
    assert all(g.state_bytes >= 0 and g.window_tokens >= 0 and g.layers >= 0 for g in shape.layer_groups)


def test_a_strangers_words_move_no_terminal() -> None:
    found, _ = read_architecture(
        {"architectures": ["Llama\x1b[31m\x07ForCausalLM\n"], "model_type": "lla\u202ema"}
    )
    assert (found.name, found.model_type) == ("Llama[31mForCausalLM", "llama")
