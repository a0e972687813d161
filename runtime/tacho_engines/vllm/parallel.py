"""The tensor-parallel sizes that a model's heads and quantization groups allow in vLLM."""

from __future__ import annotations

import math
from dataclasses import replace

from tacho_contract.failure import FailureClass
from tacho_contract.model import Architecture, ModelFacts, StoredQuantization
from tacho_engines.base import EngineOptions, EngineRefusal, Placement, Splits
from tacho_engines.shared.compatibility import refused
from tacho_engines.shared.images import version_key
from tacho_engines.shared.switches import integer
from tacho_engines.vllm.own_classes import in_vllms_class
from tacho_engines.vllm.settings import EXPERT_PARALLEL, switches

TENSOR_SIZES = range(1, 9)
"""Tensor sizes that advice names: those within one node."""
ONE_STAGE = (
    *("Gemma3nForCausalLM", "Gemma3nForConditionalGeneration", "Mamba2ForCausalLM", "Zamba2ForCausalLM"),
    *("AriaForConditionalGeneration", "Idefics3ForConditionalGeneration", "SmolVLMForConditionalGeneration"),
    *("PaddleOCRVLForConditionalGeneration", "Phi4MMForCausalLM", "HrmTextForCausalLM"),
    "IQuestLoopCoderForCausalLM",
)
"""Architectures without pipeline stages. Source: wheel 0.32.0, models/interfaces.py supports_pp of each class
and config/model.py: "Pipeline parallelism is not supported for this model"."""
MULTIPLIERS = ("data-parallel-size", "prefill-context-parallel-size")
"""Switches that multiply the GPUs of tensor and pipeline size, which are all of a replica. Source: wheel
0.32.0, engine/arg_utils.py world_size."""
PADDED = ("mxfp4", "gguf")
"""Formats of which no GPU's part has to hold whole groups: gpt-oss's is divided by blocks and padded. Source:
wheel 0.32.0, models/gpt_oss.py _load_weights_mxfp4."""
MX_GROUP = 32
"""Values of a group of the MX formats, which not all of them name."""
FINER_SINCE = "0.32"
FINER_METHODS = {"awq": (7, 5), "gptq": (7, 5), "fp8": (8, 9)}
"""Formats whose groups vLLM makes finer where the experts of one GPU do not hold whole ones, by the lowest
compute capability of the kernel that takes them. Source: wheel 0.32.0, layers/quantization/moe_wna16.py
create_weights, layers/fused_moe/oracle/fp8.py refine_fp8_moe_block_shape."""
LEAST_GROUP = 32
"""Fewest values of such a finer group."""
EXPERTS_ALONE = ("Qwen3MoeForCausalLM", "Qwen3VLMoeForConditionalGeneration", "MiniMaxM2ForCausalLM")
"""Architectures without a shared expert or a dense MLP, whose groups would have to stay whole."""


def tensor_problem(architecture: Architecture, facts: ModelFacts, tensor: int, *, finer: bool = False) -> str:
    """Why the layers cannot be split over ``tensor`` GPUs; "" when they can.

    Attention heads must divide; key and value heads must divide, or be fewer and divide the other way; a
    quantized layer's part must be whole groups, or with ``finer`` of groups that are made finer. Of a format
    with square blocks, keys and values too. Source: vLLM distributed/utils.py
    verify_group_size_divides_partition, layers/linear.py; layers/quantization/auto_awq.py ("The input size is
    not aligned with the quantized weight shape"), modelopt.py, online/mxfp8.py, utils/fp8_utils.py
    validate_fp8_block_shape; kernels/linear/mixed_precision/marlin.py;
    model_loader/bitsandbytes_loader.py ("Prequant BitsAndBytes models with tensor parallelism is not
    supported. Please try with pipeline parallelism.").
    """
    heads, shared = architecture.attention_heads, architecture.key_value_heads
    if tensor > 1 and architecture.state_heads % tensor:
        return f"{architecture.state_heads} groups of heads in recurrent layers do not divide by {tensor}"
    if tensor == 1 or not heads:
        return ""
    if facts.quantization.method == "bitsandbytes":
        return "a checkpoint that bitsandbytes quantized beforehand is not split over GPUs"
    if heads % tensor:
        return f"{heads} attention heads do not divide by {tensor}"
    if shared and not architecture.kv_lora_rank and shared % tensor and tensor % shared:
        return f"{shared} key-value heads and {tensor} GPUs do not divide"
    wide = architecture.moe_intermediate_size if architecture.experts else architecture.intermediate_size
    if wide and wide % tensor:
        return f"an MLP of width {wide} does not divide by {tensor}"
    stored = group = _group(facts.quantization)
    if finer and group > LEAST_GROUP:
        group = max(LEAST_GROUP, math.gcd(group, wide // tensor))
    whole_groups = not architecture.kv_lora_rank and not _attends_in_16_bits(architecture, facts)
    attention = heads * architecture.head_dim if whole_groups else 0
    keys = max(shared, tensor) * architecture.head_dim if attention and _has_blocks(facts.quantization) else 0
    for width, whole in ((wide, group), (attention, stored), (keys, stored)):
        if whole > 1 and (width // tensor) % whole:
            return f"width {width} over {tensor} GPUs does not hold whole quantization groups of {whole}"
    return ""


def _attends_in_16_bits(architecture: Architecture, facts: ModelFacts) -> bool:
    """Whether as many weights of linear layers are in 16 bits as queries alone have: a checkpoint may leave
    attention as it was.
    """
    linear = [one for one in facts.tensors if one.kind == "linear"]
    plain = sum(one.parameters for one in linear if one.dtype in ("BF16", "F16"))
    queries = architecture.attention_heads * architecture.head_dim * architecture.hidden_size
    return bool(queries) and plain >= queries * architecture.layers


def _group(stored: StoredQuantization) -> int:
    """Values of a group of weights, or the side of a block, that no GPU's part may cut; 0: none."""
    if stored.method in PADDED:
        return 0
    named = f"{stored.method} {stored.scheme}".lower()
    return stored.group_size or (MX_GROUP if "mxfp" in named else 0)


def _has_blocks(stored: StoredQuantization) -> bool:
    """Whether groups are square blocks, as those of FP8 are."""
    return stored.method == "fp8" or all(one == "W8A8-float" for one in stored.schemes)


def parallel_sizes(options: EngineOptions) -> tuple[int | None, int | None]:
    """Tensor and pipeline size as the user gave them: switches win over ``spec.parallelism``."""
    given = switches(options)
    tensor = integer(given.get("tensor-parallel-size")) or options.tensor
    pipeline = integer(given.get("pipeline-parallel-size")) or options.pipeline
    return tensor, pipeline


def _makes_finer(placement: Placement) -> bool:
    """Whether vLLM makes the groups of this checkpoint's experts finer on this GPU."""
    least = FINER_METHODS.get(placement.facts.quantization.method)
    known = version_key(placement.version) >= version_key(FINER_SINCE)
    able = least is not None and placement.device.capability >= least
    return known and able and placement.architecture.name in EXPERTS_ALONE


def _divided(placement: Placement) -> Architecture:
    """The architecture as GPUs divide it: --enable-expert-parallel keeps each expert whole."""
    shape = placement.architecture
    if EXPERT_PARALLEL in switches(placement.options) and shape.name in EXPERTS_ALONE:
        return replace(shape, experts=0, intermediate_size=0)
    return shape


def splits(placement: Placement) -> Splits | EngineRefusal:
    """Every (tensor, pipeline) to try for the placement's GPUs, the fastest first, or why none is possible.

    Sizes that the user set are kept. Else the largest possible tensor size comes first, with the rest as
    pipeline stages. Stages need less memory where heads cannot be divided (one key-value head, latent
    caches), as each GPU then caches its own layers only.
    """
    facts, architecture, gpus = placement.facts, _divided(placement), placement.count
    tensor, pipeline = parallel_sizes(placement.options)
    if placement.device.on_host:
        if (tensor or 1) * (pipeline or 1) == 1:
            return ((1, 1),)
        return refused(FailureClass.UNSUPPORTED_GPU, "on the CPU a model is not spread", "Remove parallelism")
    given = switches(placement.options)
    for name in MULTIPLIERS:
        if (times := integer(given.get(name)) or 1) > 1:
            message = f"{name} {times} needs {times} times as many GPUs as one replica has"
            step = "Remove it from engine.extraArgs; replicas say how often the model is served"
            return refused(FailureClass.INVALID_CONFIG, message, step)
    one_stage = architecture.name in ONE_STAGE and in_vllms_class(placement)
    stages = 1 if one_stage else max(1, architecture.layers)
    if tensor and pipeline is None:
        pipeline = max(1, gpus // tensor)
    if pipeline and tensor is None:
        tensor = max(1, gpus // pipeline)
    if tensor and pipeline:
        if tensor * pipeline != gpus:
            return refused(
                FailureClass.UNSUPPORTED_GPU,
                f"tensor {tensor} x pipeline {pipeline} is not {gpus} GPUs",
                "Set gpu.count to the product of parallelism.tensor and parallelism.pipeline",
            )
        if pipeline > stages and one_stage:
            step = "Leave pipeline stages out; gpu.count is then parallelism.tensor"
            return refused(
                FailureClass.UNSUPPORTED_GPU, f"vllm makes no pipeline stages of {architecture.name}", step
            )
        # The kernels for finer groups are slower, so no plan chooses them.
        finer = _makes_finer(placement)
        problem = tensor_problem(architecture, facts, tensor, finer=finer)
        if not problem:
            return ((tensor, pipeline),)
        able = [str(n) for n in TENSOR_SIZES if not tensor_problem(architecture, facts, n, finer=finer)]
        named = " or ".join([", ".join(able[:-1]), able[-1]]) if len(able) > 1 else able[0]
        return refused(
            FailureClass.UNSUPPORTED_GPU,
            problem,
            f"Set parallelism.tensor to {named}; gpu.count is the product of tensor and pipeline",
        )
    found = tuple(
        (size, gpus // size)
        for size in range(gpus, 0, -1)
        if gpus % size == 0 and gpus // size <= stages and not tensor_problem(architecture, facts, size)
    )
    return found or refused(FailureClass.UNSUPPORTED_GPU, f"the model cannot be spread over {gpus} GPUs")
