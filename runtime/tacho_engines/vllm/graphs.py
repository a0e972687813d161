"""Memory that vLLM takes beside its budget: the CUDA context, buffers between several GPUs, and CUDA graphs
where the version does not count them."""

from __future__ import annotations

from collections.abc import Mapping

from tacho_contract.model import Architecture
from tacho_contract.units import GIB, MIB
from tacho_engines.memory.rounding import ceil_div, round_up
from tacho_engines.shared.switches import first_of, integer
from tacho_engines.vllm.versions import VllmRules

CONTEXT_BYTES = int(0.5 * GIB)
"""CUDA context, outside the budget: it is there before the first snapshot."""
BEFORE_BYTES = int(0.95 * GIB)
"""The same of NCCL and of the all-reduce of several GPUs: on each of two H200 138.34 GiB were free where one
alone had 139.29 (benchmarks/gpu/h200/two)."""
BLACKWELL = 10
"""Major compute capability of B200 and B300; that of workstations is 12."""
GRAPH_BYTES = 20 * MIB
EXPERT_GRAPH_BYTES = 40 * MIB
"""One captured batch size by the law of sizes: 0.98 GiB of 51 on H200; models with experts keep their
kernels' workspaces."""
LAYER_GRAPH_BYTES = 216 * 1024
WIDTH_GRAPH_BYTES = 3174
"""One captured size by the law of shapes: bytes per layer (its kernels' nodes, and one graph between two
attentions) and per element of the hidden state (what kernels write). Fitted on own starts of vLLM 0.26 on an
H200 that are not held back (benchmarks/planner/h200/starts.json): 0.39 to 1.01 GiB of 51 sizes. Experts have
no part of their own: runs of such models took less than half of what EXPERT_GRAPH_BYTES makes."""
SPLIT_WIDTH = 0.75
"""Share of what kernels write that tensor parallelism splits: an 8B's activations are three vectors of the
MLP's width, which are 10.5 hidden states, beside 3.5 hidden states that each GPU has in full."""


def graph_sizes(
    rules: VllmRules, sequences: int, arguments: Mapping[str, str], capability: tuple[int, int] = (0, 0)
) -> int:
    """How many batch sizes are captured as CUDA graphs.

    1, 2, 4, then every 8th up to 256, then every 16th up to min(2 x max_num_seqs, 512), on data-centre
    Blackwell more. Before 0.8 up to min(max_num_seqs, 256). ``--max-cudagraph-capture-size`` replaces that
    largest size. Source: vLLM config/vllm.py _set_cudagraph_sizes.
    """
    requested = integer(first_of(arguments, "max-cudagraph-capture-size"))
    most = rules.blackwell_graph_tokens if capability[0] == BLACKWELL else 512
    default = min(2 * sequences, most) if rules.runner != "v0" else min(sequences, 256)
    largest = default if requested is None else requested
    small = [size for size in (1, 2, 4) if size <= largest]
    return len(small) + min(largest, 256) // 8 + max(0, round_up(largest - 256, 16) // 16)


def graph_bytes(
    architecture: Architecture,
    rules: VllmRules,
    sizes: int,
    *,
    tensor: int = 1,
    pipeline: int = 1,
    piecewise: bool = False,
) -> int:
    """What all captured batch sizes take on one GPU. ``piecewise``: the layers' part alone, as graphs of
    whole steps are not made (an 8B with -O1: 0.35 GiB of 51 sizes, 0.98 without)."""
    if rules.graph_law == "shape":
        whole = 0 if piecewise else architecture.hidden_size
        width = whole * (1 - SPLIT_WIDTH + SPLIT_WIDTH / tensor)
        layers = ceil_div(architecture.layers, pipeline)
        return sizes * int(layers * LAYER_GRAPH_BYTES + width * WIDTH_GRAPH_BYTES)
    return sizes * (EXPERT_GRAPH_BYTES if architecture.experts else GRAPH_BYTES)


def before_bytes(rules: VllmRules, gpus: int) -> int:
    """Bytes that the data exchange of several GPUs takes before the engine measures its memory for the first
    time."""
    return BEFORE_BYTES if gpus > 1 and rules.collectives == "before" else 0
