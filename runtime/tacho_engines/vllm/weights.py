"""Memory of a model's weights in vLLM: the tensors, and what PyTorch's allocator keeps in addition."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

from tacho_contract.model import Architecture, ModelFacts, TensorClass
from tacho_engines.base import Placement
from tacho_engines.hardware.device import Device
from tacho_engines.memory import weights
from tacho_engines.memory.rounding import ceil_div, round_up
from tacho_engines.memory.weights import FP8_BITS, INT8_BITS
from tacho_engines.shared.images import version_key
from tacho_engines.vllm import allocator
from tacho_engines.vllm.settings import VllmSettings
from tacho_engines.vllm.speed import GGUF_BY_PLUGIN

PLAIN_MLP = (
    "BloomForCausalLM",
    "CodeGenForCausalLM",
    "FalconForCausalLM",
    "GPT2LMHeadModel",
    "GPTBigCodeForCausalLM",
    "GPTJForCausalLM",
    "GPTNeoXForCausalLM",
    "MPTForCausalLM",
    "OPTForCausalLM",
    "PhiForCausalLM",
    "Starcoder2ForCausalLM",
)
"""Architectures whose MLP is not gated. Source: vLLM model_executor/models (the first projection is a
ColumnParallelLinear, not a MergedColumnParallelLinear)."""
GPT_OSS = "GptOssForCausalLM"
KERNEL_PADDING = {"marlin": (128, 256), "triton": (64, 256), "oracle": (64, 1), "trtllm": (256, 256)}
"""Multiples to which the intermediate (per GPU) and hidden size of MXFP4 experts are padded, by kernel.

Source: vLLM layers/quantization/mxfp4.py create_weights; "oracle", Triton later:
layers/fused_moe/oracle/mxfp4.py mxfp4_round_up_hidden_size_and_intermediate_size (wheel 0.26.0). Compute
capability 10.x has FlashInfer's TRTLLM kernel in every version that loads these experts (wheels 0.10.1.1,
0.11.0, 0.12.0, 0.26.0); 8.x and 12.x have Marlin.
"""
SCALE_ROWS, SCALE_GROUPS, GROUP = 256, 4, 32
"""Padding of MXFP4 scales in Triton's layout on compute capability 9.x: multiples of rows and of groups, and
values per group.

Source: triton_kernels HopperMXScaleLayout with 8 warps; vLLM mxfp4_utils.py _swizzle_mxfp4. A gpt-oss-20b
used 13.03 GiB on an H200, 0.6 % more than predicted so; its biases are kept in 32 bits in addition.
"""
MACHETE_AWQ = (4.25 + 0.03125) / 4.15625
"""Factor on AWQ weights with Machete (compute capability 9.0), which expands packed zero points to 16 bits
per group.

Starts of an 8B were 0.05 GiB above the prediction, others of that shape 0.01 to 0.02: the packed ones are
kept, too.
"""
UNQUANTIZED_BYTES, UNQUANTIZED_BITS = 2.0, 16

PACKED_4_BITS = "W4A16"
"""Scheme of AWQ, GPTQ and compressed-tensors whose weights a kernel lays out anew."""
PACKED_DTYPE = "U8"
"""Storage type of two weights of 4 bits by bitsandbytes."""
ATTENTION = ("full", "sliding", "chunked")
"""Kinds of attention layers that have the same projections."""


def linear_bits(method: str, settings: VllmSettings, facts: ModelFacts) -> float | None:
    """Bits per linear weight with a method that is applied while loading; None: as stored in the checkpoint.

    Source: vLLM layers/quantization and vllm-bnb-plugin (NF4: 4 + 32/64 bits, as double-quantized constants
    are expanded; int8: 8 bits and a 32-bit scale per row).
    """
    if weights.quantized_in_checkpoint(facts):
        return None
    return {
        "fp8": FP8_BITS,
        "bnb-nf4": settings.rules.nf4_bits,
        "bnb-fp4": settings.rules.nf4_bits,
        "bnb-int8": INT8_BITS,
    }.get(method)


def weights_bytes(placement: Placement, settings: VllmSettings) -> int:
    """Bytes of weights on the most loaded GPU, as vLLM logs them (``Model loading took``), with padding and
    rotary table.
    """
    architecture, parts = placement.architecture, _parts(placement, settings)
    return max(
        0,
        weights.per_gpu(parts, architecture, tensor=settings.tensor, pipeline=settings.pipeline)
        + kept_bytes(placement, settings)
        + int(settings.wider * weights.rotary_bytes(architecture, settings.max_model_len))
        - settings.offload_bytes,
    )


def unread_bytes(placement: Placement, settings: VllmSettings) -> int:
    """Bytes on one GPU that no step reads: ``kept_bytes``, and an embedding table beside the head."""
    table = weights.embedding_table_bytes(_parts(placement, settings), placement.architecture)
    return kept_bytes(placement, settings) + int(table / (settings.tensor * settings.pipeline))


def kept_bytes(placement: Placement, settings: VllmSettings) -> int:
    """Bytes besides the tensors: what PyTorch's allocator keeps, and the merged parts of a GGUF file."""
    gated = placement.architecture.name not in PLAIN_MLP
    if gguf_by_plugin(placement) and placement.facts.quantization.bits < UNQUANTIZED_BITS:
        kept = _gguf_allocator_bytes(placement, settings, gated=gated) if settings.rules.whole_blocks else 0
        return kept + _merged_bytes(placement, settings, gated=gated)
    if not settings.rules.whole_blocks:
        return 0
    spread = {"tensor": settings.tensor, "pipeline": settings.pipeline}
    parts, anew = _parts(placement, settings), _made_anew(placement)
    return allocator_bytes(placement.architecture, parts, gated=gated, anew=anew, **spread)


def _parts(placement: Placement, settings: VllmSettings) -> weights.Parts:
    """Parts of the whole model, as the vLLM version loads the weights."""
    facts, architecture, gpu = placement.facts, placement.architecture, placement.device
    stored = facts.quantization
    if stored.method == "bitsandbytes" and stored.bits == 4:
        facts = replace(facts, tensors=tuple(_with_scales(facts.tensors, settings.rules.nf4_bits)))
    parts = weights.parts(
        facts,
        linear_bits=linear_bits(placement.method.method, settings, facts),
        plain_bytes=settings.element_bytes,
    )
    if stored.method == "awq" and gpu.capability[0] == 9:
        parts = _scaled(parts, split=MACHETE_AWQ)
    if stored.method == "mxfp4":
        parts = _scaled(parts, experts=_expert_padding(architecture, gpu, settings))
    return parts


def _with_scales(tensors: Iterable[TensorClass], bits: float) -> Iterator[TensorClass]:
    """The tensors of a checkpoint in bitsandbytes' 4 bits, of which ``bits`` include the scales as loaded.

    What was skipped (llm_int8_skip_modules, a vision tower) stays as stored.
    """
    for tensor in tensors:
        if tensor.dtype == PACKED_DTYPE and tensor.kind != "scale":
            yield replace(tensor, stored_bytes=int(tensor.parameters * 2 * bits / 8))
        elif tensor.kind != "scale":
            yield tensor


def gguf_by_plugin(placement: Placement) -> bool:
    """Whether vllm-gguf-plugin loads the model's GGUF file."""
    key = version_key(placement.version)
    return placement.facts.format == "gguf" and (not key or key >= version_key(GGUF_BY_PLUGIN))


def _merged(linear: list[float], architecture: Architecture) -> Iterator[float]:
    """Number of elements of a layer's tensors that are merged from several of a GGUF file."""
    yield linear[0]
    if len(linear) > 2 and architecture.name not in PLAIN_MLP:
        yield linear[2]


def _merged_bytes(placement: Placement, settings: VllmSettings, *, gated: bool) -> int:
    """Bytes on the most loaded GPU of the tensors that vllm-gguf-plugin merges: queries, keys and values; the
    MLP's two projections up. They are in memory twice.

    On an H200 (vLLM 0.26, plugin 0.0.5) a Llama 8B in Q4_0 used 6.38 GiB where its file has 3.87; predicted
    so: 6.38. Why the parts stay is not known: the plugin's code releases them.
    """
    architecture, parts = placement.architecture, _parts(placement, settings)
    linear = list(_linear(architecture, gated=gated))
    twice = _scaled(parts, split=1 + sum(_merged(linear, architecture)) / max(1.0, sum(linear)))
    spread = {"tensor": settings.tensor, "pipeline": settings.pipeline}
    once, both = (weights.per_gpu(each, architecture, **spread) for each in (parts, twice))
    return both - once


def _scaled(parts: weights.Parts, *, split: float = 1.0, experts: float = 1.0) -> weights.Parts:
    return weights.Parts(
        split=parts.split * split,
        experts=parts.experts * experts,
        embedding=parts.embedding,
        head=parts.head,
        replicated=parts.replicated,
    )


def _expert_padding(architecture: Architecture, gpu: Device, settings: VllmSettings) -> float:
    """Factor by which experts grow, padded to the kernel's tiles (gpt-oss-120b: 60.8 GiB load as 66.0)."""
    kernel = _mxfp4_kernel(gpu, settings)
    wide, deep = KERNEL_PADDING[kernel]
    share = settings.tensor if not settings.expert_parallel else 1
    inner = ceil_div(architecture.moe_intermediate_size or architecture.intermediate_size, share)
    hidden = architecture.hidden_size
    if not inner or not hidden:
        return 1.0
    padded, deeper = round_up(inner, wide), round_up(hidden, deep)
    if kernel != "oracle":
        return padded * deeper / (inner * hidden)
    values = 3 * padded * deeper // 2  # bytes: a gate and a projection up, and one down
    scales = _scale_bytes(2 * padded, deeper) + _scale_bytes(deeper, padded)
    return (values + scales) / (3 * inner * hidden * (1 / 2 + 1 / GROUP))


def _mxfp4_kernel(gpu: Device, settings: VllmSettings) -> str:
    return {9: settings.rules.mxfp4_hopper, 10: "trtllm"}.get(gpu.capability[0], "marlin")


def experts_in_one_kernel(placement: Placement, settings: VllmSettings) -> bool:
    """Whether one kernel computes all of the experts' layer, and no workspace outlasts it.

    Source: wheel 0.26.0, layers/fused_moe/experts/gpt_oss_triton_kernels_moe.py
    OAITritonMxfp4ExpertsMonolithic, which the logs of gpt-oss on H200s and H100s name.
    """
    stored, name = placement.facts.quantization.method, placement.architecture.name
    return stored == "mxfp4" and name == GPT_OSS and _mxfp4_kernel(placement.device, settings) == "oracle"


def _scale_bytes(rows: int, columns: int) -> int:
    return round_up(rows, SCALE_ROWS) * round_up(ceil_div(columns, GROUP), SCALE_GROUPS)


def offloaded_bytes(placement: Placement, settings: VllmSettings) -> int:
    """Bytes of one GPU's weights that stay in host memory (--cpu-offload-gb)."""
    whole = weights_bytes(placement, replace(settings, offload_bytes=0))
    return whole - weights_bytes(placement, settings)


# --- the allocator ---------------------------------------------------------------------------------
def allocator_bytes(
    architecture: Architecture,
    parts: weights.Parts,
    *,
    gated: bool,
    tensor: int,
    pipeline: int,
    anew: allocator.Anew = "",
) -> int:
    """Bytes that PyTorch's allocator keeps in addition to the tensors on the most loaded GPU; 0 where the
    shapes are unknown.

    ``parts``: the whole model's weights. ``gated``: whether the MLP's two projections up are one tensor.
    """
    linear = list(_linear(architecture, gated=gated))
    elements, experts = sum(linear), list(_experts(architecture))
    if not elements or not _known(architecture):
        return 0
    per_element = _stored(parts.split / architecture.layers / elements)
    per_expert = _stored(parts.experts / architecture.layers / sum(experts)) if sum(experts) else 0.0
    if per_expert < UNQUANTIZED_BYTES:
        experts = []  # packed ones are laid out anew once they are loaded, padded for their kernel
    sizes = [per_element * each / tensor for each in linear] + [
        per_expert * each / tensor for each in experts
    ]
    ends = [size / tensor for size in (parts.embedding, parts.head) if size]
    return allocator.kept_bytes(
        tuple(map(round, ends if pipeline == 1 else ends[:1])),
        tuple(map(round, sizes)),
        layers=ceil_div(architecture.layers, pipeline),
        anew=anew,
    )


def _made_anew(placement: Placement) -> allocator.Anew:
    stored = placement.facts.quantization
    if not weights.quantized_in_checkpoint(placement.facts):
        return "each" if placement.method.method == "fp8" else ""
    dense = not placement.architecture.experts  # packed experts' sizes are not known here
    return "afterwards" if stored.scheme == PACKED_4_BITS and dense else ""


def _known(architecture: Architecture) -> bool:
    """Whether the shapes of the tensors in each layer follow from ``architecture``."""
    alike = all(group.kind in ATTENTION for group in architecture.layer_groups)
    return bool(architecture.layers) and not architecture.kv_lora_rank and alike


def _gguf_allocator_bytes(placement: Placement, settings: VllmSettings, *, gated: bool) -> int:
    """As ``allocator_bytes``, of each tensor of the file and the merged ones, whose scales are inside."""
    architecture = placement.architecture
    linear = list(_linear(architecture, gated=gated))
    if architecture.experts or not sum(linear) or not _known(architecture):
        return 0
    whole = weights.parts(placement.facts, linear_bits=None).split
    per_element = whole / architecture.layers / sum(linear) / settings.tensor
    hidden, dim = architecture.hidden_size, architecture.head_dim
    queries, keys = (hidden * dim * n for n in (architecture.attention_heads, architecture.key_value_heads))
    up = linear[2] / 2 if gated else linear[2]
    stored = [queries, keys, keys, linear[1], *([up, up] if gated else [up]), linear[3]]
    sizes = [per_element * each for each in (*stored, *_merged(linear, architecture))]
    layers = ceil_div(architecture.layers, settings.pipeline)
    return allocator.kept_bytes((), tuple(map(round, sizes)), layers=layers)


def _stored(bytes_each: float) -> float:
    """Bytes per element in a weight's tensor, from the mean with its scales, which are own tensors."""
    return 2.0 ** math.floor(math.log2(bytes_each)) if bytes_each else 0.0


def _linear(architecture: Architecture, *, gated: bool) -> Iterator[float]:
    """Number of elements of each tensor in a layer, as vLLM keeps them: queries, keys and values are one."""
    hidden, dim = architecture.hidden_size, architecture.head_dim
    yield hidden * dim * (architecture.attention_heads + 2 * architecture.key_value_heads)
    yield hidden * dim * architecture.attention_heads
    if not architecture.experts:
        wide = architecture.intermediate_size or 4 * hidden
        yield (2 if gated else 1) * hidden * wide
        yield hidden * wide


def _experts(architecture: Architecture) -> Iterator[float]:
    """Number of elements of the two tensors that hold all experts of a layer; nothing without experts."""
    if architecture.experts:
        all_wide = architecture.experts * architecture.moe_intermediate_size
        yield 2 * architecture.hidden_size * all_wide
        yield architecture.hidden_size * all_wide
