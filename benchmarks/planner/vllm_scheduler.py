"""Drives vLLM's own scheduler over the layers of models, without an engine: what fits a pool of blocks.

    PYTHON_OF_VLLM -P vllm_scheduler.py < MODELS.json

Prints one line of JSON for each run: the most requests that ran at the same time, and how many were
preempted. All tokens of a step are computed at once; with asynchronous scheduling the next step is planned
before.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ |= {"VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}

import torch
from vllm.config import VllmConfig, set_current_vllm_config
from vllm.distributed import init_distributed_environment, initialize_model_parallel
from vllm.distributed.parallel_state import destroy_model_parallel
from vllm.engine.arg_utils import EngineArgs
from vllm.model_executor.layers.attention_layer_base import AttentionLayerBase
from vllm.model_executor.model_loader.utils import initialize_model
from vllm.sampling_params import SamplingParams
from vllm.utils.hashing import sha256
from vllm.v1.core import kv_cache_utils as utils
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.kv_cache_interface import KVCacheConfig
from vllm.v1.outputs import ModelRunnerOutput
from vllm.v1.request import Request
from vllm.v1.structured_output import StructuredOutputManager

IN_FLIGHT_STEPS = 2
NULL_BLOCKS = 1
"""Blocks of a pool that no request gets."""


def settings(model: dict[str, Any], folder: Path) -> VllmConfig:
    (folder / "config.json").write_text(json.dumps(model["config"]))
    arguments = EngineArgs(
        model=str(folder),
        load_format="dummy",
        skip_tokenizer_init=True,
        max_model_len=model["length"],
        max_num_seqs=model["requests"],
        max_num_batched_tokens=model["step"],
        block_size=model["block"],
        enable_prefix_caching=True,
        enable_chunked_prefill=True,
    )
    config = arguments.create_engine_config()
    config.scheduler_config.async_scheduling = True  # as on GPUs
    config.cache_config.kv_cache_layout = "LBNHC"
    return config


def pool(config: VllmConfig) -> KVCacheConfig:
    """The groups that vLLM makes of the model's layers, which need no memory for it."""
    with set_current_vllm_config(config):
        destroy_model_parallel()
        initialize_model_parallel(1, 1)
        with torch.device("meta"):
            initialize_model(vllm_config=config)
    every = config.compilation_config.static_forward_context.items()
    layers = {name: layer for name, layer in every if isinstance(layer, AttentionLayerBase)}
    specs = {name: layer.get_kv_cache_spec(config) for name, layer in layers.items()}
    groups = utils.get_kv_cache_groups(config, specs)
    return KVCacheConfig(num_blocks=1, kv_cache_tensors=[], kv_cache_groups=groups)


def requests(model: dict[str, Any], case: dict[str, int], block: int) -> Iterator[Request]:
    hasher = utils.get_request_block_hasher(block, sha256)
    for number in range(case["rounds"] * model["requests"]):
        wanted = SamplingParams(max_tokens=case["output"], ignore_eos=True)
        prompt = [number % 256] * (model["length"] - case["output"])
        yield Request(str(number), prompt, wanted, None, block_hasher=hasher)


def run(
    model: dict[str, Any], config: VllmConfig, found: KVCacheConfig, case: dict[str, int]
) -> dict[str, Any]:
    found.num_blocks = config.cache_config.num_gpu_blocks = case["blocks"] + NULL_BLOCKS
    block, hashed = utils.resolve_kv_cache_block_sizes(found, config)
    scheduler = AsyncScheduler(
        vllm_config=config,
        kv_cache_config=found,
        structured_output_manager=StructuredOutputManager(config),
        block_size=block,
        hash_block_size=hashed,
    )
    coming = deque(requests(model, case, hashed))
    came: dict[str, Request] = {}
    steps: deque[tuple[Any, dict[str, bool]]] = deque()
    planned, most, usage = 0, 0, 0.0
    while coming or steps or scheduler.has_unfinished_requests():
        while coming and len(came) * case["gap"] <= planned:
            came[coming[0].request_id] = coming[0]
            scheduler.add_request(coming.popleft())
        step = scheduler.schedule()
        planned += 1
        most, usage = max(most, len(scheduler.running)), max(usage, scheduler.kv_cache_manager.usage)
        if step.total_num_scheduled_tokens:
            steps.append(
                (step, {name: not came[name].is_prefill_chunk for name in step.num_scheduled_tokens})
            )
            if len(steps) < IN_FLIGHT_STEPS:
                continue
        if steps:
            done, sampled = steps.popleft()
            names = list(done.num_scheduled_tokens)
            indices = {name: index for index, name in enumerate(names)}
            tokens = [[0] if sampled[name] else [] for name in names]
            output = ModelRunnerOutput(req_ids=names, req_id_to_index=indices, sampled_token_ids=tokens)
            scheduler.update_from_output(done, output)
    preempted = sum(request.num_preemptions for request in came.values())
    return {"running": most, "preempted": preempted, "usage": round(usage, 3)}


def main() -> None:
    utils.init_none_hash(sha256)
    with tempfile.TemporaryDirectory() as folder:
        init_distributed_environment(1, 0, f"file://{folder}/ranks", 0, "gloo")
        for model in json.load(sys.stdin):
            config = settings(model, Path(tempfile.mkdtemp(dir=folder)))
            found = pool(config)
            specs = [group.kv_cache_spec for group in found.kv_cache_groups]
            each = [-(-spec.max_memory_usage_bytes(config) // spec.page_size_bytes) for spec in specs]
            for case in model["cases"]:
                told = {name: model[name] for name in ("name", "length", "step", "requests")}
                told |= {**case, **run(model, config, found, case)}
                told |= {"worst": sum(each), "inFlight": config.max_in_flight_tokens}
                print("told", json.dumps(told), flush=True)


main()
