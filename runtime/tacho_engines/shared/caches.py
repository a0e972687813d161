"""Where an engine that is built on PyTorch keeps what it compiles."""

from __future__ import annotations

from tacho_contract.launch import RuntimeConfig


def compile_caches(config: RuntimeConfig) -> dict[str, str]:
    """Variables of TorchInductor, Triton and the CUDA driver's own compiler. Empty without a place."""
    if not config.cache_dir:
        return {}
    return {
        "TORCHINDUCTOR_CACHE_DIR": f"{config.cache_dir}/inductor",
        "TRITON_CACHE_DIR": f"{config.cache_dir}/triton",
        "CUDA_CACHE_PATH": f"{config.cache_dir}/cuda",
    }


def vllm_caches(config: RuntimeConfig) -> dict[str, str]:
    """Those, and vLLM's own, which holds the graphs it has compiled."""
    found = compile_caches(config)
    return {**found, "VLLM_CACHE_ROOT": f"{config.cache_dir}/vllm"} if found else {}
