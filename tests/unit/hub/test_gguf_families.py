"""Layers of GGUF files whose kind only a family's rule or a key of its own tells."""

from __future__ import annotations

from typing import Any

import pytest

from tacho_contract.model import LayerGroup
from tacho_runtime.headers.gguf_facts import gguf_architecture


def groups(family: str, **keys: Any) -> tuple[dict[str, LayerGroup], list[str]]:
    """(group by kind, unknown values) of eight layers; a double underscore stands for a dot."""
    own = {
        "block_count": 8,
        "embedding_length": 64,
        "context_length": 1000,
        "attention__head_count": 4,
        **keys,
    }
    metadata: dict[str, Any] = {f"{family}.{key.replace('__', '.')}": value for key, value in own.items()}
    shape, unknown = gguf_architecture({"general.architecture": family, **metadata}, [])
    return {group.kind: group for group in shape.layer_groups}, unknown


def test_falcon_h1_has_attention_and_a_state_in_each_layer() -> None:
    ssm = {"ssm__inner_size": 128, "ssm__state_size": 16, "ssm__conv_kernel": 4, "ssm__group_count": 1}
    found, _ = groups("falcon-h1", attention__head_count_kv=2, **ssm)
    assert (found["full"].layers, found["mamba"].layers) == (8, 8)
    assert found["mamba"].state_bytes == 8 * (3 * (128 + 2 * 16) + 128 * 16) * 4


def test_kimi_linear_has_a_latent_cache_in_few_layers() -> None:
    latent = {"attention__kv_lora_rank": 512, "rope__dimension_count": 64}
    heads = (0, 0, 0, 1) * 2
    latent |= {"attention__key_length_mla": 192}
    found, _ = groups(
        "kimi-linear", attention__head_count_kv=heads, kda__head_dim=16, ssm__conv_kernel=4, **latent
    )
    assert (found["mla"].layers, found["mla"].key_head_dim) == (2, 576)
    assert found["linear_attention"].state_bytes == 6 * 4 * 16 * (3 * 3 + 16) * 4


def test_heads_of_windowed_layers_may_be_smaller() -> None:
    sizes = {"attention__key_length": 32, "attention__key_length_swa": 16, "attention__value_length_swa": 8}
    found, _ = groups(
        "gemma4",
        attention__head_count_kv=2,
        attention__sliding_window=512,
        attention__sliding_window_pattern=(True, True, True, False) * 2,
        **sizes,
    )
    assert (found["full"].key_head_dim, found["full"].value_head_dim) == (32, 32)
    assert (found["sliding"].key_head_dim, found["sliding"].value_head_dim) == (16, 8)


def test_caches_that_are_not_counted_are_named() -> None:
    latent = {"attention__kv_lora_rank": 512, "attention__indexer__key_length": 128}
    assert groups("deepseek32", attention__key_length_mla=192, **latent)[1] == [
        "cache of the sparse attention's indexer"
    ]
    assert groups("rwkv7", attention__head_count_kv=0, wkv__head_size=64)[1] == ["state of the RWKV layers"]
    assert groups("mllama", attention__head_count_kv=2, attention__cross_attention_layers=(1,))[1] == [
        "cache of the layers with cross-attention"
    ]


def test_files_from_before_the_latent_cache_keep_every_head() -> None:
    """DeepSeek-V2-Lite: 16 heads of 192 + 128, not 576 (llama.cpp src/models/deepseek2.cpp, is_mla)."""
    sizes = {"attention__kv_lora_rank": 512, "attention__key_length": 192, "attention__value_length": 128}
    found, _ = groups("deepseek2", attention__head_count=16, attention__head_count_kv=16, **sizes)
    full = found["full"]
    assert (full.layers, full.key_value_heads * (full.key_head_dim + full.value_head_dim)) == (8, 16 * 320)


@pytest.mark.parametrize("keys", [{"attention__shared_kv_layers": 10}, {}])
def test_the_last_layers_of_gemma_3n_use_the_cache_of_earlier_ones(keys: dict[str, int]) -> None:
    found, unknown = groups(
        "gemma3n", block_count=30, attention__head_count_kv=2, attention__sliding_window=512, **keys
    )
    assert (found["sliding"].layers, found["full"].layers, found["none"].layers) == (16, 4, 10)
    assert unknown == []


def test_short_convolutions_keep_a_state() -> None:
    found, _ = groups("lfm2", attention__head_count_kv=(0, 0, 2, 0) * 2, shortconv__l_cache=3)
    assert (found["full"].layers, found["mamba"].state_bytes) == (2, 6 * 2 * 64 * 4)


def test_layers_that_are_an_mlp_keep_no_state() -> None:
    ssm = {"ssm__inner_size": 128, "ssm__state_size": 16, "ssm__conv_kernel": 4, "ssm__group_count": 1}
    wide, heads = (0, 32, 0, 32) * 2, (0, 0, 2, 0) * 2
    found, _ = groups("nemotron_h", attention__head_count_kv=heads, feed_forward_length=wide, **ssm)
    assert (found["full"].layers, found["mamba"].layers, found["none"].layers) == (2, 2, 4)


def test_layers_of_a_draft_have_no_cache() -> None:
    """GLM-4.5's files count their layer for multi-token prediction."""
    assert groups("glm4moe", attention__head_count_kv=2, nextn_predict_layers=1)[0]["full"].layers == 7


@pytest.mark.parametrize(
    ("family", "keys", "expected"),
    [
        ("llama4", {}, (6, 2, 8192)),
        ("olmo2", {"attention__sliding_window": 4096}, (6, 2, 4096)),
    ],
)
def test_windows_that_only_llama_cpp_knows(family: str, keys: dict[str, int], expected: Any) -> None:
    found, unknown = groups(family, attention__head_count_kv=2, **keys)
    window = found["sliding"]
    assert (window.layers, found["full"].layers, window.window_tokens, unknown) == (*expected, [])


def test_a_model_that_has_no_window() -> None:
    found, unknown = groups("llama4", attention__head_count_kv=2, attention__sliding_window=0)
    assert (list(found), unknown) == (["full"], [])
