"""CUDA graphs of steps with prompts, which vLLM does not capture by default.

By default a step of over 512 tokens has none, as most steps with a prompt: the host launches each kernel
while the GPU waits. A model with experts gained 33 to 49 % by larger graphs, and its latency fell. Dense
models gained less, and their first tokens came later (docs/results/h200/vllm-0.32-graphs.md).
"""

from __future__ import annotations

from tacho_engines.base import Placement, Tuning
from tacho_engines.profile import GRAPH_TOKENS
from tacho_engines.shared.images import version_key
from tacho_engines.shared.switches import SHORTEST_ABBREVIATION
from tacho_engines.vllm.compatibility import SMALLEST
from tacho_engines.vllm.graphs import LARGEST_OF, MAX_SIZE, default_sizes
from tacho_engines.vllm.settings import NO_GRAPHS, planned_settings, switches

MEASURED = "0.32"
"""Version of vLLM with which the sizes were measured. 0.26 estimates the graphs of experts far too high."""
HOPPER = 9
"""Major compute capability of the GPUs on which they were."""
SIZES = (*default_sizes(GRAPH_TOKENS), *range(576, 2561, 64))
"""The captured sizes in tokens: vLLM's own, and 32 more."""
SWITCH = "--compilation-config.cudagraph_capture_sizes"
OTHERS = (
    *("compilation-config", "cc", "optimization-level", "O", "enforce-eager", "performance-mode"),
    *("speculative", "enable-lora", "enable-dbo", "ubatch-size"),
)
"""Switches, or how they begin, with which vLLM's own sizes are kept: they change what is captured."""
FIRST_RUNNER = "VLLM_USE_V2_MODEL_RUNNER"
"""Variable that selects vLLM's first runner where it is 0."""


def larger_graphs(placement: Placement) -> Tuning:
    """The argument that captures ``SIZES``, where it was measured: a model with experts on one GPU. Empty
    elsewhere.

    vLLM's own are kept where the user chose others, and for models with recurrent states.
    """
    device, architecture, options = placement.device, placement.architecture, placement.options
    measured = version_key(placement.version)[:2] == version_key(MEASURED)
    one = placement.tensor == placement.pipeline == 1
    if not measured or device.capability[0] != HOPPER or not one or not architecture.experts:
        return Tuning()
    settings = planned_settings(placement, SMALLEST)
    chosen = settings.graphs is NO_GRAPHS or settings.graphs.captured is not None
    chosen = chosen or any(_changes_graphs(name) for name in switches(options))
    chosen = chosen or options.env.get(FIRST_RUNNER, "1") == "0"
    recurrent = any(group.state_bytes for group in architecture.layer_groups)
    sizes = tuple(size for size in SIZES if size <= settings.batch.tokens)
    if chosen or recurrent or architecture.name in LARGEST_OF or sizes[-1] <= GRAPH_TOKENS:
        return Tuning()
    reasons = (
        f"CUDA graphs also for steps with prompts, of up to {sizes[-1]} tokens",
        f"--{MAX_SIZE}={GRAPH_TOKENS} in engine.extraArgs leaves them out",
    )
    return Tuning(arguments=(f"{SWITCH}=[{','.join(map(str, sizes))}]",), reasons=reasons)


def _changes_graphs(name: str) -> bool:
    """Whether a switch is one of ``OTHERS``, abbreviated perhaps."""
    short = len(name) >= SHORTEST_ABBREVIATION and any(other.startswith(name) for other in OTHERS)
    return short or name.startswith(OTHERS)
