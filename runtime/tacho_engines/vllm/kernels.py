"""What vLLM's kernels have no code for: newer GPUs, and types of the KV cache on older ones."""

from __future__ import annotations

import re

from tacho_contract.failure import FailureClass
from tacho_engines.base import EngineRefusal, Placement
from tacho_engines.memory.kv import PER_TOKEN_KINDS, layer_groups
from tacho_engines.shared import compatibility
from tacho_engines.shared.compatibility import refused
from tacho_engines.shared.images import version_key
from tacho_engines.vllm.profile import PROFILE
from tacho_engines.vllm.settings import EXPERT_PARALLEL, KV_ELEMENT_BYTES, in_32_bits, kv_dtype, switches

KNOWN_VERSION = "0.32"
INT8, INT8_UNTIL = "W8A8-int", (9, 0)
"""Scheme of compressed-tensors, and the last compute capability that runs it. Source: wheel 0.32.0, kernels/
linear/scaled_mm/cutlass.py: CutlassInt8ScaledMMLinearKernel takes every GPU, and its code ends on later ones
("Int8 not supported on SM120", vllm#54311)."""
DISABLED, CUTLASS = "VLLM_DISABLED_KERNELS", "CutlassInt8ScaledMMLinearKernel"
CHOSEN, IN_JSON = ("linear-backend", "kernel-config.linear-backend"), "kernel-config"
"""Switches by which the user chooses kernels, and that which may do so in JSON, which is not read."""
FP8_CACHE_CAPABILITY, BY_FLASHINFER = (8, 9), (8, 0)
"""Lowest compute capability for an FP8 KV cache: by Triton, and by FlashInfer where it has that attention;
none on Turing and Volta. Source: vLLM 0.32 v1/attention/backends: triton_attn.py, mla/triton_mla.py."""
E5M2, WITH_SCALES, MIXED = "fp8_e5m2", ("fp8", "modelopt"), "MIXED_PRECISION"
"""Type of the cache that vLLM refuses for these formats. Source: vLLM layers/attention/attention.py
_init_kv_cache_quant."""
FLASHINFER_HEADS = (64, 128, 256, 512)
"""Sizes of its heads; the rows of latent attention (MLA) have others."""
WITH_SINKS = ("GptOssForCausalLM",)
"""Architectures whose attention FlashInfer has from Hopper on alone (flashinfer.py supports_sink)."""
SEES_WHOLE_IMAGES = (
    *("BagelForConditionalGeneration", "Gemma3ForConditionalGeneration", "Molmo2ForConditionalGeneration"),
    *("Moondream3ForCausalLM", "PaliGemmaForConditionalGeneration"),
)
"""Architectures in which an image's tokens attend to later ones, which FlashInfer has not. Source: wheel
0.32.0, transformers_utils/model_arch_config_convertor.py is_mm_prefix_lm; supports_mm_prefix of backends."""
TEXTS_ALONE, MOST_IMAGES = "language-model-only", "limit-mm-per-prompt"
NO_IMAGES, EMBEDDINGS = re.compile(r'"image"\s*:\s*(\{[^{}]*"count"\s*:\s*)?0\s*[,}]'), "enable-mm-embeds"
"""Switches without images, the second where its limit of them is 0, and one that takes images computed
elsewhere. Source: wheel 0.32.0, config/multimodal.py, config/model.py _supports_multimodal_inputs."""


def too_new_refusal(placement: Placement) -> EngineRefusal | None:
    """The refusal of a GPU that is too new for the checkpoint's kernel; else None."""
    gpu, options = placement.device, placement.options
    known = version_key(placement.version)[:2] == version_key(KNOWN_VERSION)
    if not known or INT8 not in placement.facts.quantization.schemes or gpu.capability <= INT8_UNTIL:
        return None
    given, disabled = switches(options), options.env.get(DISABLED, "").split(",")
    chosen = next((given[name] for name in CHOSEN if name in given), "auto")
    if CUTLASS in disabled or chosen != "auto" or IN_JSON in given:
        return None
    return refused(
        FailureClass.UNSUPPORTED_GPU,
        f"vllm {placement.version} runs {INT8} up to compute capability 9.0; {gpu.product} has "
        f"{gpu.compute_capability}",
        f"Use a checkpoint in FP8, or set {DISABLED}={CUTLASS} in engine.env for another kernel",
    )


def cache_refusal(placement: Placement) -> EngineRefusal | None:
    """Why this GPU cannot hold a KV cache of the requested type, or of the checkpoint's; None: it can."""
    kind, gpu = placement.options.kv_cache_dtype, placement.device
    has = f"{gpu.product} has {gpu.compute_capability}"
    if kind and kind not in KV_ELEMENT_BYTES:
        return compatibility.cache_refusal(PROFILE, kind)
    if kind == "bfloat16" and gpu.lacks_bf16:
        message = f"quantization.kvCacheDtype bfloat16 needs compute capability 8.0 or higher; {has}"
        return refused(FailureClass.UNSUPPORTED_GPU, message, "Remove quantization.kvCacheDtype")
    given, stored = switches(placement.options).get("kv-cache-dtype"), placement.facts.quantization
    effective = kv_dtype(given or kind, placement.facts)
    if effective == E5M2 and _has_fp8_scales(placement):
        message = f"vllm refuses a KV cache of type {E5M2} for FP8 checkpoints"
        return refused(FailureClass.INVALID_CONFIG, message, "Set quantization.kvCacheDtype to fp8")
    least = _fp8_cache_capability(placement)
    if effective.startswith("fp8") and (0, 0) != gpu.capability < least:
        message = f"an FP8 KV cache needs compute capability {least[0]}.{least[1]} or higher; {has}"
        usual = "float16" if gpu.lacks_bf16 or placement.architecture.dtype == "float16" else "bfloat16"
        step = f"Set --kv-cache-dtype={usual} in engine.extraArgs"
        if kind and not given and not stored.kv_cache_dtype:
            step = "Remove quantization.kvCacheDtype"
        if _sees_whole_images(placement) and gpu.capability >= BY_FLASHINFER:
            step += f", or add --{TEXTS_ALONE} to engine.extraArgs if no images are served"
        return refused(FailureClass.UNSUPPORTED_GPU, message, step)
    return None


def _has_fp8_scales(placement: Placement) -> bool:
    """Whether the checkpoint has scales for an FP8 cache, by its format."""
    stored = placement.facts.quantization
    by_cache = stored.method == "compressed-tensors" or MIXED in stored.schemes
    return bool(stored.kv_cache_dtype) if by_cache else stored.method in WITH_SCALES


def _fp8_cache_capability(placement: Placement) -> tuple[int, int]:
    """The lowest compute capability for an FP8 KV cache of the model."""
    shape = placement.architecture
    growing = [group for group in layer_groups(shape) if group.kind in PER_TOKEN_KINDS]
    plain = all(group.key_head_dim in FLASHINFER_HEADS for group in growing)
    known = version_key(placement.version) >= version_key(KNOWN_VERSION)
    alone = (
        shape.name in WITH_SINKS or _sees_whole_images(placement) or in_32_bits(switches(placement.options))
    )
    by_triton = known and (not plain or alone)
    return FP8_CACHE_CAPABILITY if by_triton else BY_FLASHINFER


def _sees_whole_images(placement: Placement) -> bool:
    """Whether the model attends to whole images at once, and the user's switches leave it images."""
    given = switches(placement.options)
    none = given.get(f"{MOST_IMAGES}.image") == "0" or NO_IMAGES.search(given.get(MOST_IMAGES, ""))
    without = TEXTS_ALONE in given or (none and EMBEDDINGS not in given)
    return placement.architecture.name in SEES_WHOLE_IMAGES and not without


def partial_groups(placement: Placement) -> bool:
    """Source: wheel 0.32.0, layers/quantization/utils/marlin_utils.py check_moe_marlin_supports_config."""
    stored = placement.facts.quantization
    in_4_bits = (
        bool(placement.architecture.experts) and stored.schemes == ("W4A16",) and stored.group_size > 1
    )
    return in_4_bits and _expert_width(placement) % stored.group_size != 0


def _expert_width(placement: Placement) -> int:
    """Width of a GPU's part of an expert; expert parallelism leaves experts whole."""
    parts = 1 if EXPERT_PARALLEL in switches(placement.options) else placement.tensor
    return placement.architecture.moe_intermediate_size // parts


def slow_experts(placement: Placement) -> str:
    """What makes experts in 4 bits slow, and what does not; "": they have Marlin's kernels.

    A Phi-mini-MoE in GPTQ had two fifths of the rate expected of Marlin's (benchmarks/lab/h200/
    vllm-0.32-quantized.md).
    """
    if not partial_groups(placement):
        return ""
    group, wide = placement.facts.quantization.group_size, _expert_width(placement)
    divided = placement.architecture.moe_intermediate_size % group == 0
    step = "; --enable-expert-parallel in engine.extraArgs keeps them whole" if divided else ""
    return f"slow kernels for experts: {wide} wide on a GPU is no multiple of their groups of {group}{step}"
