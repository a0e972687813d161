"""CUDA graphs of steps with prompts, which vLLM does not capture by default.

By default a step of over 512 tokens has none, as most steps with a prompt: the host launches each kernel
while the GPU waits. By larger graphs a model with experts gained 30 to 46 % in 16 bits. In FP8 it had 1.7 to
2.4 times the tokens, and in 4 bits up to 2.1 times. A dense 8B in NF4 gained 11 to 26 %, a 3B 38 to 42 %.
Others, one in W8A8 among them, gained less with one front end, and with 256 streams their first tokens
came later (benchmarks/lab/h200/vllm-0.32-graphs.md, vllm-0.32-fp8.md and vllm-0.32-quantized.md).
"""

from __future__ import annotations

from tacho_engines.base import Context, Placement, Tuning
from tacho_engines.profile import GRAPH_TOKENS
from tacho_engines.shared.images import version_key
from tacho_engines.vllm.graphs import LARGEST_OF, MAX_SIZE, default_sizes
from tacho_engines.vllm.settings import planned_settings

MEASURED = "0.32"
"""Version of vLLM with which the sizes were measured. 0.26 estimates the graphs of experts far too high."""
PRODUCTS = ("NVIDIA-H200",)
"""GPUs on which they were."""
EXPERTS, DENSE = ("none", "fp8"), ("bnb-nf4",)
"""Methods of which checkpoints in 16 bits were, with experts and without."""
IN_4_BITS = ("awq", "gptq", "compressed-tensors")
"""Methods of stored experts in 4 bits. Marlin's kernels are fast enough to wait for the host."""
SIZES = (*default_sizes(GRAPH_TOKENS), *range(576, 2561, 64))
"""The captured sizes in tokens: vLLM's own, and 32 more."""
SWITCH = "--compilation-config.cudagraph_capture_sizes"


def larger_graphs(placement: Placement, context: Context) -> Tuning:
    """The argument that captures ``SIZES``, where it was measured: on one GPU a model with experts in 16 or
    4 bits or in FP8 that vLLM makes of 16, and a dense one in NF4. Empty elsewhere.

    vLLM's own are kept where the user chose others or the share of the memory, and where the image's tag
    names no version. Attention has buffers of up to the largest size, which neither vLLM's budget nor the
    plan counts: they need what the default budget leaves free. With other switches, and for models whose
    graphs differ, no speed was timed, so that the planner expects no gain.
    """
    device, architecture = placement.device, placement.architecture
    measured = version_key(placement.version)[:2] == version_key(MEASURED) and not placement.version_assumed
    one = placement.tensor == placement.pipeline == 1
    if not (measured and one and device.product in PRODUCTS and _weights_measured(placement)):
        return Tuning()
    settings = planned_settings(placement, context)
    chosen = settings.graphs.captured is not None or settings.utilization_given
    chosen = chosen or settings.cache.fixed_bytes is not None
    sizes = tuple(size for size in SIZES if size <= settings.batch.tokens)
    if chosen or architecture.name in LARGEST_OF or sizes[-1] <= GRAPH_TOKENS:
        return Tuning()
    reasons = (
        f"CUDA graphs also for steps with prompts, of up to {sizes[-1]} tokens",
        f"--{MAX_SIZE}={GRAPH_TOKENS} in engine.extraArgs leaves them out",
    )
    return Tuning(arguments=(f"{SWITCH}=[{','.join(map(str, sizes))}]",), reasons=reasons)


def _weights_measured(placement: Placement) -> bool:
    stored, experts = placement.facts.quantization, bool(placement.architecture.experts)
    if stored.method in ("", "none"):
        return placement.method.method in (EXPERTS if experts else DENSE)
    return experts and placement.method.method in IN_4_BITS and set(stored.schemes) == {"W4A16"}
