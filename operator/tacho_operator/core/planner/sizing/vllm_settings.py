"""What a vLLM server is started with, as far as memory follows from it: arguments over its defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tacho_contract.model import ModelFacts
from tacho_contract.units import GIB
from tacho_operator.core.planner.arguments import decimal, first_of, integer
from tacho_operator.core.planner.catalog.engines import version_key
from tacho_operator.core.planner.catalog.gpus import Gpu
from tacho_operator.core.planner.catalog.vllm import SWAP_REMOVED, VllmRules
from tacho_operator.core.planner.sizing.shape import round_up

KV_ELEMENT_BYTES = {
    "auto": 2.0,
    "bfloat16": 2.0,
    "float16": 2.0,
    "fp8": 1.0,
    "fp8_e4m3": 1.0,
    "fp8_e5m2": 1.0,
    "fp8_inc": 1.0,
    "nvfp4": 0.5625,
}
"""Bytes of one KV element. Source: vLLM config/cache.py CacheDType."""
LARGE_GPU_BYTES = 70 * GIB
HUGE_GPU_BYTES = 160 * GIB
BOUNDED_SEQUENCES = 16
SWAP_GIB = "4"
"""Default of --swap-space, which only the first engine uses."""
FIRST_CHUNKING = (8, 0)
"""Compute capability from which old versions prefill long contexts in chunks by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmSettings:
    """Resolved settings of one server."""

    rules: VllmRules
    tensor: int
    pipeline: int
    utilization: float
    utilization_given: bool
    kv_cache_bytes: int | None
    """--kv-cache-memory-bytes: the cache's size, whatever the utilization."""
    sequences: int
    batched_tokens: int
    chunked: bool
    kv_element_bytes: float
    block_tokens: int
    eager: bool
    expert_parallel: bool
    hybrid_windows: bool
    in_flight_steps: int
    offload_bytes: int
    """--cpu-offload-gb: weights kept in host memory, for each GPU."""
    swap_bytes: int
    """Host memory for cache blocks, for each GPU: --swap-space of the first engine, --kv-offloading-size."""
    graph_sizes: int
    graphs_inside: bool
    max_model_len: int


def kv_dtype(given: str, facts: ModelFacts) -> str:
    """``auto`` is the model's own type, unless the checkpoint declares one for the cache; fp8 *weights* do
    not imply an fp8 cache. Source: vLLM utils/torch_utils.py resolve_kv_cache_dtype_string."""
    if given not in ("", "auto"):
        return given
    return facts.quantization.kv_cache_dtype or "auto"


COUNTS = (
    "max-num-seqs",
    "max-num-batched-tokens",
    "block-size",
    "tensor-parallel-size",
    "tp",
    "pipeline-parallel-size",
    "pp",
    "kv-cache-memory-bytes",
    "kv-cache-memory",
)
SIZES = ("cpu-offload-gb", "swap-space", "kv-offloading-size", "max-cudagraph-capture-size")

SWITCHES = (
    *COUNTS,
    *SIZES,
    "gpu-memory-utilization",
    "kv-cache-dtype",
    "enforce-eager",
    "enable-chunked-prefill",
    "no-enable-chunked-prefill",
    "enable-expert-parallel",
    "disable-hybrid-kv-cache-manager",
    "no-async-scheduling",
)
"""Every switch of vLLM that is read here."""


def refused_switch(arguments: Mapping[str, str], version: str) -> str:
    """The first memory switch whose value vLLM's own checks refuse, in words; "" when there is none.

    Source: vLLM config/cache.py (gpu_memory_utilization: gt=0, le=1), config/offload.py (ge=0),
    config/scheduler.py verify_max_model_len.
    """
    if "swap-space" in arguments and version_key(version) >= version_key(SWAP_REMOVED):
        return f"vLLM {version} has no switch --swap-space; --kv-offloading-size is its successor"
    for name in COUNTS:
        if name in arguments and (integer(arguments[name]) or 0) < 1:
            return f"--{name} takes a whole number above 0, not {arguments[name][:40]!r}"
    for name in SIZES:
        value = decimal(arguments[name]) if name in arguments else 0.0
        if value is None or value < 0:
            return f"--{name} takes a number from 0 on, not {arguments[name][:40]!r}"
    share = first_of(arguments, "gpu-memory-utilization")
    if share is not None and not 0 < (decimal(share) or 0.0) <= 1:
        return f"--gpu-memory-utilization is above 0 and at most 1, not {share[:40]!r}"
    tokens, sequences = (integer(arguments.get(n)) for n in ("max-num-batched-tokens", "max-num-seqs"))
    if tokens and sequences and tokens < sequences:
        return f"--max-num-batched-tokens {tokens} is below --max-num-seqs {sequences}"
    return ""


def parallel_sizes(arguments: Mapping[str, str]) -> tuple[int | None, int | None]:
    """Tensor and pipeline size as given in arguments."""
    tensor = integer(first_of(arguments, "tensor-parallel-size", "tp"))
    pipeline = integer(first_of(arguments, "pipeline-parallel-size", "pp"))
    return tensor, pipeline


def _is_large(gpu: Gpu, size: int) -> bool:
    """Source: vLLM engine/arg_utils.py get_batch_defaults: A100 keeps the small defaults (vllm#17885)."""
    return gpu.memory_bytes >= size and "A100" not in gpu.product.upper()


def _batch(
    arguments: Mapping[str, str], rules: VllmRules, gpu: Gpu, max_model_len: int
) -> tuple[int, int, bool]:
    """(max_num_batched_tokens, max_num_seqs, whether long prompts are prefilled in chunks)."""
    large = _is_large(gpu, LARGE_GPU_BYTES)
    sequences = integer(first_of(arguments, "max-num-seqs")) or (
        rules.large_sequences if large else rules.sequences
    )
    tokens = integer(first_of(arguments, "max-num-batched-tokens"))
    chunked = rules.chunk_above >= 0 and max_model_len > rules.chunk_above
    if rules.runner == "v0" and gpu.capability < FIRST_CHUNKING:
        chunked = False
    if "enable-chunked-prefill" in arguments:
        chunked = arguments["enable-chunked-prefill"].lower() != "false"
    if "no-enable-chunked-prefill" in arguments:
        chunked = False
    default = rules.chunk_tokens
    if large:
        default = rules.huge_tokens if _is_large(gpu, HUGE_GPU_BYTES) else rules.large_tokens
    if not chunked:
        return max(tokens or 0, max_model_len, 2048, default), sequences, False
    default = min(default, sequences * max_model_len)
    return tokens or default, min(sequences, tokens or default), True


def sequence_switches(
    arguments: Mapping[str, str],
    *,
    rules: VllmRules,
    gpu: Gpu,
    max_model_len: int,
    concurrency: int,
    bounded: bool,
) -> dict[str, str]:
    """Switches without which the scheduler would admit fewer than ``concurrency`` requests at once.

    ``bounded``: each sequence it may run costs memory beforehand (recurrent state), so no more than needed
    are asked for. The user's own switches stay, and so does a batch too small for more sequences, which vLLM
    requires to be the larger (config/scheduler.py verify_max_model_len).
    """
    tokens, sequences, _ = _batch(arguments, rules, gpu, max_model_len)
    wanted = max(concurrency, BOUNDED_SEQUENCES) if bounded else concurrency
    batch_given = "max-num-batched-tokens" in arguments
    if (
        "max-num-seqs" in arguments
        or (wanted <= sequences and not bounded)
        or (batch_given and tokens < wanted)
    ):
        return {}
    found = {"max-num-seqs": str(wanted)}
    return found if tokens >= wanted else {**found, "max-num-batched-tokens": str(wanted)}


def vllm_settings(
    arguments: Mapping[str, str],
    env: Mapping[str, str],
    *,
    rules: VllmRules,
    gpu: Gpu,
    facts: ModelFacts,
    tensor: int,
    pipeline: int,
    max_model_len: int,
    kv_cache_dtype: str = "",
) -> VllmSettings:
    """Settings of a server of the version ``rules`` is for; ``arguments`` are parsed switches, which win."""
    given = decimal(first_of(arguments, "gpu-memory-utilization"))
    tokens, sequences, chunked = _batch(arguments, rules, gpu, max_model_len)
    dtype = kv_dtype(first_of(arguments, "kv-cache-dtype") or kv_cache_dtype, facts)
    eager = "enforce-eager" in arguments and arguments["enforce-eager"].lower() != "false"
    asynchronous = "no-async-scheduling" not in arguments and pipeline == 1
    estimated = env.get("VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS", "1") != "0"
    return VllmSettings(
        rules=rules,
        tensor=tensor,
        pipeline=pipeline,
        utilization=given if given is not None else rules.utilization / gpu.sharers,
        utilization_given=given is not None,
        kv_cache_bytes=integer(first_of(arguments, "kv-cache-memory-bytes", "kv-cache-memory")),
        sequences=sequences,
        batched_tokens=tokens,
        chunked=chunked,
        kv_element_bytes=KV_ELEMENT_BYTES.get(dtype, 2.0),
        block_tokens=integer(first_of(arguments, "block-size")) or 16,
        eager=eager,
        expert_parallel="enable-expert-parallel" in arguments,
        hybrid_windows=rules.windows == "window" and "disable-hybrid-kv-cache-manager" not in arguments,
        in_flight_steps=rules.in_flight if asynchronous else max(1, pipeline),
        offload_bytes=int((decimal(first_of(arguments, "cpu-offload-gb")) or 0.0) * GIB),
        swap_bytes=_swap_bytes(arguments, rules, tensor * pipeline),
        graph_sizes=0 if eager else graph_sizes(rules, sequences, arguments),
        graphs_inside=rules.graphs == "inside" and estimated,
        max_model_len=max_model_len,
    )


def _swap_bytes(arguments: Mapping[str, str], rules: VllmRules, gpus: int) -> int:
    """Source: vLLM config/cache.py: swap_space is of each GPU, kv_offloading_size of all of them."""
    swap = decimal(arguments.get("swap-space", SWAP_GIB)) or 0.0 if rules.runner == "v0" else 0.0
    offloading = decimal(arguments.get("kv-offloading-size")) or 0.0
    return int((swap + offloading / gpus) * GIB)


def graph_sizes(rules: VllmRules, sequences: int, arguments: Mapping[str, str]) -> int:
    """How many batch sizes are captured as CUDA graphs.

    1, 2, 4, then every 8th up to 256, then every 16th up to min(2 x max_num_seqs, 512). Before 0.8 up to
    max_num_seqs. Source: vLLM config/vllm.py _set_cudagraph_sizes.
    """
    asked = integer(first_of(arguments, "max-cudagraph-capture-size"))
    default = min(2 * sequences, 512) if rules.runner != "v0" else min(sequences, 256)
    largest = default if asked is None else asked
    small = [size for size in (1, 2, 4) if size <= largest]
    return len(small) + min(largest, 256) // 8 + max(0, round_up(largest - 256, 16) // 16)
