"""How many requests run in a pool of KV cache blocks: as the planner says, and by vLLM's own scheduler.

    python -m benchmarks.planner.windows

Writes data/windows.json in some minutes, without a GPU: requests of the longest context, at once and one
after the other, prompts that share steps, and requests that wait for others to end.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.planner.placements import placement
from tacho_engines.vllm.kv_blocks import Pool, pool
from tacho_engines.vllm.settings import read_settings
from tacho_runtime.headers.architecture import read_architecture
from tools import engines

DRIVER = Path(__file__).with_name("vllm_scheduler.py")
DATA = Path(__file__).parent / "data" / "windows.json"
BLOCK_TOKENS = 32
"""The smallest block that windows have on a CPU."""
SMALL = {
    "hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1,
    "head_dim": 32, "vocab_size": 256, "max_position_embeddings": 131072, "torch_dtype": "bfloat16",
}  # fmt: skip
EXPERTS = {"num_local_experts": 2, "num_experts_per_tok": 1}
MODELS: dict[str, dict[str, Any]] = {
    "gemma-2": {
        "architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "num_hidden_layers": 42,
        "sliding_window": 4096, "query_pre_attn_scalar": 32,
    },
    "gemma-3": {
        "architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "num_hidden_layers": 62,
        "sliding_window": 1024, "sliding_window_pattern": 6, "query_pre_attn_scalar": 32,
    },
    "gpt-oss": {
        "architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "num_hidden_layers": 24,
        "sliding_window": 128, "layer_types": ["sliding_attention", "full_attention"] * 12, **EXPERTS,
        "rope_scaling": {
            "rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0,
            "original_max_position_embeddings": 4096, "truncate": False,
        },
    },
    "mistral-window": {
        "architectures": ["MistralForCausalLM"], "model_type": "mistral", "num_hidden_layers": 32,
        "sliding_window": 4096,
    },
    "mistral": {
        "architectures": ["MistralForCausalLM"], "model_type": "mistral", "num_hidden_layers": 32,
        "sliding_window": None,
    },
    "llama-4": {
        "architectures": ["Llama4ForCausalLM"], "model_type": "llama4_text", "num_hidden_layers": 48,
        "attention_chunk_size": 8192, "intermediate_size_mlp": 64, "interleave_moe_layer_step": 1,
        "no_rope_layers": [], **EXPERTS,
    },
}  # fmt: skip
SHAPES = ((2048, 8192), (4096, 8192), (8192, 2048), (16384, 8192), (20000, 2048))
"""Longest context, and tokens of a step."""


def planned(name: str, length: int, step: int) -> tuple[Pool, int]:
    """The pool, and the most tokens in flight, as the planner sees a server on a GPU."""
    shape, unknown = read_architecture({**SMALL, **MODELS[name]})
    assert unknown == []
    found = replace(placement("vllm", "llama-3.1-8b", "none", "H200", version="0.32.0"), architecture=shape)
    given = {"block-size": str(BLOCK_TOKENS), "max-num-batched-tokens": str(step)}
    settings = read_settings(given, found, length)
    return pool(shape, settings), settings.in_flight_tokens


def fewest_blocks(name: str, length: int, step: int, requests: int) -> int:
    """The fewest blocks in which so many requests run, as the planner says."""
    found, in_flight_tokens = planned(name, length, step)
    blocks = found.blocks_per_request(length, in_flight_tokens)
    while found.requests(blocks, length, in_flight_tokens) < requests:
        blocks += 1
    return blocks


def requested(
    name: str, length: int, step: int, requests: int, cases: list[dict[str, int]]
) -> dict[str, Any]:
    """What the driver runs: each case has the blocks that the planner says, or its ``share`` of them."""
    blocks = fewest_blocks(name, length, step, requests)
    sized = [{"share": 100, **case} for case in cases]
    return {
        "name": name,
        "config": {**SMALL, **MODELS[name]},
        "length": length,
        "step": step,
        "requests": requests,
        "block": BLOCK_TOKENS,
        "cases": [{**case, "blocks": blocks * case["share"] // 100} for case in sized],
    }


def edges() -> Iterator[dict[str, Any]]:
    """Twelve long requests at once and one after the other, and in a pool of nine tenths."""
    cases = [{"output": 64, "rounds": 1, "gap": gap} for gap in (0, 2, 5)]
    for name in MODELS:
        yield requested(name, 16384, 8192, 12, [*cases, {**cases[0], "share": 90}])


def drawn(seed: int = 1) -> Iterator[dict[str, Any]]:
    rng = Random(seed)
    for name in MODELS:
        for length, step in SHAPES:
            for requests in rng.sample((2, 3, 4, 8, 16, 32), 2):
                cases = [
                    {
                        "output": rng.choice((8, 32, 100, 300, 600)),
                        "rounds": rng.randint(1, 3),
                        "gap": rng.choice((0, 0, 1, 3, 9, 40)),
                    }
                    for _ in range(4)
                ]
                yield requested(name, length, step, requests, cases)


def judged(python: Path, models: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What vLLM's scheduler does with each case."""
    done = subprocess.run(
        [python, "-P", DRIVER], input=json.dumps(models), capture_output=True, text=True, check=False
    )
    lines = [line.removeprefix("told ") for line in done.stdout.splitlines() if line.startswith("told ")]
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(lines) == sum(len(model["cases"]) for model in models)
    return [json.loads(line) for line in lines]


def main() -> int:
    found = judged(engines.environment(), [*edges(), *drawn()])
    DATA.write_text("[\n" + ",\n".join(json.dumps(row) for row in found) + "\n]\n", encoding="utf-8")
    print(f"{len(found)} runs, {sum(row['preempted'] for row in found if row['share'] == 100)} preempted")
    return 0


if __name__ == "__main__":
    sys.exit(main())
