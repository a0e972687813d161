"""Memory of llama.cpp on the host or on the most loaded GPU: weights, KV cache, compute buffers.

Weights are the GGUF file's tensors as stored (on the host mapped into memory, all read for each token). The
KV cache is allocated whole at start for ``n_ctx = max_model_len x concurrency`` cells, with the layers that
it belongs to. Compute buffers are reserved for the worst micro-batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tacho_contract.model import Architecture, ModelFacts
from tacho_contract.units import MIB
from tacho_engines.base import Context, EngineOptions, Placement
from tacho_engines.llamacpp.gpu_split import LAYER, OFF, GpuShare, mode, shares
from tacho_engines.memory import kv
from tacho_engines.memory.account import Account
from tacho_engines.memory.rounding import round_up
from tacho_engines.shared.switches import first_of, integer, parse_arguments

MICRO_BATCH_TOKENS = 512
"""llama.cpp's default number of tokens per micro-batch (--ubatch-size)."""
CELL_ALIGNMENT = 256
"""The context of a sequence is padded to this many cells (``GGML_PAD(n_ctx, 256)`` in llama-context.cpp)."""
PROCESS_BYTES = 128 * MIB
"""Bytes of llama-server without model: vocabulary, HTTP threads, allocator. 45 to 70 MiB with SmolLM2-135M
(xllamacpp 2026.10), and 50 MiB for tacho's runtime.
"""
CUDA_CONTEXT_BYTES = 592 * MIB
"""Bytes of CUDA context, kernels and cuBLAS workspace on each GPU, outside llama.cpp's buffers: 589 to 593
MiB on an H200 (b11549, CUDA 13.0; benchmarks/llamacpp/h200).
"""
INPUT_COPIES = 4
"""Copies of a graph's inputs where layers on several GPUs form a pipeline (GGML_SCHED_MAX_COPIES)."""
KV_ELEMENT_BYTES = {
    "": 2.0,
    "auto": 2.0,
    "f16": 2.0,
    "bf16": 2.0,
    "bfloat16": 2.0,
    "f32": 4.0,
    "q8_0": 34 / 32,
    "q5_1": 24 / 32,
    "q5_0": 22 / 32,
    "q4_1": 20 / 32,
    "q4_0": 18 / 32,
    "iq4_nl": 18 / 32,
}
"""Bytes of one element by --cache-type-k/v. Source: llama.cpp gguf-py/gguf/constants.py GGML_QUANT_SIZES."""


QUANTIZED_BLOCK = 32
"""Elements of a block of each quantized type, of which a head must be a multiple."""


def cache_types(options: EngineOptions) -> tuple[str, str]:
    """Types of the K and of the V cache; "": the default. Arguments precede spec."""
    switches = parse_arguments(options.arguments)
    kinds = (first_of(switches, f"cache-type-{part}", f"ct{part}") for part in "kv")
    key, value = (kind or options.kv_cache_dtype for kind in kinds)
    return key, value


def is_quantized_cache(kind: str) -> bool:
    return KV_ELEMENT_BYTES.get(kind, 2.0) < KV_ELEMENT_BYTES[""]


def without_flash_attention(options: EngineOptions) -> bool:
    return first_of(parse_arguments(options.arguments), "flash-attn", "fa") in OFF


def cache_element_bytes(options: EngineOptions) -> float | None:
    """Mean bytes of an element of K and V; None: llama.cpp lacks the type."""
    sizes = [KV_ELEMENT_BYTES.get(kind) for kind in cache_types(options)]
    return None if None in sizes else sum(size or 0 for size in sizes) / 2


def micro_batch(switches: Mapping[str, str]) -> int:
    """Number of tokens of one micro-batch (--ubatch-size), with the user's switches."""
    return integer(first_of(switches, "ubatch-size", "ub")) or MICRO_BATCH_TOKENS


def weights_bytes(facts: ModelFacts) -> int:
    """Bytes of all tensors as stored; the file's size where its header was not read."""
    return sum(t.stored_bytes for t in facts.tensors) or facts.files.total_bytes


def kv_cache_bytes(
    architecture: Architecture,
    context_tokens: int,
    sequences: int,
    element_bytes: float,
    micro_batch_tokens: int = MICRO_BATCH_TOKENS,
) -> int:
    """K and V for every cell of every sequence: ``cells x layers x n_kv x (d_k + d_v) x b``.

    Sliding-window layers keep ``window + micro-batch`` cells, padded, where that is less.
    Source: llama.cpp ``llama-kv-cache.cpp`` and ``llama-kv-cache-iswa.cpp``
    (size_swa = PAD(n_swa x n_seq + n_ubatch)); own measurement: 90.00 MiB for 4 x 1024 cells of SmolLM2-135M.
    """
    cells = round_up(context_tokens, CELL_ALIGNMENT)
    total = 0.0
    for group in kv.layer_groups(architecture):
        group_cells = cells
        if group.kind in ("sliding", "chunked") and group.window_tokens:
            group_cells = min(cells, round_up(group.window_tokens + micro_batch_tokens, CELL_ALIGNMENT))
        total += sequences * group_cells * kv.group_bytes_per_token(architecture, group, element_bytes)
    return int(total) + sequences * kv.state_bytes(architecture)


def compute_bytes(
    architecture: Architecture, context_tokens: int, sequences: int, micro_batch: int, copies: int = 1
) -> int:
    """Bytes of the compute buffers of the worst micro-batch.

    They hold intermediate rows of one micro-batch, the attention mask (an input, of which there may be
    several ``copies``), and the logits: ``u x 4 x (4H + 3I + n_q d)`` + ``2 u x cells`` (mask, f16) + ``2 x 4
    x V x sequences``. The mask is exact. The first term was fitted to own measurements (xllamacpp 2026.10,
    flash attention: 15.64, 18.64 and 22.64 MiB at 1024, 4096 and 8192 cells a sequence of SmolLM2-135M).
    """
    rows = (
        4 * architecture.hidden_size
        + 3 * (architecture.intermediate_size or 4 * architecture.hidden_size)
        + architecture.attention_heads * architecture.head_dim
    )
    mask = copies * 2 * micro_batch * round_up(context_tokens, CELL_ALIGNMENT)
    logits = 2 * 4 * architecture.vocabulary * sequences
    return micro_batch * 4 * rows + mask + logits


def score_bytes(architecture: Architecture, context_tokens: int, micro_batch: int) -> int:
    """Bytes of the scores of one layer, which flash attention does not keep: ``heads x u x cells x 4``.

    SmolLM2-135M with 8,192 cells: 144 MiB, and 144.9 measured (xllamacpp 2026.10).
    """
    return 4 * architecture.attention_heads * micro_batch * round_up(context_tokens, CELL_ALIGNMENT)


def head_bytes(facts: ModelFacts) -> tuple[int, int]:
    """(bytes of the output head, bytes of the input embedding that stay on the host).

    A model without an output head of its own uses the embedding in its place, which is then also on the GPU.
    """
    kinds = ("lm_head", "embedding")
    head, table = (sum(t.stored_bytes for t in facts.tensors if t.kind == kind) for kind in kinds)
    return (head, table) if head else (table, 0)


def gpu_weights_bytes(placement: Placement, share: GpuShare) -> int:
    """Bytes of weights on one GPU. Source: llama.cpp src/llama-model.cpp load_tensors."""
    head, table = head_bytes(placement.facts)
    layers = max(1, placement.architecture.layers)
    repeating = max(0, weights_bytes(placement.facts) - head - table) * share.layers / layers
    return int((repeating + (head if share.head else 0)) * share.part)


def cache_share(placement: Placement, share: GpuShare) -> float:
    """The share of the KV cache that is on one GPU, with the layers there."""
    return share.layers / max(1, placement.architecture.layers) * share.part


def account(placement: Placement, context: Context) -> Account:
    """The memory account of the host process, or of the most loaded GPU.

    The KV cache is allocated for exactly the requested context length and concurrency.
    """
    table = head_bytes(placement.facts)[1]
    if placement.device.on_host:
        whole = _account(placement, context, weights_bytes(placement.facts), 1.0, PROCESS_BYTES)
        return replace(whole, unread_bytes=table)
    found = [
        _account(
            placement,
            context,
            gpu_weights_bytes(placement, share),
            cache_share(placement, share),
            CUDA_CONTEXT_BYTES,
        )
        for share in shares(placement)
    ]
    fullest = max(found, key=lambda one: one.total_bytes)
    stay = weights_bytes(placement.facts) - sum(one.weights_bytes for one in found)
    return replace(fullest, offloaded_bytes=max(0, stay - table) // max(1, placement.count))


def _account(placement: Placement, context: Context, weights: int, part: float, other: int) -> Account:
    architecture, options = placement.architecture, placement.options
    length, concurrency = context.max_model_len, context.concurrency
    element = cache_element_bytes(options) or KV_ELEMENT_BYTES[""]
    rows = micro_batch(parse_arguments(options.arguments))
    copies = INPUT_COPIES if placement.count > 1 and mode(placement) == LAYER else 1
    buffers = compute_bytes(architecture, length, concurrency, rows, copies)
    if without_flash_attention(options):
        buffers += score_bytes(architecture, length, rows)
    return Account(
        weights_bytes=weights,
        cache_bytes=int(kv_cache_bytes(architecture, length, concurrency, element, rows) * part),
        cache_tokens=length * concurrency,
        concurrency=float(concurrency),
        activation_bytes=buffers,
        other_bytes=other,
        budget_bytes=placement.device.part_bytes,
        fixed_bytes=weights + buffers + other,
        request_bytes=max(1, int(kv_cache_bytes(architecture, length, 1, element, rows) * part)),
    )
