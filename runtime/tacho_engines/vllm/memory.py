"""Memory of vLLM on GPUs: how the budget is divided, and how much is left for the KV cache.

``KV = utilization x total - weights - activations - non-torch - graphs (where the version counts them)``.
Source: vLLM v1/worker/gpu_worker.py determine_available_memory. Constants were fitted on the calibration half
of benchmarks/planner/data/engine_logs.json; those of 0.26's activations on starts of benchmarks/planner/h200
besides, whatever their part.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tacho_contract.model import Architecture
from tacho_contract.units import GIB, MIB
from tacho_engines.base import Placement
from tacho_engines.memory import weights
from tacho_engines.memory.account import Account
from tacho_engines.shared.compatibility import is_quantized
from tacho_engines.vllm import graphs as cuda, kv_blocks as kv, weights as vllm_weights
from tacho_engines.vllm.settings import (
    INT8,
    VllmSettings,
    captured_bytes,
    in_32_bits,
    outside_budget,
    switches,
)

COLLECTIVE_BYTES = {1: 0, 2: int(0.33 * GIB)}
MANY_COLLECTIVE_BYTES = int(0.38 * GIB)
"""Bytes of NCCL's buffers on several GPUs. Source: NVIDIA aiconfigurator systems/*.yaml nccl_mem."""
HIDDEN_COPIES = {"v0": 1, "v1": 4, "v2": 4}
"""Copies of the hidden state at a forward pass's peak, by runner; later ones keep more for compiled code."""
TIMING_BYTES = 60 * MIB
"""Size in bytes of an H200's L2 cache, which Inductor clears with a buffer of that size between timings of a
kernel; other GPUs have less.

Cold starts of five dense models used 0.06 to 0.08 GiB more than the MLP's vectors and 3.5 copies of the
hidden state. As 4 copies are planned, none exceeds its plan by more than 0.02 GiB.
"""
COMBINED_BYTES = 22 * MIB
"""Bytes that the timing of combined kernels needs in addition: 0.01 to 0.03 GiB in the same starts."""
HOPPER = (9, 0)
HOPPER_NON_TORCH_BYTES, NON_TORCH_BYTES = 240 * MIB, 124 * MIB
"""Bytes outside PyTorch, where all that is held counts: as starts on an H200 and a log of an L4 leave."""
TABLES_BYTES_PER_TOKEN, TABLES_BYTES = 4.25, 4 * (3 * 1024 + 128 + 1024 + 129 + 128)
"""Bytes of the sampler's tables for each sequence: for each token of the vocabulary, and whatever it is."""
FOUR_BIT = ("bnb-nf4", "bnb-fp4")
GATED_VECTORS = 3
PLAIN_VECTORS = {"v0": 2, "v1": 2, "v2": 1}
"""Number of vectors of the MLP's width in use at the peak of a forward pass, for MLPs without a gate."""
MULTIPROCESSORS = 132
"""Multiprocessors of an H100 or H200; other GPUs have 40 to 160."""
MEASURED = {"NVIDIA-H200": re.compile(r"0\.26(\.\d+)?")}
"""GPU products and vLLM versions with enough measured starts: dense models, full attention, one whole GPU."""
WITHIN_BYTES, WITHIN_SHARE = 24 * MIB, 1 / 64
"""Limits of the memory above the prediction in starts of MEASURED, except for two (27 and 28 MiB).
WITHIN_SHARE is the same as a share of the overhead. Source: benchmarks/planner/h200/starts.json.
"""
IN_FLIGHT = ("none", "fp8", "bnb-nf4")
STORED, STORED_SCHEME = ("awq", "gptq", "compressed-tensors"), "W4A16"
"""Weights of the starts of MEASURED: methods on a checkpoint in 16 bits, and forms of one that is quantized.

Left out: W8A8, whose copies in 8 bits were planned only after two starts had taken 63 and 98 MiB more, and
LLM.int8(), of which one model started, 29 MiB above the prediction.
"""
INT8_SCHEME = "W8A8-int"


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmMemory:
    """Predicted memory of vLLM by part, in bytes on the most loaded GPU."""

    total_bytes: int
    """Total memory of the GPU, in bytes."""
    budget_bytes: int
    """Memory that the engine may use, in bytes: utilization x total."""
    weights_bytes: int
    activation_bytes: int
    non_torch_bytes: int
    graph_bytes: int
    graphs_inside: bool
    available_bytes: int
    """Bytes left for the KV cache; negative if there is too little memory."""
    cache: kv.KvCapacity


def activation_bytes(
    architecture: Architecture,
    settings: VllmSettings,
    *,
    fp8: bool = False,
    four_bit: bool = False,
    int8: bool = False,
    outlasting: int = 0,
) -> int:
    """Bytes at the peak of vLLM's profile run: forward pass over max_num_batched_tokens, sampler over
    max_num_seqs rows, or compilation with copied inputs.

    Forward, in 16-bit elements per token: copies of the hidden state, three vectors of the gated MLP (or of
    the top-k experts), in later runners also queries, keys and values. Sampler: sorted logits with indices,
    probabilities and cumulated sums of each row; old versions sample nothing while prefilling in chunks.
    ``four_bit``: bitsandbytes expands a matrix before it is multiplied. ``int8``: dense products of W8A8.
    ``outlasting``: bytes of workspaces that stay in use. While the first runner samples they are part of the
    peak. Where all that is held counts they are not, and compilation is over before they are allocated.
    """
    rules, hidden, tensor = settings.rules, architecture.hidden_size, settings.tensor
    row = HIDDEN_COPIES[rules.runner] * hidden + _mlp_elements(architecture, settings)
    if rules.runner == "v1" or (rules.runner == "v2" and architecture.name in vllm_weights.PLAIN_MLP):
        # With the second runner they are gone when the MLP has its peak, but where both run side by side.
        row += cuda.attention_elements(architecture, tensor)
    forward = 2 * settings.batch.tokens * row
    if rules.runner == "v2" and settings.compiled:
        forward += TIMING_BYTES
    if four_bit:
        forward += _written_out_bytes(architecture, settings)
    if int8 and rules.runner == "v2" and not architecture.experts:
        forward += settings.batch.tokens * _mlp_width(architecture) // tensor
    sampler = 0
    if rules.runner != "v0" or not settings.batch.chunked:
        sampler = int(rules.sampler_bytes * settings.batch.sequences * architecture.vocabulary)
        if rules.runner == "v1" and rules.v2_experts is not None:
            sampler += _sampling_bytes(architecture, settings) + (0 if rules.held else outlasting)
    peak = max(forward, _compiling(architecture, settings, fp8=fp8))
    if rules.held:
        peak = max(peak - outlasting, _attending_bytes(architecture, settings))
        sampler += 0 if rules.runner == "v1" else 2 * settings.batch.tokens * hidden
    if tensor > 1 and rules.runner == "v2":
        sampler = max(sampler, _gathered_bytes(architecture, settings))
    return int(settings.wider * max(peak, sampler))


def _attending_bytes(architecture: Architecture, settings: VllmSettings) -> int:
    """Bytes during attention: two hidden states, queries, keys, values, and the queries' width three times.

    With experts, whose workspace is held, attention can be the peak. Four starts of 0.32 were within 0.03
    GiB, one of them with attention three times as wide as the hidden state.
    """
    if not architecture.experts:
        return 0
    queries = architecture.attention_heads * architecture.head_dim // settings.tensor
    row = 2 * architecture.hidden_size + cuda.attention_elements(architecture, settings.tensor) + 3 * queries
    return 2 * settings.batch.tokens * row


def _gathered_bytes(architecture: Architecture, settings: VllmSettings) -> int:
    """Bytes while the GPUs that split a model put their logits together: a GPU's own, those of all as they
    arrive and in order, and the hidden states.

    Source: wheel 0.26.0, distributed/device_communicators/base_device_communicator.py all_gather. Four starts
    over two and four H200s used 0.04 GiB more.
    """
    logits = settings.batch.sequences * architecture.vocabulary
    return int(2 * (logits * (2 + 1 / settings.tensor) + settings.batch.tokens * architecture.hidden_size))


def _sampling_bytes(architecture: Architecture, settings: VllmSettings) -> int:
    """Bytes in use while the first runner samples (wheel 0.26.0): the top-k kernel's row per multiprocessor
    (v1/sample/ops/topk_topp_triton.py), and the hidden states.
    """
    rows = min(MULTIPROCESSORS, settings.batch.sequences)
    return 2 * settings.batch.tokens * architecture.hidden_size + 4 * rows * architecture.vocabulary


def expert_workspace_bytes(placement: Placement, settings: VllmSettings) -> int:
    """Bytes of the experts' workspace, which is never freed: outputs of the first and third product, and of
    the activation; none where one kernel computes them all.

    Source: wheel 0.26.0, v1/worker/workspace.py, allocated by layers/fused_moe/modular_kernel.py
    _allocate_buffers. Six starts of 0.32 held 0.25 and 0.50 GiB so, each within 0.03, and one 0.08 more.
    """
    architecture = placement.architecture
    if not architecture.experts or vllm_weights.experts_in_one_kernel(placement, settings):
        return 0
    hidden, share = architecture.hidden_size, 1 if settings.expert_parallel else settings.tensor
    inner = (architecture.moe_intermediate_size or architecture.intermediate_size) // share
    elements = architecture.experts_per_token * (max(inner, hidden) + max(2 * inner, hidden))
    return 2 * settings.batch.tokens * elements


def _compiling(architecture: Architecture, settings: VllmSettings, *, fp8: bool) -> int:
    """Bytes that compilation needs at its peak.

    Inductor times combined kernels on artificial inputs (config/compilation.py benchmark_combo_kernel); for
    the first kernel these are the embedding and two hidden states. Cold starts of an 8B on an H200 used 1.01
    GiB at 2048 tokens and 1.10 at 8192, with ``fp8`` one 8-bit copy more: 1.13. A start with cached code uses
    less.
    """
    rules = settings.rules
    if not settings.compiled or not rules.compile_copies:
        return 0
    table = architecture.vocabulary // settings.tensor
    states = 2.5 if fp8 else 2
    kernels = 0 if rules.held else COMBINED_BYTES
    return int(2 * architecture.hidden_size * (table + states * settings.batch.tokens)) + kernels


def _written_out_bytes(architecture: Architecture, settings: VllmSettings) -> int:
    """Bytes of one MLP matrix, or of all experts of a layer, that bitsandbytes expands to 16 bits to multiply
    many tokens.

    Source: wheels bitsandbytes 0.50.2, backends/cuda/ops.py _gemm_4bit_use_custom_cuda (few tokens need
    none), and vllm 0.26.0, quantization/bitsandbytes.py _apply_bnb_4bit (each matrix of a merged one
    separately) and _apply_4bit_dequnt (experts). It left a 7B on an H200 0.10 GiB less for its cache.
    """
    hidden, wide = architecture.hidden_size, _mlp_width(architecture)
    if architecture.experts:
        wide = 3 * architecture.experts * (architecture.moe_intermediate_size or wide)
    return 2 * hidden * wide // settings.tensor


def _mlp_width(architecture: Architecture) -> int:
    """Width of the MLP: elements of one token's vector, also bytes of its copy in 8 bits.

    W8A8 copies each vector before it is multiplied. PyTorch 2.11, which vLLM 0.26 pins, compiles an MLP so
    that the copy has its memory before the activation is computed, beside all three vectors: so it did on a
    CPU with operators of the same signatures. Source: wheel 0.26.0, _custom_ops.py scaled_int8_quant, an
    operator that fills an empty tensor. FP8 is computed in the kernel before, and needs none (layers/
    quantization/input_quant_fp8.py).
    """
    return architecture.intermediate_size or 4 * architecture.hidden_size


def held_bytes(architecture: Architecture, settings: VllmSettings, *, hopper: bool, four_bit: bool) -> int:
    """Bytes that the process holds after the profile run beside the weights.

    What is not PyTorch's, the second runner's tables for each sequence, and with ``four_bit`` the matrix that
    bitsandbytes expands; workspaces come on top. Source: wheel 0.32.0, v1/worker/gpu/sample and
    structured_outputs.py (counts of 32 bits and two masks by token; biases, bad words, token ids). Five
    starts of an 8B on an H200 held 0.80 to 0.90 GiB, six more as planned; over two GPUs 0.1 to 0.2 less.
    """
    held = HOPPER_NON_TORCH_BYTES if hopper else NON_TORCH_BYTES
    if settings.rules.runner == "v2":
        row = int(TABLES_BYTES_PER_TOKEN * architecture.vocabulary) + TABLES_BYTES
        held += settings.batch.sequences * row
    if four_bit:
        held += _written_out_bytes(architecture, settings)
    return held


def _int8_bytes(architecture: Architecture, settings: VllmSettings) -> int:
    """Bytes that LLM.int8() needs for a merged product, whose matrices it computes one by one.

    In addition to the result in 16 bits: sums in 32 bits, and two copies in 16; of the hidden state four
    copies, and one in 8 bits. Source: wheels vllm-bnb-plugin 0.0.3, quantization/linear.py
    _apply_8bit_weight, and bitsandbytes 0.50.2, backends/cuda/ops.py int8_mm_dequant. A pod with an 8B had
    0.03 GiB less for its cache than predicted so.
    """
    plain = architecture.name in vllm_weights.PLAIN_MLP
    wide = _mlp_width(architecture) // settings.tensor
    return settings.batch.tokens * ((2 * (1 if plain else 2) + 8) * wide + 9 * architecture.hidden_size)


def _mlp_elements(architecture: Architecture, settings: VllmSettings) -> int:
    tensor = settings.tensor
    if architecture.experts:
        wide = 3 * architecture.moe_intermediate_size // tensor
        return architecture.experts_per_token * (wide + architecture.hidden_size)
    plain = architecture.name in vllm_weights.PLAIN_MLP
    vectors = PLAIN_VECTORS[settings.rules.runner] if plain else GATED_VECTORS
    return vectors * _mlp_width(architecture) // tensor


def memory(placement: Placement, settings: VllmSettings) -> VllmMemory:
    """Predicted memory by part on the most loaded GPU, for a server with these settings."""
    architecture, total = placement.architecture, placement.device.memory_bytes or 0
    loaded = vllm_weights.weights_bytes(placement, settings)
    method = placement.method.method
    held, hopper = settings.rules.held, placement.device.capability >= HOPPER
    workspaces = expert_workspace_bytes(placement, settings)
    workspaces += cuda.cublas_bytes(hopper=hopper) if held else 0
    activation = activation_bytes(
        architecture,
        settings,
        fp8=method == "fp8",
        four_bit=method in FOUR_BIT,
        int8=INT8_SCHEME in placement.facts.quantization.schemes,
        outlasting=workspaces,
    )
    if method == INT8:
        activation = max(activation, _int8_bytes(architecture, settings))
    collective = 0
    if settings.rules.collectives == "inside":
        collective = COLLECTIVE_BYTES.get(settings.tensor * settings.pipeline, MANY_COLLECTIVE_BYTES)
    non_torch = collective + int(settings.rules.reserve * total)
    if held:
        kept = held_bytes(architecture, settings, hopper=hopper, four_bit=method in FOUR_BIT)
        non_torch += int(settings.wider * workspaces) + kept
    else:
        non_torch += settings.rules.non_torch_mib * MIB
    graphs = captured_bytes(placement, settings)
    if held and method in FOUR_BIT and graphs:
        graphs += 2 * _written_out_bytes(architecture, settings)  # of an 8B: 1.13 GiB in place of 0.92
    elif held and settings.graphs.captured:
        graphs += cuda.pool_bytes(architecture, settings.graphs.captured.tokens)
    budget = int(settings.utilization * total)
    available = budget - loaded - activation - non_torch - (graphs if settings.graphs.inside else 0)
    if settings.cache.fixed_bytes is not None:
        available = settings.cache.fixed_bytes
    unit = kv.pool(architecture, settings)
    return VllmMemory(
        total_bytes=total,
        budget_bytes=budget,
        weights_bytes=loaded,
        activation_bytes=activation,
        non_torch_bytes=non_torch,
        graph_bytes=graphs,
        graphs_inside=settings.graphs.inside,
        available_bytes=available,
        cache=kv.cache(unit, settings, max(0, available)),
    )


def pool_blocks(placement: Placement, settings: VllmSettings) -> int:
    """Number of blocks in the pool of the KV cache."""
    block_bytes = kv.pool(placement.architecture, settings).block_bytes
    return max(0, memory(placement, settings).available_bytes) // max(1, block_bytes)


def account(placement: Placement, settings: VllmSettings) -> Account:
    """The memory account of vLLM on GPUs, in the form that all engines share."""
    found = memory(placement, settings)
    inside = found.weights_bytes + found.activation_bytes + found.non_torch_bytes
    inside += found.graph_bytes if found.graphs_inside else 0
    budget = found.budget_bytes
    gpus = settings.tensor * settings.pipeline
    assumed = cuda.before_assumption(settings.rules, gpus, settings.added)
    if settings.cache.fixed_bytes is not None:
        budget = max(0, found.total_bytes - outside_budget(placement, settings))
    return Account(
        weights_bytes=found.weights_bytes,
        cache_bytes=max(0, found.available_bytes),
        cache_tokens=found.cache.tokens,
        concurrency=found.cache.concurrency,
        activation_bytes=found.activation_bytes,
        graph_bytes=found.graph_bytes,
        captured=settings.graphs.captured,
        other_bytes=found.non_torch_bytes + cuda.CONTEXT_BYTES + cuda.before_bytes(settings.rules, gpus),
        budget_bytes=budget,
        fixed_bytes=inside,
        request_bytes=found.cache.request_bytes,
        in_flight_bytes=found.cache.in_flight_bytes,
        logged_concurrency=found.cache.logged_concurrency if found.cache.in_flight_bytes else None,
        sequences=settings.batch.sequences,
        cache_limit_bytes=settings.cache.fixed_bytes,
        cache_limit_switch="--kv-cache-memory-bytes",
        offloaded_bytes=vllm_weights.offloaded_bytes(placement, settings),
        unread_bytes=vllm_weights.unread_bytes(placement, settings),
        known_within_bytes=_known_within(placement, inside - found.weights_bytes),
        assumption="; ".join(filter(None, (assumed, _images(placement)))),
    )


def _known_within(placement: Placement, overhead_bytes: int) -> int | None:
    """Bytes above the prediction that measured starts of this GPU and version did not exceed; None: none."""
    device, architecture = placement.device, placement.architecture
    version = None if in_32_bits(switches(placement.options)) else MEASURED.get(device.product)
    dense = not architecture.experts and not weights.parameters(placement.facts, "vision", "ssm")
    full = all(group.kind == "full" for group in architecture.layer_groups)
    alone = placement.count == 1 and device.sharers == 1
    if not (version and version.fullmatch(placement.version) and dense and full and alone):
        return None
    if not _started(placement):
        return None
    return max(WITHIN_BYTES, int(WITHIN_SHARE * overhead_bytes))


def _started(placement: Placement) -> bool:
    """Whether weights in this form are among the starts of MEASURED."""
    stored, method = placement.facts.quantization, placement.method.method
    if is_quantized(placement.facts):
        return stored.method in STORED and stored.scheme == STORED_SCHEME
    return method in IN_FLIGHT


WITHOUT_IMAGES = ("language-model-only", "limit-mm-per-prompt", "skip-mm-profiling")
"""Prefixes of switches by which a user decides on memory for images. Source: vLLM config/multimodal.py."""


def _images(placement: Placement) -> str:
    """A clause that memory for images is not planned; "" for a model of texts, or with a switch for it.

    At its start vLLM encodes the largest image and video that the model takes: some GiB with Qwen's (v1/
    worker/gpu/model_runner.py profile_run), which no file tells.
    """
    given = switches(placement.options)
    if not placement.architecture.multimodal or any(name.startswith(WITHOUT_IMAGES) for name in given):
        return ""
    return (
        "the model takes images, and what vllm needs to encode the largest ones is not planned, up to some "
        "GiB: --language-model-only in engine.extraArgs serves texts alone, and needs none"
    )
