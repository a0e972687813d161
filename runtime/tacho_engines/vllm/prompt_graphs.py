"""CUDA graphs of steps with prompts, which vLLM does not capture by default.

By default a step of over 512 tokens has none, as most steps with a prompt: the host launches each kernel
while the GPU waits. What larger graphs gain: docs/results/h200/graphs.md.
"""

from __future__ import annotations

from tacho_engines.base import Placement, Tuning
from tacho_engines.profile import GRAPH_TOKENS
from tacho_engines.shared.images import version_key
from tacho_engines.shared.switches import SHORTEST_ABBREVIATION
from tacho_engines.vllm.compatibility import SMALLEST
from tacho_engines.vllm.graphs import LARGEST_OF, MAX_SIZE, default_sizes
from tacho_engines.vllm.settings import NO_GRAPHS, planned_settings, switches

MEASURED = ("0.26", "0.32")
"""Versions of vLLM with which the sizes were measured."""
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


def larger_graphs(placement: Placement) -> Tuning:
    """The argument that captures ``SIZES``, where it was measured; empty elsewhere.

    vLLM's own are kept where the user chose others, and for models with recurrent states, several pipeline
    stages, and experts on the first runner, whose estimate of the graphs is far too high.
    """
    device, architecture = placement.device, placement.architecture
    measured = any(version_key(placement.version)[:2] == version_key(each) for each in MEASURED)
    if not measured or device.capability[0] != HOPPER or placement.pipeline > 1:
        return Tuning()
    settings = planned_settings(placement, SMALLEST)
    chosen = settings.graphs is NO_GRAPHS or settings.graphs.captured is not None
    chosen = chosen or any(_changes_graphs(name) for name in switches(placement.options))
    recurrent = any(group.state_bytes for group in architecture.layer_groups)
    if chosen or recurrent or architecture.name in LARGEST_OF or settings.rules.runner != "v2":
        return Tuning()
    sizes = tuple(size for size in SIZES if size <= settings.batch.tokens)
    if sizes[-1] <= GRAPH_TOKENS:
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
