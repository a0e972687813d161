"""Transformers for the planner: what it cannot run, its switches, and its memory."""

from __future__ import annotations

from dataclasses import replace

from tacho_contract.failure import FailureClass
from tacho_engines.base import Context, EngineRefusal, Placement, PlannerAdapter
from tacho_engines.memory import kv
from tacho_engines.memory.account import Account
from tacho_engines.shared.compatibility import (
    cuda_13_refusal,
    double_quant_refusal,
    is_quantized,
    plain_refusal,
    refused,
    stored_method,
)
from tacho_engines.shared.remote_code import code_refusal, in_transformers
from tacho_engines.shared.switches import parse_arguments
from tacho_engines.transformers import memory
from tacho_engines.transformers.profile import PROFILE

FOUR_BITS = ("bnb-nf4", "bnb-fp4")
IN_FLIGHT = ("bnb-int8", *FOUR_BITS)
"""Quantization methods that bitsandbytes applies while loading; others need a quantized checkpoint."""
BY_GPTQMODEL = ("awq", "gptq")
"""Methods for which transformers needs the package gptqmodel.

The image lacks it: it is published as source only, and would compile its kernels in the pod with nvcc, which
the image lacks, too. Source: transformers 5.19 quantizers/quantizer_awq.py, quantizer_gptq.py; gptqmodel
7.6.0 and 7.7.0 utils/cpp.py.
"""
GPTQMODEL_CAPABILITY = (7, 5)
"""Lowest compute capability of gptqmodel's kernels."""


def compute_dtype(placement: Placement) -> str:
    """The 16-bit type that 4-bit weights are multiplied in."""
    return "float16" if placement.device.lacks_bf16 else "bfloat16"


def dtype(placement: Placement) -> str:
    """Type of the weights that are not quantized: 16 bits, as stored where the device supports that type."""
    if placement.architecture.dtype == "float16" and not placement.device.on_host:
        return "float16"
    return "float16" if placement.device.lacks_bf16 else "bfloat16"


CACHED = ("full", "sliding")
"""Kinds of layers for which its continuous batching has a cache. Source: transformers
generation/continuous_batching/cache_allocators.
"""
WITH_MORE = "ForConditionalGeneration"
"""Ending of architectures that read more than text."""
AS_TEXT = tuple(
    f"{family}{WITH_MORE}"
    for family in (*("Gemma3", "Gemma4", "Gemma4Unified", "Llama4", "Mllama", "Qwen3_5", "Qwen3_5Moe"),)
)
"""Those of which AutoModelForCausalLM loads the language model. Gemma 3n's comes with a tower that needs the
package timm, which the image lacks. Source: transformers 5.19 models/auto/modeling_auto.py
MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, models/timm_wrapper."""
UNBATCHED = (
    "OpenAIGPTLMHeadModel",
    *(
        f"{family}ForCausalLM"
        for family in (
            *("Falcon", "RW", "GPTJ", "CodeGen", "GPTNeo", "Mpt", "MPT", "DiffLlama", "Doge", "JetMoe"),
            *("StableLm", "Nemotron", "Bloom", "XGLM", "GPTNeoXJapanese", "CpmAnt", "HrmText"),
        )
    ),
)
"""Architectures whose attention does not read the batch's cache: their second token is of another text, or an
error. Run with Transformers 5.19, each small and with random weights.
"""
PLANNED = (
    *("quantization", "double-quant", "no-double-quant", "compute-dtype", "dtype", "device", "max-model-len"),
    *("max-batch", "served-model-name", "trust-remote-code", "model", "host", "port"),
)
"""Switches that the plan sets."""


def _compute_refusal(placement: Placement) -> EngineRefusal | None:
    """The refusal of a compute type for a checkpoint that is already quantized and names its own
    (bnb_4bit_compute_dtype); else None.
    """
    requested = placement.options.compute_dtype
    if not requested or not is_quantized(placement.facts):
        return None
    return refused(
        FailureClass.INVALID_CONFIG,
        f"quantization.bitsandbytes.computeDtype {requested} has no effect: the checkpoint is already "
        "quantized, and names its compute type itself",
        "Remove quantization.bitsandbytes.computeDtype",
    )


def _package_refusal(placement: Placement) -> EngineRefusal | None:
    stored, file = stored_method(placement.facts), placement.facts.quantization.file
    if file:
        # quantizers/auto.py get_hf_quantizer asks config.json alone.
        message, step = f"transformers does not read {file}", "Set engine.name to vllm, which does"
        return refused(FailureClass.UNSUPPORTED_QUANTIZATION, message, step)
    if placement.options.own_image:
        return None
    if stored == "none" and is_quantized(placement.facts):
        # Some are loaded without their package too, in 16 bits (quantizer_mxfp4.py).
        name = placement.facts.quantization.method
        message = f"tacho's image of transformers lacks what loads {name} checkpoints"
        return refused(FailureClass.UNSUPPORTED_QUANTIZATION, message, "Leave engine.name out")
    if stored not in BY_GPTQMODEL:
        return None
    gpus = " and gpu.count to 1 or more" if placement.device.on_host else ""
    return refused(
        FailureClass.UNSUPPORTED_QUANTIZATION,
        f"transformers loads {stored} checkpoints with the package gptqmodel, which tacho's image lacks",
        f"Set engine.name to vllm{gpus}: vllm loads them by itself, on GPUs only",
    )


def _with_gptqmodel(placement: Placement) -> Placement:
    """``placement`` with the checkpoint's method in place of ``none``, as a user's image may support it."""
    stored, method = stored_method(placement.facts), placement.method
    if stored not in BY_GPTQMODEL or method.method != "none":
        return placement
    loaded = replace(method, method=stored, capability=GPTQMODEL_CAPABILITY, gpu_only=True)
    return replace(placement, method=loaded)


def _class_refusal(placement: Placement) -> EngineRefusal | None:
    """The refusal of a model that its batching does not compute, or whose language model Transformers does
    not load by itself; None where it does, or the user's image may.
    """
    name = placement.architecture.name
    if name in UNBATCHED:
        message = f"Transformers' continuous batching does not compute {name}"
        return refused(FailureClass.ENGINE_NOT_SUPPORTED, message, "Set engine.name to vllm")
    if placement.options.own_image or not name.endswith(WITH_MORE) or name in AS_TEXT:
        return None
    message = f"Transformers does not load the language model of {name} without its other inputs"
    return refused(FailureClass.ENGINE_NOT_SUPPORTED, message, "Set engine.name to vllm")


def _layers_refusal(placement: Placement) -> EngineRefusal | None:
    groups = kv.layer_groups(placement.architecture)
    other = sorted({group.kind for group in groups} - set(CACHED))
    if other:
        message = f"Transformers' continuous batching has no cache for layers of kind {other[0]}"
        return refused(FailureClass.ENGINE_NOT_SUPPORTED, message)
    shapes = {(g.key_value_heads, width) for g in groups for width in (g.key_head_dim, g.value_head_dim)}
    if len(shapes) > 1:
        message = "Transformers' continuous batching has no cache for keys and values of several shapes"
        return refused(FailureClass.ENGINE_NOT_SUPPORTED, message, "Set engine.name to vllm")
    return None


def _gpus_refusal(placement: Placement) -> EngineRefusal | None:
    """The refusal of several GPUs: layers on a second one cannot write to the KV cache, which is on the
    first. Source: transformers generation/continuous_batching/cache.py PagedAttentionCache.cache_tensor.
    """
    if placement.count < 2:
        return None
    step = "Set gpu.count to 1, or engine.name to vllm"
    return refused(FailureClass.UNSUPPORTED_GPU, "transformers runs on one GPU", step)


def _switch_refusal(placement: Placement) -> EngineRefusal | None:
    for name in parse_arguments(placement.options.arguments):
        if name in PLANNED:
            message = f"--{name} in engine.extraArgs contradicts what is planned"
            return refused(FailureClass.INVALID_CONFIG, message, f"Remove --{name}, or set its field in spec")
    return None


class TransformersPlan(PlannerAdapter):
    """The planner adapter of Transformers: it runs on one GPU or on the host's CPUs."""

    def refusal(self, placement: Placement) -> EngineRefusal | None:
        """Why Transformers cannot run this placement at all; None when only memory decides."""
        return (
            _package_refusal(placement)
            or (None if placement.options.own_image else cuda_13_refusal(PROFILE, placement))
            or plain_refusal(PROFILE, _with_gptqmodel(placement), dtype(placement))
            or double_quant_refusal(PROFILE, placement)
            or _compute_refusal(placement)
            or (None if placement.options.own_image else code_refusal(placement, in_transformers()))
            or _gpus_refusal(placement)
            or _class_refusal(placement)
            or _layers_refusal(placement)
            or _switch_refusal(placement)
        )

    def account(self, placement: Placement, context: Context) -> Account:
        return memory.account(placement, context)

    def arguments(self, placement: Placement, _context: Context) -> tuple[str, ...]:
        """Switches for device, method and types, and for the model's own code where the user trusts it."""
        options = placement.options
        switches = ["--device", "cpu" if placement.device.on_host else "cuda"]
        method = placement.method.method
        if method in IN_FLIGHT and not is_quantized(placement.facts):
            switches += ["--quantization", method]
            if method in FOUR_BITS:
                switches.append("--no-double-quant" if options.double_quant is False else "--double-quant")
                switches += ["--compute-dtype", options.compute_dtype or compute_dtype(placement)]
        switches += ["--dtype", dtype(placement)]
        return (*switches, "--trust-remote-code") if options.trust_remote_code else tuple(switches)

    def fallbacks(self, placement: Placement) -> tuple[str, ...]:
        return memory.fallbacks(placement)


PLAN: PlannerAdapter = TransformersPlan(PROFILE, cache_bytes=memory.CACHE_ELEMENT_BYTES)
