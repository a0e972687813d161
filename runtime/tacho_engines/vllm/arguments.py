"""The command-line switches that a plan freezes for vLLM; the memory model counts with the same settings.

The path of the model, its name and port are added by the runtime adapter. Switches of engine.extraArgs are
not repeated: the user's switches follow the plan's, and vLLM uses the last of a repeated switch.
"""

from __future__ import annotations

from collections.abc import Iterator

from tacho_contract.units import GIB
from tacho_engines.base import Context, Placement, Tuning
from tacho_engines.shared.compatibility import is_quantized, stored_method
from tacho_engines.shared.images import version_key
from tacho_engines.vllm import host
from tacho_engines.vllm.settings import WHOLE, in_32_bits, planned_settings, switches
from tacho_engines.vllm.speed import FRONT_END_TOKENS_PER_SECOND, NEWEST

MISTRAL = "mistral-native"
MISTRAL_SWITCHES = ("tokenizer-mode", "config-format", "load-format")
"""Switches for Mistral's own layout. vLLM 0.32 finds it by itself, other versions in part."""
QUANTIZATION = {"fp8": "fp8", "bnb-nf4": "bitsandbytes"}
"""Value of --quantization for methods applied while loading; for all others the checkpoint decides, and vLLM
is told where it would not look (model_loader/weight_utils.py get_quant_config)."""
FP8_NEEDS_CHOICE = "0.31"
"""vLLM version from which the kind of scaling must be named for in-flight FP8 quantization. Source: wheels
0.30.0 and 0.31.0, layers/quantization/fp8.py ("no longer supports online quantization")."""


def arguments(placement: Placement, context: Context) -> tuple[str, ...]:
    """The arguments that follow from the plan: context, spread over GPUs, quantization, types.

    Where vLLM's own default could decide otherwise, the plan's value is set.
    """
    given = switches(placement.options)
    found: list[str] = []
    for name, value in _switches(placement, context):
        if name not in given and f"no-{name}" not in given:
            found += [f"--{name}", value] if value else [f"--{name}"]
    return tuple(found)


def _switches(placement: Placement, context: Context) -> Iterator[tuple[str, str]]:
    """(name, value) of each planned switch; value "": a switch without a value."""
    options = placement.options
    yield "max-model-len", str(context.max_model_len)
    if placement.tensor > 1:
        yield "tensor-parallel-size", str(placement.tensor)
    if placement.pipeline > 1:
        yield "pipeline-parallel-size", str(placement.pipeline)
    if quantization := _quantization(placement):
        yield "quantization", quantization
    if in_half(placement):
        yield "dtype", "half"
    if options.kv_cache_dtype:
        yield "kv-cache-dtype", options.kv_cache_dtype
    if placement.facts.format == MISTRAL:
        yield from dict.fromkeys(MISTRAL_SWITCHES, "mistral").items()
    if options.trust_remote_code:
        yield "trust-remote-code", ""
    if placement.device.on_host:
        yield from host.added(placement, context).items()
    else:
        yield from planned_settings(placement, context).added.items()


def _quantization(placement: Placement) -> str:
    if placement.facts.quantization.file:
        return placement.facts.quantization.method
    method = placement.method.method
    if method not in QUANTIZATION or stored_method(placement.facts) == method:
        return ""
    named = QUANTIZATION[method]
    if named == "fp8" and version_key(placement.version) >= version_key(FP8_NEEDS_CHOICE):
        named = "fp8_per_tensor"
    return named


def in_half(placement: Placement) -> bool:
    """Whether a model in bfloat16 has to run in float16, because the GPU does not support bfloat16."""
    whole = in_32_bits(switches(placement.options))
    return placement.device.lacks_bf16 and placement.architecture.dtype != "float16" and not whole


NOT_IN_HALF = ("Gemma2", "Gemma3For", "Glm4ForCausalLM")
"""Architectures that vLLM refuses to run in float16. Source: vLLM config/model.py
_FLOAT16_NOT_SUPPORTED_MODELS."""
HALF = ("half", "float16")


def wrong_dtype(placement: Placement) -> str:
    """Why vLLM refuses the user's --dtype for this model or GPU; "": it does not, or there is none.

    Source: vLLM platforms/cuda.py check_if_supports_dtype, config/model.py _check_valid_dtype;
    layers/quantization, get_supported_act_dtypes; v1/attention/backends/mla, supported_dtypes.
    """
    given, gpu = switches(placement.options).get("dtype", "").lower(), placement.device
    if given == "bfloat16" and gpu.lacks_bf16:
        has = f"{gpu.product} has {gpu.compute_capability}"
        return f"--dtype {given} needs compute capability 8.0 or higher; {has}"
    if given in HALF and placement.architecture.name.startswith(NOT_IN_HALF):
        return f"vllm refuses {placement.architecture.name} in float16, which --dtype {given} asks for"
    quantized = is_quantized(placement.facts) or placement.method.method != "none"
    if given in WHOLE and quantized and placement.facts.format != "gguf":
        return f"--dtype {given} is planned only for GGUF and weights that are not quantized"
    if given in WHOLE and not placement.device.on_host and placement.architecture.kv_lora_rank:
        return f"--dtype {given} is refused: no latent attention of vllm computes in 32 bits"
    return ""


# --- HTTP front ends ------------------------------------------------------------------------------
FRONT_END_SWITCH = "api-server-count"
SINCE = "0.26"
"""First version known to have an argument for several front ends (tests/fixtures/vllm/options-0.26.0.txt)."""
UNTIL = NEWEST
"""From this version on a dense model had no more tokens by more (benchmarks/lab/h200/vllm-0.32-dense.md)."""
SERVERS = 4
CORES = SERVERS + 2
"""CPUs that a pod needs for several front ends: these, the engine's loop, and tacho's runtime. On several
GPUs each has a worker, which polls without a pause.
"""
SERVER_BYTES = 2 * GIB
"""Bytes of host memory for each front end, where the container has a memory limit."""
OTHER_SWITCHES = ("data-parallel-size", "headless", "enable-elastic-ep")
"""Switches with which no number of front ends is set: they decide it or allow only one
(vllm/entrypoints/cli/serve.py)."""
ONE_ONLY = ("VLLM_ALLOW_RUNTIME_LORA_UPDATING", "VLLM_USE_RUST_FRONTEND")
"""Environment variables with which vLLM starts only one front end (vllm/entrypoints/cli/serve.py)."""


def tuned(placement: Placement, streamed_tokens_per_second: float | None) -> Tuning:
    """An argument for several HTTP front ends, where the expected tokens per second exceed what one front end
    can stream.

    Only where the pod has CPUs for them.
    """
    options = placement.options
    gpus = placement.tensor * placement.pipeline
    workers = gpus if gpus > 1 else 0
    given = switches(options)
    if placement.device.on_host or any(name in given for name in (FRONT_END_SWITCH, *OTHER_SWITCHES)):
        return Tuning()
    if (
        not version_key(SINCE) <= version_key(placement.version) < version_key(UNTIL)
        or (streamed_tokens_per_second or 0) <= FRONT_END_TOKENS_PER_SECOND
        or (options.cpu_cores or 0) < CORES + workers
        or (options.memory_limit_bytes is not None and options.memory_limit_bytes < SERVERS * SERVER_BYTES)
        or any(options.env.get(name, "0") not in ("", "0") for name in ONE_ONLY)
    ):
        return Tuning(front_ends=1)
    reason = (
        f"{SERVERS} HTTP front ends, as one carries about {FRONT_END_TOKENS_PER_SECOND} streamed tok/s and "
        f"up to {streamed_tokens_per_second:.0f} are expected; --{FRONT_END_SWITCH}=1 in engine.extraArgs "
        "keeps one"
    )
    return Tuning(arguments=(f"--{FRONT_END_SWITCH}", str(SERVERS)), reasons=(reason,), front_ends=SERVERS)
