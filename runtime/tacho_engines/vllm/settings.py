"""The settings of a vLLM server that affect its memory: arguments, and vLLM's defaults where none is
given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from tacho_contract.model import ModelFacts
from tacho_contract.units import GIB
from tacho_engines.base import Context, EngineOptions, Placement
from tacho_engines.hardware.device import Device
from tacho_engines.memory.account import CapturedSteps
from tacho_engines.profile import GRAPH_TOKENS
from tacho_engines.shared.switches import decimal, integer, parse_arguments
from tacho_engines.vllm.graphs import (
    CAPTURED,
    CONTEXT_BYTES,
    MAX_SIZE,
    before_bytes,
    default_sizes,
    given_share,
    given_sizes,
    graph_bytes,
    graph_sizes,
    largest_size,
    more_share,
    whole_share,
)
from tacho_engines.vllm.recorded import spelled_out
from tacho_engines.vllm.versions import VllmRules, rules_of

KV_ELEMENT_BYTES = {
    "auto": 2.0,
    "bfloat16": 2.0,
    "float16": 2.0,
    "fp8": 1.0,
    "fp8_e4m3": 1.0,
    "fp8_e5m2": 1.0,
    "fp8_inc": 1.0,
    "nvfp4": 0.5625,
}
"""Bytes of one KV element. Source: vLLM config/cache.py CacheDType."""
LARGE_GPU_BYTES = 70 * GIB
HUGE_GPU_BYTES = 160 * GIB
BOUNDED_SEQUENCES = 16
SWAP_GIB = "4"
"""Default in GiB of --swap-space, which only the V0 engine uses."""
FIRST_CHUNKING = (8, 0)
"""Compute capability from which old versions prefill long contexts in chunks by default."""


class Batch(NamedTuple):
    """Most tokens and sequences that the scheduler processes in one step."""

    tokens: int
    """Most tokens of a step (--max-num-batched-tokens)."""
    sequences: int
    """Most sequences of a step (--max-num-seqs)."""
    chunked: bool
    """Whether long prompts are prefilled in chunks."""


SMALLEST = Context(256, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """Type, block size and limits of the KV cache."""

    fixed_bytes: int | None
    """Size of the cache in bytes (--kv-cache-memory-bytes), in place of the utilization; None: not set."""
    element_bytes: float
    block_tokens: int
    hybrid_windows: bool
    in_flight_steps: int
    states: int | None
    """Number of states that a request of a model with recurrent layers keeps; None: one for each block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphSettings:
    """Which CUDA graphs are captured."""

    sizes: int
    """Number of batch sizes that are captured; 0: none."""
    inside: bool
    """Whether the graphs count against the memory budget."""
    whole: float
    """Share of the sizes, by tokens, that whole steps are captured for, not layers alone (-O1: 0)."""
    captured: CapturedSteps | None
    """Where the user says which steps are captured; None: the engine's default."""


NO_GRAPHS = GraphSettings(sizes=0, inside=False, whole=0.0, captured=None)
"""Of eager mode."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VllmSettings:
    """The settings of one vLLM server, defaults included."""

    rules: VllmRules
    tensor: int
    pipeline: int
    utilization: float
    utilization_given: bool
    batch: Batch
    cache: CacheSettings
    graphs: GraphSettings
    expert_parallel: bool
    offload_bytes: int
    """Bytes of weights per GPU that stay in host memory (--cpu-offload-gb)."""
    swap_bytes: int
    """Bytes of host memory per GPU for cache blocks (--swap-space of the V0 engine, --kv-offloading-size)."""
    element_bytes: float
    """Bytes of one element of a weight that is not quantized, and of an activation (--dtype)."""
    compiled: bool
    """Whether the model is compiled: neither --enforce-eager nor -O0 is set."""
    max_model_len: int
    added: Mapping[str, str] = field(default_factory=dict)
    """Switches that the plan adds to the user's, by name."""

    @property
    def in_flight_tokens(self) -> int:
        """Most tokens of all requests together that are scheduled and not yet computed."""
        return self.cache.in_flight_steps * self.batch.tokens

    @property
    def wider(self) -> float:
        """How many times as wide as 16 bits an element is."""
        return self.element_bytes / 2


WHOLE = ("float", "float32")
"""Values of --dtype for 32 bits. Source: vLLM config/model.py _STR_DTYPE_TO_TORCH_DTYPE."""


def in_32_bits(arguments: Mapping[str, str]) -> bool:
    """Whether the user has the model computed in 32 bits."""
    return arguments.get("dtype", "").lower() in WHOLE


def kv_dtype(given: str, facts: ModelFacts) -> str:
    """The type of the KV cache; ``auto`` is the model's own type, unless the checkpoint declares one for the
    cache.

    fp8 *weights* do not imply an fp8 cache. Source: vLLM utils/torch_utils.py resolve_kv_cache_dtype_string.
    """
    if given not in ("", "auto"):
        return given
    return facts.quantization.kv_cache_dtype or "auto"


COUNTS = (
    "max-num-seqs",
    "max-num-batched-tokens",
    "block-size",
    "tensor-parallel-size",
    "pipeline-parallel-size",
    "kv-cache-memory-bytes",
)
ESTIMATES = "VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS"
"""Variable that says whether the budget has room for an estimate of the CUDA graphs."""
SIZES = ("cpu-offload-gb", "swap-space", "kv-offloading-size", MAX_SIZE)


EXPERT_PARALLEL = "enable-expert-parallel"
"""The switch with which a GPU has whole experts."""


def switches(options: EngineOptions) -> dict[str, str]:
    """The user's switches as vLLM's parser reads them, by their full names."""
    return parse_arguments(spelled_out(options.arguments))


def _is_large(gpu: Device, size: int) -> bool:
    """Whether the GPU has at least ``size`` bytes and gets vLLM's larger defaults. Source: vLLM
    engine/arg_utils.py get_batch_defaults: A100 keeps the small ones (vllm#17885).
    """
    return (gpu.memory_bytes or 0) >= size and "A100" not in gpu.product.upper()


def _batch(arguments: Mapping[str, str], rules: VllmRules, gpu: Device, max_model_len: int) -> Batch:
    large = _is_large(gpu, LARGE_GPU_BYTES)
    sequences = integer(arguments.get("max-num-seqs")) or (
        rules.large_sequences if large else rules.sequences
    )
    tokens = integer(arguments.get("max-num-batched-tokens"))
    chunked = rules.chunk_above >= 0 and max_model_len > rules.chunk_above
    if rules.runner == "v0" and gpu.capability < FIRST_CHUNKING:
        chunked = False
    if "enable-chunked-prefill" in arguments:
        chunked = arguments["enable-chunked-prefill"].lower() != "false"
    if "no-enable-chunked-prefill" in arguments:
        chunked = False
    default = rules.chunk_tokens
    if large:
        default = rules.huge_tokens if _is_large(gpu, HUGE_GPU_BYTES) else rules.large_tokens
    if not chunked:
        return Batch(max(tokens or 0, max_model_len, 2048, default), sequences, chunked=False)
    default = min(default, sequences * max_model_len)
    return Batch(tokens or default, min(sequences, tokens or default), chunked=True)


def sequence_switches(
    arguments: Mapping[str, str], placement: Placement, context: Context, rules: VllmRules
) -> dict[str, str]:
    """Arguments without which the scheduler would process fewer than ``concurrency`` requests at the same
    time.

    Where each possible sequence costs memory in advance (recurrent state), no more than these are allowed.
    The user's arguments are kept, as is a batch too small for more sequences, which vLLM requires to be the
    larger (config/scheduler.py verify_max_model_len).
    """
    bounded = any(group.state_bytes for group in placement.architecture.layer_groups)
    tokens, sequences, _ = _batch(arguments, rules, placement.device, context.max_model_len)
    needed = max(context.concurrency, BOUNDED_SEQUENCES) if bounded else context.concurrency
    batch_given = "max-num-batched-tokens" in arguments
    if (
        "max-num-seqs" in arguments
        or (needed <= sequences and not bounded)
        or (batch_given and tokens < needed)
    ):
        return {}
    found = {"max-num-seqs": str(needed)}
    return found if tokens >= needed else {**found, "max-num-batched-tokens": str(needed)}


def planned_settings(placement: Placement, context: Context) -> VllmSettings:
    """The settings of a planned server: the user's arguments, and those that ``added`` adds.

    CUDA context and, in some versions, CUDA graphs use memory outside the budget. Unless the user set the
    utilization, it is lowered so that they fit, and on a shared GPU to the pod's part.
    """
    given = switches(placement.options)
    rules = rules_of(placement.version, placement.architecture, placement.options.env)
    added = sequence_switches(given, placement, context, rules)
    found = replace(read_settings({**given, **added}, placement, context.max_model_len), added=added)
    if found.utilization_given:
        return found
    gpu = placement.device
    outside = outside_budget(placement, found)
    share = 1.0 / gpu.sharers - outside / max(1, gpu.memory_bytes or 0)
    part = int(min(share, found.utilization) * 100) / 100
    if part <= 0 or (gpu.sharers == 1 and share >= found.utilization):
        return found
    return replace(found, utilization=part, added={**added, "gpu-memory-utilization": f"{part:.2f}"})


def outside_budget(placement: Placement, settings: VllmSettings) -> int:
    """Bytes that a server uses of one GPU in addition to its budget."""
    besides = CONTEXT_BYTES + before_bytes(settings.rules, settings.tensor * settings.pipeline)
    return besides if settings.graphs.inside else besides + captured_bytes(placement, settings)


def captured_bytes(placement: Placement, settings: VllmSettings) -> int:
    """Bytes of a server's CUDA graphs on one GPU."""
    bytes_in_16 = graph_bytes(
        placement.architecture,
        settings.rules,
        settings.graphs.sizes,
        tensor=settings.tensor,
        pipeline=settings.pipeline,
        whole=settings.graphs.whole,
    )
    return int(settings.wider * bytes_in_16)


INT8 = "bnb-int8"
"""The method that always runs in eager mode. Source: wheel vllm-bnb-plugin 0.0.3, _enforce_eager_for_8bit."""


def read_settings(arguments: Mapping[str, str], placement: Placement, max_model_len: int) -> VllmSettings:
    """The settings of a server that starts with exactly ``arguments`` (parsed)."""
    options, gpu, tensor, pipeline = (
        placement.options, placement.device, placement.tensor, placement.pipeline,
    )  # fmt: skip
    rules = rules_of(placement.version, placement.architecture, options.env)
    given = decimal(arguments.get("gpu-memory-utilization"))
    batch = _batch(arguments, rules, gpu, max_model_len)
    dtype = kv_dtype(arguments.get("kv-cache-dtype") or options.kv_cache_dtype, placement.facts)
    plain = 4.0 if in_32_bits(arguments) else 2.0
    level = _optimization_level(arguments) if rules.graph_law == "shape" else None
    eager = level == 0 or arguments.get("enforce-eager", "false").lower() != "false"
    eager |= placement.method.method == INT8
    name = placement.architecture.name
    return VllmSettings(
        rules=rules,
        tensor=tensor,
        pipeline=pipeline,
        utilization=given if given is not None else rules.utilization / gpu.sharers,
        utilization_given=given is not None,
        batch=batch,
        cache=CacheSettings(
            fixed_bytes=integer(arguments.get("kv-cache-memory-bytes")),
            element_bytes=plain if dtype == "auto" else KV_ELEMENT_BYTES.get(dtype, 2.0),
            block_tokens=integer(arguments.get("block-size")) or 16,
            hybrid_windows=rules.windows == "window" and "disable-hybrid-kv-cache-manager" not in arguments,
            in_flight_steps=_in_flight(rules, pipeline, "no-async-scheduling" not in arguments),
            states=_states(arguments, rules, name),
        ),
        graphs=NO_GRAPHS if eager else _graphs(arguments, placement, rules, batch, layers_alone=level == 1),
        expert_parallel=EXPERT_PARALLEL in arguments,
        offload_bytes=int((decimal(arguments.get("cpu-offload-gb")) or 0.0) * GIB),
        swap_bytes=_swap_bytes(arguments, rules, tensor * pipeline),
        element_bytes=plain,
        compiled=not eager,
        max_model_len=max_model_len,
    )


def _graphs(
    arguments: Mapping[str, str], placement: Placement, rules: VllmRules, batch: Batch, *, layers_alone: bool
) -> GraphSettings:
    """The CUDA graphs that a server captures: by default, up to a largest size, or of listed sizes."""
    capability, name = placement.device.capability, placement.architecture.name
    largest = largest_size(rules, batch.sequences, arguments, capability, name)
    listed, captured = any(name in arguments for name in CAPTURED), None
    sizes = given_sizes(arguments, batch.tokens) if listed else ()
    if listed or MAX_SIZE in arguments:
        usual = min(largest_size(rules, batch.sequences, {}, capability, name), batch.tokens)
        largest = max(sizes, default=0) if listed else min(largest, batch.tokens)
        among = {*default_sizes(usual)} <= {*sizes} if listed else largest >= usual
        captured = CapturedSteps(largest, among)
    # A step that checks guessed tokens has several of each request.
    guesses = any(switch.startswith("speculative") for switch in arguments)
    whole = largest if guesses else batch.sequences
    alike = placement.architecture.experts > 0 and rules.runner == "v2" and rules.graphs == "inside"
    if listed:
        share = given_share(sizes, whole, alike=alike)
    elif captured and largest > GRAPH_TOKENS:
        share = more_share(largest, whole, alike=alike)
    else:
        share = whole_share(largest, whole)
    return GraphSettings(
        sizes=len(sizes) if listed else graph_sizes(largest),
        inside=rules.graphs == "inside" and placement.options.env.get(ESTIMATES, "1") != "0",
        whole=0.0 if layers_alone else share,
        captured=captured,
    )


def _states(arguments: Mapping[str, str], rules: VllmRules, architecture: str) -> int | None:
    """Number of states that a request keeps in recurrent layers: one without prefix caching."""
    if (
        "no-enable-prefix-caching" in arguments
        or arguments.get("enable-prefix-caching", "").lower() == "false"
    ):
        return 1
    return None if architecture in rules.state_each_block else rules.states


def _in_flight(rules: VllmRules, pipeline: int, asynchronous: bool) -> int:
    """Number of batches in progress: one per pipeline stage, one more with asynchronous scheduling. The first
    runner has none of the latter with several stages. Source: wheel 0.32.0, config/vllm.py
    max_concurrent_batches.
    """
    stages = max(1, pipeline)
    ahead = rules.in_flight - 1 if asynchronous and (stages == 1 or rules.runner == "v2") else 0
    return stages + ahead


def _optimization_level(arguments: Mapping[str, str]) -> int | None:
    """The last of ``-O1``, ``-O 1`` and ``--optimization-level=1``; None: the default. Source: wheel 0.26.0,
    config/vllm.py OptimizationLevel, utils/argparse_utils.py.
    """
    level = None
    for name, value in arguments.items():
        if name in ("O", "optimization-level"):
            level = integer(value)
        elif name in ("O0", "O1", "O2", "O3"):
            level = int(name[1])
    return level


def _swap_bytes(arguments: Mapping[str, str], rules: VllmRules, gpus: int) -> int:
    """Bytes of host memory per GPU for cache blocks. Source: vLLM config/cache.py: swap_space is per GPU,
    kv_offloading_size for all GPUs together.
    """
    swap = decimal(arguments.get("swap-space", SWAP_GIB)) or 0.0 if rules.runner == "v0" else 0.0
    offloading = decimal(arguments.get("kv-offloading-size")) or 0.0
    return int((swap + offloading / gpus) * GIB)
