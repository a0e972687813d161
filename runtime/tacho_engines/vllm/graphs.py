"""Memory of vLLM outside its budget: CUDA context, buffers between GPUs, in some versions CUDA graphs."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from tacho_contract.model import Architecture
from tacho_contract.units import GIB, MIB, gib
from tacho_engines.memory.rounding import ceil_div, round_up
from tacho_engines.profile import GRAPH_TOKENS
from tacho_engines.shared.switches import first_of, integer
from tacho_engines.vllm.versions import VllmRules

CONTEXT_BYTES = int(0.5 * GIB)
"""Bytes of the CUDA context. It is outside the budget, as it exists before vLLM first measures memory."""
BEFORE_BYTES = int(0.95 * GIB)
"""Bytes of NCCL and all-reduce buffers per GPU, also before the first measurement: two H200 had 138.34 GiB
free each, a single one 139.29 (benchmarks/gpu/h200/two).
"""
BLACKWELL = 10
"""Major compute capability of B200 and B300; workstation GPUs have 12."""
LARGEST_OF = {"GptOssForCausalLM": 1024}
"""Largest captured batch size of architectures that vLLM makes an exception for."""
GRAPH_BYTES = 20 * MIB
EXPERT_GRAPH_BYTES = 40 * MIB
"""Bytes per captured batch size with graph law ``sizes``: 0.98 GiB for 51 sizes on an H200. With experts the
kernels' workspaces stay.
"""
LAYER_GRAPH_BYTES = 216 * 1024
WIDTH_GRAPH_BYTES = 3174
"""Bytes per captured batch size with graph law ``shape``, for each layer and element of the hidden state.

Fitted to starts of vLLM 0.26 on an H200 outside the test data (benchmarks/planner/h200/starts.json): 0.39 to
1.01 GiB for 51 sizes. Experts add nothing: such models used less than half of EXPERT_GRAPH_BYTES.
"""
EXPERT_LAYER_GRAPH_BYTES, EXPERT_ELEMENT_GRAPH_BYTES = 170 * 1024, 78
"""The same with experts: for each layer, and for each element of its queries, keys and values. There the
second runner estimates its graphs before it captures them: two of whole steps are tried, and all others
count as the second. Source: wheel 0.32.0, v1/worker/gpu/cudagraph_utils.py.

Fitted to 11 starts of 0.32 on H200s, of eight models, one over two GPUs: 0.47 to 2.78 GiB for 51 sizes.
Seven models are within 0.12 GiB; one with five heads to a key was estimated 0.19 higher. The graphs
then took 0.22 to 0.99. Where one kernel computes the experts, vLLM estimated 0.4 GiB less.
"""
POOL_BYTES, EXPERT_POOL_BYTES = 44, 58
"""Bytes that each token of a captured step beyond the usual ones adds to the common pool of graphs with 0.32,
for each element of the hidden state: of dense models, and with experts.

Fitted to starts of an 8B in W8A8 and a Qwen3-30B-A3B in GPTQ on an H200, with steps of up to 2,560 tokens.
Three in 16 bits were up to 0.15 GiB below. Weights that bitsandbytes writes out leave room for it.
"""
MEAN_TOKENS = 206
"""Mean of the 51 sizes that are captured by default: ``WIDTH_GRAPH_BYTES`` is of steps of so many tokens."""
SPLIT_WIDTH = 0.75
"""Share of a graph's bytes that tensor parallelism divides. Activations of an 8B are three vectors of the
MLP's width (10.5 hidden states), and 3.5 hidden states that every GPU has in full.
"""


def largest_size(
    rules: VllmRules,
    sequences: int,
    arguments: Mapping[str, str],
    capability: tuple[int, int] = (0, 0),
    architecture: str = "",
) -> int:
    """Largest batch size that is captured as a CUDA graph.

    min(2 x max_num_seqs, 512), more on data-centre Blackwell. Before 0.8 min(max_num_seqs, 256).
    ``--max-cudagraph-capture-size`` replaces it. Source: vLLM config/vllm.py _set_cudagraph_sizes; for some
    architectures models/config.py (with graph law ``sizes`` the bytes of a size are a bound for 51 of them).
    """
    requested = integer(arguments.get(MAX_SIZE))
    most = rules.blackwell_graph_tokens if capability[0] == BLACKWELL else 512
    default = min(2 * sequences, most) if rules.runner != "v0" else min(sequences, 256)
    if rules.graph_law == "shape":
        default = LARGEST_OF.get(architecture, default)
    largest = default if requested is None else requested
    return round_up(largest, 16) if largest > 256 else largest


CAPTURED = (
    "cudagraph-capture-sizes",
    "compilation-config.cudagraph-capture-sizes",
    "cc.cudagraph-capture-sizes",
)
"""Switches for the captured batch sizes: the first takes several values, the others a list in JSON."""
MAX_SIZE = "max-cudagraph-capture-size"


def given_sizes(arguments: Mapping[str, str], tokens: int) -> tuple[int, ...]:
    """The batch sizes that a switch of ``CAPTURED`` names, up to the ``tokens`` of a step; (): none.

    Source: wheels 0.26.0 and 0.32.0, config/vllm.py _set_cudagraph_sizes.
    """
    words = re.findall(r"\d{1,18}", first_of(arguments, *CAPTURED) or "")
    return tuple(sorted({int(word) for word in words if 0 < int(word) <= tokens}))


def default_sizes(largest: int) -> tuple[int, ...]:
    """The batch sizes up to ``largest`` that are captured where no list names others."""
    return tuple(
        size for size in (1, 2, 4, *range(8, 256, 8), *range(256, largest + 1, 16)) if size <= largest
    )


def refused_sizes(arguments: Mapping[str, str], tokens: int) -> str:
    """Why vLLM refuses the batch sizes to capture; "": it does not. ``tokens``: most of a step.

    Source: wheels 0.26.0 and 0.32.0, config/vllm.py _set_cudagraph_sizes.
    """
    named = first_of(arguments, *CAPTURED)
    if named is None:
        return f"--{MAX_SIZE} is 1 at least" if integer(arguments.get(MAX_SIZE)) == 0 else ""
    form = r"\d+( \d+)*" if CAPTURED[0] in arguments else r"\[\s*\d+(\s*,\s*\d+)*\s*\]"
    if not re.fullmatch(form, named):
        return f"--{CAPTURED[0]} takes whole numbers, not {named[:40]!r}"
    if integer(arguments.get(MAX_SIZE)) not in (None, max(given_sizes(arguments, tokens), default=0)):
        return f"--{MAX_SIZE} is the largest of --{CAPTURED[0]}, where both are set"
    return ""


def graph_sizes(largest: int) -> int:
    """Number of captured batch sizes up to ``largest``: 1, 2, 4, every 8th up to 256, then every 16th."""
    small = sum(size <= largest for size in (1, 2, 4))
    return small + min(largest, 256) // 8 + max(0, largest - 256) // 16


def whole_share(largest: int, tokens: int) -> float:
    """Share of the captured batch sizes, by tokens, that whole steps are captured for in addition to layers:
    those of at most ``tokens``, which is --max-num-seqs where each request has one.

    Source: wheel 0.26.0, v1/worker/gpu/cudagraph_utils.py _init_candidates. An 8B with 256 sequences captured
    51 sizes of layers and 35 of whole steps in 0.58 GiB on an H100, 0.59 on an H200; in place of 0.98.
    """
    return _sum_of_sizes(min(tokens, largest)) / max(1, _sum_of_sizes(largest))


def given_share(sizes: Sequence[int], tokens: int, *, alike: bool) -> float:
    """``whole_share`` of ``given_sizes``. Graphs of whole steps take memory by their tokens, unless all count
    ``alike``, as in the second runner's estimate with experts.

    Source: starts on H200s with 83 sizes up to 2,560 tokens, four of 0.26 (benchmarks/gpu/h200/graphs) and
    with experts one of 0.32 (benchmarks/gpu/h200/vllm-0.32-graphs).
    """
    if alike:
        return sum(size <= tokens for size in sizes) / max(1, len(sizes))
    return sum(size for size in sizes if size <= tokens) / (max(1, len(sizes)) * MEAN_TOKENS)


def more_share(largest: int, tokens: int, *, alike: bool) -> float:
    """``given_share`` of all sizes up to ``largest``, of which there may be any number."""
    if alike:
        return graph_sizes(min(tokens, largest)) / max(1, graph_sizes(largest))
    return _sum_of_sizes(min(tokens, largest)) / (graph_sizes(largest) * MEAN_TOKENS)


def _sum_of_sizes(largest: int) -> int:
    small = sum(size for size in (1, 2, 4) if size <= largest)
    eighths, sixteenths = min(largest, 256) // 8, max(0, largest - 256) // 16
    return small + 4 * eighths * (eighths + 1) + 256 * sixteenths + 8 * sixteenths * (sixteenths + 1)


def attention_elements(architecture: Architecture, tensor: int) -> int:
    """Number of elements of one token's queries, keys and values on one GPU."""
    heads = architecture.attention_heads + 2 * architecture.key_value_heads
    return heads * architecture.head_dim // tensor


def graph_bytes(
    architecture: Architecture,
    rules: VllmRules,
    sizes: int,
    *,
    tensor: int = 1,
    pipeline: int = 1,
    whole: float = 1.0,
) -> int:
    """Bytes of the CUDA graphs of ``sizes`` captured batch sizes on one GPU.

    ``whole``: the share with graphs of whole steps, not of layers alone (0: 8B with -O1, 0.35 GiB for 51
    sizes in place of 0.98).
    """
    if rules.graph_law == "shape":
        layers = ceil_div(architecture.layers, pipeline)
        if architecture.experts and rules.runner == "v2" and rules.graphs == "inside":
            width = whole * attention_elements(architecture, tensor)
            return int(sizes * layers * (EXPERT_LAYER_GRAPH_BYTES + width * EXPERT_ELEMENT_GRAPH_BYTES))
        width = whole * architecture.hidden_size * (1 - SPLIT_WIDTH + SPLIT_WIDTH / tensor)
        return sizes * int(layers * LAYER_GRAPH_BYTES + width * WIDTH_GRAPH_BYTES)
    return sizes * (EXPERT_GRAPH_BYTES if architecture.experts else GRAPH_BYTES)


def pool_bytes(architecture: Architecture, largest: int) -> int:
    """Bytes that captured steps of up to ``largest`` tokens add to the pool beyond the usual ones."""
    each = EXPERT_POOL_BYTES if architecture.experts else POOL_BYTES
    usual = LARGEST_OF.get(architecture.name, GRAPH_TOKENS)
    return each * architecture.hidden_size * max(0, largest - usual)


def cublas_bytes(*, hopper: bool) -> int:
    """Workspace of cuBLAS. Source: PyTorch 2.13, aten/src/ATen/cuda/CublasHandlePool.cpp."""
    return 32 * MIB if hopper else 8 * MIB


def before_bytes(rules: VllmRules, gpus: int) -> int:
    """Bytes that the data exchange of several GPUs takes before the engine measures its memory for the first
    time."""
    return BEFORE_BYTES if gpus > 1 and rules.collectives == "before" else 0


def before_assumption(rules: VllmRules, gpus: int, added: Collection[str]) -> str:
    """A clause that the utilization was lowered (in the ``added`` switches) for buffers of several GPUs,
    whose size was measured only on two H200; "": it was not.
    """
    taken = before_bytes(rules, gpus)
    if not taken or "gpu-memory-utilization" not in added:
        return ""
    return (
        f"the plan assumes that data exchange takes {gib(taken)} of each GPU before the engine measures it, "
        f"as on two H200: --gpu-memory-utilization={rules.utilization} in engine.extraArgs "
        "avoids the assumption"
    )
