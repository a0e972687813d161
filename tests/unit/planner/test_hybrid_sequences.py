"""Sequences and the blocks of a pool with recurrent layers."""

from __future__ import annotations

import re

import pytest

from tests.unit.planner.test_vllm_switches import fitting, refusal

HYBRIDS = [
    ("nemotron-h-8b", "L4", "--max-num-batched-tokens=4096", 1024),
    ("nemotron-h-8b", "L4", "--gpu-memory-utilization=0.9", 900),
]


@pytest.mark.parametrize(("model", "gpu", "other", "many"), HYBRIDS)
def test_more_sequences_than_blocks_of_a_hybrids_pool_are_refused_with_their_number(model, gpu, other, many):
    """vLLM 0.32: "max_num_seqs (1024) exceeds available Mamba cache blocks (333)"."""
    asks = {"model": model, "product": gpu, "context": {"maxModelLen": 8192, "concurrency": 1}}
    found = refusal(f"--max-num-seqs={many}", other, **asks)
    assert found.failure_class == "InvalidConfig"
    blocks = int(re.search(r"is above the (\d+) blocks of the KV cache", found.message)[1])
    assert f"well below {blocks}" in found.next_step
    # Fewer sequences leave more of the memory to blocks.
    fitting(f"--max-num-seqs={blocks}", other, **asks)
    fitting(other, **asks)


@pytest.mark.parametrize(
    "others",
    [
        ["--enforce-eager"],
        ["-O1"],
        ["--compilation-config", '{"cudagraph_mode": "PIECEWISE"}'],
        ["-cc.cudagraph_mode=NONE"],
    ],
)
def test_without_graphs_of_whole_steps_sequences_may_wait_for_blocks(others):
    asks = {"model": "nemotron-h-8b", "context": {"maxModelLen": 8192, "concurrency": 1}}
    fitting("--max-num-seqs=1024", *others, **asks)


def test_sequences_of_a_model_without_recurrent_layers_may_wait_for_blocks():
    fitting("--max-num-seqs=4096", "--max-num-batched-tokens=4096", model="qwen2.5-0.5b")
