"""Bytes of KV cache that one request takes, against vLLM 0.32.0's own functions.

They were called with the layers of these configurations: v1/core/kv_cache_utils.py get_kv_cache_groups and
_max_memory_usage_bytes_from_groups, with 8192 tokens a step, two steps in flight and prefix caching.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.planner.models import facts
from benchmarks.planner.placements import placement
from tacho_contract.units import MIB
from tacho_engines.vllm import kv_blocks
from tacho_engines.vllm.parallel import tensor_problem
from tacho_engines.vllm.settings import read_settings
from tacho_runtime.headers.architecture import read_architecture

LENGTH = 32768
FULL, WINDOW = "full_attention", "sliding_attention"
DELTA = {
    "full_attention_interval": 4, "linear_num_key_heads": 16, "linear_key_head_dim": 128,
    "linear_value_head_dim": 128, "linear_conv_kernel_dim": 4, "head_dim": 256,
}  # fmt: skip
GEMMA_4 = {
    "architectures": ["Gemma4ForCausalLM"], "model_type": "gemma4_text", "hidden_size": 5376,
    "num_hidden_layers": 60, "num_attention_heads": 32, "num_key_value_heads": 16, "head_dim": 256,
    "num_global_key_value_heads": 4, "global_head_dim": 512, "sliding_window": 1024,
    "layer_types": ([WINDOW] * 5 + [FULL]) * 10,
}  # fmt: skip
MIMO = {
    "architectures": ["MiMoV2FlashForCausalLM"], "model_type": "mimo_v2_flash", "hidden_size": 4096,
    "num_hidden_layers": 48, "num_attention_heads": 64, "num_key_value_heads": 4, "head_dim": 192,
    "v_head_dim": 128, "swa_num_key_value_heads": 8, "swa_head_dim": 192, "swa_v_head_dim": 128,
    "sliding_window": 128, "attention_chunk_size": 128,
    "hybrid_layer_pattern": [0] + ([1] * 4 + [0]) * 9 + [1, 0],
}  # fmt: skip
QWEN_NEXT = {
    "architectures": ["Qwen3NextForCausalLM"], "model_type": "qwen3_next", "hidden_size": 2048,
    "num_hidden_layers": 48, "num_attention_heads": 16, "num_key_value_heads": 2,
    "linear_num_value_heads": 32, **DELTA,
}  # fmt: skip
QWEN_35 = {
    "architectures": ["Qwen3_5ForConditionalGeneration"], "model_type": "qwen3_5_text", "hidden_size": 5120,
    "num_hidden_layers": 64, "num_attention_heads": 24, "num_key_value_heads": 4,
    "linear_num_value_heads": 48, "mamba_ssm_dtype": "float32", **DELTA,
}  # fmt: skip
FALCON_H1 = {
    "architectures": ["FalconH1ForCausalLM"], "model_type": "falcon_h1", "hidden_size": 3072,
    "num_hidden_layers": 44, "num_attention_heads": 12, "num_key_value_heads": 2, "head_dim": 128,
    "mamba_d_ssm": 3072, "mamba_n_heads": 24, "mamba_d_head": 128, "mamba_n_groups": 1,
    "mamba_d_state": 256, "mamba_d_conv": 4,
}  # fmt: skip
MISTRAL = {
    "architectures": ["MistralForCausalLM"], "model_type": "mistral", "hidden_size": 4096,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "sliding_window": 4096,
}  # fmt: skip
NEMOTRON_NAS = {
    "architectures": ["DeciLMForCausalLM"], "model_type": "nemotron-nas", "hidden_size": 8192,
    "num_hidden_layers": 4, "num_attention_heads": 64,
    "block_configs": [{"attention": {"n_heads_in_group": n, "no_op": n == 0}} for n in (8, 16, 0, 32)],
}  # fmt: skip


def request_bytes(config: dict[str, Any], *switches: str, tensor: int = 1, version: str = "0.32.0") -> int:
    every = {"vocab_size": 32000, "max_position_embeddings": 131072, "torch_dtype": "bfloat16"}
    shape, unknown = read_architecture({**every, **config})
    assert unknown == []
    found = placement("vllm", "llama-3.1-8b", "none", "H200", version=version)
    found = replace(found, architecture=shape, tensor=tensor, count=tensor)
    settings = read_settings({"max-num-seqs": "16", **dict.fromkeys(switches, "true")}, found, LENGTH)
    pool = kv_blocks.pool(shape, settings)
    in_flight = settings.cache.in_flight_steps * settings.batch.tokens
    return pool.block_bytes * pool.blocks_per_request(LENGTH, in_flight)


@pytest.mark.parametrize(
    ("config", "tensor", "mebibytes"),
    [
        (GEMMA_4, 1, 16172.5),
        (MIMO, 2, 2215.46875),
        (QWEN_NEXT, 1, 854.25),
        (QWEN_35, 4, 588.0),
        (FALCON_H1, 1, 1549.625),
        (MISTRAL, 1, 2562.0),
        (NEMOTRON_NAS, 1, 224.0),
    ],
)
def test_what_a_request_takes(config: dict[str, Any], tensor: int, mebibytes: float) -> None:
    assert request_bytes(config, tensor=tensor) / MIB == mebibytes


def test_a_second_state_is_kept_for_prefixes() -> None:
    """Three groups of 12 layers: a state each where prefix caching is off, as by default before 0.26."""
    state = 12 * 544 * 2048  # bytes of a block: as many tokens of attention as are at least a state
    both = request_bytes(QWEN_NEXT)
    assert both - request_bytes(QWEN_NEXT, "no-enable-prefix-caching") == 3 * state
    old = request_bytes(QWEN_NEXT, version="0.20.0")
    assert old == request_bytes(QWEN_NEXT, "no-enable-prefix-caching", version="0.20.0")


def test_some_families_kept_a_state_of_each_block() -> None:
    """0.26's cache mode "all" is not that of 0.28."""
    assert request_bytes(FALCON_H1, version="0.26.0") > 1.8 * request_bytes(FALCON_H1, version="0.28.0")


@pytest.mark.parametrize(
    ("config", "tensor", "divides"),
    [
        ({**FALCON_H1, "mamba_n_heads": 24, "mamba_n_groups": 1}, 4, True),
        ({**FALCON_H1, "mamba_n_heads": 24, "mamba_n_groups": 2}, 4, False),
        ({**QWEN_NEXT, "linear_num_value_heads": 24}, 16, False),
        (QWEN_NEXT, 16, True),
    ],
)
def test_gpus_that_share_recurrent_layers(config: dict[str, Any], tensor: int, divides: bool) -> None:
    """vLLM 0.32 mamba_mixer2.py: the size must divide the groups, or there is one."""
    shape, _ = read_architecture(config)
    problem = tensor_problem(shape, facts("llama-3.1-8b"), tensor)
    assert ("recurrent layers do not divide" in problem) is not divides
