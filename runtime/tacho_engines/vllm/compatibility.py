"""What vLLM refuses to run regardless of memory, and what it runs differently than requested."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from tacho_contract.failure import FailureClass
from tacho_contract.units import gib
from tacho_engines.base import Context, EngineOptions, EngineRefusal, Placement
from tacho_engines.shared.compatibility import (
    arithmetic,
    capability_refusal,
    cuda_13_refusal,
    device_refusal,
    double_quant_refusal,
    is_quantized,
    kept_cache_refusal,
    least_capability,
    model_refusal,
    refused,
)
from tacho_engines.shared.images import version_key
from tacho_engines.shared.remote_code import code_refusal, in_transformers
from tacho_engines.shared.switches import decimal, integer
from tacho_engines.vllm import kernels
from tacho_engines.vllm.arguments import MISTRAL, NOT_IN_HALF, in_half, wrong_dtype
from tacho_engines.vllm.formats import (
    ALL_ALIKE,
    ALLOW_DEPRECATED,
    CONFIG_ELSEWHERE,
    CONFIGURED,
    DEPRECATED,
    FORMAT_CAPABILITY,
    FORMATS,
    FORMATS_SINCE,
    NOT_BY_BITSANDBYTES,
    ONLY_CAPABILITY,
    REMOVED,
    SCHEMES,
    SCHEMES_SINCE,
    features,
)
from tacho_engines.vllm.graphs import before_bytes, refused_sizes
from tacho_engines.vllm.memory import pool_blocks
from tacho_engines.vllm.own_classes import in_vllms_class, is_users_build
from tacho_engines.vllm.profile import PROFILE
from tacho_engines.vllm.recorded import recorded
from tacho_engines.vllm.settings import (
    COUNTS,
    ESTIMATES,
    NO_GRAPHS,
    SIZES,
    SMALLEST,
    VllmSettings,
    in_32_bits,
    outside_budget,
    planned_settings,
    switches,
)
from tacho_engines.vllm.versions import SWAP_REMOVED
from tacho_engines.vllm.weights import gguf_by_plugin, offloaded_bytes

CUDA_13_SINCE, CUDA_12_TAG = "0.20", "cu12"
"""vLLM's wheels are built with CUDA 13 (_C.abi3.so of 0.19.1 is linked with libcudart.so.12, of 0.20.0 with
13, and has no code for sm_70), and its images, except those whose tag names CUDA 12."""
BITSANDBYTES_COMPUTES = "bfloat16"
"""Type in which vLLM multiplies 4-bit weights of bitsandbytes, whatever the model's type."""
STRETCHING = ("rope-", "yarn-", "hf-overrides")
"""Prefixes of arguments that change the positions of tokens, and so may extend the context."""


def refusal(placement: Placement) -> EngineRefusal | None:
    """Why vLLM cannot run this placement at all; None when only memory decides."""
    return (
        model_refusal(PROFILE, placement)
        or _removed_refusal(placement)
        or _code_refusal(placement)
        or _windows_refusal(placement)
        or _format_refusal(placement)
        or _gguf_refusal(placement)
        or _bitsandbytes_refusal(placement)
        or _switch_refusal(placement)
        or _gpu_refusal(placement)
        or device_refusal(PROFILE, placement)
        or _host_refusal(placement)
        or kernels.cache_refusal(placement)
        or double_quant_refusal(PROFILE, placement, chosen=False)
        or _compute_refusal(placement)
    )


def _host_refusal(placement: Placement) -> EngineRefusal | None:
    """The refusal by the build for CPUs, on which tacho plans only 16-bit weights and caches; else None."""
    if not placement.device.on_host:
        return None
    if is_quantized(placement.facts):
        message = "vllm's CPU build is planned for unquantized checkpoints only"
        return refused(FailureClass.UNSUPPORTED_QUANTIZATION, message)
    kind = switches(placement.options).get("kv-cache-dtype") or placement.options.kv_cache_dtype
    if kind == "auto":
        return None
    return kept_cache_refusal(PROFILE, kind, placement.architecture.dtype)


def _compute_refusal(placement: Placement) -> EngineRefusal | None:
    """The refusal of a compute type for bitsandbytes, which vLLM can neither be told nor reads from the
    checkpoint; else None.

    Source: vllm-bnb-plugin 0.0.3 quantization/linear.py (_apply_4bit_weight; the loader quantizes with
    compress_statistics and nf4), before 0.28 vLLM's own layers/quantization/bitsandbytes.py.
    """
    requested = placement.options.compute_dtype
    if requested in ("", BITSANDBYTES_COMPUTES):
        return None
    return refused(
        FailureClass.INVALID_CONFIG,
        f"quantization.bitsandbytes.computeDtype {requested} has no effect: vllm multiplies the weights of "
        f"bitsandbytes in {BITSANDBYTES_COMPUTES}",
        "Remove quantization.bitsandbytes.computeDtype, or set engine.name to transformers",
    )


def _removed_refusal(placement: Placement) -> EngineRefusal | None:
    """The refusal of an architecture that this version of vLLM no longer has; None where it has, or the
    user's image may have it.
    """
    name, key = placement.architecture.name, version_key(placement.version)
    last = next((version for version, names in REMOVED.items() if name in names), "")
    if not last or not key or key <= version_key(last) or is_users_build(placement):
        return None
    return refused(
        FailureClass.ENGINE_NOT_SUPPORTED,
        f"{name} was supported in vllm until {last}; this is {placement.version}",
        f"Name an image of vllm {last} in engine.image, or use another model or engine",
    )


def _code_refusal(placement: Placement) -> EngineRefusal | None:
    """The refusal of a model whose classes the default version of vLLM lacks, and the user trusts none of the
    repository's. What other versions or the user's image have is not known.
    """
    known = version_key(placement.version) == version_key(PROFILE.image.version)
    if not known or is_users_build(placement) or placement.architecture.name in CONFIGURED:
        return None
    types = in_transformers() | recorded("configurations")
    return code_refusal(placement, types, in_transformers() | recorded("architectures"))


def _windows_refusal(placement: Placement) -> EngineRefusal | None:
    """The refusal of windows in some layers (use_sliding_window, max_window_layers) of these; else None."""
    shape = placement.architecture
    kinds = {group.kind for group in shape.layer_groups}
    if shape.name not in ALL_ALIKE or not {"sliding", "full"} <= kinds or not in_vllms_class(placement):
        return None
    return refused(
        FailureClass.ENGINE_NOT_SUPPORTED,
        f"vllm has no {shape.name} with sliding windows in some layers (max_window_layers in config.json)",
        "Add --model-impl=transformers to engine.extraArgs, or unset use_sliding_window in config.json",
    )


def _format_refusal(placement: Placement) -> EngineRefusal | None:
    """The refusal of a format that vLLM cannot load; None: it can, or the user's image may have a plugin."""
    stored, key = placement.facts.quantization.method.lower(), version_key(placement.version)
    if stored in ("", "none") or (key and key < version_key(FORMATS_SINCE)):
        return None
    if stored in DEPRECATED and ALLOW_DEPRECATED not in switches(placement.options):
        return refused(
            FailureClass.UNSUPPORTED_QUANTIZATION,
            f"vllm {placement.version} loads {stored} checkpoints with --{ALLOW_DEPRECATED} only",
            f"Add --{ALLOW_DEPRECATED} to engine.extraArgs, or use another checkpoint of the model",
        )
    quantization, loads = placement.facts.quantization, SCHEMES.get(stored, ()) if key else ()
    scheme = quantization.scheme
    odd = (bool(scheme and loads) and not {*quantization.schemes} <= {*loads}) or quantization.is_irregular
    odd = odd and key >= version_key(SCHEMES_SINCE)
    if (stored in FORMATS and not odd) or is_users_build(placement):
        return None
    what = f"{stored} checkpoints of the scheme {scheme}" if odd else f"{stored} checkpoints"
    return refused(
        FailureClass.UNSUPPORTED_QUANTIZATION,
        f"vllm {placement.version} loads no {what}",
        "Use another checkpoint of the model, or an engine.image with a plugin for this one",
    )


def _gguf_refusal(placement: Placement) -> EngineRefusal | None:
    """The refusal of a GGUF file without a configuration beside it; None where there is one, or may be.

    Source: vllm-gguf-plugin 0.0.5 plugin.py _get_gguf_config_source. Without them vLLM 0.26 on an H200 ended:
    "Unrecognized model".
    """
    if not gguf_by_plugin(placement) or placement.facts.gguf_companions is not False:
        return None
    if CONFIG_ELSEWHERE in switches(placement.options):
        return None
    return refused(
        FailureClass.MODEL_INVALID,
        "vllm needs config.json and a tokenizer in the folder of a GGUF file",
        "Set engine.name to llamacpp, which needs the GGUF file alone. Or add both to the folder and to "
        f"model.files. Or add --{CONFIG_ELSEWHERE} and --tokenizer to engine.extraArgs",
    )


def _bitsandbytes_refusal(placement: Placement) -> EngineRefusal | None:
    """The refusal of a model that vLLM's loader for bitsandbytes does not take; else None."""
    method, name = placement.method.method, placement.architecture.name
    if method.startswith("bnb-") and placement.facts.format == MISTRAL:
        message = "bitsandbytes does not load Mistral's own layout (params.json)"
        return refused(FailureClass.UNSUPPORTED_QUANTIZATION, message)
    if method == "bnb-int8" and placement.architecture.experts > 0:
        return refused(FailureClass.UNSUPPORTED_QUANTIZATION, "vllm loads no experts in bitsandbytes' 8 bits")
    known = version_key(placement.version) >= version_key(SCHEMES_SINCE) and in_vllms_class(placement)
    if known and method.startswith("bnb-") and name in NOT_BY_BITSANDBYTES:
        return refused(FailureClass.UNSUPPORTED_QUANTIZATION, f"vllm loads no {name} by bitsandbytes")
    return None


def _switch_refusal(placement: Placement) -> EngineRefusal | None:
    message = refused_switch(switches(placement.options), placement.version) or wrong_dtype(placement)
    return refused(FailureClass.INVALID_CONFIG, message) if message else None


def _gpu_refusal(placement: Placement) -> EngineRefusal | None:
    """The refusal where the GPU's compute capability is too low, or too high; else None."""
    gpu, version, method = placement.device, placement.version, placement.method
    if gpu.capability == (0, 0):
        return None
    least, what = least_capability(method, version), method.method
    for name in (*features(placement.facts.quantization), placement.architecture.name):
        if ONLY_CAPABILITY.get(name, gpu.capability) != gpu.capability:
            only = ".".join(map(str, ONLY_CAPABILITY[name]))
            message = f"vllm {version} runs {name} on compute capability {only} alone; {gpu.product} has "
            return refused(FailureClass.UNSUPPORTED_GPU, message + gpu.compute_capability)
        if FORMAT_CAPABILITY.get(name, least) > least:
            least, what = FORMAT_CAPABILITY[name], name
    if found := capability_refusal(PROFILE, placement, least, what):
        return found
    recent = version_key(version) >= version_key(CUDA_13_SINCE) and CUDA_12_TAG not in placement.image
    if recent and not is_users_build(placement) and (found := cuda_13_refusal(PROFILE, placement)):
        return found
    if not is_users_build(placement) and (found := kernels.too_new_refusal(placement)):
        return found
    name, has = placement.architecture.name, f"{gpu.product} has {gpu.compute_capability}"
    if gpu.lacks_bf16 and name.startswith(NOT_IN_HALF) and not in_32_bits(switches(placement.options)):
        message = f"vllm refuses {name} in float16; bfloat16 needs compute capability 8.0 or higher; {has}"
        return refused(FailureClass.UNSUPPORTED_GPU, message)
    return None


def refused_switch(arguments: Mapping[str, str], version: str) -> str:
    """The first memory argument with a value that vLLM itself refuses; "": none.

    Source: vLLM config/cache.py (gpu_memory_utilization: gt=0, le=1), config/offload.py (ge=0),
    config/scheduler.py verify_max_model_len.
    """
    if "swap-space" in arguments and version_key(version) >= version_key(SWAP_REMOVED):
        return f"vLLM {version} has no switch --swap-space; --kv-offloading-size is its successor"
    if BLOCKS in arguments:
        return f"--{BLOCKS} replaces the KV cache that is planned; --kv-cache-memory-bytes sets its size"
    for name in COUNTS:
        if name in arguments and (integer(arguments[name]) or 0) < 1:
            return f"--{name} takes a whole number above 0, not {arguments[name][:40]!r}"
    for name in SIZES:
        value = decimal(arguments[name]) if name in arguments else 0.0
        if value is None or value < 0:
            return f"--{name} takes a number from 0 on, not {arguments[name][:40]!r}"
    share = arguments.get("gpu-memory-utilization")
    if share is not None and not 0 < (decimal(share) or 0.0) <= 1:
        return f"--gpu-memory-utilization is above 0 and at most 1, not {share[:40]!r}"
    tokens, sequences = (integer(arguments.get(n)) for n in ("max-num-batched-tokens", "max-num-seqs"))
    if tokens and sequences and tokens < sequences:
        return f"--max-num-batched-tokens {tokens} is below --max-num-seqs {sequences}"
    return ""


BLOCKS = "num-gpu-blocks-override"
"""The switch for tests of vLLM by which it allocates a number of blocks, whatever memory is free. Source:
wheel 0.32.0, config/cache.py, v1/core/kv_cache_utils.py get_kv_cache_configs."""
ESTIMATED_TOKENS = 1024
"""Most tokens of CUDA graphs that vLLM's first runner estimates well with experts (h200/speed-four)."""


def _reserves_too_much(placement: Placement, settings: VllmSettings) -> bool:
    """Whether an estimate of the CUDA graphs takes much of the KV cache: the first runner, with experts."""
    graphs = settings.graphs
    return (
        graphs.inside
        and settings.rules.runner == "v1"
        and settings.cache.fixed_bytes is None
        and placement.architecture.experts > 0
        and graphs.captured is not None
        and graphs.captured.tokens > ESTIMATED_TOKENS
    )


def settings_refusal(placement: Placement) -> EngineRefusal | None:
    """The refusal where vLLM would end before it loads anything: its budget exceeds the free memory, or host
    memory the container's limit.

    Source: vLLM v1/worker/utils.py request_memory ("Free memory on device ... is less than desired GPU memory
    utilization"); the CUDA context exists before that check. Buffers for several GPUs are only assumed, and
    never a reason to refuse.
    """
    if placement.device.on_host:
        return None
    settings, gpu = planned_settings(placement, SMALLEST), placement.device
    total = gpu.memory_bytes or 0
    outside = outside_budget(placement, settings)
    if settings.utilization_given:
        outside -= before_bytes(settings.rules, settings.tensor * settings.pipeline)
    budget = int(settings.utilization * total)
    if settings.cache.fixed_bytes is None and budget > total - outside:
        return refused(
            FailureClass.INVALID_CONFIG,
            f"--gpu-memory-utilization asks for {gib(budget)} of the {gib(total)} of {gpu.product}, and "
            f"{gib(outside)} are needed beside it; {max(0, total - outside) / total - 0.005:.2f} leaves room",
        )
    wrong = refused_sizes(switches(placement.options), settings.batch.tokens)
    if wrong and settings.graphs is not NO_GRAPHS:
        return refused(FailureClass.INVALID_CONFIG, wrong)
    if _reserves_too_much(placement, settings):
        return EngineRefusal(
            failure_class=FailureClass.INVALID_CONFIG,
            message=f"vLLM {placement.version} may reserve far more for CUDA graphs of over "
            f"{ESTIMATED_TOKENS} tokens than they take: 28.0 GiB for 1.4 of a Qwen3-30B-A3B in 0.26",
            next_step=f"Set {ESTIMATES}=0 in engine.env, or capture {ESTIMATED_TOKENS} tokens at most.",
        )
    limit = placement.options.memory_limit_bytes
    kept = (offloaded_bytes(placement, settings) + settings.swap_bytes) * max(1, placement.count)
    if limit is not None and kept > limit:
        return refused(
            FailureClass.INVALID_CONFIG,
            f"swap and offload keep {gib(kept)} in host memory, and engine.resources limits it to "
            f"{gib(limit)}",
        )
    return None


SEQUENCES, OTHER_GRAPHS = "max-num-seqs", re.compile("cudagraph[-_]mode")
BLOCKS_SINCE = "0.32"
"""First version known to end where whole CUDA graphs need more blocks than there are. Source: wheel 0.32.0,
config/compilation.py resolve_cudagraph_mode_and_sizes."""


def pool_refusal(placement: Placement, context: Context) -> EngineRefusal | None:
    """The refusal of more sequences than blocks in the cache of a model with recurrent layers; or None."""
    given, key = switches(placement.options), version_key(placement.version)
    recurrent = any(group.state_bytes for group in placement.architecture.layer_groups)
    if SEQUENCES not in given or not recurrent or placement.device.on_host or key < version_key(BLOCKS_SINCE):
        return None
    settings = planned_settings(placement, context)
    chosen = any(OTHER_GRAPHS.search(f"{name}={value}") for name, value in given.items())
    whole_graphs = settings.graphs.whole > 0 and not chosen
    blocks = pool_blocks(placement, settings)
    if not whole_graphs or settings.batch.sequences <= blocks:
        return None
    return refused(
        FailureClass.INVALID_CONFIG,
        f"--{SEQUENCES} {settings.batch.sequences} is above the {blocks} blocks of the KV cache, of which "
        "recurrent layers need one for each sequence",
        f"Leave --{SEQUENCES} out of engine.extraArgs, or set it well below {blocks}",
    )


def extends_context(options: EngineOptions) -> bool:
    """Whether the user's switches extend the context beyond the length the model was trained for.

    Without them vLLM refuses to start (config/model.py _get_and_verify_max_len).
    """
    if options.env.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "").strip().lower() in ("1", "true"):
        return True
    return any(name.startswith(STRETCHING) for name in switches(options))


FP8_CAPABILITY = (8, 9)
"""Lowest compute capability with matrix products in FP8. Source: vLLM platforms/cuda.py supports_fp8."""


def fallbacks(placement: Placement) -> tuple[str, ...]:
    """What vLLM will do otherwise than requested, or slower than possible: one clause per cause."""
    return tuple(_clauses(placement))


def _clauses(placement: Placement) -> Iterator[str]:
    device, method = placement.device, placement.method
    if arithmetic(placement) == "fp8" and (0, 0) != device.capability < FP8_CAPABILITY:
        yield f"FP8 weights only, by Marlin: {device.product} does not compute in FP8"
    if in_half(placement):
        yield f"float16 instead of bfloat16, which {device.product} lacks"
    given = switches(placement.options)
    if device.on_host and "no-enforce-eager" not in given:
        yield "eager mode: compiling would need a C++ compiler in the image, and minutes at each start"
    elif "enforce-eager" in given:
        yield "eager mode, as engine.extraArgs ask for: nothing is compiled, no CUDA graphs"
    elif method.method == "bnb-int8":
        yield "eager mode: bitsandbytes' 8 bits run without CUDA graphs"
    if slow := kernels.slow_experts(placement):
        yield slow
