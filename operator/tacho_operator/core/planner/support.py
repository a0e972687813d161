"""What rules a way to run a model out before its memory is looked at: formats, capabilities, switches."""

from __future__ import annotations

from collections.abc import Mapping

from tacho_contract.failure import FailureClass
from tacho_contract.model import ModelFacts
from tacho_operator.core.planner.arguments import first_of, parse_arguments
from tacho_operator.core.planner.asked import Asked
from tacho_operator.core.planner.catalog.engines import engine_table, lacks_plugin, version_key
from tacho_operator.core.planner.catalog.gpus import Gpu, is_slice
from tacho_operator.core.planner.catalog.methods import MethodRow, least_capability, wrong_checkpoint
from tacho_operator.core.planner.sizing import llamacpp
from tacho_operator.core.planner.sizing.vllm_settings import KV_ELEMENT_BYTES, refused_switch

PLAIN_ENGINES = ("transformers", "ctranslate2")
CONVERTED = "ct2"
"""Format of a model that is converted already, whatever it was."""
PLAIN_CACHES = ("", "auto", "bfloat16")
"""KV cache types that every engine has."""
FP8_CACHE_CAPABILITY = (8, 0)
"""Source: vLLM v1/attention/backends: FlashInfer from 8.0, Triton from 8.9; none on Turing and Volta."""
NOT_IN_HALF = ("Gemma2", "Gemma3", "Glm4ForCausalLM")
"""Architectures that vLLM refuses to run in float16. Source: vLLM config/model.py
_FLOAT16_NOT_SUPPORTED_MODELS."""

CUDA_13_SINCE, CUDA_12_TAG = "0.26", "cu12"
CUDA_13_CAPABILITY = (7, 5)
"""CUDA 13 dropped Volta; vLLM's wheels are built with it since 0.26 at the latest (METADATA of that wheel),
and its images, except those whose tag names CUDA 12."""
STRETCHING = ("rope-", "yarn-", "hf-overrides")
"""Switches that change how positions are counted."""
Problem = tuple[str, str]
"""A failure class, and why in words."""


def unsupported(
    row: MethodRow,
    asked: Asked,
    facts: ModelFacts,
    gpu: Gpu,
    *,
    gpus: int,
    image: str,
    version: str,
    switches: Mapping[str, str],
) -> Problem | None:
    """Why ``row`` cannot run this checkpoint on ``gpus`` of ``gpu`` at all; None when memory decides."""
    engine = engine_table()[row.engine]
    if facts.format not in engine.formats:
        return FailureClass.UNSUPPORTED_QUANTIZATION, f"{row.engine} does not load {facts.format}"
    name = facts.architecture.name if facts.architecture else ""
    if engine.architectures and facts.format != CONVERTED and name and name not in engine.architectures:
        return FailureClass.ENGINE_NOT_SUPPORTED, f"{row.engine} cannot convert {name}"
    if words := wrong_checkpoint(row, facts):
        return FailureClass.UNSUPPORTED_QUANTIZATION, words
    if lacks_plugin(engine, image, version, row.method):
        return (
            FailureClass.UNSUPPORTED_QUANTIZATION,
            f"{image} has no plugin for {row.method}; leave engine.image out",
        )
    experts = facts.architecture is not None and facts.architecture.experts > 0
    if row.engine == "vllm" and row.method == "bnb-int8" and experts:
        return FailureClass.UNSUPPORTED_QUANTIZATION, "vllm loads no experts in bitsandbytes' 8 bits"
    if row.engine == "vllm" and (words := refused_switch(switches, version)):
        return FailureClass.INVALID_CONFIG, words
    if words := _capability_problem(row, facts, gpu, image, version):
        return FailureClass.UNSUPPORTED_GPU, words
    if gpus == 0 and ("cpu" not in engine.devices or row.method.startswith("bnb-")):
        return FailureClass.UNSUPPORTED_GPU, f"{row.engine} runs {row.method} on GPUs only"
    if problem := _cache_problem(row, asked, gpu, switches):
        return problem
    if gpus > 1 and is_slice(gpu):
        return (
            FailureClass.UNSUPPORTED_GPU,
            f"several of {gpu.product} may be one GPU; a model is not spread over them",
        )
    if row.engine == "ctranslate2" and gpus > 1:
        return FailureClass.UNSUPPORTED_GPU, "ctranslate2 runs on one GPU"
    return None


def stretched(asked: Asked) -> bool:
    """Whether the user stretches the model's context beyond what it was made for.

    vLLM refuses to start otherwise (config/model.py _get_and_verify_max_len), and positions that were never
    trained give nonsense in the other engines.
    """
    if asked.env.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "").strip().lower() in ("1", "true"):
        return True
    return any(name.startswith(STRETCHING) for name in parse_arguments(asked.extra_args))


def _capability_problem(row: MethodRow, facts: ModelFacts, gpu: Gpu, image: str, version: str) -> str:
    if gpu.capability == (0, 0):
        return ""
    has = f"{gpu.product} has {gpu.compute_capability}"
    least, what = least_capability(row, facts, version)
    if gpu.capability < least:
        return f"{row.engine} {version} runs {what} from compute capability {least[0]}.{least[1]} on; {has}"
    recent = version_key(version) >= version_key(CUDA_13_SINCE) and CUDA_12_TAG not in image
    if row.engine == "vllm" and recent and gpu.capability < CUDA_13_CAPABILITY:
        return f"vllm {version} is built with CUDA 13, which has no code for less than 7.5; {has}"
    name = facts.architecture.name if facts.architecture else ""
    if row.engine == "vllm" and not gpu.has_bf16 and name.startswith(NOT_IN_HALF):
        return f"vllm refuses {name} in float16, and bfloat16 needs compute capability 8.0; {has}"
    return ""


def _cache_problem(row: MethodRow, asked: Asked, gpu: Gpu, switches: Mapping[str, str]) -> Problem | None:
    """Why the engine has no KV cache of the wanted type on this GPU."""
    kind = asked.kv_cache_dtype
    missing = FailureClass.UNSUPPORTED_QUANTIZATION, f"{row.engine} has no KV cache of type {kind}"
    if row.engine in PLAIN_ENGINES:
        return None if kind in PLAIN_CACHES else missing
    if row.engine == "llamacpp":
        return missing if llamacpp.element_bytes(kind, switches) is None else None
    if kind and kind not in KV_ELEMENT_BYTES:
        return missing
    effective = first_of(switches, "kv-cache-dtype") or kind
    if effective.startswith("fp8") and (0, 0) != gpu.capability < FP8_CACHE_CAPABILITY:
        has = f"{gpu.product} has {gpu.compute_capability}"
        return FailureClass.UNSUPPORTED_GPU, f"an FP8 KV cache needs compute capability 8.0; {has}"
    return None
