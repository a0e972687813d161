"""How llama.cpp distributes the layers of a model over GPUs and the host.

Source: llama.cpp b11549, src/llama-model.cpp (load_tensors): the output head counts as one more layer after
the last. The last ``--n-gpu-layers`` of them go to GPUs, in turn by the parts of ``--tensor-split``, by
default the GPUs' free memory. The input embedding stays on the host.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from tacho_contract.failure import FailureClass
from tacho_engines.base import EngineOptions, EngineRefusal, Placement, Splits
from tacho_engines.shared.compatibility import refused
from tacho_engines.shared.images import version_key
from tacho_engines.shared.switches import first_of, integer, parse_arguments

EVERY = ("all", "auto")
"""Values of --n-gpu-layers for all layers. With ``auto``, llama.cpp lowers the number if memory is short,
unless ``--fit off`` is set.
"""
OFF = ("off", "disabled", "0", "false")
"""Values of --flash-attn that switch it off."""
LAYER, TENSOR, ROW, NONE = "layer", "tensor", "row", "none"
MODES = (LAYER, TENSOR, ROW, NONE)
NO_ROWS_SINCE, NO_ROWS_SINCE_BUILD = (2026,), 11549
"""First version, and build of llama.cpp, known to have no split mode "row": xllamacpp 2026.10 (b11549) says
"does not support split buffers".
"""


UNSPLIT = frozenset((
    *("grok", "mpt", "plamo2", "minicpm3", "gemma3n", "mamba", "mamba2", "jamba", "falcon-h1", "olmo2"),
    *("olmoe", "deepseek2", "deepseek32", "hy_v4", "dots3note", "glm-dsa", "bitnet", "t5", "nemotron_h"),
    *("nemotron_h_moe", "granitehybrid", "minimax-01", "minimax-m2", "minimax-m3", "mistral4"),
    *("kimi-linear", "bailingmoe3", "kimi-k3", "glm5-next", "qwen3tts"),
))  # fmt: skip
"""Architectures whose tensors llama.cpp does not split over GPUs. Source: llama.cpp b11549 src/llama-arch.cpp
llm_arch_supports_sm_tensor."""


@dataclass(frozen=True, slots=True)
class GpuShare:
    """The part of the model that one GPU holds."""

    layers: int
    head: bool
    """Whether the GPU holds the output head with its norm."""
    part: float = 1.0
    """Share of each of these tensors that the GPU holds; below 1 where tensors are split."""


def mode(placement: Placement) -> str:
    """llama.cpp's split mode for several GPUs; a user's argument precedes ``spec.parallelism``."""
    given = first_of(parse_arguments(placement.options.arguments), "split-mode", "sm")
    return given or (TENSOR if placement.tensor > 1 else LAYER)


def offloaded_layers(options: EngineOptions, layers: int) -> int:
    """Number of layers on GPUs, the output head included: all, unless the user sets fewer."""
    given = first_of(parse_arguments(options.arguments), "n-gpu-layers", "gpu-layers", "ngl")
    requested = None if given is None or given in EVERY else integer(given)
    return layers + 1 if requested is None or requested < 0 else min(requested, layers + 1)


def proportions(options: EngineOptions) -> tuple[float, ...] | None:
    """The parts in the user's --tensor-split; None: not given. Raises ValueError for any other text."""
    given = first_of(parse_arguments(options.arguments), "tensor-split", "ts")
    if given is None:
        return None
    parts = tuple(float(part) for part in given.replace("/", ",").split(","))
    if not sum(parts) > 0 or min(parts) < 0:
        raise ValueError(given)
    return parts


def shares(placement: Placement) -> tuple[GpuShare, ...]:
    """The part of the model that each GPU holds."""
    layers, gpus = max(1, placement.architecture.layers), max(1, placement.count)
    on_gpus = offloaded_layers(placement.options, layers)
    parts = proportions(placement.options) or (1.0,) * gpus
    total = sum(parts)
    if mode(placement) == TENSOR:
        return tuple(GpuShare(max(0, on_gpus - 1), on_gpus > 0, part / total) for part in parts)
    ends = [_first_beyond(sum(parts[: index + 1]) / total, on_gpus) for index in range(gpus - 1)]
    starts, ends = [0, *ends], [*ends, on_gpus]
    head = next((number for number, end in enumerate(ends) if end == on_gpus), -1) if on_gpus else -1
    return tuple(
        GpuShare(max(0, end - start) - (number == head), number == head)
        for number, (start, end) in enumerate(zip(starts, ends, strict=True))
    )


def _first_beyond(end: float, layers: int) -> int:
    """The first layer that does not begin below the share ``end`` of all layers."""
    return bisect_left(range(layers), end, key=lambda layer: layer / layers)


def splits(placement: Placement) -> Splits | EngineRefusal:
    """The spread over GPUs: layers in turn (pipeline), as llama.cpp does by default.

    Tensor parallelism only where the user sets it: it is experimental, and some architectures do not support
    it.
    """
    options, gpus = placement.options, max(1, placement.count)
    tensor = options.tensor or 1
    if tensor > 1 and placement.device.on_host:
        message = "parallelism.tensor has no effect: on the CPU llama.cpp is one process"
        return refused(FailureClass.INVALID_CONFIG, message, "Remove parallelism.tensor")
    if tensor > 1 and tensor != gpus:
        message = f"parallelism.tensor {tensor} is not gpu.count {gpus}: llama.cpp splits layers or tensors"
        return _wrong(message, "Set parallelism.tensor to gpu.count, or remove it")
    if tensor > 1:
        return ((gpus, 1),)
    if options.pipeline is not None and options.pipeline != gpus:
        message = (
            f"parallelism.pipeline {options.pipeline} has no effect: llamacpp spreads layers over all {gpus}"
        )
        return _wrong(f"{message} GPUs", "Remove parallelism.pipeline, or set it to gpu.count")
    return ((1, gpus),)


def fallbacks(placement: Placement) -> tuple[str, ...]:
    """What runs slower than a user may expect, one clause per cause."""
    if placement.device.on_host:
        return ()
    layers = placement.architecture.layers
    found = []
    if (some := offloaded_layers(placement.options, layers)) <= layers:
        found.append(
            f"--n-gpu-layers puts {some} of {layers + 1} layers on GPUs, the host computes the others"
        )
    if mode(placement) == TENSOR:
        found.append("tensors split over GPUs, which llama.cpp calls experimental")
    return tuple(found)


def _splits_no_rows(version: str) -> bool:
    """``version``: of xllamacpp, or a build's as ``b11549``."""
    build = version.removeprefix("b")
    if build != version and build.isdigit():
        return int(build) >= NO_ROWS_SINCE_BUILD
    return version_key(version) >= NO_ROWS_SINCE


def refusal(placement: Placement) -> EngineRefusal | None:
    """The refusal of GPU switches that llama.cpp does not accept, or that leave planned GPUs unused; else
    None."""
    given, gpus = parse_arguments(placement.options.arguments), placement.count
    requested = first_of(given, "split-mode", "sm")
    if requested is not None and requested not in MODES:
        return _wrong(f"--split-mode {requested} is not one of {', '.join(MODES)}", "")
    if requested == ROW and _splits_no_rows(placement.version):
        message = f"llama.cpp {placement.version} splits no rows over CUDA devices"
        return _wrong(message, "Replace --split-mode row by tensor, or set parallelism.tensor")
    name = placement.architecture.name
    by_tensor = (placement.options.tensor or 1) > 1 if requested is None else requested == TENSOR
    if gpus and by_tensor and name in UNSPLIT and not placement.options.own_image:
        message = f"llama.cpp splits no tensors of the architecture {name}"
        return _wrong(message, "Remove parallelism.tensor, and --split-mode from engine.extraArgs")
    if gpus and by_tensor and first_of(given, "flash-attn", "fa") in OFF:
        message = "split tensors need flash attention, which --flash-attn switches off"
        return _wrong(message, "Remove --flash-attn from engine.extraArgs")
    main = integer(first_of(given, "main-gpu", "mg")) or 0
    if gpus and not 0 <= main < gpus:
        return _wrong(f"--main-gpu {main} is not one of {gpus} GPUs, which count from 0", "")
    if requested == NONE and gpus > 1:
        message = f"--split-mode none leaves {gpus - 1} of {gpus} GPUs idle"
        return _wrong(message, "Set gpu.count to 1, or remove --split-mode")
    try:
        parts = proportions(placement.options)
    except ValueError:
        return _wrong("--tensor-split is no list of parts such as 3,1", "")
    if parts is not None and gpus and len(parts) != gpus:
        return _wrong(f"--tensor-split has {len(parts)} parts for {gpus} GPUs", "")
    return None


def _wrong(message: str, step: str) -> EngineRefusal:
    return refused(FailureClass.INVALID_CONFIG, message, step or "Correct engine.extraArgs")
