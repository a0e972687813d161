"""What vLLM takes beside its budget: CUDA graphs, where the version does not count them, and the context."""

from __future__ import annotations

from collections.abc import Mapping

from tacho_contract.model import Architecture
from tacho_contract.units import GIB, MIB
from tacho_engines.memory.shape import round_up
from tacho_engines.shared.switches import first_of, integer
from tacho_engines.vllm.versions import VllmRules

CONTEXT_BYTES = int(0.5 * GIB)
"""CUDA context, outside the budget: it is there before the first snapshot."""
GRAPH_BYTES = 20 * MIB
EXPERT_GRAPH_BYTES = 40 * MIB
"""One captured batch size by the law of sizes: 0.98 GiB of 51 on H200; models with experts keep their
kernels' workspaces."""
LAYER_GRAPH_BYTES = 216 * 1024
WIDTH_GRAPH_BYTES = 3174
"""One captured size by the law of shapes: of each layer (its kernels' nodes, and one graph between two
attentions) and of each element of the hidden state (what kernels write). Fitted on own starts of vLLM 0.26
on an H200 that are not held back (benchmarks/planner/h200/starts.json): 0.39 to 1.01 GiB of 51 sizes.
Experts have no part of their own: runs of such models took less than half of what EXPERT_GRAPH_BYTES
makes."""


def graph_sizes(rules: VllmRules, sequences: int, arguments: Mapping[str, str]) -> int:
    """How many batch sizes are captured as CUDA graphs.

    1, 2, 4, then every 8th up to 256, then every 16th up to min(2 x max_num_seqs, 512). Before 0.8 up to
    max_num_seqs. Source: vLLM config/vllm.py _set_cudagraph_sizes.
    """
    asked = integer(first_of(arguments, "max-cudagraph-capture-size"))
    default = min(2 * sequences, 512) if rules.runner != "v0" else min(sequences, 256)
    largest = default if asked is None else asked
    small = [size for size in (1, 2, 4) if size <= largest]
    return len(small) + min(largest, 256) // 8 + max(0, round_up(largest - 256, 16) // 16)


def graph_bytes(architecture: Architecture, rules: VllmRules, sizes: int) -> int:
    """What all captured batch sizes take."""
    if rules.graph_law == "shape":
        each = architecture.layers * LAYER_GRAPH_BYTES + architecture.hidden_size * WIDTH_GRAPH_BYTES
        return sizes * each
    return sizes * (EXPERT_GRAPH_BYTES if architecture.experts else GRAPH_BYTES)


def beside_bytes(architecture: Architecture, rules: VllmRules, sizes: int, *, inside: bool) -> int:
    """What the engine takes on top of its budget; ``inside``: the budget holds the graphs."""
    return CONTEXT_BYTES + (0 if inside else graph_bytes(architecture, rules, sizes))
