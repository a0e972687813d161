"""A model with windows, weights made up, in the KV cache that a plan needs: do all its requests run?

    PYTHON_OF_VLLM -P benchmarks/gpu/windows.py CONFIG LENGTH REQUESTS KV_CACHE_BYTES

CONFIG is a config.json. Prints one line of JSON: the most requests that ran at the same time, the highest use
of the cache, and how many requests were preempted. Answers have 256 tokens; all prompts come at once.
Rehearsed on a CPU: six requests of 4,096 tokens of a small Gemma 3 ran at once in 96 % of what was planned.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}

from vllm import LLM, SamplingParams
from vllm.inputs import TokensPrompt

OUTPUT_TOKENS, STEP_TOKENS = 256, 8192


def main(config: str, length: int, requests: int, kv_cache_bytes: int) -> None:
    folder = tempfile.mkdtemp()
    shutil.copy(config, Path(folder) / "config.json")
    began = time.monotonic()
    llm = LLM(
        model=folder,
        load_format="dummy",
        skip_tokenizer_init=True,
        enforce_eager=True,
        max_model_len=length,
        max_num_batched_tokens=STEP_TOKENS,
        kv_cache_memory_bytes=kv_cache_bytes,
        disable_log_stats=False,
    )
    ready = time.monotonic()
    wanted = SamplingParams(max_tokens=OUTPUT_TOKENS, ignore_eos=True, detokenize=False)
    engine = llm.llm_engine
    for number in range(requests):
        prompt = [number % 200 + 10] * (length - OUTPUT_TOKENS)
        engine.add_request(str(number), TokensPrompt(prompt_token_ids=prompt), wanted)
    highest = {"vllm:num_requests_running": 0.0, "vllm:kv_cache_usage_perc": 0.0, "vllm:num_preemptions": 0.0}
    while engine.has_unfinished_requests():
        engine.step()
        for metric in llm.get_metrics():
            if metric.name in highest:
                highest[metric.name] = max(highest[metric.name], metric.value)
    seconds = {"start": round(ready - began, 1), "load": round(time.monotonic() - ready, 1)}
    told = {"length": length, "requests": requests, "kvCacheBytes": kv_cache_bytes, "seconds": seconds}
    print(json.dumps({**told, **highest}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
