"""How vLLM's use of memory differs between its versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, Literal

from tacho_contract.model import Architecture
from tacho_engines.shared.images import version_key


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmRules:
    """Constants and rules of vLLM's memory from ``version`` on, up to the next known change."""

    version: str
    source: str
    """Source of the values."""
    utilization: float = 0.90
    """vLLM's default of --gpu-memory-utilization (config/cache.py)."""
    runner: Literal["v0", "v1", "v2"] = "v0"
    """Model runner whose peak the start measures (v0: unfused eager code, sampler with torch operations)."""
    sampler_bytes: float = 38
    """Bytes per logit at the sampler's peak: sorted values and indices, softmax, cumulated sum, masks."""
    graphs: Literal["inside", "outside"] = "outside"
    """Whether the CUDA graphs count against the budget, or are allocated on top of it."""
    chunk_above: int = -1
    """Context in tokens above which prompts are prefilled in chunks by default; 0: always, -1: never."""
    chunk_tokens: int = 512
    """Default of --max-num-batched-tokens when prefilling in chunks, on GPUs below 70 GiB and A100."""
    large_tokens: int = 512
    """Default of --max-num-batched-tokens when prefilling in chunks, on GPUs of 70 GiB and more, A100
    excepted."""
    huge_tokens: int = 512
    """Default of --max-num-batched-tokens when prefilling in chunks, on GPUs of 160 GiB and more."""
    sequences: int = 256
    """Default of --max-num-seqs on GPUs below 70 GiB and A100."""
    large_sequences: int = 256
    """Default of --max-num-seqs on GPUs of 70 GiB and more."""
    latent: bool = False
    """Whether MLA layers cache the latent vector; False: every head in full, padded to 256."""
    windows: Literal["full", "window"] = "full"
    """Whether sliding-window layers cache the whole context, or only their window."""
    in_flight: int = 1
    """Steps in progress whose tokens a sliding window also keeps: 1, or 2 with asynchronous scheduling."""
    states: int = 1
    """Recurrent states that a request keeps by default: with prefix caching a second one."""
    state_each_block: tuple[str, ...] = ()
    """Architectures of which a request keeps by default a recurrent state for each block."""
    kv_size: Literal["blocks", "concurrency"] = "blocks"
    """How vLLM computes "GPU KV cache size": blocks x tokens per block / groups, or concurrency x length."""
    nf4_bits: float = 4.127
    """Bits per weight of bitsandbytes' 4-bit methods in GPU memory."""
    mxfp4_hopper: Literal["marlin", "triton", "oracle"] = "marlin"
    """Kernel for MXFP4 experts on compute capability 9.x."""
    blackwell_graph_tokens: int = 512
    """Largest batch captured as a CUDA graph by default on compute capability 10.x; 512 on others."""
    graph_law: Literal["sizes", "shape"] = "sizes"
    """Whether a captured batch size needs the same memory for every model, or depends on its shape."""
    non_torch_mib: int = 205
    """Memory of the process outside PyTorch in MiB; logs show 0.03 to 0.35 GiB."""
    held: bool = False
    """Whether all memory counts that the process holds after the profile run: also the sampler's tables and
    the workspaces of cuBLAS and of experts. Else only the peak above the weights counts.
    """
    collectives: Literal["inside", "before"] = "inside"
    """Whether buffers between GPUs are inside the budget, or allocated before vLLM first measures memory."""
    compile_copies: bool = False
    """Whether compilation measures kernels on copies of their inputs, including the embedding."""
    v2_experts: tuple[str, ...] | None = None
    """Architectures with experts that use runner v2; None: all models use the same runner."""
    whole_blocks: bool = False
    """Whether PyTorch's allocator does not split large blocks while weights are loaded."""
    reserve: float = 0.0
    """Share of the memory that vLLM keeps free because it does not count all of its use."""


FIRST = VllmRules(
    version="0.2",
    reserve=0.2,
    source="worker/worker.py profile_num_available_blocks; before 0.5 cached blocks counted as used",
)
CHANGES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("0.5", "worker/worker.py determine_num_available_blocks", {"reserve": 0.0}),
    (
        "0.5.4",
        "engine/arg_utils.py: chunked prefill by default above 32k (vllm#6666)",
        {"chunk_above": 32768},
    ),
    (
        "0.6.5",
        "config.py _DEFAULT_MAX_NUM_BATCHED_TOKENS (vllm#10544)",
        {"chunk_tokens": 2048, "large_tokens": 2048, "huge_tokens": 2048},
    ),
    ("0.7.1", "attention/backends/mla (vllm#12601)", {"latent": True}),
    (
        "0.8",
        "v1/worker/gpu_worker.py; engine/arg_utils.py _set_default_args_v1; vllm#15228",
        {
            "runner": "v1",
            "chunk_above": 0,
            "large_tokens": 8192,
            "huge_tokens": 8192,
            "large_sequences": 1024,
            "nf4_bits": 4.5,
        },
    ),
    ("0.10", "v1/core/kv_cache_utils.py, hybrid KV cache manager", {"windows": "window"}),
    ("0.12", "layers/quantization/mxfp4.py get_mxfp4_backend", {"mxfp4_hopper": "triton"}),
    (
        "0.20",
        "wheel 0.20.0: config/cache.py, envs.py VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS (0.19.0: 0.9, off)",
        {"utilization": 0.92, "graphs": "inside"},
    ),
    (
        "0.21",
        "wheel 0.21.0: v1/core/kv_cache_utils.py _report_kv_cache_config, v1/worker/gpu_worker.py "
        "_scoped_allocator_max_split (neither in 0.20.2)",
        {"kv_size": "concurrency", "whole_blocks": True},
    ),
    (
        "0.26",
        "wheel 0.26.0: config/vllm.py max_in_flight_tokens; own measurements, H200: the V2 runner estimates "
        "0 for graphs, a vocabulary of 152k at 1024 sequences does not show in the peak, and every start "
        "says 0.22 GiB of memory that is not torch's",
        {
            "runner": "v2",
            "sampler_bytes": 2,
            "graphs": "outside",
            "graph_law": "shape",
            "non_torch_mib": 225,
            "in_flight": 2,
            # config/model.py is_prefix_caching_supported, models/config.py MambaModelConfig (0.23.0: off)
            "states": 2,
            "state_each_block": (
                "FalconH1ForCausalLM",
                "GraniteMoeHybridForCausalLM",
                "JambaForCausalLM",
                "NemotronHForCausalLM",
                "Zamba2ForCausalLM",
            ),
            "mxfp4_hopper": "oracle",
            "collectives": "before",
            "compile_copies": True,
            "v2_experts": (
                "DeepseekV2ForCausalLM",
                "GraniteMoeForCausalLM",
                "InklingForCausalLM",
                "InklingForConditionalGeneration",
                "LongcatFlashNgramForCausalLM",
                "Qwen2MoeForCausalLM",
            ),
        },
    ),
    (
        "0.27",
        "wheel 0.27.1: utils/mem_utils.py memory_profiling total_consumed (0.26.0 has none); own "
        "measurements of 0.32, H200",
        {"held": True},
    ),
    (
        "0.28",
        "wheel 0.28.0 (0.27.1 has neither): engine/arg_utils.py get_batch_defaults, config/vllm.py "
        "_set_cudagraph_sizes; models/config.py MambaModelConfig",
        {"huge_tokens": 16384, "blackwell_graph_tokens": 1024, "state_each_block": ()},
    ),
    (
        "0.29",
        "wheel 0.29.0; own measurements of 0.32, H200; L4 log with 1.55 GiB of activations, of which 0.29 "
        "are an estimate of the graphs",
        {
            "graphs": "inside",
            "v2_experts": None,
        },
    ),
)
"""(version, source, changed values) of each version that changed the use of memory, oldest first."""

VERSIONS = tuple(
    accumulate(
        CHANGES,
        lambda rules, change: replace(rules, version=change[0], source=change[1], **change[2]),
        initial=FIRST,
    )
)
"""Rules of every known vLLM version, oldest first."""

V1 = "0.8"
"""First version that uses the V1 engine by default; its rules also apply where V1 is switched on earlier."""
SWAP_REMOVED = "0.18"
"""vLLM version from which the switch --swap-space is removed (wheels 0.17.0, 0.18.0: engine/arg_utils.py)."""
LAST_V0 = "0.7.1"
V0_REMOVED = "0.11"


def rules_for(version: str, env: Mapping[str, str] | None = None) -> VllmRules:
    """The rules for ``version``; for an unknown version, the newest.

    ``VLLM_USE_V1`` in ``env`` selects the engine in versions that have both, and ``VLLM_MLA_DISABLE`` has
    every head cached in full.
    """
    rules = _rules_of_version(version, env or {})
    whole_heads = (env or {}).get("VLLM_MLA_DISABLE", "").strip() not in ("", "0")
    return replace(rules, latent=False) if whole_heads else rules


def _rules_of_version(version: str, env: Mapping[str, str]) -> VllmRules:
    key = version_key(version)
    if not key:
        return VERSIONS[-1]
    requested = env.get("VLLM_USE_V1", "")
    if requested == "1" and key < version_key(V1):
        key = version_key(V1)
    elif requested == "0" and version_key(V1) <= key < version_key(V0_REMOVED):
        key = version_key(LAST_V0)
    return next((row for row in reversed(VERSIONS) if version_key(row.version) <= key), VERSIONS[0])


def rules_of(version: str, architecture: Architecture, env: Mapping[str, str] | None = None) -> VllmRules:
    """The rules for ``version`` and one model.

    0.26 uses the first runner for most models with experts and those with recurrent state; its sampler is
    profiled with every filter on, and its CUDA graphs are estimated. Source: wheel 0.26.0, config/vllm.py
    use_v2_model_runner; sampler: 16-bit logits, the same in 32 bits, probabilities and noise (v1/sample/ops/
    topk_topp_sampler.py).
    """
    rules = rules_for(version, env)
    if rules.v2_experts is None:
        return rules
    recurrent = any(group.state_bytes for group in architecture.layer_groups)
    first = recurrent or (architecture.experts > 0 and architecture.name not in rules.v2_experts)
    requested = (env or {}).get("VLLM_USE_V2_MODEL_RUNNER", "")
    if requested in ("0", "1"):
        first = requested == "0"
    return replace(rules, runner="v1", sampler_bytes=14, graphs="inside") if first else rules
